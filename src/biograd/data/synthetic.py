"""Made-up tasks of any size and shape, so that any net can be tried without data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, MinLen

from biograd.data.card import Card
from biograd.data.dataset import DataSet, Split
from biograd.data.tasks import Classes, Labels, Regression, Task

if TYPE_CHECKING:
    from torch import Generator, Tensor

CARD = Card(
    title="Synthetic",
    train=2000,
    test=1000,
    shape=(20,),
    outputs=10,
    licence="made on the spot",
    homepage="",
)


def synthetic(
    directory: str | Path | None,
    download: bool,
    seed: int,
    *,
    kind: Literal["clusters", "teacher", "regression", "labels"] = "clusters",
    features: Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1)] = (20,),
    classes: Annotated[int, Ge(2)] = 10,
    examples: Annotated[int, Gt(0)] = 2000,
    test_examples: Annotated[int, Gt(0)] = 1000,
    noise: Annotated[float, Ge(0)] = 1.0,
) -> DataSet:
    """Gaussian clusters, or the answers of a random net, of any shape; all of it drawn by seed.

    Nothing is read from ``directory`` or downloaded. Returns inputs (n, …) float32, each of shape ``features``.

    Args:
        directory: not used.
        download: not used.
        seed: decides everything; the same seed and settings give the same set.
        kind: ``clusters``: x = c_y + noise · ε, one centre c a class, entries of c and ε standard normal;
            an image's centre is a pattern of at most 4 × 4 flat patches, which convolutional nets can recognise.
            ``teacher``: x is standard normal and its class the largest output of a random tanh net of 64
            hidden units, each output scaled to mean 0 and deviation 1, plus noise · ε.
            ``regression``: the same, and its targets are those numbers themselves.
            ``labels``: the same, and it has a label for each that is above 0.
        features: shape of one example: one number, or channels, height, width.
        classes: how many; of ``regression`` and ``labels``, how many numbers or labels.
        examples: in the training part.
        test_examples: in the test part.
        noise: 0 makes the task exact.
    """
    from biograd.data.seeded import seeded
    from biograd.data.statistics import standardisation

    shape, n, generator = tuple(features), examples + test_examples, seeded(seed)
    draw = _clusters if kind == "clusters" else _teacher
    inputs, drawn = draw(n, shape, classes, noise, generator)
    targets = {"teacher": lambda: drawn.argmax(1), "labels": lambda: (drawn > 0).float()}.get(
        kind, lambda: drawn
    )()
    train, test = Split(inputs[:examples], targets[:examples]), Split(inputs[examples:], targets[examples:])
    task = _task(kind, tuple(str(index) for index in range(classes)), train)
    return DataSet("synthetic", train, test, task, standardisation(train.inputs))


def _task(kind: str, names: tuple[str, ...], train: Split) -> Task:
    if kind == "regression":
        return Regression.standardised(names, train.targets)
    return Labels(names) if kind == "labels" else Classes(names)


def _clusters(
    n: int, shape: tuple[int, ...], classes: int, noise: float, generator: "Generator"
) -> tuple["Tensor", "Tensor"]:
    import torch

    centres = torch.stack([_pattern(shape, generator) for _ in range(classes)])
    targets = torch.randperm(n, generator=generator) % classes  # balanced to within one example
    return centres[targets] + noise * torch.randn(n, *shape, generator=generator), targets


def _pattern(shape: tuple[int, ...], generator: "Generator") -> "Tensor":
    """Standard normal entries; along the axes after the first, constant over up to four equal stretches."""
    import torch

    pattern = torch.randn(shape[0], *(min(4, size) for size in shape[1:]), generator=generator)
    for axis, size in enumerate(shape[1:], start=1):
        pattern = pattern.index_select(axis, torch.arange(size) * min(4, size) // size)
    return pattern


def _teacher(
    n: int, shape: tuple[int, ...], classes: int, noise: float, generator: "Generator"
) -> tuple["Tensor", "Tensor"]:
    import torch

    inputs = torch.randn(n, *shape, generator=generator)
    flat = inputs.flatten(1)
    hidden = torch.tanh(flat @ torch.randn(flat.shape[1], 64, generator=generator) / flat.shape[1] ** 0.5)
    outputs = hidden @ torch.randn(64, classes, generator=generator)
    outputs = (outputs - outputs.mean(0)) / outputs.std(0, correction=0).clamp_min(1e-12)
    return inputs, outputs + noise * torch.randn(n, classes, generator=generator)
