"""What may stand for a weight when errors travel back, and whether it fits the weight."""

from collections.abc import Callable, Mapping
from typing import overload

from torch import Tensor

from biograd.credit.operations import Following, Lent, Signed
from biograd.errors import UnsupportedNet

Feedback = Tensor | Signed | Following | Callable[[], Tensor | Signed]
"""A feedback weight, magnitudes for the weight's signs, one that is taught as its weight is, or a function that makes
either of the first two: called at most once, and only where an error travels further."""

Standing = Feedback | Lent
"""What may stand for a weight on a path: feedback, or what is lent for a while."""

READY = (Tensor, Signed, Following, Lent)  # a tuple: PyTorch 2.6 compiles no union of types


@overload
def fitting(name: str, weight: Tensor, feedback: Mapping[str, Feedback]) -> Feedback: ...
@overload
def fitting(name: str, weight: Tensor, feedback: Mapping[str, Standing]) -> Standing: ...
def fitting(name: str, weight: Tensor, feedback: Mapping[str, Standing]) -> Standing:
    """The feedback of a weight, detached unless it follows the weight; what is made later is checked when it is.

    Args:
        name: of the weight.
        weight: whose shape, dtype and device the feedback must have.
        feedback: by the names of weights.

    Raises:
        UnsupportedNet: there is none, or it does not fit.
    """
    B = feedback.get(name)
    if B is None:
        raise UnsupportedNet(f"no feedback weight for {name!r}; there are: {', '.join(feedback)}")
    if isinstance(B, Following):
        return Following(_checked(name, weight, B.matrix))
    if isinstance(B, Lent):
        return B  # of matrices that are made of the weight
    if isinstance(B, Tensor | Signed):
        return _detached(name, weight, B)
    return lambda: _detached(name, weight, B())


def _detached(name: str, weight: Tensor, B: Tensor | Signed) -> Tensor | Signed:
    """A checked feedback weight without its graph, which would outlive the step."""
    if isinstance(B, Signed):
        return Signed(_checked(name, weight, B.magnitude, scalar=True).detach())
    return _checked(name, weight, B).detach()


def _checked(name: str, weight: Tensor, B: Tensor, *, scalar: bool = False) -> Tensor:
    if B.shape != weight.shape and not (scalar and B.dim() == 0):
        raise UnsupportedNet(
            f"feedback weight of {name!r} has shape {tuple(B.shape)}, expected {tuple(weight.shape)}"
        )
    if B.device != weight.device or B.dtype != weight.dtype:
        raise UnsupportedNet(
            f"feedback weight of {name!r} is {B.dtype} on {B.device}, the net's is {weight.dtype} on "
            f"{weight.device}: move the rule as the net, rule.to(…)"
        )
    return B
