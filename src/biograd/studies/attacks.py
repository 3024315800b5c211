"""The runs of a study under attack: what is measured when they are done, and what its table shows of that."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from biograd.executor import Executor
from biograd.records import Measurement, Run, number
from biograd.records.robustness import AttackRow
from biograd.robustness import Attacked, AttackSettings, candidates, measure_runs
from biograd.studies.quantities import Unit
from biograd.studies.study import BudgetName, RobustnessPlan, Study


@dataclass(frozen=True)
class UnderAttack:
    """The share of the test examples that a run gets right before and under an attack.

    Attributes:
        plan: by whose settings it was measured.
        attack: ``fgsm``, ``pgd``, ``square`` or ``transfer``.
        epsilon: the size of the attack, one of the plan's.
        gradient: of FGSM and PGD: ``true``, or ``rule`` for the rule's own feedback.
        balanced: the mean over classes of that share of each.
    """

    plan: RobustnessPlan
    attack: str
    epsilon: float
    gradient: str = "true"
    balanced: bool = False

    @property
    def title(self) -> str:
        """``balanced accuracy, pgd ε 0.1``."""
        kind = "balanced accuracy" if self.balanced else "accuracy"
        by = " by the rule's feedback" if self.gradient == "rule" else ""
        return f"{kind}, {self.attack}{by} ε {self.epsilon:g}"

    @property
    def unit(self) -> Unit:
        """A fraction."""
        return "fraction"

    @property
    def reads_test(self) -> bool:
        """Always: what is attacked are test examples."""
        return True

    def of(self, run: Run) -> float | None:
        """Its value, None where the attack was not made."""
        measured = measurement(run, self.plan)
        rows = [row for row in measured["rows"] if self._is_of(row)] if measured else []
        return number(rows[0], "balanced_accuracy" if self.balanced else "accuracy") if rows else None

    def _is_of(self, row: AttackRow) -> bool:
        by_gradient = self.attack in ("fgsm", "pgd")
        fits = row["gradient"] == self.gradient if by_gradient else True
        return row["attack"] == self.attack and row["epsilon"] == self.epsilon and fits


@dataclass(frozen=True)
class StrongestAttack:
    """The least share of the test examples that a run gets right under any one of its plan's attacks.

    What masks gradients weakens some attacks, not all: of several nets the one that stands the strongest attack on
    each is the more robust, as far as these attacks can show. Transferred examples do not count: only some runs have
    another to take them from.

    Attributes:
        plan: by whose settings it was measured.
        epsilon: the size of the attacks, one of the plan's.
        balanced: the mean over classes of that share of each.
    """

    plan: RobustnessPlan
    epsilon: float
    balanced: bool = False

    @property
    def title(self) -> str:
        """``balanced accuracy, strongest attack ε 0.1``."""
        kind = "balanced accuracy" if self.balanced else "accuracy"
        return f"{kind}, strongest attack ε {self.epsilon:g}"

    @property
    def unit(self) -> Unit:
        """A fraction."""
        return "fraction"

    @property
    def reads_test(self) -> bool:
        """Always: what is attacked are test examples."""
        return True

    def of(self, run: Run) -> float | None:
        """The least over attacks and gradients; None where nothing was measured."""
        measured = measurement(run, self.plan)
        rows = measured["rows"] if measured else []
        at_size = [row for row in rows if row["epsilon"] == self.epsilon and row["attack"] != "transfer"]
        entry = "balanced_accuracy" if self.balanced else "accuracy"
        return min((value for row in at_size if (value := number(row, entry)) is not None), default=None)


@dataclass(frozen=True)
class Masking:
    """Whether the check of masked gradients came to a verdict: over runs, the share of those in which it did.

    Attributes:
        plan: by whose settings it was measured.
        verdict: ``suspected``, ``not seen`` or ``not decided``.
    """

    plan: RobustnessPlan
    verdict: str = "suspected"

    @property
    def title(self) -> str:
        """``masking suspected``."""
        return f"masking {self.verdict}"

    @property
    def unit(self) -> Unit:
        """A fraction."""
        return "fraction"

    @property
    def reads_test(self) -> bool:
        """Always: what is attacked are test examples."""
        return True

    def of(self, run: Run) -> float | None:
        """0 or 1; None where nothing was measured."""
        measured = measurement(run, self.plan)
        return float(measured["verdict"]["masking"] == self.verdict) if measured else None


def attack_runs(
    study: Study,
    runs: Mapping[str, Sequence[Run]],
    budget: BudgetName,
    *,
    executor: Executor | None = None,
    machine: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> None:
    """Measure the runs that are done and were not measured yet as the study plans it.

    Examples are transferred from a run beside the attacked one, in the same folder.

    Args:
        study: whose plans.
        runs: what to attack, by the name of the cell.
        budget: whose settings.
        executor: who attacks the runs; None for this process, one after another.
        machine: ``device`` and ``data_dir``, where they are not those of the training.
        progress: as for `biograd.training.train`.
    """
    attacked = [
        Attacked(run.folder, plan.settings(budget), [run.folder.parent], machine or {})
        for plan in study.robustness
        for cell in study.cells_of(plan)
        for run in runs.get(cell.name, ())
        if run.status == "done" and not _is_measured(run, plan, runs.values())
    ]
    measure_runs(attacked, executor=executor, progress=progress)


def measurement(run: Run, plan: RobustnessPlan) -> Measurement | None:
    """The newest measurement of a run by the settings of a plan, None where there is none."""
    wanted = [_as_recorded(plan.settings(name)) for name in ("full", "quick")]
    found = [one for one in run.measurements if one["settings"] in wanted]
    return found[-1] if found else None


def _is_measured(run: Run, plan: RobustnessPlan, runs: Iterable[Sequence[Run]]) -> bool:
    """Whether there is a measurement, with transferred examples as soon as there is a run to take them from."""
    measured = measurement(run, plan)
    if measured is None:
        return False
    beside = [other for cell in runs for other in cell if _is_beside(other, run)]
    sources = candidates(run, [run, *beside])
    return measured["source"] is not None or "transfer" not in measured["settings"]["attacks"] or not sources


def _is_beside(other: Run, run: Run) -> bool:
    """Whether another run lies in the same folder and, being of the same seed, has the same test examples."""
    return other.folder.parent == run.folder.parent and other.seed == run.seed


def _as_recorded(settings: AttackSettings) -> dict[str, Any]:
    return json.loads(json.dumps(settings.to_json()))
