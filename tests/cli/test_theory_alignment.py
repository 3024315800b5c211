import pytest

from biograd.theory.settings import SimulationSettings
from biograd.theory.simulations import Simulation

TINY = "--examples 4 --features 5 --width 6 --steps 30"


def test_rows_and_their_record_are_printed_for_programs(biograd, tmp_path):
    words = (
        f"theory alignment --activation relu {TINY} --regularization 0,0.1 --trials 3 --out {tmp_path} --json"
    )
    row = biograd(words).row
    assert [found["regularization"] for found in row["rows"]] == [0.0, 0.1]
    assert all(found["trials"] == 3 and found["steps"] == 30 for found in row["rows"])
    settings = SimulationSettings(
        activation="relu", width=6, examples=4, features=5, steps=30, regularization=(0.0, 0.1)
    )
    assert row["record"] == str(tmp_path / Simulation(settings, 3).file_name)
    assert row["config"] == Simulation(settings, 3).config
    assert biograd(words).row == row


def test_with_one_strength_its_row_is_on_top(biograd, tmp_path):
    row = biograd(
        f"theory alignment {TINY} --regularization 0.1 --trials 2 --seed 3 --out {tmp_path} --json"
    ).row
    assert {key: row[key] for key in row["rows"][0]} == row["rows"][0]
    assert {"cosine_mean", "cosine_sd", "loss_mean", "steps"} <= set(row)
    assert row["config"]["seed"] == 3


def test_means_stand_under_their_titles(biograd, tmp_path):
    ended = biograd(f"theory alignment {TINY} --activation linear --trials 2 --out {tmp_path}")
    row = biograd(f"theory alignment {TINY} --activation linear --trials 2 --out {tmp_path} --json").row
    title, *lines, record = ended.out.splitlines()
    assert len(lines) == 4  # the published λ
    assert lines[1].index("0.2") == title.index("λ")
    found = row["rows"][1]
    start = title.index("cos∠")
    assert lines[1][start:].startswith(f"{found['cosine_mean']:.3f} ± {found['cosine_sd']:.3f}")
    ratio = row["rows"][0]["cosine_mean"] * 6 / 4
    assert f"cos · p/n = {ratio:.2f} ± " in lines[0]
    assert record == row["record"]


def test_published_numbers_stand_beside(biograd, tmp_path):
    ended = biograd(
        f"theory alignment --activation linear --width 400 --regularization 0 --trials 2 --out {tmp_path}"
    )
    assert "0.119 ± 0.047" in ended.out
    assert "published sd" in ended.out


def test_the_cap_and_divergence_are_said(biograd, tmp_path):
    there = f"--examples 4 --features 5 --width 6 --regularization 0 --trials 2 --out {tmp_path}"
    assert "2 of 2 capped" in biograd(f"theory alignment {there} --max-steps 5").out
    ended = biograd(f"theory alignment {there} --activation relu --lr 1e9 --steps 30")
    assert "2 of 2 diverged" in ended.out
    assert ended.code == 1


def test_published_strengths_are_said_in_the_papers_units_when_these_are_wanted(biograd, tmp_path):
    row = biograd(f"theory alignment {TINY} --units paper --trials 1 --out {tmp_path} --json").row
    assert [found["regularization"] for found in row["rows"]] == [0.0, 0.002, 0.004, 0.01]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--activation cosine", "unknown activation 'cosine': choose one of linear, relu, tanh, sigmoid"),
        ("--units si", "unknown units 'si': choose one of published, paper"),
        ("--method dfa", "unknown method 'dfa': choose one of fa, bp"),
        ("--schedule off", "unknown schedule 'off'"),
        ("--schedule cut-off", "schedule 'cut-off' needs a horizon"),
        ("--horizon 5", "schedule 'constant' takes no horizon"),
        ("--regularization 0,x", "--regularization: expected numbers separated by commas, got '0,x'"),
        ("--regularization -1", "regularization must be ≥ 0"),
        ("--regularization nan", "regularization must be ≥ 0"),
        ("--lr 0", "learning_rate must be a finite number > 0, got 0.0"),
        ("--trials 0", "--trials: expected a whole number ≥ 1, got '0'"),
        ("--precision half", "unknown precision 'half'"),
        ("--steps 5 --max-steps 9", "steps are taken without the stopping rule"),
        ("--lamda 5", "unknown flag --lamda"),
    ],
)
def test_mistakes_are_one_line(biograd, flags, message):
    assert message in biograd(f"theory alignment {flags}").mistake


def test_a_file_in_place_of_the_folder_is_a_mistake(biograd, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "is a file; give a folder" in biograd(f"theory alignment --out {tmp_path}/taken").mistake


def test_the_help_explains_every_flag(biograd):
    text = biograd("theory alignment --help").out
    assert "examples:\n  biograd theory alignment" in text
    flags = "--activation --width --regularization --schedule --horizon --method --units --lr --trials --jobs"
    assert all(f"{flag} " in text for flag in flags.split())
