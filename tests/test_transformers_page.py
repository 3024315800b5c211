"""The page on transformers gives the numbers of the recorded runs, layer by layer."""

import re
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import pytest

from biograd.records import find_runs, number, summarize

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "transformers.md"
LAYERS = tuple(f"layers.{place}" for place in range(4))


def cells(name):
    return summarize(find_runs(ROOT / "results" / f"{name}.records.xz"))


def spelled(values, times=1.0, decimals=1):
    """Mean ± sample standard deviation; of one run the number alone."""
    values = [times * value for value in values]
    spread = f" ± {stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return f"{mean(values):.{decimals}f}{spread}"


def last(run, quantity):
    """Layer of the net to the mean over its weights of a quantity, as it was last measured."""
    rows = [row for row in run.diagnostics if row["quantity"] == quantity]
    final = max((row["step"] for row in rows), default=0)
    found = defaultdict(list)
    for row in rows:
        value = number(row, "value")
        if row["step"] == final and value is not None:
            found[".".join(row["layer"].split(".")[:2])].append(value)
    return {layer: mean(values) for layer, values in found.items()}


def angles(cell):
    found = [last(run, "gradient_angle") for run in cell.runs]
    return [
        f"{mean(values):.0f}" if (values := [one[layer] for one in found if layer in one]) else "–"
        for layer in LAYERS
    ]


def growths(cell):
    return [multiple(cell.growth[layer].mean) for layer in LAYERS]


def multiple(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"


def row_of(cell, quantity, times, decimals):
    values = [number(run.result, quantity) for run in cell.runs]
    parts = [
        f"`{cell.rule}`",
        spelled(values, times, decimals),
        " · ".join(angles(cell)),
        " · ".join(growths(cell)),
    ]
    return f"| {' | '.join(parts)} |"


RECORDED = {
    "vit-cifar10": ("test_accuracy", 100.0, 1),
    "gpt-names": ("test_bits_per_token", 1.0, 2),
    "vit-digits": ("test_accuracy", 100.0, 1),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_row_of_the_page_is_what_was_recorded_of_a_rule(name):
    _, part = PAGE.read_text().split(f"`results/{name}`", 1)
    section = part.split("\n## ")[0]
    assert [row for cell in cells(name) if (row := row_of(cell, *RECORDED[name])) not in section] == []


def test_a_recorded_part_of_the_page_has_the_name_of_its_data_for_a_heading():
    assert re.findall("^## (.*)\n(?:(?!## ).*\n)*?.*`results/(.*?)`", PAGE.read_text(), re.MULTILINE) == [
        ("Digits", "vit-digits"),
        ("CIFAR-10", "vit-cifar10"),
        ("Characters", "gpt-names"),
    ]


if __name__ == "__main__":
    for name, how in RECORDED.items():
        print(name, *(row_of(cell, *how) for cell in cells(name)), sep="\n")
