"""The verdicts of an assessment as tables, a row a rule and rung, and what all rungs say of a rule."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from biograd.handed import label_of
from biograd.records import Assessment, VerdictRow
from biograd.records.assessment import AcrossRow, Beside, CheckRow, Interval, RungRow
from biograd.report.columns import MISSING, Column, Entry, numbers, text_entry, texts, with_content

BRIEF = "accuracy on the test set, %, differences in points, with 95 % intervals; the report and --json have the rest"

ACROSS = (
    "accuracy: interquartile mean over all runs of all rungs, %; better than: how likely a run is better than "
    "one of the other rule on the same rung, mean over rungs; both with 95 % intervals, resampled rung by rung"
)


def caption(found: Assessment) -> str:
    """How the numbers of the verdicts were made."""
    return (
        f"accuracy on the test set, %: mean over seeds with its {100 * found['level']:g} % interval. Gap and leads: "
        "differences in points, seed by seed; their intervals hold for all rules of a rung together (bootstrap, "
        "Bonferroni). With fewer than six seeds no interval is wider than the values that were measured. Better than: "
        "the probability that a run is. Seconds: a run that was trained at another time, or beside other work, may "
        "differ for that alone. Memory: the most that a step holds while it teaches. Checks: growth, reference and "
        "stability, of which those are named that fail; the fourth, the use of depth, is the lead"
    )


def heading(found: Assessment) -> str:
    """Title and budget."""
    return f"Assessment, {found['budget']} budget"


def verdict_columns(found: Assessment) -> list[Column]:
    """A row a rule and rung, from the bottom up; columns in which no row has anything are left out."""
    titles = {row["rung"]: row["title"] for row in found["rungs"]}
    rows = found["verdicts"]
    reference = {row["rung"]: row for row in rows if row["rule"] == "bp"}
    columns = [
        texts("rung", [text_entry(titles[row["rung"]]) for row in rows]),
        texts("rule", [text_entry(label_of(row["rule"])) for row in rows]),
        texts("verdict", [text_entry(verdict(row)) for row in rows]),
        numbers("accuracy %", [_share(row["accuracy"]) for row in rows], greatest_first=True),
        numbers("gap to bp", [_difference(row["gap"]) for row in rows], greatest_first=True),
        numbers("lead over frozen", [_difference(row["lead"]) for row in rows], greatest_first=True),
        numbers(
            "lead over shallow", [_difference(row["lead_over_shallow"]) for row in rows], greatest_first=True
        ),
        *_better(rows),
        numbers("seconds", [_cost(row, reference, "seconds", "{:.3g}".format) for row in rows]),
        numbers("memory", [_cost(row, reference, "kept_bytes", _bytes) for row in rows]),
        texts("checks", [text_entry(_checks(row["checks"])) for row in rows]),
        numbers("seeds", [_seeds(row) for row in rows]),
        texts("trained", [_trained(row) for row in rows]),
        texts("chosen", [text_entry(_chosen(row)) for row in rows]),
    ]
    return with_content(columns)


def brief_columns(found: Assessment) -> list[Column]:
    """What of it a terminal has room for."""
    titles = ("rung", "rule", "verdict", "accuracy %", "gap to bp", "lead over frozen")
    return [column for column in verdict_columns(found) if column.title in titles]


def across_columns(rows: Sequence[AcrossRow]) -> list[Column]:
    """A row a rule that is there on several rungs."""
    columns = [
        texts("rule", [text_entry(label_of(row["rule"])) for row in rows]),
        numbers("rungs", [Entry(str(row["rungs"]), row["rungs"]) for row in rows]),
        numbers("accuracy %", [_share(row["accuracy"]) for row in rows], greatest_first=True),
        *_better(rows),
    ]
    return with_content(columns)


def left_out(rungs: Sequence[RungRow]) -> list[str]:
    """A line for each rung that was not climbed."""
    return [f"{row['title']}: {row['left_out']}" for row in rungs if row["left_out"]]


def budgets(rungs: Sequence[RungRow]) -> list[str]:
    """A line for each rung that was: what every rule got there."""
    return [
        f"{row['title']}: {row['trials']} trials of {_epochs(row['trial_epochs'])}, then {row['seeds']} seeds of "
        f"{_epochs(row['epochs'])}"
        for row in rungs
        if not row["left_out"]
    ]


def verdict(row: VerdictRow) -> str:
    """What came of a rule on a rung, or why nothing did.

    Example:
        >>> verdict({"is_baseline": False, "reason": None, "verdict": "below bp, above frozen", "open": None})
        'below bp, above frozen'
        >>> verdict({"is_baseline": False, "reason": "needs an output layer", "verdict": None, "open": None})
        'none: needs an output layer'
    """
    if row["reason"] is not None:
        return f"none: {row['reason']}"
    if row["is_baseline"]:
        return "baseline"
    return row["verdict"] or f"open: {row['open'] or 'too few seeds for an interval'}"


def _better(rows: Sequence[VerdictRow] | Sequence[AcrossRow]) -> list[Column]:
    """How likely a run is better than one of the others."""
    beside_bp = [_likely(row["improvement"]) for row in rows]
    beside_frozen = [_likely(row["improvement_over_frozen"]) for row in rows]
    return [
        numbers("better than bp", beside_bp, greatest_first=True),
        numbers("better than frozen", beside_frozen, greatest_first=True),
    ]


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _chosen(row: VerdictRow) -> str:
    """The settings that the search chose."""
    return ", ".join(f"{name} {value}" for name, value in row["settings"].items())


def _checks(rows: Sequence[CheckRow]) -> str:
    """``passed``, or what did not; empty where nothing was measured."""
    failed = [f"{row['check']} {row['value']:.3g} in {row['layer']}" for row in rows if row["flagged"]]
    return ", ".join(failed) or ("passed" if rows else "")


def _seeds(row: VerdictRow) -> Entry:
    """How many finished, and what did not."""
    done = row["runs"] - row["diverged"] - row["unfinished"]
    counts = {"diverged": row["diverged"], "unfinished": row["unfinished"]}
    notes = [f"{count} of {row['runs']} {state}" for state, count in counts.items() if count]
    return Entry(f"{done} ({', '.join(notes)})" if notes else str(done), done if row["runs"] else None)


def _trained(row: VerdictRow) -> Entry:
    """Where runs had fewer epochs than a result has."""
    is_short = row["runs"] and row["epochs"] < row["of_epochs"]
    return text_entry(f"{row['epochs']} of {row['of_epochs']} epochs" if is_short else "")


def _share(one: Interval) -> Entry:
    return _spelled(one, lambda value: f"{100 * value:.2f}")


def _difference(one: Beside) -> Entry:
    return _spelled(one, lambda value: f"{100 * value:+.2f}".replace("-", "−"))


def _likely(one: Interval) -> Entry:
    return _spelled(one, lambda value: f"{value:.2f}")


def _spelled(one: Interval, spell: Callable[[float], str]) -> Entry:
    value, low, high = one["value"], one["low"], one["high"]
    if value is None:
        return Entry(MISSING, None)
    if low is None or high is None:
        return Entry(spell(value), value)
    return Entry(f"{spell(value)} ({spell(low)} to {spell(high)})", value)


def _cost(
    row: VerdictRow,
    reference: Mapping[str, VerdictRow],
    key: Literal["seconds", "kept_bytes"],
    spell: Callable[[float], str],
) -> Entry:
    """A cost, and how many times backpropagation's on the same rung it is."""
    value = row[key]
    if value is None:
        return Entry(MISSING, None)
    theirs = reference[row["rung"]][key] if row["rung"] in reference else None
    times = f" (× {value / theirs:.2f})" if theirs and row["rule"] != "bp" else ""
    return Entry(f"{spell(value)}{times}", value)


def _bytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
