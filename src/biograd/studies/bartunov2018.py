"""Whether rules beyond backpropagation scale: the cells of Bartunov et al. 2018, every rule searched alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from biograd.studies.quantities import AtEnd, BestEpoch
from biograd.studies.study import (
    Budget,
    Claim,
    Group,
    Published,
    SensitivityClaim,
    Shown,
    Study,
    StudyCell,
    Tuning,
)
from biograd.training.config import EVERY_EPOCH

REFERENCE = (
    "Bartunov, Santoro, Richards, Marris, Hinton & Lillicrap: Assessing the scalability of biologically-motivated deep "
    "learning algorithms and architectures. NeurIPS 2018, arXiv 1807.04587. Published are the best of 500 epochs on "
    "the test set, of sixty settings a rule. Open in the paper, and ours: batches of 100, standardised pixels, a "
    "constant rate, a tenth of the training set held out."
)

SOURCE = "Bartunov et al. 2018"
EPOCHS = 500

IMAGENET = {"name": "folder:imagenet", "size": 224}
"""The folder in which ``biograd reproduce`` is called has one of this name, with ``train`` and ``val``."""

RULES: Mapping[str, Mapping[str, Any]] = {
    "bp": {"name": "bp"},
    "bp-convnet": {"name": "bp"},
    "fa": {"name": "fa"},
    "dfa": {"name": "dfa"},
    "dtp-parallel": {"name": "dtp"},
    "dtp-alternating": {"name": "dtp", "schedule": "alternating"},
    "sdtp-parallel": {"name": "sdtp"},
    "sdtp-alternating": {"name": "sdtp", "schedule": "alternating"},
    "ao-sdtp-parallel": {"name": "ao-sdtp"},
    "ao-sdtp-alternating": {"name": "ao-sdtp", "schedule": "alternating"},
}
"""By the label of a cell. An epoch of an alternating schedule is one pass over the data, for decoders or for the net,
so that all cells get equally many."""

SHARED_WEIGHTS = "bp-convnet"
"""The label of backpropagation in the net with the shapes of the locally connected one, whose filters are shared."""


class Printed(NamedTuple):
    """The best settings that the paper prints for a method: of the net's Adam, of the inverses', and of the rule."""

    lr: float
    inverse_lr: float | None = None
    alpha: float | None = None
    noise: float | None = None
    eps: float | None = None

    def configuration(self) -> dict[str, Any]:
        """What a configuration has of it."""
        eps = {} if self.eps is None else {"eps": self.eps}
        of_rule = {key: value for key, value in (("alpha", self.alpha), ("noise", self.noise)) if value}
        own = {} if self.inverse_lr is None else {"feedback_optimizer": {"lr": self.inverse_lr, **eps}}
        return {"rule": of_rule, "optimizer": {"lr": self.lr, **eps}, **own}


class Errors(NamedTuple):
    """Published errors in percent, top-1; of ImageNet there are none of the training set."""

    train: float | None
    test: float


@dataclass(frozen=True)
class MethodColumn:
    """A column of the paper's table: a data set and a kind of net.

    Attributes:
        name: what the names of its cells begin with.
        title: what tables call it.
        data: of all cells.
        net: of all cells but that with shared weights.
        errors: by label, the published ones.
        printed: by label, the best settings in the paper; ``ao-sdtp``, for which it has none, gets those of ``sdtp``.
            Of ImageNet those that we know: the rest are the rules' defaults.
        full: the budget of results; None where only the paper's would give one.
        quick: of a first look; None for none.
        twin: the net with shared weights.
    """

    name: str
    title: str
    data: str | Mapping[str, Any]
    net: str
    errors: Mapping[str, Errors]
    printed: Mapping[str, Printed]
    full: Budget | None
    quick: Budget | None
    twin: str | None = None

    @property
    def labels(self) -> list[str]:
        """Of its cells."""
        return list(self.errors)

    def printed_of(self, label: str) -> Printed:
        """The settings of a cell in budgets without a search."""
        return self.printed[label if label in self.printed else label.removeprefix("ao-")]


PAPER = Budget(seeds=1, epochs=EPOCHS)
"""At the settings that the paper prints: its search of sixty is not done again."""

COLUMNS = (
    MethodColumn(
        "mnist-fc",
        "MNIST FC",
        "mnist",
        "bartunov-mnist-fc",
        {
            "bp": Errors(0.00, 1.48),
            "fa": Errors(0.00, 1.85),
            "dfa": Errors(0.85, 2.75),
            "dtp-parallel": Errors(0.44, 2.86),
            "dtp-alternating": Errors(0.00, 1.83),
            "sdtp-parallel": Errors(1.14, 3.52),
            "sdtp-alternating": Errors(0.00, 2.28),
            "ao-sdtp-parallel": Errors(0.96, 2.93),
            "ao-sdtp-alternating": Errors(0.00, 1.86),
        },
        {
            "bp": Printed(1.52e-4, eps=1e-8),
            "fa": Printed(1.68e-4, eps=1e-4),
            "dfa": Printed(1.649e-3, eps=1e-3),
            "dtp-parallel": Printed(7.57e-4, 7.68e-4, 0.150, 0.361, eps=1e-3),
            "dtp-alternating": Printed(3.08e-4, 4.593e-3, 0.232, 0.220, eps=1e-4),
            "sdtp-parallel": Printed(4.02e-4, 1.101e-3, noise=0.214, eps=1e-8),
            "sdtp-alternating": Printed(3.01e-4, 9.572e-3, noise=0.118, eps=1e-4),
        },
        full=Budget(seeds=3, epochs=100, tuning=Tuning(trials=20, epochs=10)),
        quick=Budget(seeds=1, epochs=4),
    ),
    MethodColumn(
        "mnist-lc",
        "MNIST LC",
        "mnist",
        "bartunov-mnist-lc",
        {
            "bp": Errors(0.00, 1.17),
            "bp-convnet": Errors(0.00, 1.01),
            "fa": Errors(0.00, 1.26),
            "dfa": Errors(0.23, 2.05),
            "dtp-parallel": Errors(0.00, 1.52),
            "dtp-alternating": Errors(0.00, 1.46),
            "sdtp-parallel": Errors(0.00, 1.98),
            "sdtp-alternating": Errors(0.00, 1.90),
            "ao-sdtp-parallel": Errors(0.00, 1.92),
            "ao-sdtp-alternating": Errors(0.00, 1.91),
        },
        {
            "bp": Printed(1.33e-4),
            "bp-convnet": Printed(2.97e-4),
            "fa": Printed(2.19e-4),
            "dfa": Printed(2.462e-3),
            "dtp-parallel": Printed(9.05e-4, 1.239e-3, 0.116, 0.099),
            "dtp-alternating": Printed(1.481e-3, 1.37e-4, 0.311, 0.367),
            "sdtp-parallel": Printed(1.45e-4, 1.652e-3, noise=0.062),
            "sdtp-alternating": Printed(6.51e-4, 3.741e-3, noise=0.135),
        },
        full=Budget(seeds=3, epochs=4, tuning=Tuning(trials=6, epochs=2)),
        quick=Budget(seeds=1, epochs=2),
        twin="bartunov-mnist-conv",
    ),
    MethodColumn(
        "cifar-fc",
        "CIFAR-10 FC",
        "cifar10",
        "bartunov-cifar-fc",
        {
            "bp": Errors(28.97, 41.32),
            "fa": Errors(25.62, 41.97),
            "dfa": Errors(33.35, 47.80),
            "dtp-parallel": Errors(59.45, 59.14),
            "dtp-alternating": Errors(30.41, 42.32),
            "sdtp-parallel": Errors(51.48, 55.32),
            "sdtp-alternating": Errors(48.65, 54.27),
            "ao-sdtp-parallel": Errors(4.28, 47.11),
            "ao-sdtp-alternating": Errors(0.00, 45.40),
        },
        {
            "bp": Printed(1.9e-5),
            "fa": Printed(2.5e-5),
            "dfa": Printed(5.0e-5),
            "dtp-parallel": Printed(1.2e-5, 3.9e-5, 0.126, 0.170),
            "dtp-alternating": Printed(1.3e-5, 1.14e-4, 0.172, 0.135),
            "sdtp-parallel": Printed(1.29e-4, 1.1e-5, noise=0.273),
            "sdtp-alternating": Printed(4.1e-5, 1.4e-5, noise=0.126),
        },
        full=Budget(seeds=3, epochs=12, tuning=Tuning(trials=5, epochs=4)),
        quick=Budget(seeds=1, epochs=2),
    ),
    MethodColumn(
        "cifar-lc",
        "CIFAR-10 LC",
        "cifar10",
        "bartunov-cifar-lc",
        {
            "bp": Errors(0.83, 32.41),
            "bp-convnet": Errors(1.39, 31.87),
            "fa": Errors(17.46, 37.44),
            "dfa": Errors(32.74, 44.41),
            "dtp-parallel": Errors(28.69, 39.47),
            "dtp-alternating": Errors(28.54, 39.47),
            "sdtp-parallel": Errors(43.00, 46.63),
            "sdtp-alternating": Errors(40.40, 45.66),
            "ao-sdtp-parallel": Errors(32.67, 40.05),
            "ao-sdtp-alternating": Errors(34.11, 40.21),
        },
        {
            "bp": Printed(4.4e-5),
            "bp-convnet": Printed(1.33e-4),
            "fa": Printed(2.2e-5),
            "dfa": Printed(4.0e-5),
            "dtp-parallel": Printed(3.2e-5, 8.52e-4, 0.190, 0.147),
            "dtp-alternating": Printed(3.6e-5, 3.89e-4, 0.208, 0.095),
            "sdtp-parallel": Printed(2.0e-5, 2.61e-4, noise=0.300),
            "sdtp-alternating": Printed(1.09e-4, 1.1e-5, noise=0.024),
        },
        full=Budget(seeds=3, epochs=2),
        quick=None,
        twin="bartunov-cifar-conv",
    ),
    MethodColumn(
        "imagenet-lc",
        "ImageNet LC",
        IMAGENET,
        "bartunov-imagenet-lc",
        {
            "bp": Errors(None, 71.43),
            "bp-convnet": Errors(None, 63.93),
            "fa": Errors(None, 93.08),
            "dtp-parallel": Errors(None, 98.34),
            "dtp-alternating": Errors(None, 99.36),
            "sdtp-parallel": Errors(None, 99.28),
        },
        {
            "bp": Printed(2.4e-5),
            "bp-convnet": Printed(4.9e-5),
            "fa": Printed(4.3e-5),
            "dtp-parallel": Printed(2.17e-4),
            "dtp-alternating": Printed(1.01e-4),
            "sdtp-parallel": Printed(1.1e-5),
        },
        full=None,
        quick=None,
        twin="bartunov-imagenet-conv",
    ),
)
"""The full budgets are what four hours of two cores hold of the first column, and four more of the next three together,
of which the last is trained at the printed settings. They count epochs in even numbers, of which an alternating
schedule gives half to the net."""

TEST, TRAIN, BEST = AtEnd("test_accuracy"), AtEnd("train_accuracy"), BestEpoch("test_accuracy")


def bartunov2018() -> Study:
    """The methods on MNIST and CIFAR-10, fully and locally connected, and those on ImageNet."""
    return Study(
        name="bartunov2018",
        title="Rules beyond backpropagation, as deep nets grow",
        reference=REFERENCE,
        cells=tuple(cell for column in COLUMNS for cell in _cells(column)),
        groups=tuple(group for column in COLUMNS for group in _groups(column)),
        claims=tuple(_claims()),
        sensitivities=tuple(_sensitivities()),
    )


def _cells(column: MethodColumn) -> Iterable[StudyCell]:
    for label in column.labels:
        yield StudyCell(
            f"{column.name}/{label}",
            {
                "data": column.data,
                "net": column.twin if label == SHARED_WEIGHTS else column.net,
                "rule": RULES[label],
                "schedule": "none",
                "read_test": EVERY_EPOCH,
            },
            full=column.full,
            quick=column.quick,
            untuned=column.printed_of(label).configuration(),
            paper=PAPER,
        )


def _groups(column: MethodColumn) -> Iterable[Group]:
    """Of each method the accuracy at the end, and, beside what was published, that of the best epoch."""
    for label, errors in column.errors.items():
        shown = [Shown(TEST), Shown(BEST, _accuracy(errors.test))]
        if errors.train is not None:
            shown.append(Shown(TRAIN, _accuracy(errors.train)))
        yield Group(_name(column, label), f"{column.name}/{label}", tuple(shown))


def _accuracy(error: float) -> Published:
    return Published(round(1 - error / 100, 4), SOURCE, epochs=EPOCHS)


def _claims() -> Iterable[Claim]:
    """What the paper's tables say of all methods, as far as the accuracy at the end bears it out."""
    judged = [column for column in COLUMNS if column.full]
    for column in judged:
        for label in column.labels:
            if not label.startswith("bp"):
                yield Claim(
                    f"{column.title}: {label} does not beat bp",
                    _name(column, "bp"),
                    TEST,
                    at_least=0.0,
                    beside=_name(column, label),
                )
        for rule in ("dtp", "sdtp", "ao-sdtp"):
            yield Claim(
                f"{column.title}: {rule} is no worse alternating than parallel",
                _name(column, f"{rule}-alternating"),
                TEST,
                at_least=0.0,
                beside=_name(column, f"{rule}-parallel"),
            )
    lc = next(column for column in COLUMNS if column.name == "cifar-lc")
    for label in lc.labels:
        if label != "fa" and not label.startswith("bp"):
            yield Claim(
                f"{lc.title}: fa leads {label}", _name(lc, "fa"), TEST, at_least=0.0, beside=_name(lc, label)
            )


def _sensitivities() -> Iterable[SensitivityClaim]:
    """That settings matter more to ``fa`` than to ``bp``, most to target propagation, and less where it alternates."""
    for column in COLUMNS:
        if column.full is None or column.full.tuning is None:
            continue
        yield SensitivityClaim(
            f"{column.title}: settings matter more to fa than to bp", f"{column.name}/fa", f"{column.name}/bp"
        )
        for rule in ("dtp", "sdtp", "ao-sdtp"):
            for label in (f"{rule}-parallel", f"{rule}-alternating"):
                for other in ("bp", "fa"):
                    yield SensitivityClaim(
                        f"{column.title}: settings matter more to {label} than to {other}",
                        f"{column.name}/{label}",
                        f"{column.name}/{other}",
                    )
            yield SensitivityClaim(
                f"{column.title}: settings matter more to {rule} parallel than alternating",
                f"{column.name}/{rule}-parallel",
                f"{column.name}/{rule}-alternating",
            )


def _name(column: MethodColumn, label: str) -> str:
    return f"{column.title}, {label}"
