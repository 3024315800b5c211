"""Searches of settings: the same budget for every rule, the same points on every machine, chosen on validation data."""

from biograd.tuning.contender import TRIALS, Budget, Contender, Sobol, Tpe
from biograd.tuning.search import Chosen, best_of, choose, contenders, do_trials, tune
from biograd.tuning.space import Point, point, space_of

__all__ = [
    "TRIALS",
    "Budget",
    "Chosen",
    "Contender",
    "Point",
    "Sobol",
    "Tpe",
    "best_of",
    "choose",
    "contenders",
    "do_trials",
    "point",
    "space_of",
    "tune",
]
