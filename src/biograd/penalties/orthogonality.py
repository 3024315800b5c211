"""A penalty that keeps weights near orthogonal, so that their inverse stays near their transpose."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.back.used_units import used_units
from biograd.credit.back.weight_matrices import (
    as_matrices,
    as_weight,
    has_matrices,
    narrow,
    narrowed,
    weight_matrices,
)
from biograd.credit.chain.blocks import blocks
from biograd.credit.wrappers import unwrap
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers import LocallyConnected
from biograd.penalties.base import Penalty, add_to_gradient, parameters_of
from biograd.searched import LogUniform
from biograd.settings import checked_settings

Kind = Literal["off-diagonal", "full"]
Columns = Literal["used", "all"]


class Orthogonality(Penalty):
    r"""How far weights are from orthogonal, in the Gram matrix :math:`G_l = W_l W_l^\top` of each.

    .. math:: \lambda \sum_l \sum_{i \ne j} (G_l)_{ij}^2 \quad\text{or}\quad \lambda \sum_l \|G_l - I\|_F^2

    The first, ``off-diagonal``, leaves the norms of rows free; the second is ``full``. G is
    :math:`W_l^\top W_l` where that is the smaller one. W takes a patch of a layer's input to its outputs: one matrix
    for a linear layer or a convolution, one a group, one a position where it is locally connected.

    Every linear, convolutional and locally connected layer has a part, but the first layer with weights only where
    its matrix is square: no signal needs to go back through it. First is by the order in which the net's modules
    are listed. References: Ahmad, van Gerven & Ambrogioni 2020 (off-diagonal); Dalm et al. 2021, 2023 (full).

    Args:
        net: any net with such layers.
        strength: λ > 0, in units of the mean loss.
        kind: which of the two.
        every: the derivative comes every so many steps, with so many times the weight.
        held: it is computed at every so many steps and added at every step, as it is, which suits Adam better: its
            steps shrink after rare large gradients.
        columns: whether outputs that `biograd.layers.FirstUnits` leaves behind have a part (``all``) or, in layers
            behind the first of a chain, none (``used``).

    Raises:
        UserMistake: ``held`` without an ``every`` above 1, or a net without a weight for it.
        UnsupportedNet: a weight is computed from others, a layer has no matrix, or the net is no chain where
            ``columns`` is ``used``.
    """

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        *,
        strength: Annotated[float, Gt(0), LogUniform(1e-5, 10.0)],
        kind: Kind = "off-diagonal",
        every: Annotated[int, Gt(0)] = 1,
        held: bool = False,
        columns: Columns = "all",
    ) -> None:
        super().__init__()
        if held and every == 1:
            raise UserMistake(
                "orthogonality: held goes with an every above 1: there is nothing between the steps"
            )
        net = unwrap(net)
        names = penalised(net)
        if not names:
            raise UserMistake(
                "orthogonality: the net has no linear, convolutional or locally connected layer behind its first"
            )
        self._strength, self._every, self._holds = strength, every, held
        self._kind: Kind = kind
        self._used = _used_units_of(net) if columns == "used" else {}
        self._shapes = {_weight(name): tuple(net.get_parameter(_weight(name)).shape) for name in names}
        self._layers = {_weight(name): name for name in names}
        self._calls = 0
        for name in self._layers if held else ():
            self.register_buffer(_held(name), torch.zeros_like(net.get_parameter(name)))

    def add_gradient(self, net: nn.Module) -> None:
        """Add the derivative where it is due; see `Penalty.add_gradient`."""
        self._calls += 1
        for name, weight in parameters_of(net, self._shapes).items():
            derivative = self._now(name, unwrap(net).get_submodule(self._layers[name]))
            if derivative is not None:
                add_to_gradient(weight, derivative)

    def _now(self, name: str, layer: nn.Module) -> Tensor | None:
        """λ times the derivative that a weight gets at this call, None where it gets none."""
        used = self._used.get(self._layers[name])
        if not self._holds:
            is_due = self._calls % self._every == 0
            return self._strength * self._every * _derivative(layer, used, self._kind) if is_due else None
        held = self.get_buffer(_held(name))
        if self._calls % self._every == 1:
            held.copy_(_derivative(layer, used, self._kind))
        return self._strength * held

    def get_extra_state(self) -> Tensor:
        """Calls so far, a scalar int64."""
        return torch.tensor(self._calls)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from the state of `get_extra_state`."""
        self._calls = int(state)


def penalised(net: nn.Module) -> list[str]:
    """Names of the layers that have a part; see `Orthogonality`. A weight that several layers share has one part.

    Raises:
        UnsupportedNet: the weight of one is no parameter, or has no matrix.
    """
    found: list[str] = []
    seen: set[nn.Parameter] = set()
    for name, layer in net.named_modules():
        weights = {p for p in layer.parameters(recurse=False) if p.dim() >= 2}
        if has_matrices(layer):
            _require_matrix(layer, name)
            if not weights <= seen and (seen or _is_square(layer)):
                found.append(name)
        seen |= weights
    return found


def orthogonality_gradient(W: Tensor, kind: Kind) -> Tensor:
    r"""Derivative by W, ``(…, fan_in, out)``, of the penalty of a kind with λ = 1; see `Orthogonality`.

    .. math:: 4\, (G \circ (1 - I))\, W \quad\text{or}\quad 4\, (G - I)\, W

    Args:
        W: matrices.
        kind: which.
    """
    is_tall = W.shape[-2] > W.shape[-1]
    G = W.mT @ W if is_tall else W @ W.mT
    diagonal = G.diagonal(dim1=-2, dim2=-1)
    if kind == "full":
        diagonal.sub_(1)
    else:
        diagonal.zero_()
    return 4 * (W @ G if is_tall else G @ W)


@torch.no_grad()
def _derivative(layer: nn.Module, used: int | None, kind: Kind) -> Tensor:
    """The derivative in the layout of the layer's weight, 0 for the outputs that are not used."""
    part = narrowed(layer, used)
    with torch.autocast(part.device.type, enabled=False):  # G is near I: its error is what counts
        gradient = as_weight(layer, orthogonality_gradient(as_matrices(layer, part), kind), part)
    if used is None:
        return gradient
    whole = torch.zeros_like(narrowed(layer, None))
    narrow(layer, whole, used).copy_(gradient)
    return whole


def _used_units_of(net: nn.Module) -> dict[str, int | None]:
    """Names of the layers of a chain, but the first, to how many of their outputs count."""
    try:
        chain = blocks(net)[1:]
    except UnsupportedNet as error:
        raise UnsupportedNet(f"orthogonality with columns='used': {error}; or leave columns out") from None
    return {block.name: used_units(block) for block in chain if has_matrices(block.opening)}


def _require_matrix(layer: nn.Module, name: str) -> None:
    if "weight" not in layer._parameters:
        raise UnsupportedNet(
            f"orthogonality: the weight of {name!r} is computed from other parameters, and the penalty is for weights "
            "that are parameters: take the parametrisation off"
        )
    if isinstance(layer, LocallyConnected) and layer.groups > 1:
        raise UnsupportedNet(f"{name!r} is locally connected in {layer.groups} groups: use groups=1")


def _is_square(layer: nn.Module) -> bool:
    rows, columns = weight_matrices(layer).shape[-2:]
    return rows == columns


def _weight(layer: str) -> str:
    """The parameter's name, of a layer that may be the whole net."""
    return f"{layer}.weight" if layer else "weight"


def _held(weight: str) -> str:
    """The buffer's name, in which PyTorch allows no dots."""
    return f"held:{weight.replace('.', ':')}"
