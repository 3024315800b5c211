import json

import pytest

from biograd.theory import published
from biograd.theory.settings import SimulationSettings
from biograd.theory.stopping import Stopping

TINY = "--examples 4 --features 5 --width 6"


def assert_drawn(folder, name, row):
    assert row["figure"] == str(folder / f"{name}.svg")
    assert (folder / f"{name}.svg").read_text().startswith("<?xml")
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((folder / f"{name}.json").read_text())["rows"] == row["rows"]
    assert f'<section id="{name}"' in (folder / "report.html").read_text()


def test_convergence_is_measured_beside_the_prediction_and_drawn(biograd, tmp_path):
    words = f"theory convergence {TINY} --normalize --steps 400 --trials 2 --out {tmp_path}"
    row = biograd(f"{words} --json").row
    (free,) = row["rows"]
    assert row["config"]["precision"] == "float64"
    assert (free["regularization"], free["steps"][-1], len(free["steps"])) == (0.0, 400, 201)
    assert len(free["linearised"]) == 201
    assert_drawn(tmp_path, "convergence", row)
    again = biograd(words)
    assert f"{free['slope_ratio']:.3f} ± {free['slope_ratio_sd']:.3f}" in again.out
    assert again.out.splitlines()[-1] == row["figure"]


@pytest.mark.usefixtures("blank_figures")
def test_convergence_takes_as_many_steps_as_the_kernel_says(biograd, tmp_path):
    flags = "--examples 2 --features 5 --width 20 --activation tanh --lr 0.5 --trials 1 --normalize --json"
    (row,) = biograd(f"theory convergence {flags} --out {tmp_path}").row["rows"]
    assert row["steps"][-1] * row["predicted_slope"] == pytest.approx(12 * 2.302585, rel=0.01)


@pytest.mark.usefixtures("blank_figures")
def test_regularisation_that_ends_lets_the_loss_go_on(biograd, tmp_path):
    words = f"theory convergence {TINY} --regularization 0.05 --lr 0.4 --steps 1500 --trials 1 --out {tmp_path} --json"
    (constant,) = biograd(words).row["rows"]
    (cut,) = biograd(f"{words} --schedule cut-off --horizon 750").row["rows"]
    assert cut["loss"][-1] < 1e-3 * constant["loss"][-1]
    assert cut["cosine"][-1] == pytest.approx(cut["cosine"][100], abs=0.1)


def test_what_diverged_is_said_and_not_drawn(biograd, tmp_path):
    words = f"theory convergence {TINY} --activation relu --lr 1e9 --steps 40 --trials 2 --out {tmp_path}"
    ended = biograd(words)
    assert ended.code == 1
    assert "2 of 2 diverged" in ended.out
    assert biograd(f"{words} --json").row["figure"] is None
    assert not (tmp_path / "convergence.svg").exists()


def test_kernels_are_printed_with_their_exponent(biograd, tmp_path):
    words = f"theory kernels --examples 4 --features 5 --widths 80,20 --trials 2 --normalize --out {tmp_path}"
    row = biograd(f"{words} --json").row
    assert [found["width"] for found in row["rows"]] == [20, 80]
    assert_drawn(tmp_path, "kernel-norms", row)
    assert row["config"]["trials"] == 2
    out = biograd(words).out
    assert f"to the power {row['exponent']:.3f} ± {row['standard_error']:.3f}" in out
    assert f"{row['rows'][0]['first_layer_mean']:.4f}" in out


def test_the_figure_shows_every_published_cell_up_to_a_width(biograd, tmp_path, monkeypatch):
    monkeypatch.setattr(SimulationSettings, "stopping", Stopping(4, most=5))
    words = f"theory figure --activations linear,tanh --max-width 400 --trials 2 --out {tmp_path}"
    row = biograd(f"{words} --json").row
    cells = [(found["activation"], found["width"], found["regularization"]) for found in row["rows"]]
    assert cells == [
        (name, width, strength)
        for name in ("linear", "tanh")
        for width in (200, 400)
        for strength in published.COSINES[name]
    ]
    assert all(found["published_mean"] for found in row["rows"])
    assert_drawn(tmp_path, "alignment-by-width", row)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*-fa-*.json")}
    assert len(made) == 4
    assert biograd(words).out.splitlines()[-1] == row["figure"]
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("figure --activations cosine", "unknown activation 'cosine'"),
        ("figure --max-width 100", "--max-width: expected a whole number ≥ 200, got '100'"),
        ("figure --width 100", "unknown flag --width: did you mean --max-width?"),
        ("kernels --widths 200", "widths must be two at least, for there to be an exponent, got [200]"),
        ("kernels --method dfa", "unknown method 'dfa'"),
        ("convergence --width 5", "with width 5 and 50 examples the kernel G is singular"),
        ("convergence --precision double", "unknown precision 'double'"),
        ("convergence --max-steps 5", "unknown flag --max-steps"),
    ],
)
def test_mistakes_are_one_line(biograd, command, message):
    assert message in biograd(f"theory {command}").mistake


@pytest.mark.parametrize("command", ["alignment", "convergence", "kernels", "figure"])
def test_helps_have_examples_and_say_where_things_go(biograd, command):
    text = biograd(f"theory {command} --help").out
    assert f"examples:\n  biograd theory {command}" in text
    assert "--out DIR" in text
