"""Figures of searches: what accuracy costs in tuning, how sensitive rules are to settings, which settings matter."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from biograd.handed import label_of
from biograd.records import TrialRow, Trials
from biograd.report.drawing import WIDTH, Drawing, draw, readable
from biograd.report.importance import Importances, importances, outcomes
from biograd.report.palette import Look, looks_apart
from biograd.report.table import Style
from biograd.tasks import metric_of


class Searched(NamedTuple):
    """A rule's trials that have ended, in their order."""

    rule: str
    rows: list[TrialRow]


def search_figures(searches: Sequence[Trials], look: Mapping[str, Look]) -> list[Drawing]:
    """Best so far, all trials sorted and the importance of settings, for each data set and net.

    Args:
        searches: one a rule.
        look: of rules in the other figures; others take what is free.
    """
    drawings, order = [], {rule: place for place, rule in enumerate(look)}
    for task, members in _by_task(searches).items():
        members.sort(key=lambda one: order.get(one.rule, len(order)))
        looks = _looks(members, look)
        drawings += [_best_so_far(task, members, looks), _sorted(task, members, looks)]
        found = {one.rule: told for one in members if (told := importances(one.rows))}
        if found:
            drawings.append(_importance(task, found, looks))
    return drawings


def best_so_far(rows: Sequence[TrialRow]) -> list[float]:
    """The best value of the trials up to each one, nan where all of these have diverged."""
    sign, best, found = _sign(rows), -math.inf, []
    for row in rows:
        best = best if row["value"] is None else max(best, sign * row["value"])
        found.append(sign * best if math.isfinite(best) else math.nan)
    return found


def expected_best(values: Sequence[float], count: int) -> float:
    """The expected greatest of so many of the values, drawn without replacement.

    E = Σ_i v_i C(i − 1, n − 1) / C(N, n) over the sorted values v_1 ≤ … ≤ v_N: what a search of n trials would have
    found, whatever the order [1].

    Args:
        values: N of them.
        count: n, from 1 to N.

    References:
        [1] Dodge et al. (2019). Show Your Work: Improved Reporting of Experimental Results. EMNLP.

    Example:
        >>> expected_best([1.0, 2.0, 3.0], 1), expected_best([1.0, 2.0, 3.0], 3)
        (2.0, 3.0)
    """
    draws = math.comb(len(values), count)
    return sum(value * math.comb(below, count - 1) / draws for below, value in enumerate(sorted(values)))


def _by_task(searches: Sequence[Trials]) -> dict[tuple[str, str], list[Searched]]:
    """By data set and net, those with a value; searches of one rule are told apart by a number."""
    found: dict[tuple[str, str], list[Searched]] = defaultdict(list)
    for search in searches:
        rows = search.done
        if any(row["value"] is not None for row in rows):
            members = found[rows[0]["data"], rows[0]["net"]]
            same = sum(one.rule.partition(" #")[0] == search.search["rule"] for one in members)
            name = search.search["rule"] + (f" #{same + 1}" if same else "")
            members.append(Searched(name, rows))
    return found


def _looks(members: Sequence[Searched], look: Mapping[str, Look]) -> dict[str, Look]:
    free = iter(looks_apart(len(members)))
    return {one.rule: look.get(one.rule) or next(free) for one in members}


def _best_so_far(task: tuple[str, str], members: Sequence[Searched], looks: Mapping[str, Look]) -> Drawing:
    def paint(axes: Axes) -> None:
        for one in members:
            color, scale, sign = looks[one.rule].color, _scale(one.rows), _sign(one.rows)
            trials = range(1, len(one.rows) + 1)
            values = [sign * value for value in outcomes(one.rows)]
            expected = [scale * sign * expected_best(values, count) for count in trials]
            best = [scale * value for value in best_so_far(one.rows)]
            axes.plot(trials, expected, linewidth=0.9, linestyle=(0, (4, 1.5)), color=color)
            axes.plot(trials, best, linewidth=1.4, drawstyle="steps-post", **_style(one, looks))
        axes.set_xlabel("trials")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))

    caption = (
        "Solid: the best by the validation part up to each trial. Dashed: the best to be expected of so many of the "
        "same trials in any order; trials that diverged count as the worst of the others."
    )
    return _lines("best-so-far", "Best setting found", task, members, caption, paint)


