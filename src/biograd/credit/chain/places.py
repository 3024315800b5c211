"""Places of an example (tokens of a sequence, positions of an image), and the axis that holds features beside them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block, run_layers
from biograd.credit.chain.shapes import evaluating
from biograd.credit.kinds import Opaque, features_axis, is_unit_by_unit, nearest_kind
from biograd.credit.side_effects import without_side_effects
from biograd.errors import UnsupportedNet

Axis = Literal["first", "last", "absent"]
"""``first``: (batch, features, places …), as images have them; ``last``: (batch, places …, features), as sequences
have them; ``absent``: every axis holds places, of one number each."""

_PLACES = (12, 17)
"""Two sizes of an axis of places, to see which axis of an output does not follow."""
_COUNTS = ("out_features", "out_channels", "embedding_dim")


@dataclass(frozen=True)
class Laid:
    """How the numbers of an example lie in what a block gives.

    Attributes:
        what: lies so, for messages: a block, or the input.
        shape: of an example, as it was when the rule was made.
        axis: where the features are; None where the block's layers do not say.
        setting: the name of the setting that says so, for messages.
    """

    what: str
    shape: torch.Size
    axis: Axis | None
    setting: str = "features"

    @property
    def has_places(self) -> bool:
        """Whether an example has an axis beside that of its features, or no axis of features at all."""
        return len(self.shape) > (0 if self.axis == "absent" else 1)

    @property
    def features(self) -> int:
        """How many numbers a place has."""
        if not self.shape or self.axis == "absent":
            return 1
        return self.shape[0 if self.axis == "first" else -1]

    @property
    def places(self) -> torch.Size:
        """How many places an example has along each of their axes."""
        if self.axis == "absent":
            return self.shape
        return self.shape[1:] if self.axis == "first" else self.shape[:-1]

    def by_place(self, tensor: Tensor) -> Tensor:
        """A batch as ``(batch, places …, features)``."""
        if tensor.dim() == 1 or self.axis == "absent":
            return tensor.unsqueeze(-1)
        if tensor.dim() == 2:
            return tensor
        self.require_axis(tensor.shape[1:])
        return tensor.movedim(1, -1) if self.axis == "first" else tensor

    def as_given(self, by_place: Tensor) -> Tensor:
        """What `by_place` gave, as it was before."""
        if self.axis == "absent":
            return by_place.squeeze(-1)
        return by_place.movedim(-1, 1) if self.axis == "first" else by_place

    def require_axis(self, shape: Iterable[int] | None = None) -> None:
        """Refuse places where nothing says which axis holds features.

        Args:
            shape: of an example; as it was when the rule was made unless given.

        Raises:
            UnsupportedNet: the layers do not say, and neither did the user.
        """
        if self.axis is None:
            raise UnsupportedNet(
                f"{self.what} is {tuple(shape or self.shape)} for an example, and its layers do not say which axis "
                f"holds {self.setting}: {self.setting}='last' for (tokens, {self.setting}), {self.setting}='first' for "
                f"({self.setting}, positions)"
            )


def axis_of(block: Block, shape: torch.Size) -> Axis | None:
    """Where the layers of a block put its features; None where they do not say.

    It is where the layer that opens the block has them: the last axis of a linear layer or an embedding, the first one
    of a convolution. What follows may move it: layers of a make of their own are shown two inputs of unlike sizes. In
    a block with a forward of its own, or between cut points, it is where all weight layers inside have theirs, if the
    output has as many axes.

    Args:
        block: which.
        shape: of what it gives for an example.
    """
    if block.stretch is not None or features_axis(block.opening) is None:
        return _axis_inside(block, shape)
    if all(_keeps_axes(layer) for layer in block.following):
        return _named(block.opening)
    return _axis_behind(block)


def axis_of_input(block: Block) -> Axis | None:
    """Where the first block of a chain takes its features; None where its layers do not say, or may move them."""
    is_known = block.stretch is None and features_axis(block.opening) is not None
    return _named(block.opening) if is_known and all(map(is_unit_by_unit, block.leading)) else None


def _named(layer: nn.Module) -> Axis:
    return "first" if features_axis(layer) == 1 else "last"


def _axes(layer: Any) -> int | None:
    """How many axes a layer with channels gives an example; None for layers that take any number."""
    return len(layer.kernel_size) + 1 if _named(layer) == "first" else None


def _keeps_axes(layer: nn.Module) -> bool:
    kind = nearest_kind(layer)
    if kind is None or isinstance(kind.feedback, Opaque):
        return False
    return kind.is_unit_by_unit or kind.place in ("closes", "follows")


def _axis_inside(block: Block, shape: torch.Size) -> Axis | None:
    layers = [p for layer in block.layers for p in layer.modules() if features_axis(p) is not None]
    found = {_axes(layer) for layer in layers}
    if len(found) != 1 or not found <= {None, len(shape)}:
        return None
    return _named(layers[0])


def _axis_behind(block: Block) -> Axis | None:
    """Where features end up that leave the opening layer along its axis."""
    opening: Any = block.opening
    is_first, beside = _named(opening) == "first", (_axes(opening) or 2) - 1
    features = next(getattr(opening, n) for n in _COUNTS if hasattr(opening, n))
    like, kept = next(opening.parameters()), []
    for places in _PLACES:
        sizes = (features, *(places,) * beside) if is_first else (*(places,) * beside, features)
        shape = _shape_behind(block, like.new_zeros((1, *sizes)))
        if shape is None:
            return None
        kept.append({axis - len(shape) for axis, size in enumerate(shape) if size == features})
    axes = kept[0] & kept[1]
    if axes == {-1}:
        return "last"
    return "first" if axes == {-len(shape)} else None


def _shape_behind(block: Block, x: Tensor) -> torch.Size | None:
    """What the layers behind the opening one make of a shape; None where they do not take it."""
    with evaluating([block]), without_side_effects(block.following, x.device), torch.no_grad():
        try:
            return run_layers(block.following, x).shape[1:]
        except (RuntimeError, ValueError):
            return None
