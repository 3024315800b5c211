"""The small frozen types through which data sets, nets and the training loop meet."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from biograd.data.columns import named, on_each
from biograd.data.tasks import Classes, Task
from biograd.errors import UserMistake, brief, listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from biograd.data.tensor_batches import TensorBatches

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Split:
    """Examples and their targets, on the CPU.

    Args:
        inputs: (n, …) uint8, to be scaled to [0, 1], or float32, as they are; the axis after the first
            is the channel, or the feature. Or int64: indices, such as the tokens of a text. Or several such tensors
            by name, the columns, which a net is given as a dict; these may be bool too, and (n,) of single numbers.
        targets: (n, …), of a type and shape that the `Task` says.

    Raises:
        UserMistake: they are of other types or shapes.
    """

    inputs: Any
    targets: "Tensor"

    def __post_init__(self) -> None:
        from biograd.data.checks import check_split  # here, so that names of sets come without PyTorch

        check_split(self)

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        """Of what shapes it is, in one line."""
        columns = [_described(column, name) for name, column in named(self.inputs).items()]
        return f"<Split of {len(self)} examples: {listed(columns)} → {_described(self.targets)}>"

    def at(self, places: Any) -> "Split":
        """Some of the examples.

        Args:
            places: which, as one axis of a tensor is indexed: a slice, numbers, or a mask.
        """
        return Split(on_each(lambda column: column[places], self.inputs), self.targets[places])


@dataclass(frozen=True)
class Preprocessing:
    """How inputs are prepared: (x − mean) / std per channel, x scaled to [0, 1] where it is uint8.

    Args:
        mean: one finite number a channel, or one for all.
        std: the same; positive.
        crop_padding: in training, images are padded by so many black pixels on every side and cropped
            back to their size at random; 0 for none.
        flip: in training, half of the images, drawn at random, are mirrored left to right.

    Raises:
        UserMistake: a number is out of range.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        from biograd.data.checks import check_preprocessing

        check_preprocessing(self)

    @property
    def is_random(self) -> bool:
        """Whether training examples are changed at random."""
        return self.flip or self.crop_padding > 0


