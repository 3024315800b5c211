import json
from dataclasses import dataclass

import pytest
import torch
from tests.training.tape import Tape
from torch import nn

import biograd
from biograd import bench
from biograd.bench import locally_connected, step_time
from biograd.bench import nets as bench_nets
from biograd.bench.limits import LIMITS
from biograd.errors import UnsupportedNet, UserMistake
from biograd.training import graphs

THIRD_PARTY = """
import torch
from torch import nn

from biograd.errors import UnsupportedNet
from biograd.rules.backpropagation import Backpropagation

class Same(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.own = nn.Parameter(torch.ones(2))

    def assign_credit(self, net, x, y, loss_fn):
        assert all(p.grad is None for p in (*net.parameters(), self.own)), "a step starts without gradients"
        self.own.sum().backward()
        return super().assign_credit(net, x, y, loss_fn)

class Refusing(Backpropagation):
    def __init__(self, net, sample=None):
        raise UnsupportedNet("nothing suits me")

class Hoarding(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        self.hoard = [net(x) for _ in range(3)]
        return super().assign_credit(net, x, y, loss_fn)

class Wobbling(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        return super().assign_credit(net, x * torch.get_num_threads(), y, loss_fn)
"""


@dataclass(frozen=True)
class Small(bench.BenchNet):
    def make(self, seed):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        return net, torch.randn(self.batch, 6), torch.randint(3, (self.batch,))


@pytest.fixture
def small(monkeypatch):
    nets = {name: Small(name, "mlp", (6,), 4) for name in ("mlp", "other")}
    square = bench.BenchNet("square", "square", (6,), 4, {"hidden": 2}, 3, rules=("gait-prop", "bp"))
    nets["square"] = square
    monkeypatch.setattr(bench_nets, "BENCH_NETS", nets)
    monkeypatch.setattr(bench, "BENCH_NETS", nets)


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(THIRD_PARTY)
    return {name: f"{file}:{name}" for name in ("Same", "Refusing", "Hoarding", "Wobbling")}


@pytest.mark.usefixtures("small")
def test_a_row_tells_times_ratio_limit_and_memory_and_fits_json():
    (row,) = bench.run(rules=["bp"], nets=["mlp"], repeats=3)
    assert json.loads(json.dumps(row)) == row
    assert (row["benchmark"], row["rule"], row["net"], row["batch"]) == ("step_time", "bp", "mlp", 4)
    assert (row["threads"], row["repeats"], row["clock"], row["limit"]) == (1, 3, "processor", None)
    assert row["seconds"] > 0
    assert row["reference_seconds"] > 0
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["of_reference_low"] <= row["of_reference"] <= row["of_reference_high"]
    assert row["by_hand_seconds"] > 0
    assert (row["of_reference_limit"], row["of_reference_aim"]) == (1.10, 1.02)
    assert row["kept_bytes"] >= row["reference_kept_bytes"] > (4 * 5 + 4 * 3 + 1) * 4
    assert row["peak_bytes"] >= row["kept_bytes"]
    assert row["reason"] is None
    assert row["average"] == "median"
    assert row["refreshes"] is row["residual"] is row["residual_limit"] is None


@pytest.mark.usefixtures("small")
def test_where_inverses_are_kept_the_weights_move_and_means_tell_every_refresh(monkeypatch):
    monkeypatch.setattr(step_time, "LEARNING_RATE", 0.03)  # so fast that no inverse serves for long
    moved, still = bench.run(rules=["gait-prop", "bp"], nets=["square"], repeats=5)
    assert (moved["average"], moved["repeats"]) == ("mean", 20)
    assert (still["average"], still["repeats"]) == ("median", 5)
    assert 2 * 2 < moved["refreshes"] <= 2 * 20
    assert moved["residual"] > 0
    assert moved["residual_limit"] == 1e-3
    assert 0 < moved["kept_bytes"] <= 1.6 * still["kept_bytes"]
    assert moved["of_reference"] > 0
    monkeypatch.setattr(step_time, "LEARNING_RATE", 0.0)
    (resting,) = bench.run(rules=["gait-prop"], nets=["square"], repeats=2)
    assert resting["refreshes"] == 0
    assert resting["residual"] < 1e-5


@pytest.mark.usefixtures("small")
def test_a_net_may_choose_the_rules_that_are_measured_on_it():
    assert [row["rule"] for row in bench.run(nets=["square"], repeats=1)] == ["gait-prop", "bp"]
    assert [row["rule"] for row in bench.run(rules=["fa"], nets=["square"], repeats=1)] == ["fa"]


@pytest.mark.usefixtures("small")
def test_a_net_has_a_number_of_turns_of_its_own(monkeypatch):
    own = Small("short", "mlp", (6,), 4, repeats=2)
    monkeypatch.setitem(bench_nets.BENCH_NETS, "short", own)
    assert [row["repeats"] for row in bench.run(rules=["bp"], nets=["short", "mlp"])] == [2, 30]
    assert [row["repeats"] for row in bench.run(rules=["bp"], nets=["short"], repeats=3)] == [3]


def test_the_square_net_is_five_square_layers_and_the_other_bartunovs():
    for name, shapes in (
        ("square", [(1024, 1024)] * 5),
        ("bartunov-mnist-fc", [(256, 784), *[(256, 256)] * 4, (10, 256)]),
    ):
        net, x, _ = bench.BENCH_NETS[name].make(0)
        assert [tuple(p.shape) for p in net.parameters() if p.dim() == 2] == shapes
        assert net(x).shape == (128, 10)


