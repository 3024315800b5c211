"""Whether an attack failed or the net withstood it: the checks of Athalye et al. 2018, each with its odds of error."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from biograd.records.robustness import MaskingCheck, Verdict
from biograd.robustness.scores import accuracy, chance_of_as_many, largest_plausible_share

ERROR = 0.01
"""Chance at most that a check fails by the draw of the examples alone."""

DOUBT = 0.05
"""Chance at most that a check passes although the share that it asks for is above `HIDDEN`."""

SMALL = 0.05
"""Share of the examples, or difference of shares, up to which nothing is suspected."""

HIDDEN = 0.10
"""Share of the examples up to which a check may pass what it cannot see."""

Curve = Mapping[float, Tensor]
"""ε to whether each example is right, ``(examples,)``."""


class Check(NamedTuple):
    """One check: passed, failed, or not decided (None), and what was seen."""

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
        zero_gradients: which of the inputs have a true gradient that is exactly zero, ``(examples,)``.
        second_look: curve of a stronger PGD by true gradients, at sizes that are in doubt without it.
    """

    fgsm: Curve | None
    pgd: Curve | None
    black_box: Mapping[str, Curve]
    own: Mapping[str, Curve]
    large: tuple[float, Tensor] | None
    zero_gradients: Tensor | None
    second_look: Curve = field(default_factory=dict)


def verdict(evidence: Evidence) -> Verdict:
    """``masking``: ``suspected`` if a check fails, ``not seen`` if all pass, else ``not decided``.

    The checks, after Athalye, Carlini & Wagner 2018 (arXiv 1802.00420): no other attack (without gradients, from
    another run, by the rule's own feedback) beats the true gradient; FGSM does not beat PGD; PGD of a large size leaves
    nothing right; hardly a gradient is exactly zero. What an attack finds in a small ball lies in every larger one,
    and counts there too.

    A check fails where more than `SMALL` of the examples speak against it and chance would do as much in at most
    `ERROR` of all cases, over all sizes and attacks together. It passes where at most `HIDDEN` can speak against it
    that the examples do not show, but in `DOUBT` of all cases. Few examples decide nothing.

    Returns:
        ``masking``, ``reasons`` (one line for each check that did not pass) and ``checks``.
    """
    checks = [_other_attacks(evidence), _iterations(evidence), _large(evidence), _zero_gradients(evidence)]
    failed = any(check.passed is False for check in checks)
    open_ = any(check.passed is None for check in checks)
    return {
        "masking": "suspected" if failed else "not decided" if open_ else "not seen",
        "reasons": [check.seen for check in checks if not check.passed],
        "checks": [MaskingCheck(name=check.name, passed=check.passed, seen=check.seen) for check in checks],
    }


def in_doubt(evidence: Evidence) -> list[float]:
    """Sizes at which a stronger attack by true gradients could change the verdict."""
    if not evidence.pgd:
        return []
    compared = (*_beside_others(evidence), *_beside_one_step(evidence))
    sizes = {one.epsilon for one in compared if one.judged(len(compared)) is not True}
    if evidence.large is not None and _large(evidence).passed is not True:
        sizes.add(evidence.large[0])
    return sorted(sizes)


class _Compared(NamedTuple):
    """What PGD and another attack leave right of the same examples."""

    epsilon: float
    other: str
    left: Tensor
    left_by_other: Tensor

    @property
    def by(self) -> float:
        """How much more PGD leaves."""
        return accuracy(self.left) - accuracy(self.left_by_other)

    @property
    def hidden(self) -> int:
        """How many examples the other attack alone finds."""
        return int((self.left & ~self.left_by_other).sum())

    @property
    def chance(self) -> float:
        """That of two attacks alike one finds so many more than the other (McNemar's exact test)."""
        either = self.hidden + int((self.left_by_other & ~self.left).sum())
        return chance_of_as_many(self.hidden, either, 0.5)

    def judged(self, comparisons: int) -> bool | None:
        """Whether PGD is as good; None where the examples do not decide it, beside so many comparisons."""
        if self.by > SMALL and self.chance <= ERROR / comparisons:
            return False
        return True if largest_plausible_share(self.hidden, len(self.left), DOUBT) <= HIDDEN else None


