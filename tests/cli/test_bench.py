import json
from pathlib import Path

import pytest

from biograd import bench
from biograd.records import environment, pack

MEASURED = {
    "net": "mlp",
    "rule": "fa",
    "seconds": 0.012345,
    "ratio": 1.0,
    "ratio_low": 0.9,
    "ratio_high": 1.1,
    "limit": 1.03,
    "aim": 0.92,
    "of_reference": 1.05,
    "of_reference_low": 1.04,
    "of_reference_high": 1.06,
    "of_reference_limit": 1.1,
    "of_reference_aim": 1.02,
    "kept_bytes": 50,
    "reference_kept_bytes": 100,
    "reason": None,
}


def lines(biograd, monkeypatch, **changes) -> list[str]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(bench, "run", lambda **_: [{**MEASURED, **changes}])
    return biograd("bench").out.splitlines()


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, ""),
        ({"ratio": 1.2, "ratio_low": 1.1}, "over the limit"),
        ({"ratio": 1.2, "ratio_low": 1.0}, "over, within noise"),
        ({"ratio": 9.0, "ratio_low": 9.0, "limit": None}, ""),
        ({"of_reference": 1.2, "of_reference_low": 1.11}, "by hand over the limit"),
        ({"of_reference": 1.2, "of_reference_low": 1.1}, "by hand over, within noise"),
        (
            {"ratio": 1.2, "ratio_low": 1.1, "of_reference": 1.2, "of_reference_low": 1.2},
            "over the limit; by hand over the limit",
        ),
        (dict.fromkeys(("of_reference", "of_reference_limit", "of_reference_aim")), ""),
    ],
)
def test_a_ratio_is_judged_by_its_limit_and_its_interval(biograd, monkeypatch, changes, verdict):
    header, line = lines(biograd, monkeypatch, **changes)
    assert line[header.index("memory × bp") + len("memory × bp") :].strip() == verdict


def test_figures_stand_under_their_titles(biograd, monkeypatch):
    header, line = lines(biograd, monkeypatch)
    row = {
        title: line[header.index(title) :].split("  ")[0]
        for title in ("ms", "× bp", "95 %", "at most", "aim", "× hand")
    }
    assert row.pop("× hand") == "1.050"
    assert row == {"ms": "12.35", "× bp": "1.000", "95 %": "[0.900, 1.100]", "at most": "1.03", "aim": "0.92"}
    assert line[header.index("× hand") :].split() == ["1.050", "[1.040,", "1.060]", "1.10", "1.02", "0.50"]
    assert line.rstrip().endswith("0.50")


def test_a_rule_that_cannot_teach_the_net_says_why(biograd, monkeypatch):
    unmeasured = dict.fromkeys(("seconds", "ratio", "ratio_low", "ratio_high", "kept_bytes"))
    _, line = lines(biograd, monkeypatch, **unmeasured, reason="it is no chain")
    assert line.endswith("not measured: it is no chain")


def test_flags_reach_the_benchmark(biograd, monkeypatch):
    seen = {}
    monkeypatch.setattr(bench, "run", lambda **given: seen.update(given) or [])
    row = biograd("bench --rules fa,dfa --nets mlp --repeats 7 --threads 2 --seed 3 --json").row
    assert seen == {"rules": ["fa", "dfa"], "nets": ["mlp"], "repeats": 7, "threads": 2, "seed": 3}
    assert row == {"rows": [], "environment": environment()}


def test_a_layer_without_bytes_has_none_in_its_line(biograd, monkeypatch):
    _, line = lines(biograd, monkeypatch, kept_bytes=None, reference_kept_bytes=None)
    assert line.rstrip().endswith("1.02")


def test_kept_inverses_say_how_they_did(biograd, monkeypatch):
    kept = {"refreshes": 7, "repeats": 120, "residual": 8e-4, "residual_limit": 1e-3}
    _, line = lines(biograd, monkeypatch, **kept)
    assert line.endswith("7 inverses anew in 120 steps, residual 8e-04")
    _, line = lines(biograd, monkeypatch, **{**kept, "residual": 2e-3, "ratio": 1.2, "ratio_low": 1.1})
    assert line.endswith("over the limit; 7 inverses anew in 120 steps, residual 2e-03, over the limit")


