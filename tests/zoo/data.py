"""A small set for each net of `tests.zoo.nets`, usable by name: ``tests/zoo/data.py:sequences``."""

import torch
from torch import Tensor

from biograd import data
from biograd.data import DataSet

EXAMPLES = 30


def sequences(seed: int) -> DataSet:
    """Three classes of noisy sequences ``(6, 5)``."""
    return data.load(_around_centres(_drawn(seed), 6, 5), seed=seed)


def images(seed: int) -> DataSet:
    """Three classes of noisy images ``(1, 8, 8)``."""
    return data.load(_around_centres(_drawn(seed), 1, 8, 8), seed=seed)


def table(seed: int) -> DataSet:
    """Three classes of rows of 69 numbers: an image's, and five beside it."""
    return data.load(_around_centres(_drawn(seed), 69), seed=seed)


def numbers(seed: int) -> DataSet:
    """Two numbers to tell from six."""
    x, answers = _answers(_drawn(seed), 2)
    return data.load((x, answers), task="regression", seed=seed)


def tags(seed: int) -> DataSet:
    """Four labels to tell from six numbers."""
    x, answers = _answers(_drawn(seed), 4)
    return data.load((x, (answers > 0).float()), task="labels", seed=seed)


def texts(seed: int) -> DataSet:
    """Three classes of texts of seven words, each with its own favourites of twenty."""
    generator = _drawn(seed)
    favour, y = torch.rand(3, 20, generator=generator) ** 4, _classes()
    x = torch.multinomial(favour[y], 7, replacement=True, generator=generator)
    return data.load((x, y), indices=True, seed=seed)


def _drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _classes() -> Tensor:
    return torch.arange(EXAMPLES) % 3


def _around_centres(generator: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    centres, noise = (torch.randn(n, *shape, generator=generator) for n in (3, EXAMPLES))
    return centres[_classes()] + 0.3 * noise, _classes()


def _answers(generator: torch.Generator, outputs: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(EXAMPLES, 6, generator=generator)
    return x, torch.tanh(x @ torch.randn(6, outputs, generator=generator))
