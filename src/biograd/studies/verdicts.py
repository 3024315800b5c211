"""From the runs of a ladder to verdicts: each rule beside backpropagation and beside nets whose depth is not taught."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from biograd.records import Run, number
from biograd.records.assessment import AcrossRow, Beside, CheckRow, Interval, VerdictRow
from biograd.records.checks import batch_stability, growth, kept_bytes, reference, step_stability
from biograd.statistics import (
    BySeed,
    ByTask,
    Comparison,
    Estimate,
    beside,
    interquartile_mean,
    mean_interval,
    measured,
    probability_of_improvement,
    spread,
)
from biograd.studies.ladder import BASELINES, Rung
from biograd.studies.study import Budget, BudgetName

LEVEL = 0.95
"""Of every interval."""

BACKPROPAGATION, SHALLOW, FROZEN = BASELINES

ENTRY = "test_accuracy"
"""What rules are compared by; every rung tells classes apart."""

CHECKS = {
    "growth": growth,
    "reference": reference,
    "stability over batches": batch_stability,
    "stability over steps": step_stability,
}
"""By what tables call them. The fourth of the checks, depth utility, is the lead over frozen and shallow nets."""

Runs = Mapping[str, Sequence[Run]]
"""Of a rung, by rule."""


class Climbed(NamedTuple):
    """What there is of a rung.

    Attributes:
        rung: which.
        runs: by rule, the baselines first.
        reasons: why a rule has none.
        settings: what its search chose for a rule.
    """

    rung: Rung
    runs: Runs
    reasons: Mapping[str, str] = {}
    settings: Mapping[str, Mapping[str, Any]] = {}


def verdicts(climbed: Climbed, budget: BudgetName) -> list[VerdictRow]:
    """A row for each rule of a rung, the baselines first."""
    by_seed = {rule: _by_seed(runs) for rule, runs in climbed.runs.items()}
    compared = {name: _beside(name, by_seed) for name in BASELINES}
    rules = [*climbed.runs, *(rule for rule in climbed.reasons if rule not in climbed.runs)]
    return [_verdict(climbed, rule, by_seed, compared, budget) for rule in rules]


def across(ladder: Sequence[Climbed]) -> list[AcrossRow]:
    """A row for each rule that has numbers on several rungs."""
    scores = _by_rule(ladder)
    reference, frozen = scores.get(BACKPROPAGATION, {}), scores.get(FROZEN, {})
    return [
        {
            "rule": rule,
            "rungs": len(of_rule),
            "accuracy": _interval(interquartile_mean(of_rule, level=LEVEL)),
            "improvement": _improvement(of_rule, reference, rule, BACKPROPAGATION),
            "improvement_over_frozen": _improvement(of_rule, frozen, rule, FROZEN),
        }
        for rule, of_rule in scores.items()
        if len(of_rule) > 1
    ]


def epochs(amount: Budget | None) -> int:
    """How many epochs a result of a rung has."""
    return (amount and amount.epochs) or 0


def _by_rule(ladder: Sequence[Climbed]) -> dict[str, dict[str, list[float | None]]]:
    """Accuracies of every rule by rung, those of runs that failed None; rungs on which all failed are left out."""
    rules = dict.fromkeys(rule for one in ladder for rule in one.runs)
    return {
        rule: {one.rung.name: values for one in ladder if measured(values := _values(one.runs.get(rule, ())))}
        for rule in rules
    }


def _verdict(
    climbed: Climbed,
    rule: str,
    by_seed: Mapping[str, BySeed],
    compared: Mapping[str, Mapping[str, Comparison]],
    budget: BudgetName,
) -> VerdictRow:
    rung, runs = climbed.rung, climbed.runs.get(rule, ())
    scores = {name: {rung.name: list(values.values())} for name, values in by_seed.items()}
    ours = scores.get(rule, {})
    statuses = [run.status for run in runs]
    gap, lead = compared[BACKPROPAGATION].get(rule), compared[FROZEN].get(rule)
    reason = climbed.reasons.get(rule)
    diverged = len(statuses) - statuses.count("done") - statuses.count("unfinished")
    has_verdict = reason is None and rule not in BASELINES
    open_for = _open(rung, budget, rule, by_seed, diverged) if has_verdict else None
    row: VerdictRow = {
        "rung": rung.name,
        "rule": rule,
        "is_baseline": rule in BASELINES,
        "reason": reason,
        "settings": dict(climbed.settings.get(rule, {})),
        "runs": len(runs),
        "diverged": diverged,
        "unfinished": statuses.count("unfinished"),
        "epochs": epochs(rung.budget(budget)),
        "of_epochs": epochs(rung.full),
        "accuracy": _interval(mean_interval(by_seed.get(rule, {}).values(), level=LEVEL)),
        "gap": _difference(gap),
        "lead": _difference(lead),
        "lead_over_shallow": _difference(compared[SHALLOW].get(rule)),
        "improvement": _improvement(ours, scores.get(BACKPROPAGATION, {}), rule, BACKPROPAGATION),
        "improvement_over_frozen": _improvement(ours, scores.get(FROZEN, {}), rule, FROZEN),
        "seconds": spread(number(run.result or {}, "seconds") for run in runs if run.status == "done").mean,
        "kept_bytes": kept_bytes(runs),
        "checks": _checks(runs),
        "verdict": _judged(gap, lead) if has_verdict and open_for is None else None,
        "open": open_for,
    }
    return {**row, "family": runs[0].family} if runs else row


def _beside(reference: str, by_seed: Mapping[str, BySeed]) -> dict[str, Comparison]:
    """Every other rule beside one, corrected for how many there are."""
    others = {rule: values for rule, values in by_seed.items() if rule != reference}
    return beside(by_seed.get(reference, {}), others, level=LEVEL)


def _judged(gap: Comparison | None, lead: Comparison | None) -> str | None:
    """What the intervals say: ``below bp, above frozen``."""
    told = [
        f"{word} {name}"
        for name, one in ((BACKPROPAGATION, gap), (FROZEN, lead))
        if one is not None and (word := _side(one.difference)) is not None
    ]
    return ", ".join(told) or None


def _side(difference: Estimate) -> str | None:
    """On which side of 0 an interval lies; None without one."""
    if difference.low is None or difference.high is None:
        return None
    return "above" if difference.low > 0 else "below" if difference.high < 0 else "not told from"


def _open(
    rung: Rung, budget: BudgetName, rule: str, by_seed: Mapping[str, BySeed], diverged: int
) -> str | None:
    """Why a rule cannot be judged yet, or for good where seeds diverged; None when it can.

    It is judged by seeds that it shares with backpropagation and the frozen net, where these have any.
    """
    if budget == "quick":
        return "judged at the full budget"
    ours, wanted = by_seed.get(rule, {}), rung.full.seeds
    if len(ours) < wanted:
        return f"{len(ours)} of {wanted} seeds" + (f", {diverged} diverged" if diverged else "")
    for name in (BACKPROPAGATION, FROZEN):
        shared = len(ours.keys() & by_seed[name].keys()) if name in by_seed else wanted
        if shared < wanted:
            return f"{shared} of {wanted} seeds beside {name}"
    return None


def _checks(runs: Sequence[Run]) -> list[CheckRow]:
    found = {name: check(runs) for name, check in CHECKS.items()}
    return [
        {"check": name, "value": one.value, "layer": one.layer, "flagged": one.is_flagged}
        for name, one in found.items()
        if one is not None
    ]


def _by_seed(runs: Sequence[Run]) -> dict[int, float]:
    scores = {run.seed: number(run.result or {}, ENTRY) for run in runs if run.status == "done"}
    return {seed: value for seed, value in scores.items() if value is not None}


def _values(runs: Sequence[Run]) -> list[float | None]:
    return [number(run.result or {}, ENTRY) if run.status == "done" else None for run in runs]


def _improvement(ours: ByTask, theirs: ByTask, rule: str, other: str) -> Interval:
    """Nothing for a rule beside itself."""
    if rule == other:
        return _interval(Estimate(None, None, None, 0))
    return _interval(probability_of_improvement(ours, theirs, level=LEVEL))


def _interval(one: Estimate) -> Interval:
    return {"value": one.value, "low": one.low, "high": one.high, "n": one.n}


def _difference(one: Comparison | None) -> Beside:
    one = one or Comparison(Estimate(None, None, None, 0), None)
    return {**_interval(one.difference), "p_value": one.p_value}
