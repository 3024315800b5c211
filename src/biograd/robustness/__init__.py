"""Robustness: what a trained run's answers withstand, with the source of each attack's gradient stated.

Attacks are plain functions of a model: ``fgsm(predict, x, y, epsilon, …)``; `measure_run` measures a finished run,
`measure_runs` many.
"""

from biograd.robustness.fast_gradient_sign import fgsm
from biograd.robustness.gradient_sources import rule_gradient, true_gradient
from biograd.robustness.measure import measure_run, require_test
from biograd.robustness.measure_runs import Attacked, measure_runs
from biograd.robustness.projected_gradient_descent import pgd
from biograd.robustness.settings import AttackSettings
from biograd.robustness.square import square
from biograd.robustness.transfer import candidates

__all__ = [
    "AttackSettings",
    "Attacked",
    "candidates",
    "fgsm",
    "measure_run",
    "measure_runs",
    "pgd",
    "require_test",
    "rule_gradient",
    "square",
    "true_gradient",
]
