"""What the targets of a data set may be, and what is measured of a net's answers to each: said once, read by all."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["classes", "regression", "labels", "tokens"]
"""A class for every example; numbers; any of several labels; a class for every token."""

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Metric:
    """A quantity that is measured of answers beside their loss.

    Attributes:
        name: its name in records, behind the part of the data: ``test_accuracy``.
        title: what tables and figures call it.
        is_share: whether it is a fraction, which tables show in percent.
        least: what it cannot fall below.
        most: what it cannot rise above.
        is_running: whether it is measured of the training part too, whose answers are not kept.
        smaller_is_better: whether the best answers have the smallest value.
    """

    name: str
    title: str
    is_share: bool = False
    least: float = -math.inf
    most: float = math.inf
    is_running: bool = True
    smaller_is_better: bool = False

    def spelled(self, value: float) -> str:
        """A value as people read it.

        Example:
            >>> metric_of("test_accuracy").spelled(0.975), metric_of("test_r2").spelled(0.4321987)
            ('97.50 %', '0.4322')
        """
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4g}"


def _share(name: str, title: str, *, is_running: bool = True) -> Metric:
    return Metric(name, title, is_share=True, least=0.0, most=1.0, is_running=is_running)


METRICS: dict[Kind, tuple[Metric, ...]] = {
    "classes": (
        _share("accuracy", "accuracy"),
        _share("balanced_accuracy", "balanced accuracy", is_running=False),
    ),
    "regression": (
        Metric("r2", "R²", most=1.0),
        Metric("mean_absolute_error", "mean absolute error", least=0.0, smaller_is_better=True),
    ),
    "labels": (
        _share("mean_average_precision", "mean average precision", is_running=False),
        _share("precision_at_1", "precision at 1"),
    ),
    "tokens": (
        Metric("bits_per_token", "bits a token", least=0.0, smaller_is_better=True),
        _share("token_accuracy", "token accuracy"),
    ),
}
"""By kind of task; the first is the one that rules are compared by."""

PARTS = ("train", "validation", "test")
"""The parts of a data set, as records call them."""


def measured(kind: Kind, part: str) -> list[str]:
    """The entries in which records hold the metrics of a part of the data.

    Example:
        >>> measured("classes", "train"), measured("classes", "test")
        (['train_accuracy'], ['test_accuracy', 'test_balanced_accuracy'])
    """
    return [f"{part}_{metric.name}" for metric in METRICS[kind] if metric.is_running or part != "train"]


def metric_of(entry: str) -> Metric | None:
    """The metric that an entry of a record holds; None for losses and everything else.

    Example:
        >>> metric_of("test_r2").title, metric_of("test_loss")
        ('R²', None)
    """
    return _BY_ENTRY.get(entry)


_BY_ENTRY = {
    f"{part}_{metric.name}": metric for metrics in METRICS.values() for metric in metrics for part in PARTS
}

LOSSES: dict[str, tuple[Kind, ...]] = {
    "cross-entropy": ("classes", "tokens"),
    "nll": ("classes", "tokens"),
    "multi-margin": ("classes",),
    "squared-error": KINDS,
    "mse": KINDS,
    "l1": KINDS,
    "smooth-l1": KINDS,
    "huber": KINDS,
    "bce-with-logits": ("classes", "labels", "tokens"),
}
"""The losses by name, PyTorch's own where it has them, and the tasks that each is for."""

AUTO = "auto"
"""The name of the loss that is usual for a task."""

USUAL_LOSS: dict[Kind, str] = {
    "classes": "cross-entropy",
    "regression": "mse",
    "labels": "bce-with-logits",
    "tokens": "cross-entropy",
}
"""What `AUTO` stands for; for each task that cross-entropy is for, it is that."""
