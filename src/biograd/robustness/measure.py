"""A run under every attack: curves of accuracy over ε, each with the source of its gradient, and a verdict."""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biograd import records
from biograd.credit.isolation import isolated
from biograd.data.seeded import seeded
from biograd.errors import UnsupportedNet
from biograd.records import Run
from biograd.robustness.domain import Domain, domain_of, held_out_examples, to_net
from biograd.robustness.fast_gradient_sign import fgsm
from biograd.robustness.masking import Evidence, verdict
from biograd.robustness.projected_gradient_descent import pgd
from biograd.robustness.scores import accuracy, balanced_accuracy, is_right, margins
from biograd.robustness.settings import Settings
from biograd.robustness.sources import Gradient, Predict, rule_gradient, true_gradient
from biograd.robustness.square import square
from biograd.robustness.transfer import candidates, find_source
from biograd.rules.backpropagation import Backpropagation
from biograd.training.parts import find_device
from biograd.training.progress import Silent, shown
from biograd.training.restored import Restored, configuration, restored
from biograd.training.seeding import settled

BATCH = 500
"""Examples that are attacked at once."""

Attack = Callable[[Tensor, Tensor, float, torch.Generator], Tensor]
"""Inputs, classes, ε and a generator to attacked inputs."""


@dataclass(frozen=True)
class Curve:
    """One attack with one source of its gradient: ε to whether each example is right, or why there is none."""

    attack: str
    gradient: str
    right: Mapping[float, Tensor] = field(default_factory=dict)
    reason: str | None = None