@pytest.mark.parametrize("name", bench.BENCH_NETS)
def test_every_rule_can_be_made_for_every_net_or_says_why_not(name):
    net, x, _ = bench.BENCH_NETS[name].make(0)
    refused = set()
    for rule in biograd.rules.names():
        try:
            biograd.rules.create(rule, net, sample=x[:1], **bench.BENCH_NETS[name].settings_of(rule))
        except UnsupportedNet:
            refused.add(rule)
    assert not refused & ({"bp", "fa", "dfa"} | {rule for rule, limited in LIMITS if limited == name})


@pytest.mark.usefixtures("small")
def test_every_rule_is_measured_on_every_net_unless_told_otherwise():
    rows = bench.run(rules=["bp"], repeats=1)
    assert [(row["rule"], row["net"], row["limit"]) for row in rows] == [
        ("bp", "mlp", None),
        ("bp", "other", None),
        ("bp", "square", None),
    ]
    (dfa,) = bench.run(rules=["dfa"], nets=["mlp"], repeats=1)
    assert (dfa["limit"], dfa["aim"]) == LIMITS["dfa", "mlp"]
    assert {row["rule"] for row in bench.run(nets=["other"], repeats=1)} == set(biograd.rules.names())


@pytest.mark.usefixtures("small")
def test_the_locally_connected_layer_is_measured_when_named_or_when_nothing_is(monkeypatch):
    def measure(*given):
        return [{"net": given}]

    monkeypatch.setattr(locally_connected, "measure", measure)
    monkeypatch.setattr(biograd.rules, "names", lambda: ["bp"])

    def measured(**given):
        return [row["net"] for row in bench.run(repeats=1, seed=7, **given)]

    layers = (1, 7, 1)
    assert bench.run(nets=["locally-connected"], seed=7) == [{"net": (locally_connected.REPEATS, 7, 1)}]
    assert measured(nets=["mlp"], rules=None) == ["mlp"]
    assert measured()[-1] == layers
    assert measured(rules=["bp"]) == ["mlp", "other", "square"]
    assert measured(rules=["bp"], nets=["locally-connected", "mlp"]) == ["mlp", layers]
    assert measured(nets=["locally-connected"], threads=2) == [(1, 7, 2)]


@pytest.mark.usefixtures("small")
def test_a_rule_that_cannot_teach_the_net_has_a_row_that_says_why(rules):
    refused, measured = bench.run(rules=[rules["Refusing"], rules["Same"]], nets=["mlp"], repeats=2)
    assert refused["reason"] == "nothing suits me"
    assert refused["seconds"] is refused["ratio"] is refused["kept_bytes"] is None
    assert refused["of_reference"] is measured["of_reference"] is measured["of_reference_limit"] is None
    assert measured["reason"] is None
    assert measured["ratio"] > 0


@pytest.mark.usefixtures("small")
def test_a_rule_that_hoards_activations_is_found_out(rules):
    (row,) = bench.run(rules=[rules["Hoarding"]], nets=["mlp"], repeats=1)
    assert row["kept_bytes"] > 2 * row["reference_kept_bytes"]


@pytest.mark.usefixtures("small")
def test_nothing_global_is_left_changed():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    bench.run(rules=["bp"], nets=["mlp"], repeats=1, threads=threads + 1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rules": ["pb"]}, "unknown rule 'pb'"),
        (
            {"nets": ["cnn"]},
            "unknown benchmark net 'cnn': known are mlp, convnet, resnet20, bartunov-mnist-fc, square, locally-con",
        ),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_a_mistake_is_told_before_anything_is_timed(monkeypatch, given, message):
    monkeypatch.setattr(bench, "step_times", None)
    with pytest.raises(UserMistake, match=message):
        bench.run(**given)


def test_limits_speak_of_what_there_is():
    assert {rule for rule, _ in LIMITS} <= set(biograd.rules.names())
    assert {net for _, net in LIMITS} <= set(bench.BENCH_NETS)
    assert all(limit.aim <= limit.at_most for limit in LIMITS.values())
    assert issubclass(UnsupportedNet, UserMistake)


@pytest.mark.usefixtures("small")
def test_steps_and_references_are_captured_before_they_are_timed(monkeypatch):
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: False)
    monkeypatch.setitem(graphs.GRAPHS, "cpu", Tape)
    monkeypatch.setattr(Tape, "made", [])
    taught, refused = bench.run(rules=["bp", "wm"], nets=["mlp"], repeats=3, by_graphs=True)
    assert taught["compile"] == refused["compile"] == "graphs"
    assert taught["ratio"] > 0
    assert taught["of_reference"] > 0
    assert taught["limit"] is None
    assert (refused["ratio"], refused["kept_bytes"]) == (None, None)
    assert "a CUDA graph cannot hold the step, which learns its feedback at rates" in refused["reason"]
    # captured once, warmed up twice, three turns; backpropagation as the reference too
    assert sorted(tape.replays for tape in Tape.made) == [0, 6, 6, 6]


def test_a_device_that_is_not_there_or_captures_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserMistake, match="device 'cuda' is not there"):
        bench.run(rules=["bp"], nets=["mlp"], device="cuda")
    with pytest.raises(UserMistake, match=r"compile graphs is for cuda, where steps .* device is cpu"):
        bench.run(rules=["bp"], nets=["mlp"], by_graphs=True)


@pytest.mark.usefixtures("small")
def test_a_row_says_what_has_other_bits_with_several_threads(rules):
    same, other = bench.run(rules=["bp", rules["Wobbling"]], nets=["mlp"], repeats=1, threads=2)
    assert (same["differing"], same["compared"]) == (0, 6)  # loss, output, four gradients
    assert (other["differing"], other["compared"]) == (6, 6)
    assert bench.run(rules=["bp"], nets=["mlp"], repeats=1)[0]["compared"] is None
