"""Feedback alignment and its kin on convolutional and residual nets, beside the table of BioTorch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from biograd.studies.quantities import AtEnd
from biograd.studies.study import Budget, Claim, Group, Published, Shown, Study, StudyCell

REFERENCE = (
    "Sanfiz & Akrout: Benchmarking the accuracy and robustness of feedback alignment algorithms. 2021, arXiv "
    "2108.13446: top-1 errors of one seed. Of their training we know that on ImageNet; the rest is ours: 100 epochs of "
    "LeNet and 250 of residual nets, batches of 128, a cosine from 0.1 (LeNet 0.01) for SGD with momentum, from 1e-3 "
    "for Adam."
)

SOURCE = "Sanfiz & Akrout 2021, one seed"

RULES: Mapping[str, Mapping[str, Any]] = {
    "bp": {"name": "bp"},
    "fa": {"name": "fa"},
    "dfa": {"name": "dfa", "form": "tiled"},
    "usf": {"name": "usf"},
    "brsf": {"name": "brsf"},
    "frsf": {"name": "frsf"},
}
"""Direct feedback is spatially tiled, as theirs."""

SIGN_CONCORDANT = ("usf", "brsf", "frsf")


@dataclass(frozen=True)
class RuleColumn:
    """A column of the table.

    Attributes:
        name: what the names of its cells begin with.
        title: what tables call it.
        data: of all cells.
        net: of all cells.
        optimizer: the same.
        errors: in percent, in the order of the rules.
        epochs: of a result.
        quick: the budget of a first look, None for none.
        is_long: whether a result is more than the full budget trains.
    """

    name: str
    title: str
    data: str | Mapping[str, Any]
    net: str
    optimizer: Mapping[str, Any]
    errors: tuple[float, ...]
    epochs: int
    quick: Budget | None = None
    is_long: bool = False

    def published(self) -> dict[str, float]:
        """The errors by label."""
        return dict(zip(RULES, self.errors, strict=True))


ADAM = {"name": "adam", "lr": 1e-3}
QUICK = Budget(seeds=1, epochs=2)


def _sgd(lr: float) -> dict[str, Any]:
    return {"name": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 1e-4}


def _lenet(
    name: str, title: str, data: str, optimizer: Mapping[str, Any], errors: tuple[float, ...]
) -> RuleColumn:
    return RuleColumn(name, title, data, "lenet", optimizer, errors, 100, QUICK)


def _resnet(depth: int, how: str, optimizer: Mapping[str, Any], errors: tuple[float, ...]) -> RuleColumn:
    name, title = f"cifar-resnet{depth}-{how}", f"CIFAR-10 ResNet-{depth}, {how}"
    return RuleColumn(name, title, "cifar10", f"resnet{depth}", optimizer, errors, 250, is_long=True)


COLUMNS = (
    _lenet("mnist-lenet", "MNIST LeNet", "mnist", _sgd(0.01), (0.91, 1.70, 1.61, 0.94, 0.91, 0.97)),
    _lenet(
        "fashion-lenet",
        "Fashion-MNIST LeNet",
        "fashion-mnist",
        _sgd(0.01),
        (9.20, 13.06, 12.81, 9.69, 10.02, 9.61),
    ),
    _lenet(
        "cifar-lenet-sgd",
        "CIFAR-10 LeNet, sgd",
        "cifar10",
        _sgd(0.01),
        (14.23, 46.69, 54.21, 16.22, 16.02, 16.86),
    ),
    _lenet(
        "cifar-lenet-adam",
        "CIFAR-10 LeNet, adam",
        "cifar10",
        ADAM,
        (15.92, 40.67, 37.59, 16.34, 17.08, 16.83),
    ),
    _resnet(20, "sgd", _sgd(0.1), (8.63, 32.16, 45.94, 10.05, 11.02, 11.20)),
    _resnet(20, "adam", ADAM, (10.01, 29.59, 32.16, 10.59, 11.08, 11.22)),
    _resnet(56, "sgd", _sgd(0.1), (8.30, 34.88, 38.01, 8.20, 8.69, 9.49)),
    _resnet(56, "adam", ADAM, (7.83, 29.23, 32.02, 9.19, 10.13, 10.02)),
    RuleColumn(
        "imagenet-resnet18",
        "ImageNet ResNet-18",
        {"name": "folder:imagenet", "size": 224, "flip": True},
        "resnet18",
        _sgd(0.1),
        (30.39, 85.25, 82.45, 34.97, 37.21, 36.50),
        75,
        is_long=True,
    ),
)

ACCURACY = AtEnd("test_accuracy")


def feedback_family() -> Study:
    """LeNet on MNIST, Fashion-MNIST and CIFAR-10; residual nets on CIFAR-10 and ImageNet."""
    return Study(
        name="feedback-family",
        title="The feedback family on convolutional nets",
        reference=REFERENCE,
        cells=tuple(cell for column in COLUMNS for cell in _cells(column)),
        groups=tuple(group for column in COLUMNS for group in _groups(column)),
        claims=tuple(claim for column in COLUMNS if not column.is_long for claim in _claims(column)),
    )


def _cells(column: RuleColumn) -> Iterable[StudyCell]:
    whole = Budget(seeds=1, epochs=column.epochs)
    for label in RULES:
        yield StudyCell(
            f"{column.name}/{label}",
            _configuration(column, label),
            full=None if column.is_long else whole,
            quick=column.quick,
            paper=whole,
        )


def _configuration(column: RuleColumn, label: str) -> dict[str, Any]:
    """Of a cell; direct feedback reaches a residual unit as a whole, and errors pass exactly inside it."""
    inside = {"inside": "exact"} if label == "dfa" and column.is_long else {}
    is_imagenet = column.name.startswith("imagenet")
    return {
        "data": column.data,
        "net": column.net,
        "rule": {**RULES[label], **inside},
        "optimizer": ADAM if is_imagenet and label == "dfa" else column.optimizer,
        "schedule": {"name": "step", "at": (20, 40, 60), "factor": 0.1} if is_imagenet else "cosine",
        "batch_size": 256 if is_imagenet else 128,
    }


def _groups(column: RuleColumn) -> Iterable[Group]:
    for label, error in column.published().items():
        published = Published(round(1 - error / 100, 4), SOURCE)
        yield Group(_name(column, label), f"{column.name}/{label}", (Shown(ACCURACY, published),))


def _claims(column: RuleColumn) -> Iterable[Claim]:
    """What the table says: signs are enough, and fixed feedback is not."""
    for label in SIGN_CONCORDANT:
        yield Claim(
            f"{column.title}: {label} is no worse than fa",
            _name(column, label),
            ACCURACY,
            at_least=0.0,
            beside=_name(column, "fa"),
        )
    yield Claim(
        f"{column.title}: fa does not beat bp",
        _name(column, "bp"),
        ACCURACY,
        at_least=0.0,
        beside=_name(column, "fa"),
    )


def _name(column: RuleColumn, label: str) -> str:
    return f"{column.title}, {label}"
