"""What trackers show of a run: a number under a tag, the same in each of them."""

import importlib.util
import math
from collections.abc import Iterable, Mapping
from typing import Any

from biograd.errors import UserMistake

_OF_EPOCH = {
    "loss/train": "train_loss",
    "accuracy/train": "train_accuracy",
    "loss/validation": "validation_loss",
    "accuracy/validation": "validation_accuracy",
    "balanced_accuracy/validation": "validation_balanced_accuracy",
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}
_OF_TEST = {
    "loss/test": "test_loss",
    "accuracy/test": "test_accuracy",
    "balanced_accuracy/test": "test_balanced_accuracy",
}


def of_epoch(row: Mapping[str, Any]) -> dict[str, float]:
    """What a line of ``metrics.jsonl`` holds, by tag."""
    return _numbers(row, _OF_EPOCH)


def of_test(result: Mapping[str, Any]) -> dict[str, float]:
    """The scores on the test set, by tag; none where it was left unread."""
    return _numbers(result, _OF_TEST)


def of_measurements(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What was measured of each layer, by quantity and layer: ``gradient_angle/1.weight``; without undefined values.

    Example:
        >>> of_measurements([{"quantity": "norm_ratio", "layer": "1.weight", "value": 0.5}])
        {'norm_ratio/1.weight': 0.5}
    """
    layered = {f"{row['quantity']}/{row['layer']}": row["value"] for row in rows if row["layer"] is not None}
    return {tag: value for tag, value in layered.items() if math.isfinite(value)}


def require(package: str, tracker: str) -> None:
    """Refuse to go on without a package that a tracker needs.

    Raises:
        UserMistake: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UserMistake(
            f"track {tracker!r} needs the package {package}, which is not installed: pip install 'biograd[track]'"
        )


def _numbers(row: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, float]:
    return {tag: row[key] for tag, key in tags.items() if row[key] is not None}
