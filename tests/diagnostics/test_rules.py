"""The diagnostics of the rules that there are, each against what the rule really did."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.credit.chain.blocks import blocks
from biograd.diagnostics import (
    angle,
    feedback_angles,
    measure,
    orthogonalities,
    target_distances,
    updates,
)
from biograd.layers import FirstUnits, LabelPlaces, LengthNorm

FEEDBACK_RULES = ["fa", "usf", "brsf", "frsf", "kp", "wm"]


def net_and_batch(rule="bp"):
    torch.manual_seed(0)
    net = OF_ITS_OWN.get(rule, net_of_all_kinds)()
    return net, torch.randn(8, 2, 4, 4), torch.randint(5, (8,))


def net_of_squares():
    """Blocks that can be undone."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(32, 12),
        nn.LeakyReLU(0.1),
        nn.Linear(12, 12),
        nn.Tanh(),
        nn.Linear(12, 12),
        FirstUnits(5),
    )


def net_of_all_kinds():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16, 12),
        nn.Tanh(),
        nn.Linear(12, 5),
    )


def net_without_biases():
    """Hidden layers that have nothing but weights to learn."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(4, affine=False),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16, 12, bias=False),
        nn.Tanh(),
        nn.Linear(12, 5),
    )


def net_for_labels():
    """Places for a label, and lengths that the block above does not see."""
    return nn.Sequential(
        *(nn.Flatten(), LabelPlaces(5), nn.Linear(37, 12), nn.ReLU(), LengthNorm(), nn.Linear(12, 12)),
        *(nn.ReLU(), LengthNorm(), nn.Linear(12, 5)),
    )


OF_ITS_OWN = {"tp": net_of_squares, "softhebb": net_without_biases, "forward-forward": net_for_labels}
"""Nets for rules that need theirs."""


def make(name, net, x):
    return biograd.rules.create(name, net, sample=x[:1])


def taught_by(rule, net, x, y):
    """What a training step leaves in ``.grad``, of copies."""
    net, rule = copy.deepcopy((net, rule))
    net.zero_grad()
    rule.assign_credit(net, x, y, F.cross_entropy)
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None and p.dim() > 1}


@pytest.mark.parametrize("name", biograd.rules.names())
def test_the_update_that_is_measured_is_the_one_that_training_would_make_next(name):
    net, x, y = net_and_batch(name)
    rule = make(name, net, x)
    for _ in range(2):  # what a rule remembers between calls must not mislead it
        state = torch.get_rng_state()
        expected = taught_by(rule, net, x, y)
        torch.set_rng_state(state)
        found = updates(net, rule, x, y, F.cross_entropy)
        assert found.taught.keys() == expected.keys()
        assert all(torch.equal(found.taught[name], expected[name]) for name in expected)
        rule.assign_credit(net, x, y, F.cross_entropy)


@pytest.mark.parametrize("name", biograd.rules.names())
def test_a_measurement_does_not_change_what_comes_after_it(name):
    net, x, y = net_and_batch(name)
    rule = make(name, net, x)
    rule.assign_credit(net, x, y, F.cross_entropy)
    before = copy.deepcopy((net.state_dict(), rule.state_dict()))
    grads = [p.grad if p.grad is None else p.grad.clone() for p in (*net.parameters(), *rule.parameters())]
    state = torch.get_rng_state()
    measure(net, rule, x, y, F.cross_entropy)
    assert torch.equal(state, torch.get_rng_state())
    for old, new in zip(before, (net.state_dict(), rule.state_dict()), strict=True):
        assert old.keys() == new.keys()
        assert all(torch.equal(old[key], new[key]) for key in old)
    for old, p in zip(grads, (*net.parameters(), *rule.parameters()), strict=True):
        assert (old is None) == (p.grad is None)
        assert old is None or torch.equal(old, p.grad)


def test_backpropagation_is_at_no_angle_to_itself():
    net, x, y = net_and_batch()
    values = [row["value"] for row in measure(net, make("bp", net, x), x, y, F.cross_entropy)]
    assert values[:6] == [0.0] * 3 + [1.0] * 3


@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_the_feedback_angle_is_to_the_matrices_that_the_rule_shows(name):
    net, x, y = net_and_batch()
    rule = make(name, net, x)
    rule.assign_credit(net, x, y, F.cross_entropy)
    shown = rule.feedback_matrices(net)
    expected = {
        key: angle(shown[key], net.get_parameter(key)) for key in ("0.weight", "5.weight", "7.weight")
    }
    assert feedback_angles(net, rule) == expected


@pytest.mark.parametrize("name", ["bp", "dfa", "drtp", "shallow"])
def test_rules_without_feedback_weights_have_no_feedback_angle(name):
    net, x, y = net_and_batch()
    rows = measure(net, make(name, net, x), x, y, F.cross_entropy)
    assert feedback_angles(net, make(name, net, x)) == {}
    assert not [row for row in rows if row["quantity"] == "feedback_angle"]


def test_the_frsf_angle_is_to_the_signed_matrix():
    net, x, _ = net_and_batch()
    rule = make("frsf", net, x)
    W, M = net[5].weight.detach(), rule.M["5.weight"]
    found = feedback_angles(net, rule)["5.weight"]
    assert found == pytest.approx(angle(W.sign() * M.abs(), W), abs=1e-9)
    assert found < 60 < angle(M, W)


def test_the_usf_angle_is_to_the_signs():
    net, x, _ = net_and_batch()
    assert feedback_angles(net, make("usf", net, x))["5.weight"] == pytest.approx(
        angle(net[5].weight.sign(), net[5].weight), abs=1e-4
    )


def test_the_brsf_angle_is_to_the_magnitudes_of_the_last_batch_in_whose_backward_they_were_used():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    x, y = torch.randn(7, 6), torch.randint(4, (7,))
    rule = make("brsf", net, x)
    angles = []
    for _ in range(2):
        net.zero_grad()
        output = rule.assign_credit(net, x, y, F.cross_entropy).output.requires_grad_()
        (error,) = torch.autograd.grad(F.cross_entropy(output, y), output)
        B = rule.feedback_matrices(net)["1.weight"]
        torch.testing.assert_close(net[0].weight.grad, (error @ B).t() @ x)  # B is what was used
        angles.append(feedback_angles(net, rule)["1.weight"])
        assert angles[-1] == angle(B, net[1].weight)
    assert angles[0] != angles[1]


def test_symmetric_feedback_is_at_no_angle_and_teaches_as_backpropagation():
    net, x, y = net_and_batch()
    rule = make("kp", net, x)
    with torch.no_grad():
        for name in rule.feedback_matrices(net):
            rule.B[name].copy_(net.get_parameter(name))
    rows = measure(net, rule, x, y, F.cross_entropy)
    angles = [row["value"] for row in rows if row["quantity"].endswith("angle")]
    assert len(angles) == 5  # three of updates, and two of feedback: the first layer sends none on
    assert max(angles) < 1e-4


def test_shallow_learning_teaches_the_last_layer_exactly_and_no_other():
    net, x, y = net_and_batch()
    rows = measure(net, make("shallow", net, x), x, y, F.cross_entropy)
    assert [(row["layer"], row["value"]) for row in rows if row["quantity"] == "gradient_angle"] == [
        ("7.weight", pytest.approx(0.0, abs=1e-4))
    ]
    references = [row["layer"] for row in rows if row["quantity"] == "reference_norm"]
    assert references == ["0.weight", "5.weight", "7.weight"]


@pytest.mark.parametrize("name", ["fa", "kp", "wm"])
def test_feedback_that_no_error_travels_through_is_left_out(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    rule, x = biograd.rules.create(name, net), torch.randn(5, 4)
    before = torch.get_rng_state()
    assert list(feedback_angles(net, rule)) == ["0.weight", "3.weight", "5.weight"]
    assert list(feedback_angles(net, rule, x)) == ["3.weight", "5.weight"]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", biograd.rules.names())
def test_every_rule_has_the_rows_that_it_offers_and_no_others(name):
    net, x, y = net_and_batch(name)
    rule = make(name, net, x)
    rows = [row for row in measure(net, rule, x, y, F.cross_entropy) if row["layer"] is not None]
    offered = {
        "target_distance": rule.targets and rule.targets(net, x, y, F.cross_entropy),
        "reconstruction_loss": rule.reconstruction_losses and rule.reconstruction_losses(net, x),
        "orthogonality": rule.inverse_weights and rule.inverse_weights(net),
        "error_cosine": rule.carrying_names and rule.carrying_names(net, x),
        "feedback_angle": rule.carrying_names and rule.carrying_names(net, x),
    }
    of_weights = ("orthogonality", "error_cosine", "feedback_angle")
    for quantity, shown in offered.items():
        layers = [row["layer"] for row in rows if row["quantity"] == quantity]
        known = {f"{block.name}.weight" if quantity in of_weights else block.name for block in blocks(net)}
        assert set(layers) == set(shown or ()) <= known
        assert len(layers) == len(set(layers))
    cosines = ("error_cosine", "batch_stability", "step_stability")
    assert all(row["value"] >= -(row["quantity"] in cosines) for row in rows)
    told = [row["layer"] for row in rows if row["quantity"] == "batch_stability"]
    assert told == [block.name for block in blocks(net) if block.name in told]


def test_in_an_orthogonal_net_the_targets_of_gait_prop_are_half_a_gradient_away():
    net, x, y = net_and_batch("tp")
    net, x = net.double(), x.double()
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
    rule = make("gait-prop", net, x)
    h = [net[:3](x)]
    h.append(net[3:5](h[0]))
    gradients = torch.autograd.grad(F.cross_entropy(net[5:](h[1]), y), h)
    expected = [(g * len(x) / 2).norm() / a.norm() for g, a in zip(gradients, h, strict=True)]
    found = target_distances(net, rule, x, y, F.cross_entropy)
    assert found == pytest.approx({"1": expected[0].item(), "3": expected[1].item()}, rel=1e-6)
    assert orthogonalities(net, rule) == pytest.approx({"3.weight": 0.0, "5.weight": 0.0}, abs=1e-12)
