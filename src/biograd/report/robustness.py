"""Robustness in a report: curves over ε, a panel for each attack, and a table with what they must be read with."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain

from matplotlib.figure import Figure

from biograd.records import Spread, number
from biograd.report.attacked import PANELS, QUANTITIES, Attacked, Comparison, comparisons
from biograd.report.cells import brief_name_of, name_of, percent
from biograd.report.columns import MISSING, Column, Entry
from biograd.report.curves import plot_band
from biograd.report.drawing import WIDTH, Drawing, draw, legend, legend_height
from biograd.report.table import Table

_OVER_SEEDS = "Lines: means over seeds; bands: ± one sample standard deviation (none with one seed)."
_OVER_CLASSES = (
    "Each seed's value is its mean over the classes that are told from the rest, one run each; bands are the spread of "
    "these means."
)


def robustness(table: Table) -> list[Drawing]:
    """Accuracy and balanced accuracy under attack, for each task and each settings by which it was measured."""
    return [
        _draw(comparison, quantity)
        for comparison in comparisons(table)
        for quantity in QUANTITIES
        if comparison.panels()
    ]


@dataclass(frozen=True)
class AttackTable:
    """A table below the figures.

    Attributes:
        title: what it is about.
        columns: an entry a row.
        caption: how to read it.
        notes: what else a reader must know, a line each.
    """

    title: str
    columns: list[Column]
    caption: str
    notes: list[str]


def robustness_tables(table: Table) -> list[AttackTable]:
    """What the curves must be read with: clean accuracy, logit scale, gradients that are zero, verdicts."""
    return [_table(comparison) for comparison in comparisons(table)]


@dataclass(frozen=True)
class Printed:
    """A comparison in text.

    Attributes:
        heading: task and budget.
        rows: titles, then for each cell and attack accuracy and balanced accuracy at each ε, in percent.
        notes: what was not made and why.
    """

    heading: str
    rows: list[list[str]]
    notes: list[str]


def printed(table: Table, keys: Collection[str]) -> list[Printed]:
    """The curves in text.

    Args:
        table: of the runs.
        keys: of the measurements that are wanted.
    """
    return [
        Printed(
            f"{comparison.task}: accuracy / balanced accuracy in %; {budget(comparison)}",
            _text(comparison),
            _not_made(comparison),
        )
        for comparison in comparisons(table)
        if comparison.key in keys
    ]


def budget(comparison: Comparison) -> str:
    """What the attacks were allowed, in words."""
    settings = comparison.settings
    step = "2.5 ε / steps" if settings["step_size"] is None else f"{settings['step_size']:g}"
    words = [f"{comparison.examples} test examples", f"ε in {comparison.unit}"]
    if {"pgd", "transfer"} & set(settings["attacks"]):
        words.append(f"PGD: {settings['steps']} steps of {step}, {settings['restarts']} start(s)")
    if "square" in settings["attacks"]:
        words.append(f"square: {settings['queries']} queries")
    return "; ".join(words)


def _draw(comparison: Comparison, quantity: str) -> Drawing:
    panels = comparison.panels()
    rows = -(-len(panels) // 3)
    columns = -(-len(panels) // rows)
    cells = [one.cell for one in comparison.members]
    lines = [one.style for one in comparison.members]

    def paint(figure: Figure) -> None:
        places = list(chain(*figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)))
        for axes, panel in zip(places, panels, strict=False):
            for one in comparison.members:
                band = one.band(*panel, quantity)
                if band is not None:
                    plot_band(axes, band, one.style, (0.0, 100.0))
            axes.set_title(PANELS[panel], fontsize=7.5)
            axes.tick_params(labelbottom=True)
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        places[0].set_ylim(-3, 103)
        figure.supxlabel(f"ε ({comparison.unit})", fontsize=8.5)
        figure.supylabel(f"{_spoken(quantity)} (%)", fontsize=8.5)
        legend(figure, cells, lines)

    title = f"{_spoken(quantity).capitalize()} under attack: {comparison.task}"
    caption = (
        f"{budget(comparison)}. An example counts if it is right before and after. {_spread_of(comparison)} "
        f"{_sources(comparison)}"
    ).rstrip()
    size = (WIDTH, 0.5 + 1.9 * rows + legend_height(cells))
    return draw(f"robustness-{quantity}-{comparison.task}", title, caption, size, paint)


def _sources(comparison: Comparison) -> str:
    """On which runs transferred examples were made: no rule is attacked by its own."""
    made_on = {
        name_of(one.cell): sorted(
            {source.rpartition("/")[0] for m in one.measurements if (source := m["source"])}
        )
        for one in comparison.members
    }
    told = [f"of {', '.join(sources)} against {name}" for name, sources in made_on.items() if sources]
    return f"Transferred examples: {'; '.join(told)}." if told else ""


def _table(comparison: Comparison) -> AttackTable:
    members = comparison.members
    columns = [
        _text_column("rule", [name_of(one.cell) for one in members]),
        _column("seeds", [Entry(str(len(one.cell.seeds)), len(one.cell.seeds)) for one in members]),
        *([] if not _over_classes(comparison) else [_classes(members)]),
        *(_clean(members, title, name) for title, name in _CLEAN.items()),
        *(_zero(members, kind) for kind in comparison.settings["gradients"]),
        _text_column("masking", [_verdicts(one) for one in members]),
    ]
    caption = (
        f"{budget(comparison)}. Logit scale: mean magnitude of the margin between the right logit and the largest "
        f"other. Zero gradient: inputs whose gradient is exactly zero. {_spread_of(comparison)}".rstrip(".")
    )
    return AttackTable(comparison.task, columns, caption, _notes(comparison))


_CLEAN = {"accuracy %": "accuracy", "balanced accuracy %": "balanced_accuracy", "logit scale": "logit_scale"}


def _clean(members: Iterable[Attacked], title: str, name: str) -> Column:
    spreads = [one.spread(lambda found: number(found["clean"], name)) for one in members]
    spell = percent if title.endswith("%") else _plain
    entries = tuple(Entry(spell(one), one.mean) for one in spreads)
    return Column(title, True, entries, greatest_first=title.endswith("%"))


def _zero(members: Iterable[Attacked], kind: str) -> Column:
    spreads = [one.spread(lambda found: number(found["clean"]["zero_gradients"], kind)) for one in members]
    title = {"true": "zero gradient %", "rule": "zero feedback %"}[kind]
    return _column(title, [Entry(percent(one), one.mean) for one in spreads])


def _classes(members: Iterable[Attacked]) -> Column:
    return _column("classes", [Entry(str(len(one.classes)), len(one.classes)) for one in members])


def _verdicts(one: Attacked) -> str:
    """``suspected in 2 of 3``, or what all runs have."""
    found = one.verdicts()
    total = sum(found.values())
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(
        f"{verdict} in {count} of {total}" for verdict, count in sorted(found.items(), reverse=True)
    )


def _notes(comparison: Comparison) -> list[str]:
    """What was not made, what has no part in a mean, and the grounds of every suspicion."""
    notes = _not_made(comparison)
    for one in comparison.members:
        if one.left_out:
            notes.append(
                f"{name_of(one.cell)}: {one.left_out} run(s) of classes that other seeds lack are left out."
            )
        for run, found in zip(one.cell.runs, one.measurements, strict=True):
            if found["verdict"]["masking"] == "suspected":
                where = f"{name_of(one.cell)}, {run.task}, seed {run.seed}"
                notes.append(f"{where}: masking suspected: {'; '.join(found['verdict']['reasons'])}.")
    return notes


def _not_made(comparison: Comparison) -> list[str]:
    return [f"{name_of(cell)}, {attack}: {reason}." for cell, attack, reason in comparison.not_made()]


def _text(comparison: Comparison) -> list[list[str]]:
    sizes = comparison.settings["epsilons"]
    rows = [["rule", "attack", *(f"ε {size:g}" for size in sizes)]]
    for one in comparison.members:
        for panel in comparison.panels():
            bands = [one.band(*panel, quantity) for quantity in QUANTITIES]
            values = [band.mean if band else [] for band in bands]
            points = [f"{plain:.1f}/{balanced:.1f}" for plain, balanced in zip(*values, strict=True)]
            rows.append([brief_name_of(one.cell), PANELS[panel], *(points or [MISSING] * len(sizes))])
    return rows


def _over_classes(comparison: Comparison) -> bool:
    return any(len(one.classes) > 1 for one in comparison.members)


def _spread_of(comparison: Comparison) -> str:
    return f"{_OVER_SEEDS} {_OVER_CLASSES}" if _over_classes(comparison) else _OVER_SEEDS


def _spoken(quantity: str) -> str:
    return quantity.replace("_", " ")


def _plain(one: Spread) -> str:
    if one.mean is None:
        return MISSING
    return f"{one.mean:.3g}" + (f" ± {one.sd:.2g}" if one.sd is not None else " (1 seed)")


def _column(title: str, entries: list[Entry]) -> Column:
    return Column(title, True, tuple(entries))


def _text_column(title: str, texts: list[str]) -> Column:
    return Column(title, False, tuple(Entry(text, text) for text in texts))
