"""Whether the attack failed, or the net withstood it: the checks of Athalye et al. 2018."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from biograd.records.robustness import MaskingCheck, Verdict
from biograd.robustness.scores import accuracy, standard_errors

ERRORS = 2.0
"""Standard errors of the paired difference above which one attack is said to be stronger than another."""

ZERO_GRADIENTS = 0.05
"""Share of inputs without a gradient above which masking is suspected."""

AT_LARGE = 0.05
"""Accuracy under an attack of any size above which masking is suspected."""

Curve = Mapping[float, Tensor]
"""ε to whether each example is right, ``(examples,)``."""


class Check(NamedTuple):
    """One check: passed, failed, or not made (None), and what was seen."""

    name: str
    passed: bool | None
    seen: str


@dataclass(frozen=True)
class Evidence:
    """What the verdict is drawn from; None or empty where it was not measured.

    Attributes:
        fgsm: curve of FGSM by the true gradient.
        pgd: curve of PGD by the true gradient.
        black_box: name to curve, of attacks without gradients and from other runs; empty where not made.
        own: the same, of attacks by the rule's own feedback.
        large: an ε at which no input is safe, and whether each example is right under PGD there.
        zero_gradients: share of the inputs whose true gradient is exactly zero.
    """

    fgsm: Curve | None
    pgd: Curve | None
    black_box: Mapping[str, Curve]
    own: Mapping[str, Curve]
    large: tuple[float, Tensor] | None
    zero_gradients: float | None


def verdict(evidence: Evidence) -> Verdict:
    """``masking``: ``suspected`` if a check fails, ``not seen`` if all pass, ``unclear`` if one was not made.

    The checks, after Athalye, Carlini & Wagner 2018 (arXiv 1802.00420): no other attack (without gradients, from
    another run, by the rule's own feedback) beats the true gradient (PGD, else FGSM), FGSM does not beat PGD, each by
    more than two standard errors of the difference on the same examples; PGD of a large size leaves nothing right;
    hardly a gradient is exactly zero. With many sizes and attacks, one difference may exceed two errors by chance.

    Returns:
        ``masking``, ``reasons`` (one line for each check that failed or was not made) and ``checks``.
    """
    checks = [_other_attacks(evidence), _iterations(evidence), _large(evidence), _zero_gradients(evidence)]
    failed = any(check.passed is False for check in checks)
    unclear = any(check.passed is None for check in checks)
    return {
        "masking": "suspected" if failed else "unclear" if unclear else "not seen",
        "reasons": [check.seen for check in checks if not check.passed],
        "checks": [MaskingCheck(name=check.name, passed=check.passed, seen=check.seen) for check in checks],
    }


def _other_attacks(evidence: Evidence) -> Check:
    name, white = "other attacks", evidence.pgd or evidence.fgsm or {}
    others = {**evidence.black_box, **evidence.own}
    found = [
        (standard_errors(left, of_other[epsilon]), epsilon, other)
        for other, of_other in others.items()
        for epsilon, left in white.items()
        if epsilon > 0 and of_other
    ]
    by, epsilon, other = max(found, default=(0.0, 0.0, ""))
    if by <= ERRORS and not (found and any(evidence.black_box.values())):
        return Check(name, None, "no attack by the true gradient beside one without, or from another run")
    left, left_by_other = accuracy(white[epsilon]), accuracy(others[other][epsilon])
    seen = f"{other} leaves {left_by_other:.1%} right at ε {epsilon:g}, the true gradient {left:.1%}"
    return Check(name, by <= ERRORS, seen)


def _iterations(evidence: Evidence) -> Check:
    one_step = evidence.fgsm or {}
    found = [
        (standard_errors(left, one_step[epsilon]), epsilon)
        for epsilon, left in (evidence.pgd or {}).items()
        if epsilon > 0 and one_step
    ]
    if evidence.pgd is None or not found:
        return Check("iterations", None, "FGSM and PGD were not both measured")
    by, epsilon = max(found)
    left, left_by_one = accuracy(evidence.pgd[epsilon]), accuracy(one_step[epsilon])
    seen = f"FGSM leaves {left_by_one:.1%} right at ε {epsilon:g}, PGD {left:.1%}"
    return Check("iterations", by <= ERRORS, seen)


def _large(evidence: Evidence) -> Check:
    if evidence.large is None:
        return Check("large ε", None, "PGD was not measured at a large ε")
    epsilon, right = evidence.large
    return Check(
        "large ε", accuracy(right) <= AT_LARGE, f"PGD leaves {accuracy(right):.1%} right at ε {epsilon:g}"
    )


def _zero_gradients(evidence: Evidence) -> Check:
    share = evidence.zero_gradients
    if share is None:
        return Check("zero gradients", None, "the true gradient was not measured")
    return Check("zero gradients", share <= ZERO_GRADIENTS, f"{share:.1%} of the inputs have no gradient")