@dataclass(frozen=True)
class DataSet:
    """A training part, a test part, what their targets are, and how their inputs are prepared.

    All of it is looked at here, once, so that no step of a training meets a label that is no class.

    Args:
        name: what messages call it.
        train: the training part.
        test: the test part.
        task: `Classes`, `Regression`, `Labels` or `Tokens`, with the names of the outputs.
        preprocessing: of the inputs; None where they are indices. Of columns, by name, those that are prepared; the
            others are whole numbers or truth values, and stay as they are.

    Raises:
        UserMistake: a part is empty, or holds a target that is none of the task or an input that is not finite, or
            what is given does not fit together; the line names the set, the part and the first such example.
    """

    name: str
    train: Split
    test: Split
    task: Task
    preprocessing: Preprocessing | Mapping[str, Preprocessing] | None

    def __post_init__(self) -> None:
        from biograd.data.checks import check_set

        check_set(self)

    def __repr__(self) -> str:
        """What it is called, how large it is and what it asks for, in one line."""
        sizes = f"{len(self.train)} + {len(self.test)} examples"
        task = f"task {self.task.kind}, outputs {self.outputs}"
        return f"<DataSet {brief(self.name)}: {sizes} of {brief(self.input_shape)}, {task}>"

    @property
    def input_shape(self) -> Any:
        """Shape of one example: ``(features,)``, ``(channels, height, width)`` or ``(tokens,)``; of columns a dict."""
        return on_each(lambda column: tuple(column.shape[1:]), self.train.inputs)

    @property
    def outputs(self) -> int:
        """How many numbers a net answers, for an example or for a token of it."""
        return self.task.outputs

    def parts(self, *, seed: int = 0, validation_fraction: float = 0.1) -> "dict[Part, Split]":
        """What a run trains on, selects on and is tested on, by name; no validation part where its fraction is 0.

        Args:
            seed: of the run.
            validation_fraction: of the training part, in [0, 1), that is held out.

        Raises:
            UserMistake: the fraction is out of range, or leaves a part empty.
        """
        from biograd.data.seeded import derive
        from biograd.data.splits import carve_validation

        if validation_fraction == 0:
            return {"train": self.train, "test": self.test}
        of_run = derive(seed, "validation")
        rest, held_out = carve_validation(self.train, self.task, validation_fraction, of_run)
        return {"train": rest, "validation": held_out, "test": self.test}

    def batches(
        self,
        part: "Part",
        batch_size: int = 100,
        *,
        seed: int = 0,
        validation_fraction: float = 0.1,
        device: "str | torch.device" = "cpu",
    ) -> "TensorBatches":
        """The batches of a part, as a run of this seed has them: normalised, and to train on shuffled and augmented.

        Args:
            part: ``train``, in a new order every epoch, ``validation`` or ``test``, in order.
            batch_size: examples a batch.
            seed: of the run.
            validation_fraction: as for `parts`; 0 trains on the whole training part.
            device: where they are made.

        Raises:
            UserMistake: there is no such part, or a number is out of range.

        Example:
            >>> from biograd import data
            >>> batches = data.load("iris").batches("train", 32)
            >>> [tuple(x.shape) for x, y in batches.epoch(0)]
            [(32, 4), (32, 4), (26, 4)]
        """
        from biograd.data.seeded import derive
        from biograd.data.tensor_batches import TensorBatches

        return TensorBatches(
            self._part(part, seed, validation_fraction),
            self.preprocessing,
            self.task,
            batch_size=batch_size,
            seed=derive(seed, "order"),
            device=device,
            train=part == "train",
        )

    def tensors(
        self,
        part: "Part",
        *,
        seed: int = 0,
        validation_fraction: float = 0.1,
        device: "str | torch.device" = "cpu",
    ) -> "tuple[Any, Tensor]":
        """All inputs of a part, normalised, in order and not augmented, and all targets; otherwise as `batches`."""
        from biograd.data.tensor_batches import TensorBatches

        split = self._part(part, seed, validation_fraction)
        whole = TensorBatches(
            split,
            self.preprocessing,
            self.task,
            batch_size=len(split),
            seed=seed,
            device=device,
            train=False,
        )
        return next(whole.epoch(0))

    def _part(self, part: "Part", seed: int, validation_fraction: float) -> Split:
        parts = self.parts(seed=seed, validation_fraction=validation_fraction)
        if part not in parts:
            raise UserMistake(f"{self.name} has no part {brief(part)}: its parts are {', '.join(parts)}")
        return parts[part]

    def one_vs_rest(self, cls: str | int) -> "DataSet":
        """The task of telling one class (target 1) from all others (target 0), on the same examples.

        Args:
            cls: the name of a class (upper and lower case are the same) or else its index, also as text.

        Raises:
            UserMistake: there is no such class, or no example of it to learn from; or the task is no choice of a class.
        """
        if not isinstance(self.task, Classes):
            raise UserMistake(
                f"one_vs_rest tells a class from all others, and the task of {self.name} is {self.task.kind}: leave it "
                "out"
            )
        classes, index = self.task.names, self._class_index(cls)
        if not (self.train.targets == index).any():
            raise UserMistake(
                f"{self.name}, training part: it has no example of class {classes[index]!r} to tell from the rest"
            )
        train, test = (
            replace(part, targets=(part.targets == index).long()) for part in (self.train, self.test)
        )
        return replace(self, train=train, test=test, task=Classes(("rest", classes[index])))

    def _class_index(self, cls: str | int) -> int:
        text = str(cls).strip()
        classes = self.task.names
        lowered = [name.lower() for name in classes]
        if isinstance(cls, str) and text.lower() in lowered:
            return lowered.index(text.lower())
        if text.isdecimal() and len(text) < 10 and int(text) < len(classes):
            return int(text)
        near = difflib.get_close_matches(text.lower(), lowered, n=1)
        hint = f"did you mean {classes[lowered.index(near[0])]!r}? " if near else ""
        known = ", ".join(classes)
        last = len(classes) - 1
        raise UserMistake(
            f"{self.name} has no class {brief(text)}: {hint}Its classes: {known}; or an index, 0 to {last}"
        )


def _described(column: "Tensor", name: str = "") -> str:
    """Shape of an example and type, behind the column's name."""
    return f"{name} {tuple(column.shape[1:])} {str(column.dtype).removeprefix('torch.')}".lstrip()
