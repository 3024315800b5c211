"""Batches of examples that lie on the device as one tensor, shuffled and augmented there."""

from collections.abc import Iterator
from numbers import Integral

import torch
from torch import Tensor

from biograd.data.augment import crop_and_flip
from biograd.data.batches import cut
from biograd.data.checks import check_fit, check_values
from biograd.data.dataset import Preprocessing, Split
from biograd.data.seeded import seeded
from biograd.data.tasks import Task
from biograd.errors import UserMistake, brief

LARGEST_FLOAT_SET = 2**30
"""Bytes up to which a set is kept normalised as float32, so that a batch is one copy of rows."""

_ORDER, _AUGMENTATION = 0, 1  # keep the two kinds of draws apart


class TensorBatches:
    """`biograd.data.Batches` of a set that is a tensor on the device.

    In training, the order of the examples is a function of (seed, epoch) alone, and crops and flips of a
    batch a function of (seed, epoch, batch) alone, the same on every device and however many processes share the
    batch. Otherwise, examples come in order and unchanged but for normalisation.

    The whole set lies on the device. Where it is less than 1 GiB as float32 and not augmented it is
    normalised once, here; else each batch is, from the values as they came.

    Args:
        split: the examples.
        preprocessing: normalisation, and for training the augmentation; None for indices, which stay as they are.
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
        preprocessing: Preprocessing | None,
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
        augments = preprocessing is not None and train and preprocessing.is_random
        self._augmentation = preprocessing if augments else None
        self._inputs = split.inputs.to(device)
        self._targets = task.prepared(split.targets).to(device)
        self._affine = None if preprocessing is None else _affine(self._inputs, preprocessing)
        if not augments and 4 * self._inputs.numel() < LARGEST_FLOAT_SET:
            self._inputs, self._affine = self._normalised(self._inputs), None

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self._targets) // self.batch_size)

    def examples(self, number: int) -> int:
        """How many examples the batch of this number has, over all processes."""
        return min(self.batch_size, len(self._targets) - number * self.batch_size)

    def epoch(
        self, epoch: int, start: int = 0, *, rank: int = 0, size: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch from number ``start`` on; see `biograd.data.Batches.epoch`.

        Yields:
            Inputs (part, …), normalised float32 or indices, and targets (part, …) as the loss takes them.
        """
        order = self._order(epoch) if self.train else None
        for number in range(start, len(self)):
            part = cut(self.examples(number), rank, size)
            first = number * self.batch_size
            chosen = slice(first + part.start, first + part.stop)
            if order is None:
                x, y = self._inputs[chosen].clone(), self._targets[chosen].clone()
            else:
                x, y = (
                    self._inputs.index_select(0, order[chosen]),
                    self._targets.index_select(0, order[chosen]),
                )
            if self._augmentation is not None:
                x = self._augmented(x, self._augmentation, epoch, number, part)
            yield self._normalised(x), y

    def sample(self) -> Tensor:
        """The first example, normalised and not augmented, as a batch of one.

        Raises:
            UserMistake: there is no example.
        """
        if not len(self._targets):
            raise UserMistake("there is no example to take as a sample: this part of the data is empty")
        return self._normalised(self._inputs[:1].clone())

    def _order(self, epoch: int) -> Tensor:
        order = torch.randperm(len(self._targets), generator=seeded(self.seed, epoch, _ORDER))
        return order.to(self._inputs.device)

    def _augmented(self, x: Tensor, how: Preprocessing, epoch: int, number: int, part: slice) -> Tensor:
        """Crop and flip a part of a batch with its share of the draws for the whole."""
        generator = seeded(self.seed, epoch, _AUGMENTATION, number)
        drawn = self.examples(number)
        return crop_and_flip(x, how.crop_padding, how.flip, generator, drawn=drawn, part=part)

    def _normalised(self, x: Tensor) -> Tensor:
        """A copy that is normalised; or x itself, where the set is already or holds indices."""
        if self._affine is None:
            return x
        scale, shift = self._affine
        return x.to(torch.float32, copy=True).mul_(scale).add_(shift)


def _affine(inputs: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Normalisation as x·scale + shift, each (1, channels, 1, …), bytes being scaled to [0, 1] with it."""
    shape = (1, -1) + (1,) * (inputs.ndim - 2)
    mean, std = (torch.tensor(numbers).view(shape) for numbers in (preprocessing.mean, preprocessing.std))
    largest = 255.0 if inputs.dtype == torch.uint8 else 1.0
    return (1 / (largest * std)).to(inputs.device), (-mean / std).to(inputs.device)
