"""Numbers in the pages on spikes, on depth and on alignment are those of the recorded rows."""

import math
from pathlib import Path

import pytest

from biograd.records import read_json
from biograd.theory.summary import rows

ROOT = Path(__file__).parents[1]
LOCAL = " ".join((ROOT / "docs" / "local-learning.md").read_text().split())
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text()
THEORY = " ".join((ROOT / "docs" / "alignment-theory.md").read_text().split())
RESULTS = " ".join((ROOT / "results" / "README.md").read_text().split())


def recorded(name):
    return read_json(ROOT / "results" / name)


SPIKES = recorded("theory/spike-timing.json")
DEPTH = recorded("depth/memory-by-depth.json")["rows"]
CELLS = recorded("song2021-simulations/alignment-by-width.json")
CONVERGENCE = recorded("song2021-convergence/convergence.json")
CUT_OFF = recorded("song2021-cut-off/convergence.json")
KERNELS = {
    name: recorded(f"song2021-kernels.records.xz/{name}/kernel-norms.json")
    for name in ("tanh", "relu", "linear", "linear-500")
}
LINEAR = [
    rows(recorded(f"song2021-linear.records.xz/{name}.json"))[0]
    for name in ("linear-400-fa-1a5503a597", "linear-800-fa-d8dec57198")
]


def spell(value):
    """A number below 1 as the pages write it: 3.1·10⁻¹³, 0.0064."""
    if value >= 1e-3:
        return f"{value:.2g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}·10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def minus(value, digits):
    return f"{value:.{digits}f}".replace("-", "−")


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


def test_every_published_cell_up_to_3200_is_recorded_and_within_two_deviations():
    widths = {row["width"] for row in CELLS["rows"]}
    assert (len(CELLS["rows"]), widths) == (60, {200, 400, 800, 1600, 3200})
    assert all(row["trials"] == 20 and not row["capped"] + row["diverged"] for row in CELLS["rows"])
    largest = max(abs(row["deviations"]) for row in CELLS["rows"])
    assert largest < 2
    for page in (THEORY, RESULTS):
        assert f"within {largest:.2f} published standard deviations" in page


def test_the_page_on_alignment_gives_the_recorded_cosines():
    cosine = {
        (row["activation"], row["width"], row["regularization"]): row["cosine_mean"] for row in CELLS["rows"]
    }
    free, decayed = ([f"{cosine['tanh', width, own]:.2f}" for width in (200, 3200)] for own in (0, 0.005))
    assert f"Without decay tanh goes from {free[0]} at p = 200 to {free[1]} at 3200" in THEORY
    assert f"with λ = 0.005 from {decayed[0]} to {decayed[1]}." in THEORY


def test_the_page_of_recorded_runs_gives_how_far_each_cell_is_from_the_published():
    lines = {}
    for row in CELLS["rows"]:
        far = f"{row['deviations']:+.2f}".replace("-", "−")
        lines.setdefault(f"{row['activation']}, {row['regularization']:g}", []).append((row["width"], far))
    for name, cells in lines.items():
        assert f"| {name} | {' | '.join(far for _, far in sorted(cells))} |" in RESULTS


def test_the_page_of_recorded_runs_says_which_means_differ_by_more_than_two_standard_errors():
    errors = {
        (row["activation"], row["regularization"], row["width"]): abs(
            row["cosine_mean"] - row["published_mean"]
        )
        / math.hypot(row["published_sd"] / 50**0.5, row["cosine_sd"] / row["trials"] ** 0.5)
        for row in CELLS["rows"]
    }
    assert sorted(cell for cell, far in errors.items() if far > 2) == [
        ("linear", 0.3, 200),
        ("linear", 0.5, 200),
        ("relu", 0.02, 400),
    ]
    assert f"the farthest {max(errors.values()):.1f}." in RESULTS
    assert all(
        row["deviations"] > 0
        for row in CELLS["rows"]
        if row["activation"] == "linear" and row["regularization"]
    )


def test_both_widths_of_the_linear_net_are_recorded():
    assert [(row["width"], row["regularization"]) for row in LINEAR] == [(400, 0), (800, 0)]


@pytest.mark.parametrize("row", LINEAR, ids=lambda row: str(row["width"]))
def test_without_decay_the_linear_cosine_is_n_over_p(row):
    ratio, error = (row[what] / row["predicted"] for what in ("cosine_mean", "standard_error"))
    assert abs(ratio - 1) < max(0.25, 2 * error)
    for page in (THEORY, RESULTS):
        assert f"{ratio:.2f} ± {error:.2f} at p = {row['width']}" in page
    assert row["trials"] == 50


@pytest.mark.parametrize("name", KERNELS)
def test_the_pages_give_the_power_by_which_the_kernel_of_the_first_layer_falls(name):
    found = KERNELS[name]
    activation, _, draws = name.partition("-")
    wanted = {"activation": activation, "normalize": True, "trials": int(draws or 20)}
    assert found["config"] | wanted == found["config"]
    assert abs(found["exponent"] + 0.5) < max(0.05, 2 * found["standard_error"])
    label = f"{activation}, {draws} draws" if draws else activation
    for page in (THEORY, RESULTS):
        assert f"{minus(found['exponent'], 3)} ± {found['standard_error']:.3f} ({label})" in page
    first, *_, last = found["rows"]
    assert f"from {first['slowest_mean']:.2f} to {last['slowest_mean']:.2f} ({label})" in RESULTS


def test_the_pages_give_the_recorded_convergence():
    (row,) = CONVERGENCE["rows"]
    config = CONVERGENCE["config"]
    assert (config["activation"], config["width"], config["normalize"]) == ("tanh", 3200, True)
    assert 0.95 < row["slope_ratio"] < 1.25
    for page in (THEORY, RESULTS):
        assert f"{row['slope_ratio']:.3f} ± {row['slope_ratio_sd']:.3f}" in page
        assert f"the recursion's own is {row['recursion_ratio']:.3f}" in page
        assert f"{row['decades_apart']:.2f} powers of ten" in page
    assert f"after {row['steps'][-1]:,} steps the mean squared error is {spell(row['loss'][-1])}" in THEORY
    assert f"the cosine {row['cosine'][-1]:.3f} ± {row['cosine_sd'][-1]:.3f}" in THEORY
    assert f"has moved by {row['second_layer'][-1]:.1f}" in THEORY


def test_the_pages_give_what_a_cut_off_keeps():
    free, decayed = CUT_OFF["rows"]
    assert (free["regularization"], decayed["regularization"]) == (0, 0.005)
    before, end = decayed["steps"].index(CUT_OFF["config"]["horizon"]), -1
    for page in (THEORY, RESULTS):
        for row, place in ((decayed, before), (decayed, end), (free, end)):
            assert f"{spell(row['loss'][place])} and {row['cosine'][place]:.3f}" in page


def test_the_page_gives_what_the_wide_cells_measured():
    rows = recorded("song2021-wide/rows.json")["rows"]
    page = (ROOT / "results" / "README.md").read_text()
    cells = {(row["activation"], row["regularization"], row["width"]): row for row in rows}
    assert len(rows) == len(cells) == 24
    for activation, decay, _ in cells:
        shown = []
        for width in (6400, 12800):
            row = cells[activation, decay, width]
            shown.append(f"{row['deviations']:+.2f}".replace("-", "−") + f" ({row['trials']})")
        assert f"| {activation}, {decay:g} | {' | '.join(shown)} |" in page
    assert f"within {max(abs(row['deviations']) for row in rows):.2f} of these" in page
