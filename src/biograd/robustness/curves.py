"""Every attack that a measurement asks for, each a curve over ε or the reason why there is none."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from biograd.errors import UnsupportedNet
from biograd.progress import Silent
from biograd.robustness.fast_gradient_sign import fgsm
from biograd.robustness.gradient_sources import Gradient, Predict, margin_gradient, true_gradient
from biograd.robustness.masking import Evidence
from biograd.robustness.projected_gradient_descent import pgd
from biograd.robustness.settings import AttackSettings
from biograd.robustness.square import square
from biograd.robustness.victim import Attack, Victim, in_domain
from biograd.rules.backpropagation import Backpropagation
from biograd.training.restored import Restored

RESTARTS = 5
"""Of PGD where the verdict is in doubt without."""


@dataclass(frozen=True)
class Curve:
    """One attack with one source of its gradient.

    Attributes:
        attack: its name.
        gradient: ``true``, ``rule``, ``none``, or ``transfer:`` and the run that the examples were made on.
        right: ε to whether each example is right.
        reason: why the attack was not made, None where it was.
    """

    attack: str
    gradient: str
    right: Mapping[float, Tensor] = field(default_factory=dict)
    reason: str | None = None


class Plan(NamedTuple):
    """What is going to be a curve; either ``make`` or ``reason`` is given."""

    attack: str
    gradient: str
    make: Attack | None
    reason: str | None = None


def plans(victim: Victim, source: Restored | None, settings: AttackSettings) -> Iterator[Plan]:
    """One for each attack, and for FGSM and PGD for each source of the gradient.

    Args:
        victim: the run that is attacked.
        source: the run that transferred examples are made on, None where there is none.
        settings: what to measure.
    """
    excuses = {name: excuse(victim, name) for name in settings.gradients}
    for attack in settings.attacks:
        if attack == "square":
            yield Plan(attack, "none", _square(victim, settings))
        elif attack == "transfer":
            yield _transfer(victim, source, settings)
        else:
            for name, reason in excuses.items():
                made = _by_gradient(attack, victim, victim.predict, victim.gradient(name), settings)
                yield Plan(attack, name, None if reason else made, reason)


def excuse(victim: Victim, gradient: str) -> str | None:
    """Why an attack by this gradient cannot be made; None where it can."""
    if gradient == "true":
        return None
    try:
        victim.gradient(gradient)(victim.x[:2], victim.y[:2])
    except UnsupportedNet as reason:
        return str(reason)
    return None


def measured(victim: Victim, planned: Sequence[Plan], sizes: Sequence[float], bar: Silent) -> list[Curve]:
    """Carry out plans for each size; where two are the same, once.

    Args:
        victim: the run that is attacked.
        planned: how.
        sizes: values of ε.
        bar: advanced with each size of each plan.
    """
    found: list[Curve] = []
    for number, plan in enumerate(planned):
        right = _the_same(victim, plan, found)
        if right is None:
            right = {}
            for place, epsilon in enumerate(sizes if plan.make else ()):
                assert plan.make is not None
                bar.reach(number * len(sizes) + place)
                right[epsilon] = victim.right_under(plan.make, epsilon)
        found.append(Curve(plan.attack, plan.gradient, right, plan.reason))
    return found


def _the_same(victim: Victim, plan: Plan, found: Sequence[Curve]) -> Mapping[float, Tensor] | None:
    """What was found already: backpropagation's own feedback is the true gradient."""
    if plan.gradient == "rule" and isinstance(victim.run.rule, Backpropagation):
        return _by_true_gradient(found, plan.attack)
    return None


def at_large(
    victim: Victim, curves: Sequence[Curve], settings: AttackSettings
) -> tuple[float, Tensor] | None:
    """PGD by the true gradient at a size that no input should withstand; None where PGD is not asked for."""
    found = _by_true_gradient(curves, "pgd")
    if found is None:
        return None
    size = max(victim.domain.large, *found)
    if size in found:
        return size, found[size]
    attack = _by_gradient("pgd", victim, victim.predict, victim.gradient("true"), settings)
    return size, victim.right_under(attack, size)


def second_look(victim: Victim, settings: AttackSettings, sizes: Sequence[float]) -> dict[float, Tensor]:
    """A stronger PGD than the settings': by the gradient of the margin and of the cross-entropy, with more restarts."""
    stronger = dataclasses.replace(settings, restarts=max(RESTARTS, settings.restarts))
    gradients = (margin_gradient(victim.predict), true_gradient(victim.predict))
    attacks = [_by_gradient("pgd", victim, victim.predict, one, stronger) for one in gradients]
    return {
        epsilon: torch.stack([victim.right_under(attack, epsilon) for attack in attacks]).all(0)
        for epsilon in sizes
    }


def evidence(
    curves: Sequence[Curve], large: tuple[float, Tensor] | None, zero_gradients: Tensor | None
) -> Evidence:
    """What the curves say of masking."""
    fgsm_curve, pgd_curve = (_by_true_gradient(curves, attack) for attack in ("fgsm", "pgd"))
    black_box = {_spell(one): one.right for one in curves if one.attack in ("square", "transfer")}
    own = {_spell(one): one.right for one in curves if one.gradient == "rule"}
    return Evidence(fgsm_curve, pgd_curve, black_box, own, large, zero_gradients)


def _by_gradient(
    attack: str, victim: Victim, predict: Predict, gradient: Gradient, settings: AttackSettings
) -> Attack:
    bounds = (victim.domain.lower, victim.domain.upper)
    if attack == "fgsm":
        return lambda x, y, epsilon, _: fgsm(predict, x, y, epsilon, *bounds, gradient=gradient)
    chosen = {name: getattr(settings, name) for name in ("steps", "step_size", "restarts")}
    return lambda x, y, epsilon, generator: pgd(
        predict, x, y, epsilon, *bounds, gradient=gradient, generator=generator, **chosen
    )


def _square(victim: Victim, settings: AttackSettings) -> Attack:
    bounds, queries = (victim.domain.lower, victim.domain.upper), settings.queries
    return lambda x, y, epsilon, generator: square(
        victim.predict, x, y, epsilon, *bounds, queries=queries, generator=generator
    )


def _transfer(victim: Victim, source: Restored | None, settings: AttackSettings) -> Plan:
    if source is None:
        reason = "no other run of the same task and test examples was given"
        return Plan("transfer", "transfer", None, reason)
    predict = in_domain(source)
    made = _by_gradient("pgd", victim, predict, true_gradient(predict), settings)
    return Plan("transfer", f"transfer:{source.title}", made)


def _by_true_gradient(curves: Sequence[Curve], attack: str) -> Mapping[float, Tensor] | None:
    found = [one.right for one in curves if (one.attack, one.gradient) == (attack, "true")]
    return found[0] if found else None


def _spell(one: Curve) -> str:
    """An attack that does not follow the true gradient, as a reason names it."""
    of_source = one.gradient.replace("transfer:", "transfer from ")
    return {"none": one.attack, "rule": f"{one.attack} by the rule's feedback"}.get(one.gradient, of_source)