def test_inverses_are_measured_drawn_and_kept_as_rows(biograd, monkeypatch, tmp_path):
    seen = {}
    rows = [
        {**MEASURED, "net": "square 64", "strategy": "kept", "width": 64, "batch": 8, "threads": 1}
        | {"reference_seconds": 0.01}
    ]
    monkeypatch.setattr(bench, "inverse_costs", lambda **given: seen.update(given) or rows)
    folder = tmp_path / "new" / "figures"
    row = biograd(f"bench inverses --widths 64 --repeats 3 --out {folder} --json").row
    assert seen == {"widths": [64], "repeats": 3}
    assert row == {"rows": rows, "environment": environment(), "figure": str(folder / "inverse-cost.svg")}
    assert (folder / "inverse-cost.svg").read_text().startswith("<?xml")
    assert (folder / "inverse-cost.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((folder / "inverse-cost.json").read_text())["rows"] == rows
    header, line, figure = biograd(f"bench inverses --out {folder}").out.splitlines()
    assert header.split()[:2] == ["net", "strategy"]
    assert line.split()[:3] == ["square", "64", "kept"]
    assert figure == str(folder / "inverse-cost.svg")


def test_memory_by_depth_is_measured_drawn_and_kept_as_rows(biograd, monkeypatch, tmp_path):
    seen = {}
    row = {
        "rule": "fa",
        "hidden": 4,
        "width": 256,
        "batch": 128,
        "kept_bytes": 500_000,
        "peak_bytes": 900_000,
    }
    row |= {"reference_kept_bytes": 1_000_000, "reference_peak_bytes": 1_200_000, "reason": None}
    refused = {**row, "rule": "shy", "kept_bytes": None, "peak_bytes": None, "reason": "it is no chain"}
    monkeypatch.setattr(bench, "memory_by_depth", lambda **given: seen.update(given) or [row, refused])
    folder = tmp_path / "new"
    figure = str(folder / "memory-by-depth.svg")
    found = biograd(f"bench depth --rules fa,shy --depths 4 --seed 2 --out {folder} --json").row
    assert seen == {"rules": ["fa", "shy"], "depths": [4], "seed": 2}
    assert found == {"rows": [row, refused], "environment": environment(), "figure": figure}
    assert (folder / "memory-by-depth.svg").read_text().startswith("<?xml")
    assert json.loads((folder / "memory-by-depth.json").read_text())["rows"] == [row, refused]
    titles, line, other, last = biograd(f"bench depth --out {folder}").out.splitlines()
    assert titles.split()[:4] == ["rule", "hidden", "kept", "peak"]
    assert line.split() == ["fa", "4", "500.0", "kB", "900.0", "kB", "0.50", "0.75"]
    assert other.endswith("not measured: it is no chain")
    assert last == figure


def test_curves_are_measured_drawn_and_kept_as_rows(biograd, monkeypatch, tmp_path):
    seen = {}
    about = {"along": "width", "width": 64, "depth": 4, "batch": 128, "threads": 1}
    rows = [
        {**MEASURED, **about},
        {**MEASURED, **about, "width": 128},
        {**MEASURED, **about, "along": "batch", "batch": 8, "of_reference": None},
        {**MEASURED, **about, "rule": "shy", "ratio": None, "reason": "it is no chain"},
    ]
    monkeypatch.setattr(bench, "scaling", lambda **given: seen.update(given) or rows)
    folder = tmp_path / "curves"
    row = biograd("bench scaling --rules fa --widths 64,128 --batches 8 --json").row
    assert seen == {"rules": ["fa"], "widths": [64, 128], "depths": [], "batches": [8]}
    assert row == {"rows": rows, "environment": environment()}
    seen.clear()
    titles, line, _, by_batch, refused, *paths = biograd(f"bench scaling --out {folder}").out.splitlines()
    assert seen == {}
    assert titles.split()[:5] == ["along", "width", "depth", "batch", "rule"]
    assert line.split()[:5] == ["width", "64", "4", "128", "fa"]
    assert line.split()[5:] == ["12.35", "1.000", "[0.900,", "1.100]", "1.050", "[1.040,", "1.060]"]
    assert by_batch.split()[-2:] == ["[0.900,", "1.100]"]
    assert refused.endswith("not measured: it is no chain")
    assert paths == [str(folder / f"scaling-by-{along}.svg") for along in ("width", "batch")]
    assert all(Path(path).exists() and Path(path).with_suffix(".pdf").exists() for path in paths)
    kept = json.loads((folder / "scaling.json").read_text())
    assert kept == {"rows": rows, "environment": environment()}


def test_there_is_no_figure_of_rules_that_cannot_teach_the_net(biograd, tmp_path):
    mistake = biograd(f"bench depth --rules forward-forward --depths 1 --out {tmp_path}").mistake
    assert "nothing was measured that could be drawn: forward-forward shows the net labels" in mistake


def test_a_place_that_is_no_folder_is_a_mistake_before_anything_is_measured(biograd, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "inverse_costs", lambda **_: pytest.fail("it was measured"))
    (tmp_path / "taken").write_text("")
    assert "is a file; give a folder" in biograd(f"bench inverses --out {tmp_path}/taken").mistake
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    packed = pack(tmp_path / "run").file
    assert "lies in a packed file, which is only read" in biograd(f"bench inverses --out {packed}").mistake


def test_without_flags_a_benchmark_has_its_own_defaults(biograd, monkeypatch):
    seen = []
    monkeypatch.setattr(bench, "run", lambda **given: seen.append(given) or [])
    biograd("bench --json")
    assert seen == [{}]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("bench inverses --rules bp", "--rules goes with the step times, depth and scaling alone"),
        ("bench inverses --nets mlp", "--nets goes with the step times alone"),
        ("bench --widths 64", "--widths goes with inverses and scaling alone"),
        ("bench --depths 2", "--depths goes with depth and scaling alone"),
        ("bench --out .", "--out goes with inverses, depth and scaling alone"),
        ("bench depth --repeats 5", "--repeats goes with the step times, inverses and scaling alone"),
        ("bench depth --threads 1", "--threads goes with the step times, inverses and scaling alone"),
        ("bench depth --depths 0", "--depths: expected a whole number ≥ 1, got '0'"),
        ("bench inverses --widths 9", "--widths: expected a whole number ≥ 10, got '9'"),
        ("bench --batches 8", "--batches goes with scaling alone"),
        ("bench scaling --nets mlp", "--nets goes with the step times alone"),
        ("bench inverse", "invalid choice: 'inverse'"),
    ],
)
def test_flags_that_do_not_go_together_are_a_mistake(biograd, command, message):
    assert message in biograd(command).mistake
