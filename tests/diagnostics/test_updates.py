import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd.diagnostics import (
    feedback_angles,
    gradient_angles,
    measure,
    norm_ratios,
    updates,
)
from biograd.rules.backpropagation import Backpropagation
from biograd.rules.base import Credit, Rule


class Turning(Rule):
    """A rule with every kind of state: scales backpropagation by a counter, noise and its own weight."""

    def __init__(self, net, scale=1.0):
        super().__init__()
        self.scale = scale
        self.calls = 0
        self.generator = torch.Generator().manual_seed(7)
        self.register_buffer("drawn", torch.zeros(3))
        self.learned = nn.Parameter(torch.ones(2))

    def assign_credit(self, net, x, y, loss_fn):
        self.calls += 1
        self.drawn.copy_(torch.rand(3, generator=self.generator))
        output = net(x)
        loss = loss_fn(output, y)
        (self.scale * loss + self.learned.sum()).backward()
        return Credit(loss.detach(), output.detach())


class Failing(Turning):
    def assign_credit(self, net, x, y, loss_fn):
        super().assign_credit(net, x, y, loss_fn)
        net.eval()
        raise RuntimeError("no")


class Remembering(nn.Module):
    """A layer with a plain attribute that each forward changes."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return x


def net_with_state():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        Remembering(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16, 5),
    )


def batch(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 2, 4, 4, generator=generator), torch.randint(5, (8,), generator=generator)


def everything(net, rule):
    """All that a measurement might disturb, in a form that compares."""
    return {
        "tensors": {name: t.clone() for name, t in [*net.state_dict().items(), *rule.state_dict().items()]},
        "identities": [
            id(t) for t in (*net.parameters(), *net.buffers(), *rule.parameters(), *rule.buffers())
        ],
        "grads": [
            p.grad if p.grad is None else p.grad.clone() for p in (*net.parameters(), *rule.parameters())
        ],
        "grad identities": [id(p.grad) for p in (*net.parameters(), *rule.parameters())],
        "flags": [m.training for m in (*net.modules(), *rule.modules())],
        "plain": (net[3].seen, rule.calls, rule.generator.get_state()),
        "hooks": [len(m._forward_hooks) for m in net.modules()],
        "rng": torch.get_rng_state(),
    }


def assert_same(before, after):
    assert before["tensors"].keys() == after["tensors"].keys()
    for name, tensor in before["tensors"].items():
        assert torch.equal(tensor, after["tensors"][name]), name
    for mine, theirs in zip(before["grads"], after["grads"], strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or torch.equal(mine, theirs)
    assert torch.equal(before["plain"][2], after["plain"][2])
    assert torch.equal(before["rng"], after["rng"])
    for key in ("identities", "grad identities", "flags", "hooks"):
        assert before[key] == after[key], key
    assert before["plain"][:2] == after["plain"][:2]


@pytest.mark.parametrize("quantity", [measure, updates, gradient_angles, norm_ratios])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("has_grad", [True, False])
def test_measuring_leaves_net_rule_and_random_numbers_as_they_were(quantity, training, has_grad):
    net = net_with_state().train(training)
    rule = Turning(net)
    x, y = batch()
    if has_grad:
        rule.assign_credit(net, x, y, F.cross_entropy)
    before, given = everything(net, rule), x.clone()
    assert quantity(net, rule, x, y, F.cross_entropy)
    assert_same(before, everything(net, rule))
    assert torch.equal(x, given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_random_numbers_of_the_cuda_device_are_left_as_they_were_too():
    net = net_with_state().cuda()
    before = torch.cuda.get_rng_state()
    x, y = batch()
    found = updates(net, Backpropagation(net), x.cuda(), y.cuda(), F.cross_entropy)
    assert torch.equal(before, torch.cuda.get_rng_state())
    assert all(torch.equal(found.taught[name], found.reference[name]) for name in found.reference)


def test_training_goes_on_bit_for_bit_as_without_a_measurement():
    def train(is_measured):
        net = net_with_state()
        rule = Turning(net)
        optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()])
        for step in range(4):
            x, y = batch(step)
            if is_measured:
                measure(net, rule, x, y, F.cross_entropy)
            optimizer.zero_grad()
            rule.assign_credit(net, x, y, F.cross_entropy)
            optimizer.step()
        return net.state_dict()

    plain, measured = train(False), train(True)
    assert all(torch.equal(plain[name], measured[name]) for name in plain)


def test_nothing_is_left_after_an_exception_either():
    net = net_with_state()
    rule = Failing(net)
    before = everything(net, rule)
    with pytest.raises(RuntimeError, match="no"):
        measure(net, rule, *batch(), F.cross_entropy)
    assert_same(before, everything(net, rule))


def test_measuring_works_where_gradients_are_off():
    net = net_with_state()
    with torch.no_grad():
        angles = gradient_angles(net, Backpropagation(net), *batch(), F.cross_entropy)
        assert not torch.is_grad_enabled()
    assert angles == {"0.weight": 0.0, "6.weight": 0.0}


def test_the_same_dropout_mask_serves_both_passes():
    net = net_with_state()
    found = updates(net, Turning(net), *batch(), F.cross_entropy)
    assert all(torch.equal(found.taught[name], found.reference[name]) for name in found.reference)


def test_an_in_place_first_layer_does_not_change_what_the_second_pass_sees():
    net = nn.Sequential(nn.Hardtanh(-0.2, 0.2, inplace=True), nn.Linear(3, 2))
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    given = x.clone()
    assert (
        gradient_angles(net, Turning(net), x, torch.tensor([0, 1, 1, 0]), F.cross_entropy)["1.weight"] == 0.0
    )
    assert torch.equal(x, given)


def test_hooks_of_parameters_are_not_called():
    net = nn.Sequential(nn.Linear(3, 2))
    calls = []
    net[0].weight.register_post_accumulate_grad_hook(calls.append)
    gradient_angles(net, Backpropagation(net), torch.ones(4, 3), torch.tensor([0, 1, 1, 0]), F.cross_entropy)
    assert not calls


def test_a_loss_with_weights_of_its_own_is_left_alone_too():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, output, y):
            return self.scale * F.cross_entropy(output, y)

    net, loss_fn = nn.Sequential(nn.Linear(3, 2)), Scaled()
    gradient_angles(net, Backpropagation(net), torch.ones(4, 3), torch.tensor([0, 1, 1, 0]), loss_fn)
    assert loss_fn.scale.grad is None


def test_a_shared_weight_is_measured_once_with_the_sum_of_its_uses():
    torch.manual_seed(0)
    layer = nn.Linear(3, 3)
    net = nn.Sequential(layer, nn.Tanh(), layer)
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    found = updates(net, Backpropagation(net), x, y, F.cross_entropy)
    F.cross_entropy(net(x), y).backward()
    assert found.reference.keys() == {"0.weight"}
    assert torch.equal(found.reference["0.weight"], layer.weight.grad)
    assert net[0] is net[2] is layer


class Planned(Rule):
    """Puts given updates in ``.grad``, and shows given feedback."""

    def __init__(self, plan, feedback=None):
        super().__init__()
        self.plan = plan
        self.feedback = feedback or {}

    def assign_credit(self, net, x, y, loss_fn):
        with torch.no_grad():
            output = net(x)
        for name, parameter in net.named_parameters():
            if name in self.plan:
                parameter.grad = self.plan[name].clone()
        return Credit(loss_fn(output, y), output)

    def feedback_matrices(self, net):
        return self.feedback

    def carrying_names(self, net, x):
        return set(self.feedback)


def two_layers():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0])
    F.cross_entropy(net(x), y).backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    return net, x, y, gradients


def test_angle_and_norm_are_those_of_the_update_that_the_rule_gave():
    net, x, y, gradients = two_layers()
    orthogonal = torch.randn(4, 3, dtype=torch.float64)
    g = gradients["0.weight"]
    orthogonal -= (orthogonal * g).sum() / g.square().sum() * g
    rule = Planned({"0.weight": orthogonal, "2.weight": -5 * gradients["2.weight"]})
    assert gradient_angles(net, rule, x, y, F.cross_entropy) == pytest.approx(
        {"0.weight": 90.0, "2.weight": 180.0}
    )
    ratios = norm_ratios(net, rule, x, y, F.cross_entropy)
    assert ratios == pytest.approx({"0.weight": (orthogonal.norm() / g.norm()).item(), "2.weight": 5.0})


def test_a_weight_that_is_not_taught_has_no_angle_and_a_zero_update_has_an_undefined_one():
    net, x, y, _ = two_layers()
    rule = Planned({"0.weight": torch.zeros(4, 3, dtype=torch.float64)})
    angles = gradient_angles(net, rule, x, y, F.cross_entropy)
    assert angles.keys() == {"0.weight"}
    assert math.isnan(angles["0.weight"])
    assert norm_ratios(net, rule, x, y, F.cross_entropy) == {"0.weight": 0.0}


def test_a_vanished_reference_makes_angle_and_ratio_undefined_and_shows_in_its_norm():
    net, x, y, gradients = two_layers()
    with torch.no_grad():
        net[2].weight.zero_()
    rows = measure(net, Planned({"0.weight": gradients["0.weight"]}), x, y, F.cross_entropy)
    values = {(row["quantity"], row["layer"]): row["value"] for row in rows}
    assert math.isnan(values["gradient_angle", "0.weight"])
    assert math.isnan(values["norm_ratio", "0.weight"])
    assert values["reference_norm", "0.weight"] == 0.0
    assert values["reference_norm", "2.weight"] > 0.0


def test_frozen_weights_and_biases_are_left_out():
    net, x, y, gradients = two_layers()
    net[0].weight.requires_grad_(False)
    assert gradient_angles(net, Planned(gradients), x, y, F.cross_entropy).keys() == {"2.weight"}
    assert not net[0].weight.requires_grad


def test_feedback_is_compared_as_it_is_used():
    net, _, _, _ = two_layers()
    W = net[2].weight.detach()
    rule = Planned({}, {"2.weight": -0.1 * W})
    assert feedback_angles(net, rule) == pytest.approx({"2.weight": 180.0})
    assert feedback_angles(net, Turning(net)) == {}


def test_rows_name_quantity_layer_and_value_and_end_with_the_cost():
    net, x, y, gradients = two_layers()
    rule = Planned({name: 2 * g for name, g in gradients.items()}, {"2.weight": net[2].weight.detach()})
    rows = measure(net, rule, x, y, F.cross_entropy)
    assert all(row.keys() == {"quantity", "layer", "value"} for row in rows)
    layers = ["0.weight", "2.weight"]
    expected = [
        (q, n) for q in ("gradient_angle", "norm_ratio", "update_norm", "reference_norm") for n in layers
    ]
    assert [(r["quantity"], r["layer"]) for r in rows] == [
        *expected,
        ("feedback_angle", "2.weight"),
        ("activity", "0"),
        ("activity", "2"),
        ("signal_growth", "2"),
        ("kept_bytes", None),
        ("peak_bytes", None),
        ("seconds", None),
    ]
    assert rows[2]["value"] == pytest.approx(2.0)
    assert rows[-1]["value"] > 0


def test_a_compile_wrapper_is_seen_through():
    net, x, y, gradients = two_layers()
    rule = Planned({"0.weight": gradients["0.weight"]}, {"2.weight": copy.deepcopy(net[2].weight.detach())})
    wrapped = torch.compile(net, backend="eager")
    rows = measure(wrapped, rule, x, y, F.cross_entropy)
    angles = {row["layer"]: row["value"] for row in rows if row["quantity"].endswith("angle")}
    assert angles == pytest.approx({"0.weight": 0.0, "2.weight": 0.0}, abs=1e-9)
