"""Runs whose steps are captured and replayed; on a CPU, whose graph is a tape of operators."""

import pytest
import torch
import torch.nn.functional as F
from tests.training.tape import Tape

from biograd import rules
from biograd.errors import UserMistake
from biograd.testing import Subject
from biograd.training import build, graphs, resume, train
from biograd.training.replayed import ReplayedTeaching


@pytest.fixture(autouse=True)
def tapes(monkeypatch):
    """The CPU captures, and runs ahead as a GPU does."""
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: False)
    monkeypatch.setattr(F, "one_hot", _one_hot)
    monkeypatch.setitem(graphs.GRAPHS, "cpu", Tape)
    monkeypatch.setattr(Tape, "made", [])
    return Tape.made


def _one_hot(labels, classes):
    """Without the look at the labels that is for CPUs alone."""
    return labels.new_zeros(*labels.shape, classes).scatter(-1, labels.unsqueeze(-1), 1)


def taught(subject, steps, *, by_graph):
    """Parameters, state and gradients after so many steps, on batches of which every fourth is smaller."""
    trial = subject.trial()
    optimizer = trial.optimizer(0.01)
    torch.manual_seed(1)

    def teach(x, y):
        return trial.rule.assign_credit(trial.net, x, y, trial.task.loss_fn)

    if by_graph:
        teach = ReplayedTeaching(teach, [trial.net, trial.rule], 32, lambda: Tape(torch.device("cpu")))
    losses = []
    for step in range(steps):
        x, y = trial.task.batch(20 if step % 4 == 3 else 32, step)
        optimizer.zero_grad()
        credit = teach(x, y)
        losses.append((credit.loss.item(), credit.output.sum().item()))
        optimizer.step()
    gradients = {id(p): p.grad for p in [*trial.net.parameters(), *trial.rule.parameters()]}
    return losses, trial.net.state_dict(), trial.rule.state_dict(), list(gradients.values())


