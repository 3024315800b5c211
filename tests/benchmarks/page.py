"""The tables of ``docs/benchmarks.md``, of recorded rows; ``python -m tests.benchmarks`` writes them into the page."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biograd import rules
from biograd.bench.nets import BENCH_NETS
from biograd.records import read_json

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
BENCH = read_json(ROOT / "results" / "bench.json")
SCALING = read_json(ROOT / "results" / "scaling" / "scaling.json")
THREADS = read_json(ROOT / "results" / "bench-threads.json")

CHAINS = ("bartunov-mnist-fc", "mlp")
"""The nets that there are updates by hand of, with every rule."""
NETS = (*CHAINS, "convnet", "resnet20")
THREADED = (*CHAINS, "convnet")
"""The nets that were measured with several threads."""

Row = Mapping[str, Any]


def written() -> str:
    """The page, with what the recorded rows say in place of what it says now."""
    text = PAGE.read_text()
    for name, part in PARTS.items():
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{part()}\g<2>", text, flags=re.DOTALL
        )
        assert count == 1, f"the page has no place <!-- {name} --> … <!-- end -->"
    return text


def rules_by_hand() -> str:
    """The rules that have an update by hand on some net, or are beside them for comparison."""
    named = [name for name in _names() if any(_has(row, "of_reference") for row in _rows(name).values())]
    head = ("rule", *(f"`{net}`, {what}" if what == "× bp" else what for net in CHAINS for what in _RATIOS))
    return _said_of(BENCH) + _table(
        head,
        (
            (
                f"`{name}`",
                *(_ratio(_rows(name).get(net), what) for net in CHAINS for what in _RATIOS.values()),
            )
            for name in named
        ),
    )


def every_rule() -> str:
    """The ratio to backpropagation of every rule on every net, with the limit where there is one."""
    lines = [
        (f"`{name}`", *(_with_limit(_rows(name).get(net)) for net in NETS))
        for name in _names()
        if any(_has(row, "ratio") for row in _rows(name).values())
    ]
    return _table(("rule", *(f"`{net}`" for net in NETS)), lines)


def memory() -> str:
    """Kept and peak bytes of every rule on every net, as multiples of backpropagation's."""
    lines = [
        (f"`{name}`", *(_bytes(_rows(name).get(net)) for net in NETS))
        for name in _names()
        if any(_has(row, "kept_bytes") for row in _rows(name).values())
    ]
    return _table(("rule", *(f"`{net}`" for net in NETS)), lines)


def targets() -> str:
    """Target propagation, with how kept inverses did."""
    head = ("rule", "net", "× bp", "× by hand", "kept × bp", "inverses made anew", "largest residual")
    lines = [
        (
            *(f"`{name}`", f"`{net}`"),
            *(_ratio(row, "ratio"), _ratio(row, "of_reference"), _bytes(row).partition(" /")[0]),
            *_inverses(row),
        )
        for name in _names()
        if rules.REGISTRY.find(name).family == "target propagation"
        for net, row in _rows(name).items()
        if net in (*CHAINS, "square") and _has(row, "ratio")
    ]
    return _table(head, lines)


def locally_connected() -> str:
    """Each layer, and the chain of all, beside the convolution of the same shape."""
    rows = [row for row in BENCH["rows"] if row["benchmark"] == "locally_connected"]
    lines = [(row["net"].split()[-1], _ratio(row, "ratio"), f"{row['limit']:.1f}") for row in rows]
    return _table(("layer", "× convolution", "limit"), lines)


def sizes() -> str:
    """The ends of each curve of step times."""
    said = []
    for along in dict.fromkeys(row["along"] for row in SCALING["rows"]):
        curves: dict[str, list[Row]] = {}
        for row in SCALING["rows"]:
            if row["along"] == along and _has(row, "ratio"):
                curves.setdefault(row["rule"], []).append(row)
        said.append(_said_of_sizes(along, curves))
    return _said_of(SCALING) + "\n".join(said)