def _other_attacks(evidence: Evidence) -> Check:
    name, found = "other attacks", list(_beside_others(evidence))
    if not any(one.other in evidence.black_box for one in found):
        return Check(
            name,
            None,
            "PGD by the true gradient is needed, and beside it an attack without gradients or from another run",
        )
    passed, worst = _over_all(found)
    seen = f"leaves {accuracy(worst.left_by_other):.1%} right at ε {worst.epsilon:g}, the true gradient"
    return Check(name, passed, _open(f"{worst.other} {seen} {accuracy(worst.left):.1%}", passed))


def _iterations(evidence: Evidence) -> Check:
    name, found = "iterations", list(_beside_one_step(evidence))
    if not found:
        return Check(name, None, "FGSM and PGD were not both measured")
    passed, worst = _over_all(found)
    seen = f"FGSM leaves {accuracy(worst.left_by_other):.1%} right at ε {worst.epsilon:g}, PGD"
    return Check(name, passed, _open(f"{seen} {accuracy(worst.left):.1%}", passed))


def _large(evidence: Evidence) -> Check:
    name = "large ε"
    if evidence.large is None:
        return Check(name, None, "PGD was not measured at a large ε")
    epsilon, right = evidence.large
    for left in _nested(evidence.pgd, evidence.fgsm, evidence.second_look).values():
        right = right & left
    passed = _at_most_small(right)
    return Check(name, passed, _open(f"PGD leaves {accuracy(right):.1%} right at ε {epsilon:g}", passed))


def _zero_gradients(evidence: Evidence) -> Check:
    name, are_zero = "zero gradients", evidence.zero_gradients
    if are_zero is None:
        return Check(name, None, "the true gradient was not measured")
    passed = _at_most_small(are_zero)
    return Check(name, passed, _open(f"{accuracy(are_zero):.1%} of the inputs have no gradient", passed))


def _beside_others(evidence: Evidence) -> Iterator[_Compared]:
    white = _nested(evidence.pgd, evidence.fgsm, evidence.second_look)
    for other, curve in {**evidence.black_box, **evidence.own}.items():
        yield from _compared(white, other, curve, evidence)


def _beside_one_step(evidence: Evidence) -> Iterator[_Compared]:
    many = _nested(evidence.pgd, evidence.second_look)
    yield from _compared(many, "fgsm", evidence.fgsm or {}, evidence)


def _compared(white: Curve, other: str, curve: Curve, evidence: Evidence) -> Iterator[_Compared]:
    by_other = _nested(curve)
    for epsilon in evidence.pgd or {}:
        if epsilon > 0 and epsilon in by_other:
            yield _Compared(epsilon, other, white[epsilon], by_other[epsilon])


def _nested(*curves: Curve | None) -> Curve:
    """ε to what no attack of this size or a smaller one has changed."""
    found: dict[float, Tensor] = {}
    left: Tensor | None = None
    given = [curve for curve in curves if curve]
    for epsilon in sorted({epsilon for curve in given for epsilon in curve}):
        for right in (curve[epsilon] for curve in given if epsilon in curve):
            left = right if left is None else left & right
        assert left is not None
        found[epsilon] = left
    return found


def _over_all(found: list[_Compared]) -> tuple[bool | None, _Compared]:
    """Whether PGD is as good in every comparison, and the comparison that speaks against it the most."""
    judged = [(one.judged(len(found)), one) for one in found]
    for passed in (False, None, True):
        among = [one for answer, one in judged if answer is passed]
        if among:
            return passed, max(among, key=lambda one: one.by)
    raise AssertionError("there is something to compare")


def _at_most_small(found: Tensor) -> bool | None:
    count, examples = int(found.sum()), len(found)
    if chance_of_as_many(count, examples, SMALL) <= ERROR:
        return False
    return True if largest_plausible_share(count, examples, DOUBT) <= HIDDEN else None


def _open(seen: str, passed: bool | None) -> str:
    return f"{seen}: not decided" if passed is None else seen
