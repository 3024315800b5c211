"""Numbers in the pages on spikes and on depth are those of the recorded rows."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCAL = " ".join((ROOT / "docs" / "local-learning.md").read_text().split())
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text()
SPIKES = json.loads((ROOT / "results" / "theory" / "spike-timing.json").read_text())
DEPTH = json.loads((ROOT / "results" / "depth" / "memory-by-depth.json").read_text())["rows"]


def test_the_page_on_spikes_gives_the_recorded_slopes():
    synapse, group = (SPIKES["fits"][what] for what in ("synapse", "group"))
    assert (
        f"slope of {synapse['slope']:.3f} ± {synapse['standard_error']:.3f} for {len(SPIKES['synapse'])}"
        in LOCAL
    )
    assert (
        f"of {group['slope']:.3f} ± {group['standard_error']:.3f} for {len(SPIKES['group'])} synapses"
        in LOCAL
    )
    assert f"lie {synapse['largest']:.1f} and {group['largest']:.1f} standard errors" in LOCAL
    assert (SPIKES["trials"], SPIKES["seed"]) == (10_000, 0)


@pytest.mark.parametrize("rule", dict.fromkeys(row["rule"] for row in DEPTH))
def test_the_table_of_depths_gives_the_recorded_memory(rule):
    rows = {row["hidden"]: row for row in DEPTH if row["rule"] == rule}
    cells = [
        f"{rows[hidden][column] / 1e6:.2f} MB"
        for column in ("kept_bytes", "peak_bytes")
        for hidden in (2, 32)
    ]
    assert f"\n| `{rule}` | {' | '.join(cells)} |\n" in BENCHMARKS
