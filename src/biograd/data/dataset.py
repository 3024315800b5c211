"""The small frozen types through which data sets, nets and the training loop meet."""

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from biograd.errors import UserMistake, brief

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Examples and their classes, on the CPU.

    Args:
        inputs: (n, …) uint8, to be scaled to [0, 1], or float32, as they are; the axis after the first
            is the channel, or the feature.
        targets: (n,) int64, the class of each example.
    """

    inputs: "Tensor"
    targets: "Tensor"

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or self.targets.ndim != 1:
            raise ValueError(
                f"a split needs one target an example, got inputs {tuple(self.inputs.shape)} "
                f"and targets {tuple(self.targets.shape)}"
            )

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Preprocessing:
    """How inputs are prepared: (x − mean) / std per channel, x scaled to [0, 1] where it is uint8.

    Args:
        mean: one number a channel, or one for all.
        std: the same; positive.
        crop_padding: in training, images are padded by so many black pixels on every side and cropped
            back to their size at random; 0 for none.
        flip: in training, half of the images, drawn at random, are mirrored left to right.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int = 0
    flip: bool = False

    @property
    def is_random(self) -> bool:
        """Whether training examples are changed at random."""
        return self.flip or self.crop_padding > 0


@dataclass(frozen=True)
class DataSet:
    """A classification task: a training part, a test part, and how its inputs are prepared."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, ``(features,)`` or ``(channels, height, width)``."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def outputs(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def one_vs_rest(self, cls: str | int) -> "DataSet":
        """The task of telling one class (target 1) from all others (target 0), on the same examples.

        Args:
            cls: the name of a class (upper and lower case are the same) or else its index, also as text.

        Raises:
            UserMistake: there is no such class.
        """
        index = self._class_index(cls)
        train, test = (
            replace(part, targets=(part.targets == index).long()) for part in (self.train, self.test)
        )
        return replace(self, train=train, test=test, classes=("rest", self.classes[index]))

    def _class_index(self, cls: str | int) -> int:
        text = str(cls).strip()
        lowered = [name.lower() for name in self.classes]
        if isinstance(cls, str) and text.lower() in lowered:
            return lowered.index(text.lower())
        if text.isdecimal() and int(text) < len(self.classes):
            return int(text)
        near = difflib.get_close_matches(text.lower(), lowered, n=1)
        hint = f"did you mean {self.classes[lowered.index(near[0])]!r}? " if near else ""
        known = ", ".join(self.classes)
        last = len(self.classes) - 1
        raise UserMistake(
            f"{self.name} has no class {brief(text)}: {hint}Its classes: {known}; or an index, 0 to {last}"
        )
