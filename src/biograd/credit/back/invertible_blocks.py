"""Blocks that can be undone: an invertible layer, an invertible nonlinearity, and units that are passed on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.back.own_inverses import undoes_itself, undone
from biograd.credit.back.pseudo_inverse import pseudo_inverse, solved
from biograd.credit.back.weight_matrices import (
    apply,
    as_matrices,
    as_weight,
    carry,
    multiplies_rows,
    narrowed,
    require_invertible_kind,
)
from biograd.credit.chain.blocks import Block, require_layers
from biograd.credit.chain.passage import Passage
from biograd.credit.kinds import nearest_kind, neuron_axis
from biograd.credit.kinds.bijections import Bijection
from biograd.errors import UnsupportedNet
from biograd.layers import FirstUnits


def bijection(layer: nn.Module, margin: float, name: str) -> Bijection:
    """The nonlinearity of a layer, with its inverse.

    Args:
        layer: ``nn.LeakyReLU`` with a slope above 0, ``nn.Tanh`` or ``nn.Identity``.
        margin: targets of tanh are cut to ±(1 − margin), since they may leave its range, and its derivative is taken
            within.
        name: of the block, for messages.

    Raises:
        UnsupportedNet: any other layer.
    """
    kind = nearest_kind(layer)
    found = kind.bijection(layer, margin) if kind is not None and kind.bijection is not None else None
    if found is not None:
        return found
    raise UnsupportedNet(
        f"the block {name!r} has {layer}, which has no inverse that this rule knows: targets need nn.LeakyReLU with a "
        "slope above 0, nn.Tanh or none at all; the linearised form of gait-prop takes any nonlinearity"
    )


def nonlinearity_of(block: Block, undo: str | None = None) -> tuple[nn.Module, int | None]:
    """The only layer behind a block's opening one, the identity if there is none, and how many units are passed on.

    Args:
        block: the block.
        undo: the method of modules that undo themselves.

    Raises:
        UnsupportedNet: there are more layers than that, or it is no list of layers.
    """
    if not undoes_itself(block, undo):
        require_layers([block], "a target")
    rest = list(block.following)
    last = rest.pop() if rest and isinstance(rest[-1], FirstUnits) else None
    if len(rest) > 1:
        raise UnsupportedNet(
            f"the block {block.name!r} has {' and '.join(type(layer).__name__ for layer in rest)} behind its weights, "
            "which cannot be undone unit by unit: expected one nonlinearity, and FirstUnits or nothing behind it"
        )
    return rest[0] if rest else nn.Identity(), last.count if isinstance(last, FirstUnits) else None


def activity(f: Bijection, passed_on: int | None, passage: Passage) -> Tensor:
    """What a nonlinearity gave for all units of a batch, auxiliary ones included; ``passed_on`` are, None for all."""
    return passage.output.detach() if passed_on is None else f.forward(passage.bare_drive())


@dataclass(frozen=True)
class InvertibleBlock:
    """A block of an invertible layer and a nonlinearity, behind a flattening or none, before `FirstUnits` or none.

    Attributes:
        block: the block.
        nonlinearity: with its inverse.
        passed_on: how many units, None for all.
        undo: the method by which the layer undoes itself; None where its weight is inverted.
    """

    block: Block
    nonlinearity: Bijection
    passed_on: int | None
    undo: str | None = None

    @classmethod
    def of(cls, block: Block, margin: float, *, is_first: bool, undo: str | None = None) -> "InvertibleBlock":
        """Take a block apart.

        Args:
            block: the block.
            margin: see `bijection`.
            is_first: whether nothing is sent back below it, so that its layer may have any shape, and any before it.
            undo: the method of modules that undo themselves.

        Raises:
            UnsupportedNet: it has another make, or its layer is not square.
        """
        odd = [layer for layer in block.leading if type(layer) is not nn.Flatten]
        if odd and not is_first:
            raise UnsupportedNet(
                f"the block {block.name!r} begins with a {type(odd[0]).__name__}, through which no target can be sent "
                "back: expected nothing or nn.Flatten before a layer with weights"
            )
        activation, passed_on = nonlinearity_of(block, undo)
        undo = undo if undoes_itself(block, undo) and not is_first else None
        if not is_first and undo is None:
            require_square(block.opening, block.name)
        return cls(block, bijection(activation, margin, block.name), passed_on, undo)

    def completed(self, used: Tensor, of: Tensor) -> Tensor:
        """Values of the units that are passed on, put beside those that auxiliary units have in ``of``."""
        return used if self.passed_on is None else torch.cat([used, of[:, self.passed_on :]], dim=1)

    def invert(self, activity: Tensor, x: Tensor) -> Tensor:
        r"""The layer's input that would give this activity: :math:`g(y) = (f^{-1}(y) - b) W^{-1}`.

        Where patches overlap, what comes back adds up to c times the input, c being the number of patches at a place.
        So (c − 1) ``x`` is taken off again. A place that no patch covers keeps its value.

        Args:
            activity: of all units, ``(batch, units, …)``.
            x: the layer's input as it was.

        Raises:
            NotFinite: the weights are singular.
        """
        layer: Any = self.block.opening
        if self.undo is not None:
            return undone(layer, self.undo, self.nonlinearity.inverse(activity))
        weight = narrowed(layer, None)
        with torch.autocast(weight.device.type, enabled=False):  # inverses need the precision of the weights
            return self._inverted(layer, weight, activity.to(weight.dtype), x.to(weight.dtype))

    def _inverted(self, layer: Any, weight: Tensor, activity: Tensor, x: Tensor) -> Tensor:
        # (f⁻¹(y) − b) W⁻¹
        drive = self.nonlinearity.inverse(activity)
        if layer.bias is not None:
            drive = drive - _spread(layer, drive)
        W = as_matrices(layer, weight)
        if multiplies_rows(layer):
            return solved(W, drive, self.block.name)
        inverse = pseudo_inverse(W, self.block.name)
        back = carry(layer, drive, x, as_weight(layer, inverse.mT, weight))
        return back - (overlaps(layer, x, weight) - 1) * x


def _spread(layer: Any, drive: Tensor) -> Tensor:
    """A layer's bias in a shape that goes with its drives, where it has a number a neuron and not a position."""
    bias: Tensor = layer.bias.detach()
    behind = drive.dim() - 1 - neuron_axis(layer) % drive.dim()
    return bias.view(-1, *[1] * behind) if bias.dim() == 1 else bias


def overlaps(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """How many patches of a layer cover each place of its input, ``(1, channels, …)``."""
    one = torch.zeros_like(as_matrices(layer, weight))
    one.diagonal(dim1=-2, dim2=-1).fill_(1)
    selection = as_weight(layer, one, weight)
    ones = torch.ones_like(x[:1])
    return carry(layer, apply(layer, ones, selection), ones, selection)


def require_square(layer: nn.Module, name: str) -> None:
    """Refuse a layer whose matrices are not square.

    Raises:
        UnsupportedNet: they are not, or it is no layer with matrices.
    """
    require_invertible_kind(layer, name)
    fan_in, out = as_matrices(layer, narrowed(layer, None)).shape[-2:]
    if fan_in != out:
        raise UnsupportedNet(
            f"the layer {name!r} takes {fan_in} numbers to {out}: this needs square layers (auxiliary units can make "
            "them so, biograd.layers.FirstUnits behind them; nets: square, tower); the linearised forms of "
            "gait-prop and itp take any widths, with columns='used' of the form"
        )