def _sorted(task: tuple[str, str], members: Sequence[Searched], looks: Mapping[str, Look]) -> Drawing:
    def paint(axes: Axes) -> None:
        for one in members:
            values = [row["value"] for row in one.rows if row["value"] is not None]
            ranked = sorted(values, reverse=_sign(one.rows) > 0)
            shares = [100 * (rank + 0.5) / len(one.rows) for rank in range(len(ranked))]
            axes.plot(
                shares, [_scale(one.rows) * value for value in ranked], linewidth=1.4, **_style(one, looks)
            )
        axes.set_xlabel("trials, the best first (%)")
        axes.set_xlim(0, 100)

    diverged = {one.rule: sum(row["value"] is None for row in one.rows) for one in members}
    told = ", ".join(f"{count} of {rule}" for rule, count in diverged.items() if count)
    caption = (
        "All trials of each rule, sorted by the validation part: the flatter a line, the less a rule depends on its "
        f"settings. Lines end where trials diverged{f' ({told})' if told else ''}."
    )
    return _lines("sensitivity", "Sensitivity to settings", task, members, caption, paint)


def _lines(
    kind: str,
    title: str,
    task: tuple[str, str],
    members: Sequence[Searched],
    caption: str,
    paint_axes: Callable[[Axes], None],
) -> Drawing:
    name = " · ".join(map(label_of, task))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        paint_axes(axes)
        axes.set_ylabel(_titled(members[0].rows))
        figure.legend(loc="outside upper left", ncols=6, handlelength=2.2, columnspacing=1.4)

    size = (WIDTH, 3.0 + 0.17 * -(-len(members) // 6))
    return draw(f"{kind}-{name}", f"{title}: {name}", caption, size, paint)


def _importance(
    task: tuple[str, str], found: Mapping[str, Importances], looks: Mapping[str, Look]
) -> Drawing:
    name = " · ".join(map(label_of, task))
    bars = [(rule, one) for rule, told in found.items() for one in told.settings]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for row, (rule, one) in enumerate(bars):
            axes.barh(row, max(0.0, one.mean), xerr=one.sd, height=0.6, color=looks[rule].color, alpha=0.55)
        labels = [f"{readable(rule, 28)} · {readable(one.setting, 34)}" for rule, one in bars]
        axes.set_yticks(range(len(bars)), labels)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("fall of R² when the setting is shuffled")

    told = ", ".join(f"{rule} {one.r2:.2f}" for rule, one in found.items())
    caption = (
        "Permutation importance of each setting for the value of a trial, of a random forest (scikit-learn), mean ± "
        "standard deviation over shuffles. R² of the forest on trials that its trees have not seen: "
        f"{told}; near 0 or below, the bars say nothing."
    )
    size = (WIDTH, 0.8 + 0.2 * len(bars))
    return draw(f"importance-{name}", f"Importance of settings: {name}", caption, size, paint)


def _style(one: Searched, looks: Mapping[str, Look]) -> Style:
    look = looks[one.rule]
    return {
        "color": look.color,
        "marker": look.marker,
        "markersize": 3.6,
        "markeredgewidth": 0,
        "label": readable(one.rule, 40),
    }


def _sign(rows: Sequence[TrialRow]) -> int:
    """What values are multiplied by so that the greatest is the best."""
    metric = metric_of(rows[0]["metric"]) if rows else None
    return -1 if metric is not None and metric.smaller_is_better else 1


def _scale(rows: Sequence[TrialRow]) -> float:
    metric = metric_of(rows[0]["metric"])
    return 100.0 if metric is not None and metric.is_share else 1.0


def _titled(rows: Sequence[TrialRow]) -> str:
    metric = metric_of(rows[0]["metric"])
    if metric is None:
        return rows[0]["metric"].replace("_", " ")
    return f"validation {metric.title}" + (" (%)" if metric.is_share else "")
