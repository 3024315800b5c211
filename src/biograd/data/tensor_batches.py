"""Batches of examples that lie on the device as tensors, shuffled and augmented there."""

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from biograd.data.augment import crop_and_flip
from biograd.data.batches import cut
from biograd.data.checks import check_fit, check_values
from biograd.data.columns import named, on_each
from biograd.data.dataset import Preprocessing, Split
from biograd.data.seeded import seeded
from biograd.data.tasks import Task
from biograd.errors import UserMistake, brief

LARGEST_FLOAT_SET = 2**30
"""Bytes up to which a set is kept normalised as float32, so that a batch is one copy of rows."""

AT_ONCE = 2**20
"""Bytes of batches that are made one behind the other, which is faster than each between two steps."""

_ORDER, _AUGMENTATION = 0, 1  # keep the two kinds of draws apart


class TensorBatches:
    """`biograd.data.Batches` of a set that is a tensor on the device, or several by name.

    In training, the order of the examples is a function of (seed, epoch) alone, and crops and flips of a
    batch a function of (seed, epoch, batch) alone, the same on every device and however many processes share the
    batch; images of one size in several columns are moved alike. Otherwise, examples come in order and unchanged but
    for normalisation.

    The whole set lies on the device. Where a tensor is less than 1 GiB as float32 and not augmented it is
    normalised once, here; else each batch is, from the values as they came.

    Args:
        split: the examples.
        preprocessing: normalisation, and for training the augmentation; None for indices, which stay as they are; of
            columns those of each by name.
        task: what the targets are.
        batch_size: examples a batch, at least 1; the last batch of an epoch holds what is left.
        seed: any integer.
        device: where the examples lie and the batches are made.
        train: shuffle and augment.

    Raises:
        UserMistake: the batch size is not positive, the preprocessing does not fit the inputs, or an example has a
            target that is none of the task or an input that is not finite.

    Example:
        >>> from biograd.data import Classes
        >>> split = Split(torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([0, 1, 0]))
        >>> halved = Preprocessing(mean=(2.0,), std=(2.0,))
        >>> task = Classes(("no", "yes"))
        >>> batches = TensorBatches(split, halved, task, batch_size=2, seed=0, device="cpu", train=False)
        >>> [(x.flatten().tolist(), y.tolist()) for x, y in batches.epoch(0)]
        [([-1.0, 0.0], [0, 1]), ([1.0], [0])]
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing | Mapping[str, Preprocessing] | None,
        task: Task,
        *,
        batch_size: int,
        seed: int,
        device: str | torch.device,
        train: bool,
    ) -> None:
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise UserMistake(
                f"a batch holds at least 1 example, a whole number, got a batch size of {brief(batch_size)}"
            )
        check_fit(split.inputs, preprocessing, "batches")
        check_values(split, task, "batches")
        self.batch_size = batch_size
        self.seed = seed
        self.train = train
        self._inputs = on_each(
            lambda values, how: _Placed(values.to(device), how, augments=train), split.inputs, preprocessing
        )
        self._targets = task.prepared(split.targets).to(device)
        columns = named(self._inputs).values()
        example = sum(column.values[:1].numel() * 4 for column in columns)  # bytes, in float32
        self._at_once = max(1, AT_ONCE // max(1, example * batch_size))

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self._targets) // self.batch_size)

    def examples(self, number: int) -> int:
        """How many examples the batch of this number has, over all processes."""
        return min(self.batch_size, len(self._targets) - number * self.batch_size)

    def epoch(
        self, epoch: int, start: int = 0, *, rank: int = 0, size: int = 1
    ) -> Iterator[tuple[Any, Tensor]]:
        """The batches of an epoch from number ``start`` on; see `biograd.data.Batches.epoch`.

        Yields:
            Inputs (part, …), normalised float32 or indices, or a dict of such columns, and targets (part, …) as the
            loss takes them.
        """
        order = self._order(epoch) if self.train else None
        for first in range(start, len(self), self._at_once):
            numbers = range(first, min(first + self._at_once, len(self)))
            parts = [cut(self.examples(number), rank, size) for number in numbers]
            yield from [
                self._batch(epoch, number, part, order) for number, part in zip(numbers, parts, strict=True)
            ]

    def sample(self) -> Any:
        """The first example, normalised and not augmented, as a batch of one.

        Raises:
            UserMistake: there is no example.
        """
        if not len(self._targets):
            raise UserMistake("there is no example to take as a sample: this part of the data is empty")
        return on_each(lambda placed: placed.normalised(_rows(placed.values, slice(1))), self._inputs)

    def _order(self, epoch: int) -> Tensor:
        order = torch.randperm(len(self._targets), generator=seeded(self.seed, epoch, _ORDER))
        return order.to(self._targets.device)

    def _batch(self, epoch: int, number: int, part: slice, order: Tensor | None) -> tuple[Any, Tensor]:
        first = number * self.batch_size
        places = slice(first + part.start, first + part.stop)
        chosen = places if order is None else order[places]
        return self._chosen(chosen, epoch, number, part), _rows(self._targets, chosen)

    def _chosen(self, chosen: slice | Tensor, epoch: int, number: int, part: slice) -> Any:
        """The inputs of a part of a batch."""

        def prepared(placed: _Placed) -> Tensor:
            x = _rows(placed.values, chosen)
            if placed.augmentation is not None:
                x = self._augmented(x, placed.augmentation, epoch, number, part)
            return placed.normalised(x)

        return on_each(prepared, self._inputs)

    def _augmented(self, x: Tensor, how: Preprocessing, epoch: int, number: int, part: slice) -> Tensor:
        """Crop and flip a part of a batch with its share of the draws for the whole."""
        generator = seeded(self.seed, epoch, _AUGMENTATION, number)
        drawn = self.examples(number)
        return crop_and_flip(x, how.crop_padding, how.flip, generator, drawn=drawn, part=part)


class _Placed:
    """Inputs on the device, all of them or a column, and how a batch of them is prepared.

    Args:
        values: (n, …).
        preprocessing: None where they are as they are.
        augments: whether it augments them, where it is random.

    Attributes:
        values: normalised, where that is done once for all.
        augmentation: how a batch is augmented, None where it is not.
    """

    def __init__(self, values: Tensor, preprocessing: Preprocessing | None, *, augments: bool) -> None:
        is_augmented = augments and preprocessing is not None and preprocessing.is_random
        self.values, self.augmentation = values, preprocessing if is_augmented else None
        self._affine = None if preprocessing is None else _affine(values, preprocessing)
        if not is_augmented and 4 * values.numel() < LARGEST_FLOAT_SET:
            self.values, self._affine = self.normalised(values), None

    def normalised(self, x: Tensor) -> Tensor:
        """A copy that is normalised; or x itself, where the set is already or holds indices."""
        if self._affine is None:
            return x
        scale, shift = self._affine
        return x.to(torch.float32, copy=True).mul_(scale).add_(shift)


def _rows(values: Tensor, chosen: slice | Tensor) -> Tensor:
    """Examples in memory of their own."""
    return values[chosen].clone() if isinstance(chosen, slice) else values.index_select(0, chosen)


def _affine(inputs: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Normalisation as x·scale + shift, each (1, channels, 1, …), bytes being scaled to [0, 1] with it."""
    shape = (1, -1) + (1,) * (inputs.ndim - 2) if inputs.ndim > 1 else (1,)
    mean, std = (torch.tensor(numbers).view(shape) for numbers in (preprocessing.mean, preprocessing.std))
    largest = 255.0 if inputs.dtype == torch.uint8 else 1.0
    return (1 / (largest * std)).to(inputs.device), (-mean / std).to(inputs.device)
