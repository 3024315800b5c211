"""Decay of weights that are named, where an optimiser's weight decay is of all that it moves."""

from fnmatch import fnmatchcase
from typing import Annotated

from annotated_types import Gt, MinLen
from torch import nn

from biograd.credit.wrappers import unwrap
from biograd.errors import UserMistake, brief
from biograd.penalties.base import Penalty, add_to_gradient, parameters_of
from biograd.searched import LogUniform
from biograd.settings import checked_settings


class Decay(Penalty):
    r"""Squared length of weights: λW is added to the gradient of each.

    .. math:: \lambda \sum_l \|W_l\|_F^2 \,/\, 2

    Under gradient descent at the rate η a weight shrinks by ηλ of itself a step. On the output layer alone it makes
    a two-layer net align with its feedback. Reference: Song, Xu & Lafferty 2021.

    Args:
        net: any net.
        strength: λ > 0, in units of the mean loss.
        weights: names of weights (parameters of two or more dimensions), ``2.weight``, or patterns of names, in which
            ``*`` stands for anything.

    Raises:
        UserMistake: a name or pattern that fits no weight of the net.
    """

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        *,
        strength: Annotated[float, Gt(0), LogUniform(1e-5, 10.0)],
        weights: Annotated[tuple[str, ...], MinLen(1)] = ("*",),
    ) -> None:
        super().__init__()
        shapes = {name: tuple(p.shape) for name, p in unwrap(net).named_parameters() if p.dim() >= 2}
        for pattern in weights:
            if not any(fnmatchcase(name, pattern) for name in shapes):
                raise UserMistake(
                    f"decay: {brief(pattern)} fits no weight of the net: those are {', '.join(shapes) or 'none'}"
                )
        self._strength = strength
        self._shapes = {
            name: shape
            for name, shape in shapes.items()
            if any(fnmatchcase(name, pattern) for pattern in weights)
        }

    def add_gradient(self, net: nn.Module) -> None:
        """Add λW; see `Penalty.add_gradient`."""
        for weight in parameters_of(net, self._shapes).values():
            add_to_gradient(weight, weight, times=self._strength)
