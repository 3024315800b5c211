"""Numbers, labels and tokens are trained, resumed, compared and reported as classes are, each by its own metric."""

import math

import pytest
import torch.nn.functional as F
from torch import nn

from biograd import records
from biograd.errors import UserMistake
from biograd.report.table import Table
from biograd.report.tables import csv, summary_columns
from biograd.robustness import measure_run
from biograd.tasks import measured
from biograd.training import RunConfig, build, compare, resume, train

TOKENS = """
import torch
from torch import nn
from biograd.data import DataSet, Split, Tokens

def runs(directory, download, seed):
    '''Of four letters in a row, the next is told by each; inputs are indices.'''
    x = (torch.arange(40)[:, None] + torch.arange(5)) % 4
    parts = [Split(x[a:b, :-1], x[a:b, 1:]) for a, b in ((0, 30), (30, 40))]
    return DataSet("runs", *parts, Tokens(tuple("abcd")), None)

def net(input_shape, outputs):
    return nn.Sequential(nn.Embedding(4, 6), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, outputs))

def half_mse(output, y, *, share: float = 0.5):
    return share * (output - y).square().mean()

class Loss(nn.Module):
    def forward(self, output, y):
        return (output - y).abs().mean()

def summed(output, y):
    return (output - y).square().sum()

def broken(output, y):
    return output.no_such_thing

def learns():
    pass

class Learns(Loss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(TOKENS)
    return lambda name: f"{tmp_path / 'mine.py'}:{name}"


@pytest.fixture
def of_kind(mine):
    """The flags of a small run of each kind of task."""
    small = {"epochs": 2, "batch_size": 10, "device": "cpu", "rule": "fa"}
    made_up = {"name": "synthetic", "examples": 60, "test_examples": 20, "features": "6", "classes": 3}
    mlp = {"name": "mlp", "widths": "8"}
    flags = {kind: {"data": {**made_up, "kind": kind}, "net": mlp} for kind in ("regression", "labels")}
    flags["tokens"] = {"data": mine("runs"), "net": mine("net"), "validation_fraction": 0.2}
    flags["diabetes"] = {"data": "diabetes", "net": mlp}
    return lambda kind, **more: {**small, **flags[kind], **more}


KINDS = ["regression", "labels", "tokens"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_records_the_metrics_of_its_task_and_no_accuracy(kind, of_kind, tmp_path):
    result = train(RunConfig.from_sources(of_kind(kind)), tmp_path / "run")
    run = records.Run.load(tmp_path / "run")
    assert (result["task"], run.kind, result["status"]) == (kind, kind, "done")
    assert [result[f"{part}_accuracy"] for part in ("train", "validation", "test")] == [None] * 3
    for entry in (one for part in ("train", "validation", "test") for one in measured(kind, part)):
        assert math.isfinite(result[entry]), entry
    for entry in (one for part in ("train", "validation") for one in measured(kind, part)):
        assert [entry in row for row in run.metrics] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(kind, of_kind, tmp_path, monkeypatch):
    from biograd.training.trainer import Trainer

    whole = train(RunConfig.from_sources(of_kind(kind, checkpoint_every=1)), tmp_path / "whole")
    after_step = Trainer._after_step

    def interrupt(trainer):
        after_step(trainer)
        if trainer.position.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_after_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(RunConfig.from_sources(of_kind(kind, checkpoint_every=1)), tmp_path / "stopped")
    monkeypatch.setattr(Trainer, "_after_step", after_step)
    resumed = resume(tmp_path / "stopped")
    timeless = [{k: v for k, v in one.items() if k not in ("seconds", "run")} for one in (whole, resumed)]
    assert timeless[0] == timeless[1]


def test_numbers_are_learned_in_standard_units_and_their_errors_told_in_their_own(of_kind, tmp_path):
    flags = of_kind("diabetes", epochs=30, lr=0.01, rule="bp", seed=1)
    setup = build(RunConfig.from_sources(flags))
    (_, y), *_ = setup.training.epoch(0)
    assert y.abs().max() < 4
    result = train(RunConfig.from_sources(flags), tmp_path / "run")
    assert 0.3 < result["test_r2"] < 0.7
    assert 30 < result["test_mean_absolute_error"] < 55


def test_a_comparison_of_several_tasks_shows_the_metric_of_each(of_kind, tmp_path):
    for kind in KINDS:
        configs = [RunConfig.from_sources(of_kind(kind, rule=rule)) for rule in ("bp", "fa")]
        compare(configs, tmp_path / kind)
    table = Table.below(tmp_path)
    titles = [column.title for column in summary_columns(table)]
    metrics = ["R²", "mean absolute error"]
    metrics += ["mean average precision %", "precision at 1 %", "bits a token", "token accuracy %"]
    assert [title for title in titles if title.startswith("test ")] == [f"test {one}" for one in metrics]
    assert [title for title in titles if title.startswith("validation ")] == [
        f"validation {metrics[place]}" for place in (0, 2, 4)
    ]
    assert {task.metric.title for task in table.tasks} == {"R²", "mean average precision", "bits a token"}
    for task in table.tasks:
        assert task.difference(task.cells[1]) is not None
    head = csv(table).splitlines()[0].split(",")
    assert "test_r2_mean" in head
    assert "test_accuracy_mean" not in head


def test_a_page_draws_the_metric_of_the_task(of_kind, tmp_path):
    from biograd.report import write_report

    train(RunConfig.from_sources(of_kind("regression")), tmp_path / "run")
    html = write_report(tmp_path).read_text()
    assert "Test R²" in html
    assert {path.stem for path in (tmp_path / "figures").glob("test-r2*.svg")}


@pytest.mark.parametrize(("name", "settings"), [("half_mse", {"share": "0.25"}), ("Loss", {})])
def test_a_loss_of_ones_own_is_a_function_or_a_class(name, settings, mine, of_kind, tmp_path):
    loss = {"name": mine(name), **settings}
    result = train(RunConfig.from_sources(of_kind("regression", loss=loss)), tmp_path / "run")
    assert (result["status"], result["loss"]) == ("done", name)
    files = records.read_json(tmp_path / "run" / "environment.json")["files"]
    assert [path.endswith("mine.py") for path in files] == [True]


@pytest.mark.parametrize("loss", [nn.HuberLoss(delta=0.5), F.smooth_l1_loss, nn.L1Loss])
def test_in_a_program_a_loss_is_an_object(loss, of_kind, tmp_path):
    first, second = (RunConfig.from_sources(of_kind("regression", loss=loss)) for _ in range(2))
    assert first.digest() == second.digest() != RunConfig.from_sources(of_kind("regression")).digest()
    found = train(first, tmp_path / "run")
    assert found["loss"] == getattr(loss, "__name__", "HuberLoss")
    assert resume(tmp_path / "run", objects={"loss": loss})["train_loss"] == found["train_loss"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("summed", "the loss is a sum over the batch"),
        ("broken", r"loss '.*mine.py:broken' failed: AttributeError"),
        ("Learns", "has parameters that learn, which no optimiser moves"),
        ("learns", r"loss '.*mine.py:learns' failed: TypeError"),
    ],
)
def test_a_loss_that_is_none_is_one_line(name, why, mine, of_kind, tmp_path):
    with pytest.raises(UserMistake, match=why) as caught:
        train(RunConfig.from_sources(of_kind("regression", loss=mine(name))), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rule", ["stdp-association", "ao-sdtp", "forward-forward", "sdtp"])
def test_a_rule_that_needs_classes_says_so_before_anything_is_made(rule, of_kind, tmp_path):
    with pytest.raises(
        UserMistake, match=f"rule '{rule}' teaches classes.* alone, and the task of .* regression: use"
    ):
        train(RunConfig.from_sources(of_kind("regression", rule=rule)), tmp_path / "run")


def test_one_class_against_the_rest_is_for_classes(of_kind):
    with pytest.raises(
        UserMistake, match=r"one_vs_rest tells a class from all others, and the task of .* is labels"
    ):
        build(RunConfig.from_sources(of_kind("labels", one_vs_rest="1")))


def test_attacks_are_on_runs_that_tell_classes_apart(of_kind, tmp_path):
    train(RunConfig.from_sources(of_kind("regression")), tmp_path / "run")
    with pytest.raises(
        UserMistake, match="is a run of regression, and attacks make a net take one class for another"
    ):
        measure_run(tmp_path / "run")
