"""Training: one loop for every rule, from a checked configuration to records that a kill cannot corrupt."""

from biograd.data.seeded import derive
from biograd.training.checkpoint import load_weights
from biograd.training.compare import compare, grid, labels, train_all
from biograd.training.config import Choice, RunConfig
from biograd.training.distributed import GradientSum, Ranks, joined
from biograd.training.loop import resume, train
from biograd.training.observers import Observer, StatefulObserver
from biograd.training.run_setup import RunSetup, build

__all__ = [
    "Choice",
    "GradientSum",
    "RunSetup",
    "Observer",
    "Ranks",
    "RunConfig",
    "StatefulObserver",
    "build",
    "compare",
    "derive",
    "grid",
    "joined",
    "labels",
    "load_weights",
    "resume",
    "train",
    "train_all",
]
