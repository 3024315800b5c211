"""Searches of settings: the same budget for every rule, the same points on every machine, chosen on validation data."""

from biograd.tuning.search import Budget, Chosen, Contender, best_of, choose, contenders, tune
from biograd.tuning.space import Point, point, space_of

__all__ = [
    "Budget",
    "Chosen",
    "Contender",
    "Point",
    "best_of",
    "choose",
    "contenders",
    "point",
    "space_of",
    "tune",
]
