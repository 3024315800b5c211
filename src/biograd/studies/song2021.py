"""Two-layer feedback alignment on MNIST: a decay of the output layer brings alignment, and what it costs."""

from collections.abc import Iterable
from typing import Any

from biograd.studies.quantities import AtEnd, Diagnostic
from biograd.studies.study import Budget, Claim, Group, Published, Shown, Study, StudyCell

REFERENCE = (
    "Song, Xu & Lafferty: Convergence and alignment of gradient descent with random backpropagation weights. NeurIPS "
    "2021, arXiv 2106.06044. 784-1000-10, ReLU, no biases, N(0, 1) weights, the output over √1000; gradient descent at "
    "0.01 on batches of 600; λ times the second layer's weights is added to their gradient. Published: 10 runs."
)

OUTPUT_WEIGHT = "3.weight"

SOURCE = "Song et al. 2021, 10 runs"
ACCURACY = {
    (0.0, 31): Published(0.747, SOURCE, 0.008),
    (0.1, 31): Published(0.896, SOURCE, 0.002),
    (0.3, 31): Published(0.885, SOURCE, 0.002),
    (0.0, 101): Published(0.840, SOURCE, 0.003),
    (0.1, 101): Published(0.908, SOURCE, 0.002),
    (0.3, 101): Published(0.893, SOURCE, 0.002),
    (0.0, 300): Published(0.8851, SOURCE, 0.0018),
    (0.1, 300): Published(0.9162, SOURCE, 0.0016),
    (0.3, 300): Published(0.9060, SOURCE, 0.0007),
}
"""Test accuracy by λ and epoch."""

ALIGNMENT = {0.0: Published(0.070, SOURCE), 0.1: Published(0.550, SOURCE), 0.3: Published(0.659, SOURCE)}
"""Mean cosine between the errors of the hidden layer, by λ, after 300 epochs."""

SEEDS = {31: 3, 101: 1, 300: 1}
"""How many runs of each length: the test set is read once, at the end of a run."""

DECAYS = (0.0, 0.1, 0.3)
COSINE = Diagnostic("error_cosine", OUTPUT_WEIGHT)
TEST = AtEnd("test_accuracy")


def song2021() -> Study:
    """Accuracy and alignment of feedback alignment for three decays λ of the output layer."""
    return Study(
        name="song2021",
        title="Alignment needs regularisation: two-layer feedback alignment on MNIST",
        reference=REFERENCE,
        cells=tuple(_cells()),
        groups=tuple(_groups()),
        claims=tuple(_claims()),
    )


def _cells() -> Iterable[StudyCell]:
    for epochs, seeds in SEEDS.items():
        for decay in DECAYS:
            yield StudyCell(
                f"epochs-{epochs}/lambda-{decay:g}",
                _configuration(decay),
                full=Budget(seeds=seeds, epochs=epochs),
                quick=Budget(seeds=1, epochs=3) if epochs == min(SEEDS) else None,
            )


def _configuration(decay: float) -> dict[str, Any]:
    """Of one λ; the rule's feedback has the deviation of the output weights, which is 1."""
    penalty = {"name": "decay", "strength": decay, "weights": (OUTPUT_WEIGHT,)} if decay else "none"
    return {
        "rule": {"name": "fa", "distribution": "normal"},
        "penalty": penalty,
        "data": "mnist",
        "net": {"name": "two-layer", "width": 1000},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "schedule": "none",
        "batch_size": 600,
        "validation_fraction": 0.0,
        "diagnostics_every": 100,
    }


def _groups() -> Iterable[Group]:
    for epochs in SEEDS:
        for decay in DECAYS:
            aligned = ALIGNMENT[decay] if epochs == max(SEEDS) else None
            shown = (Shown(TEST, ACCURACY[decay, epochs]), Shown(COSINE, aligned))
            yield Group(_name(epochs, decay), f"epochs-{epochs}/lambda-{decay:g}", shown)


def _claims() -> Iterable[Claim]:
    """The ordering that the paper finds, at each length."""
    orderings = (
        ("classifies better", TEST, ((0.1, 0.3), (0.3, 0.0))),
        ("aligns more", COSINE, ((0.3, 0.1), (0.1, 0.0))),
    )
    for epochs in SEEDS:
        for verb, quantity, pairs in orderings:
            for more, less in pairs:
                yield Claim(
                    f"epoch {epochs}: λ = {more:g} {verb} than λ = {less:g}",
                    _name(epochs, more),
                    quantity,
                    at_least=0.0,
                    beside=_name(epochs, less),
                )


def _name(epochs: int, decay: float) -> str:
    return f"λ = {decay:g}, epoch {epochs}"
