import json
from itertools import pairwise

import pytest
import torch
from torch import nn

from biograd import bench, rules
from biograd.bench.rows import row
from biograd.bench.step_time import Candidate
from biograd.errors import UserMistake
from biograd.layers import LocallyConnected2d

WIDTH, BATCH, FLOAT = 64, 128, 4
LAYER = WIDTH * BATCH * FLOAT  # activations of a hidden layer
WEIGHTS = WIDTH * WIDTH * FLOAT


def by_depth(rule, column):
    rows = bench.memory_by_depth(rules=[rule], depths=[2, 8, 32], width=WIDTH)
    return {found["hidden"]: found[column] for found in rows}


@pytest.mark.parametrize("column", ["kept_bytes", "peak_bytes"])
def test_stdp_association_needs_the_same_memory_for_two_hidden_layers_and_for_thirty_two(column):
    needed = by_depth("stdp-association", column)
    assert needed[2] == needed[8] == needed[32]
    assert (
        LAYER <= needed[2] < 8 * LAYER < 30 * WEIGHTS
    )  # gradients that wait to be handed over are not counted


@pytest.mark.parametrize("column", ["kept_bytes", "peak_bytes"])
def test_backpropagation_needs_a_layer_more_for_each_layer(column):
    for needed in (by_depth("bp", column), by_depth("bp", f"reference_{column}")):
        assert needed[32] - needed[8] == 24 * LAYER
        assert needed[8] - needed[2] == 6 * LAYER


def chain(depth, make):
    torch.manual_seed(0)
    channels = (3, *[8] * depth)
    hidden = [layer for i, o in pairwise(channels) for layer in (make(i, o), nn.BatchNorm2d(o), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Flatten(), nn.Linear(8 * 6 * 6, 10))


@pytest.mark.parametrize(
    "make",
    [
        lambda i, o: nn.Conv2d(i, o, 3, padding=1),
        lambda i, o: LocallyConnected2d(i, o, 3, (6, 6), padding=1),
    ],
    ids=["convolutional", "locally connected"],
)
def test_so_it_is_with_convolutional_and_locally_connected_layers(make):
    x, y = torch.randn(4, 3, 6, 6), torch.randint(10, (4,))

    def memory(depth):
        net = chain(depth, make)
        rule = rules.create("stdp-association", net, sample=x[:1])
        return Candidate.of(rule, net, x, y).memory()

    assert memory(2) == memory(12)


def test_every_rule_has_a_row_at_every_depth_and_one_that_cannot_teach_says_why(tmp_path):
    (tmp_path / "shy.py").write_text(
        "from biograd import Rule, UnsupportedNet\n"
        "class Shy(Rule):\n"
        "    def __init__(self, net, sample=None):\n"
        "        raise UnsupportedNet('not this net')\n"
        "    def assign_credit(self, net, x, y, loss_fn): ...\n"
    )
    shy = f"{tmp_path}/shy.py:Shy"
    state = torch.get_rng_state()
    rows = bench.memory_by_depth(rules=["bp", shy], depths=[3, 1], width=8)
    assert torch.equal(state, torch.get_rng_state())
    assert json.loads(json.dumps(rows)) == rows
    assert [(found["rule"], found["hidden"]) for found in rows] == [
        ("bp", 3),
        ("bp", 1),
        (shy, 3),
        (shy, 1),
    ]
    about = ("benchmark", "rule", "net", "hidden", "width", "batch", "threads", "repeats")
    assert all(found.keys() == {**dict.fromkeys(about), **row({}, None)}.keys() for found in rows)
    assert [(found["kept_bytes"], found["reason"]) for found in rows[2:]] == [(None, "not this net")] * 2


@pytest.mark.parametrize("rule", ["gait-prop", "itp"])
def test_inverses_are_followed_through_thirty_two_layers(rule):
    (found,) = bench.memory_by_depth(rules=[rule], depths=[32], width=8)
    assert found["reason"] is None
    assert 0 < found["kept_bytes"] <= 1.6 * found["reference_kept_bytes"]


def test_a_step_that_comes_to_no_numbers_has_a_row_with_the_reason(tmp_path):
    (tmp_path / "lost.py").write_text(
        "from biograd import Rule\n"
        "from biograd.errors import NotFinite\n"
        "class Lost(Rule):\n"
        "    def __init__(self, net, sample=None):\n"
        "        super().__init__()\n"
        "    def assign_credit(self, net, x, y, loss_fn):\n"
        "        raise NotFinite('no numbers')\n"
    )
    rows = bench.memory_by_depth(rules=[f"{tmp_path}/lost.py:Lost"], depths=[1], width=8)
    assert [(found["kept_bytes"], found["reason"]) for found in rows] == [(None, "no numbers")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depths": [2, 0]}, "depth must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"rules": ["bb"]}, "unknown rule 'bb'"),
    ],
)
def test_bad_values_are_mistakes(given, message):
    with pytest.raises(UserMistake, match=message):
        bench.memory_by_depth(**given)
