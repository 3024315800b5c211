"""Numbers in the README and in the page of recorded runs are those of the recorded runs."""

from pathlib import Path

import pytest

from biograd.records import find_runs, summarize

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "results" / "README.md").read_text()
FOLDERS = {
    "digits-square": 8,
    "mnist-square": 4,
    "mnist-square-30": 2,
    "mnist-bartunov-fc": 6,
    "mnist-bartunov-fc-alternating": 3,
    "mnist-softhebb-cnn": 2,
    "cifar10-gait-deep": 5,
    "cifar10-gait-shallow": 5,
}


def cells(folder):
    return summarize(find_runs(ROOT / "results" / folder))


def spell(cell):
    """A cell as a row of a table begins."""
    accuracy = cell.test_accuracy
    spread = "" if accuracy.sd is None else f" ± {100 * accuracy.sd:.2f}"
    return f"| `{cell.rule}` | {100 * accuracy.mean:.2f}{spread} |"


@pytest.mark.parametrize(
    "cell", [*cells("mnist-mlp"), *cells("mnist-bartunov-fc")], ids=lambda c: f"{c.net}-{c.rule}"
)
def test_the_readme_gives_the_recorded_accuracy(cell):
    assert cell.test_accuracy.n == 3
    assert spell(cell) in README


def test_every_rule_of_the_readmes_table_was_recorded():
    found = cells("mnist-mlp")
    assert len(found) == 10
    assert all(not cell.failed and not cell.unfinished for cell in found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_page_of_recorded_runs_gives_their_accuracies(folder):
    found = cells(folder)
    _, part = PAGE.split(f"\n### `{folder}`\n")
    section = part.split("\n### ")[0].split("\n## ")[0]
    assert len(found) == FOLDERS[folder]
    for cell in found:
        row = spell(cell) if cell.test_accuracy.n else f"| `{cell.rule}` | not finished |"
        assert row in section
