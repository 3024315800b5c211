import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.diagnostics import error_cosines, measure
from biograd.rules.base import Rule


def two_layer():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9, bias=False), nn.ReLU(), nn.Linear(9, 3, bias=False)).double()
    return net, torch.randn(8, 6, dtype=torch.float64), torch.randint(3, (8,))


def test_with_one_hidden_layer_it_is_the_mean_cosine_of_gB_and_gW():
    net, x, y = two_layer()
    rule = biograd.FeedbackAlignment(net, seed=4)
    g = (net(x).softmax(1) - F.one_hot(y, 3)).detach().numpy()
    W, B = net[2].weight.detach().numpy(), rule.B["2.weight"].numpy()
    sent, reference = g @ B, g @ W
    expected = np.mean(
        [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(sent, reference, strict=True)]
    )
    found = error_cosines(net, rule, x, y, F.cross_entropy)
    assert found == pytest.approx({"2.weight": expected}, rel=1e-12)
    assert abs(expected) < 0.9


def test_it_is_one_where_the_feedback_is_the_weight():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 8), nn.Tanh())
    net = net.append(nn.Linear(8, 3))
    x, y = torch.randn(5, 1, 8, 8), torch.randint(3, (5,))
    rule = biograd.FeedbackAlignment(net)
    for name in rule.names:
        rule.B[name].copy_(net.get_parameter(name).detach())
    found = error_cosines(net, rule, x, y, F.cross_entropy)
    assert list(found) == ["3.weight", "5.weight"]
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-6)


def test_every_example_counts_alike_however_large_its_error():
    net, x, y = two_layer()
    rule = biograd.FeedbackAlignment(net, seed=4)
    plain = error_cosines(net, rule, x, y, lambda output, y: output.sum(1).mean())
    weights = torch.logspace(-12, 0, 8, dtype=torch.float64)
    weighted = error_cosines(net, rule, x, y, lambda output, y: (output.sum(1) * weights).mean())
    assert plain == pytest.approx(weighted, rel=1e-9)


def test_examples_without_an_error_are_left_out_and_none_at_all_is_nan():
    net, x, y = two_layer()
    rule = biograd.FeedbackAlignment(net, seed=4)
    is_first = (torch.arange(len(x)) < 3).to(x)[:, None]
    some = error_cosines(net, rule, x, y, lambda output, y: (output * is_first).mean())
    assert some == pytest.approx(error_cosines(net, rule, x[:3], y[:3], lambda output, y: output.mean()))
    nothing = error_cosines(net, rule, x, y, lambda output, y: 0 * output.mean())
    assert math.isnan(nothing["2.weight"])


@pytest.mark.parametrize("rule", ["bp", "dfa", "shallow"])
def test_rules_without_a_feedback_path_have_none(rule):
    net, x, y = two_layer()
    assert error_cosines(net, biograd.rules.create(rule, net), x, y, F.cross_entropy) == {}


class Drawing(biograd.FeedbackAlignment):
    """Counts how often its feedback was shown."""

    shown = 0

    def feedback_matrices(self, net):
        self.shown += 1
        return super().feedback_matrices(net)


def test_a_rule_that_changes_when_it_shows_its_feedback_is_left_as_it_was():
    net, x, y = two_layer()
    rule = Drawing(net)
    assert error_cosines(net, rule, x, y, F.cross_entropy).keys() == {"2.weight"}
    assert rule.shown == 0


def test_nothing_is_left_behind_and_measure_has_it():
    net, x, y = two_layer()
    rule: Rule = biograd.rules.create("brsf", net)
    state = {name: value.clone() for name, value in rule.state_dict().items()}
    rows = measure(net, rule, x, y, F.cross_entropy)
    assert [row["layer"] for row in rows if row["quantity"] == "error_cosine"] == ["2.weight"]
    assert not any(layer._forward_pre_hooks for layer in net)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, state[name]) for name, value in rule.state_dict().items())


def test_of_a_layer_with_several_weights_the_error_below_it_stands_under_the_first():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.GRUCell(5, 3)).double()
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    rule = biograd.FeedbackAlignment(net)
    assert list(error_cosines(net, rule, x, y, F.cross_entropy)) == ["1.weight_ih"]
    rule.B["1.weight_ih"].copy_(net[1].weight_ih.detach())
    assert error_cosines(net, rule, x, y, F.cross_entropy)["1.weight_ih"] == pytest.approx(1)
