"""One short run, finished, for tests of what reads it."""

from pathlib import Path

from biograd import training
from biograd.training import RunConfig


def trained(rule: str, folder: Path) -> Path:
    """The folder of a run of one epoch on Iris."""
    net = {"name": "mlp", "widths": "4"}
    training.train(
        RunConfig.from_sources({"rule": rule, "data": "iris", "net": net, "epochs": 1, "device": "cpu"}),
        folder,
    )
    return folder
