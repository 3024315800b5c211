import json

import pytest

from biograd.records import environment
from biograd.theory import rate_rule


def test_the_simulation_is_printed_drawn_and_kept_as_rows(biograd, tmp_path):
    folder = tmp_path / "new" / "figures"
    row = biograd(f"theory stdp --trials 60 --seed 3 --out {folder} --json").row
    figure = str(folder / "spike-timing.svg")
    assert row == {"environment": environment(), **rate_rule.compare(60, 3), "figure": figure}
    assert (folder / "spike-timing.svg").read_text().startswith("<?xml")
    assert (folder / "spike-timing.pdf").read_bytes().startswith(b"%PDF")
    kept = json.loads((folder / "spike-timing.json").read_text())
    assert kept["group"] == row["group"]


def test_slopes_and_frequencies_stand_under_their_titles(biograd):
    ended = biograd("theory stdp --trials 60")
    measured, lines = rate_rule.compare(60, 0), ended.out.splitlines()
    assert ended.code == 0
    fit = measured["fits"]["synapse"]
    start = lines[0].index("slope")
    assert lines[1][start:].startswith(f"{fit['slope']:.4f} ± {fit['standard_error']:.4f}")
    assert lines[1].split()[:2] == ["synapse", str(len(measured["synapse"]))]
    strongest = measured["race"][-1]
    assert lines[-1].split()[:2] == [f"{strongest['z']:g}", f"{strongest['mean']:.4f}"]
    assert lines[-1].endswith(f"{strongest['rule']:.4f}")


def test_without_a_study_the_help_lists_them(biograd):
    assert biograd("theory").out == biograd("theory --help").out
    assert "stdp" in biograd("theory").out


def test_the_help_of_the_study_explains_every_flag(biograd):
    text = biograd("theory stdp --help").out
    assert "examples:\n  biograd theory stdp" in text
    assert all(flag in text for flag in ("--trials N", "--seed N", "--out FOLDER", "--json"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("theory stpd", "biograd theory: unknown command 'stpd': did you mean 'stdp'? Commands: "),
        ("theory stdp --trial 3", "biograd theory: unknown flag --trial: did you mean --trials?"),
        ("theory --trials 3", "biograd theory: unknown flag --trials"),
        ("theory stdp --trials 1", "--trials: expected a whole number ≥ 2, got '1'"),
        ("theory stdp --rule.scale 1", "unknown flag --rule.scale"),
    ],
)
def test_mistakes_are_one_line(biograd, command, message):
    assert message in biograd(command).mistake


def test_a_file_in_place_of_the_folder_is_a_mistake_before_anything_is_simulated(biograd, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "is a file; give a folder" in biograd(f"theory stdp --out {tmp_path}/taken").mistake
