"""What trackers show of a run: a number under a tag, the same in each of them."""

import importlib.util
import math
from collections.abc import Iterable, Mapping
from typing import Any

from biograd.errors import UserMistake
from biograd.tasks import METRICS


def _of_part(part: str) -> dict[str, str]:
    """The entry of loss and of every metric of a part of the data, by tag."""
    names = ["loss", *(metric.name for metrics in METRICS.values() for metric in metrics)]
    return {f"{name}/{part}": f"{part}_{name}" for name in names}


_OF_EPOCH = {
    **_of_part("train"),
    **_of_part("validation"),
    "learning_rate": "learning_rate",
    "seconds": "seconds",
}
_OF_TEST = _of_part("test")


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
    return {tag: row[key] for tag, key in tags.items() if row.get(key) is not None}
