"""What stands for the inverse of a weight: solved for, kept from an earlier call, or learned."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Gt, Lt
from torch import Tensor

from biograd.credit.back.inverses import ExactInverse, Inverse, KeptInverse, LearnedInverse
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import Strategy

Columns = Literal["used", "all"]


class InverseStrategy(Strategy):
    """Interface: what stands for the inverse of a layer's weights."""

    @abstractmethod
    def inverse(self, name: str, W: Tensor, used: int | None, stream: RandomStream) -> Inverse:
        """The inverse of a weight.

        Args:
            name: of the layer or weight, for messages.
            W: the weight as matrices ``(…, fan_in, out)``, narrowed to the outputs that count.
            used: how many of a layer's outputs count, None for all.
            stream: what it is drawn from, if it is drawn.
        """


@dataclass(frozen=True, kw_only=True)
class Exact(InverseStrategy):
    """The weights are solved for anew at every call."""

    name: ClassVar[str] = "exact"

    def inverse(self, name: str, W: Tensor, used: int | None, stream: RandomStream) -> Inverse:
        """See `InverseStrategy.inverse`."""
        del W, stream
        return ExactInverse(name, used)


@dataclass(frozen=True, kw_only=True)
class Kept(InverseStrategy):
    """An inverse from an earlier call is corrected. Exact where a layer is not square or not all its outputs count.

    Args:
        tolerance: largest relative residual that corrections may leave, or an inverse is made anew; see
            `biograd.credit.back.inverses.KeptInverse`.
    """

    name: ClassVar[str] = "kept"
    tolerance: Annotated[float, Gt(0), Lt(1)] = 1e-3

    def inverse(self, name: str, W: Tensor, used: int | None, stream: RandomStream) -> Inverse:
        """See `InverseStrategy.inverse`."""
        if used is None and W.shape[-2] == W.shape[-1]:
            return KeptInverse(name, W, self.tolerance)
        return Exact().inverse(name, W, used, stream)


@dataclass(frozen=True, kw_only=True)
class Learned(InverseStrategy):
    """A linear map that learns to undo the weights, from noise alone."""

    name: ClassVar[str] = "learned"

    def inverse(self, name: str, W: Tensor, used: int | None, stream: RandomStream) -> Inverse:
        """See `InverseStrategy.inverse`."""
        return LearnedInverse(name, W, used, stream.next("cpu"))
