"""The units in which inputs are attacked: those of the input, before a net has it standardised."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from biograd.data import DataSet, Preprocessing
from biograd.data.seeded import seeded
from biograd.errors import UserMistake


@dataclass(frozen=True)
class Domain:
    """What ε is counted in.

    Attributes:
        unit: its name, in the plural.
        lower: least value of an input, None for no bound.
        upper: largest value, None for no bound.
        epsilons: that are measured unless others are given.
        large: an ε so large that an attack that works finds a mistake for every input.
    """

    unit: str
    lower: float | None
    upper: float | None
    epsilons: tuple[float, ...]
    large: float


PIXELS = Domain("pixels scaled to [0, 1]", 0.0, 1.0, (0.0, 0.02, 0.05, 0.1, 0.2, 0.3), 0.5)
DEVIATIONS = Domain("standard deviations of each feature", None, None, (0.0, 0.1, 0.2, 0.5, 1.0, 2.0), 5.0)


def domain_of(dataset: DataSet) -> Domain:
    """`PIXELS` for bytes, and for images whose values lie in [0, 1]; else `DEVIATIONS`.

    Raises:
        UserMistake: as for `require_numbers`.
    """
    require_numbers(dataset)
    inputs = dataset.train.inputs
    if inputs.dtype == torch.uint8:
        return PIXELS
    is_image = inputs.dim() == 4 and inputs.min() >= 0 and inputs.max() <= 1
    return PIXELS if is_image else DEVIATIONS


def require_numbers(dataset: DataSet) -> None:
    """Refuse what cannot be changed a little, by one measure.

    Raises:
        UserMistake: inputs are indices, or several columns.
    """
    if isinstance(dataset.train.inputs, Mapping):
        raise UserMistake(
            f"an example of {dataset.name} is several columns, and attacks change one tensor: attack a run on images "
            "or features"
        )
    if dataset.preprocessing is None:
        raise UserMistake(
            f"inputs of {dataset.name} are indices, and attacks change numbers a little: attack a run on images or "
            "features"
        )


def held_out_examples(dataset: DataSet, count: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """The first test examples after a shuffle, in the units of the domain, and their classes.

    Args:
        dataset: whose test part is read.
        count: how many; None for all, and no more than there are.
        seed: of the shuffle; the same for data sets of one size, so that all runs meet the same examples.
    """
    order = torch.randperm(len(dataset.test), generator=seeded(seed))[:count]
    inputs = dataset.test.inputs[order]
    if domain_of(dataset) is DEVIATIONS:
        return _standardised(dataset, inputs), dataset.test.targets[order]
    return inputs / 255 if inputs.dtype == torch.uint8 else inputs, dataset.test.targets[order]


def to_net(dataset: DataSet) -> Callable[[Tensor], Tensor]:
    """The function from the units of the domain to what the net is shown; differentiable."""
    if domain_of(dataset) is DEVIATIONS:
        return lambda x: x
    return lambda x: _standardised(dataset, x)


def _standardised(dataset: DataSet, x: Tensor) -> Tensor:
    how = dataset.preprocessing
    assert isinstance(how, Preprocessing)  # or there would be no domain
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, std = (
        torch.tensor(numbers, dtype=x.dtype, device=x.device).view(shape) for numbers in (how.mean, how.std)
    )
    return (x - mean) / std