def assert_same(got, expected):
    assert got[0] == expected[0]
    for one, other in zip(got[1:3], expected[1:3], strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    for one, other in zip(got[3], expected[3], strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


MATRICES, RATES = "inverts weights", "learns its feedback at rates that change from step to step"
UNFIT = {"wm": RATES, "tp": MATRICES, "itp": MATRICES, "gait-prop": MATRICES}
FIT = [(name, "mlp") for name in rules.names() if name not in UNFIT] + [
    (name, kind)
    for kind in ("convolutional", "noisy")
    for name in ("bp", "fa", "brsf", "dfa", "stdp-association", "softhebb")
]


@pytest.mark.parametrize(("name", "kind"), [*FIT, ("dtp", "convolutional"), ("drl", "convolutional")])
def test_replayed_steps_have_the_bits_of_steps_as_they_are(name, kind):
    subject = Subject(name, kind=kind)
    assert_same(taught(subject, 11, by_graph=True), taught(subject, 11, by_graph=False))
    assert [tape.replays for tape in Tape.made] == [4]


def test_a_learned_inverse_is_replayed():
    subject = Subject("gait-prop", {"inverse": "learned"})
    assert_same(taught(subject, 11, by_graph=True), taught(subject, 11, by_graph=False))


@pytest.mark.parametrize("name", UNFIT)
def test_a_step_that_a_graph_cannot_hold_is_refused_when_it_is_captured(name):
    with pytest.raises(
        UserMistake, match=f"a CUDA graph cannot hold the step, which {UNFIT[name]}: leave compile"
    ):
        taught(Subject(name), 11, by_graph=True)


@pytest.mark.parametrize("rule", ["bp", "brsf", "dtp"])
def test_a_run_by_graphs_has_the_bits_of_one_without(rule, make_config, net_file, tmp_path, bits, tapes):
    flags = {"rule": rule, "net": {"name": "mlp", "widths": [5, 4]}, "epochs": 3}
    train(make_config(**flags), tmp_path / "as-it-is")
    train(make_config(compile="graphs", **flags), tmp_path / "graphs")
    assert bits(tmp_path / "graphs") == bits(tmp_path / "as-it-is")
    assert [tape.replays for tape in tapes] == [
        10
    ]  # of 18 steps three are smaller, and the first five as they are


def test_a_run_by_graphs_that_was_stopped_goes_on_to_the_same_bits(make_config, tmp_path, bits, stop_after):
    config = make_config(rule="brsf", net={"name": "mlp", "widths": [5, 4]}, epochs=3, compile="graphs")
    train(config, tmp_path / "whole")
    stop_after(9)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    stop_after(None)
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


@pytest.mark.parametrize("rule", ["dtp", "own"])
def test_steps_are_captured_anew_where_epochs_differ(rule, make_config, rule_file, tmp_path, bits, tapes):
    named = {"dtp": {"name": "dtp", "schedule": "alternating"}, "own": rule_file("Alternating")}[rule]
    flags = {"rule": named, "net": {"name": "mlp", "widths": [5, 4]}, "batch_size": 7}
    train(make_config(**flags), tmp_path / "as-it-is")
    train(make_config(compile="graphs", **flags), tmp_path / "graphs")
    assert bits(tmp_path / "graphs") == bits(tmp_path / "as-it-is")
    assert [tape.replays for tape in tapes] == [3, 3]


def test_only_a_device_that_captures_steps_is_taken(make_config, monkeypatch):
    monkeypatch.delitem(graphs.GRAPHS, "cpu")
    with pytest.raises(
        UserMistake, match=r"compile graphs is for cuda, .* and the device is cpu: leave compile out"
    ):
        build(make_config(compile="graphs"))


REFUSED = {
    "the rule's rates": ({"rule": "wm"}, "learns its feedback at rates that change from step to step"),
    "inverses": ({"rule": "tp", "net": "square"}, "inverts weights"),
    "a second run": (
        {"rule": "pepita"},
        "runs layers that draw random numbers, or have buffers, a second time",
    ),
    "a branch of a net": ({"net": "branches"}, r"waits for the device \(Tensor.__bool__\)"),
    "a rule's count": ({"rule": "Counts"}, "changes 'steps' in Python"),
    "a rule's buffer": ({"rule": "Replaces"}, "puts a new tensor in the place of 'Replaces.mean'"),
    "a hook": ({"net": "hooked"}, "runs a hook on '1.weight'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_graph_replays_is_refused_before_the_run(what, make_config, net_file, rule_file):
    flags, reason = REFUSED[what]
    files = {"net": net_file, "rule": rule_file}
    own = {"branches", "hooked", "Counts", "Replaces"}
    flags = {key: files[key](value) if str(value) in own else value for key, value in flags.items()}
    with pytest.raises(
        UserMistake, match=f"compile graphs: a step of rule '.*' {reason}, which no CUDA graph"
    ):
        build(make_config(compile="graphs", **flags))


def test_a_rule_is_as_it_was_after_the_look(make_config):
    expected = build(make_config(rule="brsf"))
    looked_at = build(make_config(rule="brsf", compile="graphs"))
    for one, other in ((looked_at.rule, expected.rule), (looked_at.net, expected.net)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert all(p.grad is None for p in [*looked_at.net.parameters(), *looked_at.rule.parameters()])


@pytest.mark.parametrize("compile_", [False, True])
def test_runs_that_were_recorded_before_keep_their_fingerprint(compile_, make_config):
    decisive = make_config(compile=compile_).decisive()
    assert decisive.get("compile", False) is compile_
    assert make_config(compile="graphs").decisive()["compile"] == "graphs"
    assert make_config(compile="true").compile is True


def test_another_word_is_refused(make_config):
    with pytest.raises(UserMistake, match="compile got 'graph': expected true, false or graphs"):
        make_config(compile="graph")