def measure_run(
    run: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    transfer_from: Sequence[str | os.PathLike[str]] = (),
    device: str | None = None,
    threads: int | None = None,
    data_dir: str | None = None,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Attack a finished run, and add what was measured to its folder as ``robustness.json``.

    An example counts as right under an attack if it is right both before and after, so that no curve lies above
    the clean accuracy. Attacks follow the cross-entropy, whatever loss the run was trained with. Measuring again
    with the same settings replaces; other settings are kept beside.

    Args:
        run: the run's folder.
        settings: what to measure; None for the defaults.
        transfer_from: folders of runs, or that hold runs, from which the source of transferred examples is chosen:
            of the same task and test examples, backpropagation and the same seed first.
        device: where to compute; None for where the run was trained.
        threads: within an operation; None for as many as the run was trained with.
        data_dir: where the data lies; None for where the run found it.
        progress: whether to draw a bar; None draws it when standard error is a terminal.

    Returns:
        The measurement: ``run key settings unit lower upper examples classes clean rows verdict source environment
        seconds test_reads``. ``clean`` holds ``accuracy``, ``balanced_accuracy``, ``logit_scale`` (mean magnitude of
        the margin between the right logit and the largest other) and ``zero_gradients`` (share of inputs with a
        gradient that is exactly zero, by source). Each of ``rows`` has ``attack gradient epsilon accuracy
        balanced_accuracy reason``; where ``reason`` is given, that attack was not made and the numbers are null.

    Raises:
        UserMistake: the run is not finished, or the runs to transfer from are of another task.
        CheckpointError: the run's checkpoint is damaged.
    """
    path, settings = Path(run), settings or Settings()
    others = [other for folder in transfer_from for other in records.find_runs(folder)]
    likely = candidates(Run.load(path), others) if "transfer" in settings.attacks else []
    config = configuration(path, device=device, data_dir=data_dir)
    place = find_device(config)
    start = time.perf_counter()
    with settled(
        seed=settings.seed,
        threads=threads or config.threads,
        deterministic=config.deterministic,
        device=place,
    ):
        victim = restored(path, device=str(place), data_dir=data_dir)
        source = find_source(victim, likely)
        with isolated(victim.net, victim.rule):
            measured = _Measuring(victim, source, settings, progress).measurement()
        environment = records.environment()
    seconds = time.perf_counter() - start
    return records.add_measurement(path, {**measured, "environment": environment, "seconds": seconds})


class _Measuring:
    """One measurement of one run.

    Args:
        victim: the run that is attacked.
        source: the run that transferred examples are made on, None where there is none.
        settings: what to measure.
        progress: as for `measure_run`.
    """

    def __init__(
        self, victim: Restored, source: Restored | None, settings: Settings, progress: bool | None
    ) -> None:
        self.victim, self.source, self._progress = victim, source, progress
        self.domain: Domain = domain_of(victim.dataset)
        self.settings = dataclasses.replace(settings, epsilons=settings.epsilons or self.domain.epsilons)
        x, y = held_out_examples(victim.dataset, settings.examples, settings.seed)
        self.x, self.y = x.to(victim.device), y.to(victim.device)
        self.predict = in_domain(victim)
        self.gradients: dict[str, Gradient] = {
            "true": true_gradient(self.predict),
            "rule": rule_gradient(victim.rule, victim.net, to_net(victim.dataset)),
        }

    def measurement(self) -> dict[str, Any]:
        """Everything but where and how long it was measured."""
        logits = self._logits()
        self.clean = is_right(logits, self.y)
        zero = {name: self._zero_share(name) for name in self.settings.gradients}
        plans = list(self._plans())
        total = len(plans) * len(self._sizes) + 1
        with shown(f"robustness of {self.victim.title}", 0, total, self._progress) as bar:
            curves = [self._curve(plan, number, bar) for number, plan in enumerate(plans)]
            large = self._at_large(curves)
        return {
            "run": str(self.victim.folder),
            "key": self._key(),
            "settings": self.settings.to_json(),
            "unit": self.domain.unit,
            "lower": self.domain.lower,
            "upper": self.domain.upper,
            "examples": len(self.y),
            "classes": list(self.victim.dataset.classes),
            "source": self.source.title if self.source else None,
            "clean": {**self._scores(self.clean), **_logit_scale(logits, self.y), "zero_gradients": zero},
            "rows": [row for curve in curves for row in self._rows(curve)],
            "verdict": verdict(_evidence(curves, large, zero.get("true"))),
        }

    @property
    def _sizes(self) -> Sequence[float]:
        assert self.settings.epsilons is not None
        return self.settings.epsilons

    def _plans(self) -> Iterator[tuple[str, str, Attack | str]]:
        """Attack, source of its gradient, and how it is made, or why it is not."""
        for attack in self.settings.attacks:
            if attack == "square":
                yield attack, "none", self._square
            elif attack == "transfer":
                yield self._transfer()
            else:
                for name in self.settings.gradients:
                    yield attack, name, self._excuse(name) or self._by_gradient(attack, self.predict, name)

    def _excuse(self, gradient: str) -> str | None:
        """Why an attack by this gradient need not, or cannot, be made."""
        if gradient != "rule":
            return None
        if isinstance(self.victim.rule, Backpropagation):
            return "the same as the true gradient"
        try:
            self.gradients["rule"](self.x[:2], self.y[:2])
        except UnsupportedNet as reason:
            return str(reason)
        return None

    def _by_gradient(self, attack: str, predict: Predict, gradient: str | Gradient) -> Attack:
        follow = self.gradients[gradient] if isinstance(gradient, str) else gradient
        bounds = (self.domain.lower, self.domain.upper)
        if attack == "fgsm":
            return lambda x, y, epsilon, _: fgsm(predict, x, y, epsilon, *bounds, gradient=follow)
        chosen = {name: getattr(self.settings, name) for name in ("steps", "step_size", "restarts")}
        return lambda x, y, epsilon, generator: pgd(
            predict, x, y, epsilon, *bounds, gradient=follow, generator=generator, **chosen
        )

    def _square(self, x: Tensor, y: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        bounds, queries = (self.domain.lower, self.domain.upper), self.settings.queries
        return square(self.predict, x, y, epsilon, *bounds, queries=queries, generator=generator)

    def _transfer(self) -> tuple[str, str, Attack | str]:
        if self.source is None:
            return "transfer", "transfer", "no other run of the same task and test examples was given"
        predict = in_domain(self.source)
        made = self._by_gradient("pgd", predict, true_gradient(predict))
        return "transfer", f"transfer:{self.source.title}", made

    def _curve(self, plan: tuple[str, str, Attack | str], number: int, bar: Silent) -> Curve:
        attack, gradient, made = plan
        if isinstance(made, str):
            return Curve(attack, gradient, reason=made)
        right = {}
        for place, epsilon in enumerate(self._sizes):
            right[epsilon] = self._right_under(made, epsilon)
            bar.reach(number * len(self._sizes) + place + 1)
        return Curve(attack, gradient, right)

    def _right_under(self, attack: Attack, epsilon: float) -> Tensor:
        """Which examples are right before and after; those that are wrong anyway are not attacked."""
        right = self.clean.clone()
        if epsilon == 0:
            return right
        for number, chosen in enumerate(self.clean.nonzero().squeeze(1).split(BATCH)):
            x, y = self.x[chosen], self.y[chosen]
            attacked = attack(x, y, epsilon, seeded(self.settings.seed, number))
            with torch.no_grad():
                right[chosen] = is_right(self.predict(attacked), y)
        return right

    def _at_large(self, curves: Sequence[Curve]) -> tuple[float, Tensor] | None:
        """PGD by the true gradient at a size that no input should withstand."""
        size = max(self.domain.large, *self._sizes)
        pgd_curve = _find(curves, "pgd")
        if pgd_curve is None:
            return None
        if size in pgd_curve:
            return size, pgd_curve[size]
        return size, self._right_under(self._by_gradient("pgd", self.predict, "true"), size)

    @torch.no_grad()
    def _logits(self) -> Tensor:
        return torch.cat([self.predict(x) for x in self.x.split(BATCH)])

    def _zero_share(self, name: str) -> float | None:
        """Share of the examples whose gradient is exactly zero; None where there is no gradient."""
        excuse = self._excuse(name)
        if excuse is not None:
            return None
        found = [
            self.gradients[name](x, y).flatten(1).count_nonzero(1) == 0
            for x, y in zip(self.x.split(BATCH), self.y.split(BATCH), strict=True)
        ]
        return accuracy(torch.cat(found))

    def _scores(self, right: Tensor) -> dict[str, float]:
        return {"accuracy": accuracy(right), "balanced_accuracy": balanced_accuracy(right, self.y)}

    def _rows(self, curve: Curve) -> Iterator[dict[str, Any]]:
        head = {"attack": curve.attack, "gradient": curve.gradient}
        nothing = {"epsilon": None, "accuracy": None, "balanced_accuracy": None, "reason": curve.reason}
        if curve.reason is not None:
            yield {**head, **nothing}
        for epsilon, right in curve.right.items():
            yield {**head, "epsilon": epsilon, **self._scores(right), "reason": None}

    def _key(self) -> str:
        """A fingerprint of all that runs which are compared must have in common."""
        decisive = {**self.settings.to_json(), "unit": self.domain.unit}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def in_domain(run: Restored) -> Predict:
    """What a run says of inputs in the units of the domain."""
    prepare = to_net(run.dataset)
    return lambda x: run.predict(prepare(x))


def _logit_scale(logits: Tensor, y: Tensor) -> dict[str, float]:
    return {"logit_scale": margins(logits, y).abs().mean().item()}


def _find(curves: Sequence[Curve], attack: str) -> Mapping[float, Tensor] | None:
    """The curve of a white-box attack by the true gradient."""
    found = [curve.right for curve in curves if (curve.attack, curve.gradient) == (attack, "true")]
    return found[0] if found else None


def _evidence(
    curves: Sequence[Curve], large: tuple[float, Tensor] | None, zero_gradients: float | None
) -> Evidence:
    others = {_spell(curve): curve.right for curve in curves if curve.gradient != "true" and curve.right}
    return Evidence(_find(curves, "fgsm"), _find(curves, "pgd"), others, large, zero_gradients)


def _spell(curve: Curve) -> str:
    """An attack that does not follow the true gradient, as a reason names it."""
    of_source = curve.gradient.replace("transfer:", "transfer from ")
    return {"none": curve.attack, "rule": f"{curve.attack} by the rule's feedback"}.get(
        curve.gradient, of_source
    )