def threads() -> str:
    """The ratio to backpropagation with several threads, and how much of a step has other bits than with one."""
    found: dict[str, dict[str, Row]] = {}
    for row in THREADS["rows"]:
        if _has(row, "ratio"):
            found.setdefault(row["rule"], {})[row["net"]] = row
    head = ("rule", *(cell for net in THREADED for cell in (f"`{net}`, × bp", "other bits")))
    lines = [
        (f"`{name}`", *(cell for net in THREADED for cell in _threaded(found[name].get(net))))
        for name in _names()
        if name in found
    ]
    return _said_of(THREADS) + _table(head, lines)


def _threaded(row: Row | None) -> tuple[str, str]:
    return ("–", "") if row is None else (_ratio(row, "ratio"), f"{row['differing']} of {row['compared']}")


PARTS: dict[str, Callable[[], str]] = {
    "by hand": rules_by_hand,
    "every rule": every_rule,
    "memory": memory,
    "targets": targets,
    "locally connected": locally_connected,
    "sizes": sizes,
    "threads": threads,
}
"""What stands in the page between ``<!-- name -->`` and ``<!-- end -->``."""

_RATIOS = {"× bp": "ratio", "× by hand": "of_reference"}
_SIZES = {"width": "neurons a layer", "depth": "hidden layers", "batch": "examples"}


def _said_of(measured: Mapping[str, Any]) -> str:
    """Where and when rows were measured."""
    environment, row = measured["environment"], measured["rows"][0]
    threads = "one thread" if row["threads"] == 1 else f"{row['threads']} threads"
    return (
        f"Measured on {threads} of an {environment['cpu']} with PyTorch {environment['torch']}, at commit "
        f"`{environment['commit'][:7]}`.\n\n"
    )


def _said_of_sizes(along: str, curves: Mapping[str, Sequence[Row]]) -> str:
    """The figure of a size, and from where to where each ratio goes."""
    (first, *_, last) = next(iter(curves.values()))
    ends = f"from {first[along]} to {last[along]} {_SIZES[along]}"
    moved = [f"`{name}` {_ends(rows, 'ratio')}" for name, rows in curves.items() if name != "bp"]
    by_hand = [f"`{name}` {_ends(rows, 'of_reference')}" for name, rows in curves.items()]
    return (
        f"![Step times by {along}, beside backpropagation and beside the update by hand.]"
        f"(_static/scaling-by-{along}.svg)\n\n"
        f"**By {along}**, {ends}. × backpropagation: {', '.join(moved)}. × by hand: {', '.join(by_hand)}.\n"
    )


def _ends(rows: Sequence[Row], column: str) -> str:
    return f"{rows[0][column]:.2f} → {rows[-1][column]:.2f}"


def _names() -> list[str]:
    """The rules, in the order of the registry."""
    return rules.names()


def _rows(rule: str) -> dict[str, Row]:
    """The rows of a rule's steps, by net, in the order of the nets."""
    found = {
        row["net"]: row for row in BENCH["rows"] if (row["benchmark"], row["rule"]) == ("step_time", rule)
    }
    return {net: found[net] for net in BENCH_NETS if net in found}


def _has(row: Row, column: str) -> bool:
    return row.get(column) is not None


def _ratio(row: Row | None, column: str) -> str:
    """A ratio with its interval; empty where nothing was measured."""
    if row is None or not _has(row, column):
        return ""
    return f"{row[column]:.2f} [{row[f'{column}_low']:.2f}, {row[f'{column}_high']:.2f}]"


def _with_limit(row: Row | None) -> str:
    found = _ratio(row, "ratio")
    return f"{found}, ≤ {row['limit']:.2f}" if row and found and _has(row, "limit") else found or "–"


def _bytes(row: Row | None) -> str:
    if row is None or not _has(row, "kept_bytes"):
        return "–"
    kept, peak = (row[f"{what}_bytes"] / row[f"reference_{what}_bytes"] for what in ("kept", "peak"))
    return f"{kept:.2f} / {peak:.2f}"


def _inverses(row: Row) -> tuple[str, str]:
    if not _has(row, "refreshes"):
        return "", ""
    return f"{row['refreshes']} in {row['repeats']} steps", f"{row['residual']:.0e}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n{rows}"
