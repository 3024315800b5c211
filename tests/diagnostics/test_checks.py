"""The checks beside angles: growth of signals, validity of the reference, stability of what a rule tells."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import nets, rules
from biograd.diagnostics import (
    activities,
    mean_signals,
    measure,
    signal_growths,
    stability_over_batches,
    stability_over_steps,
    teaching_signals,
)


def chain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def batch(n=6):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 4, generator=generator, dtype=torch.double)
    return x, torch.randint(3, (n,), generator=generator)


def values(rows, quantity):
    return {row["layer"]: row["value"] for row in rows if row["quantity"] == quantity}


def cosine(a, b):
    return F.cosine_similarity(a.flatten(), b.flatten(), 0).item()


def test_growth_is_the_ratio_of_norms_along_a_residual_stream():
    net = nets.create("vit", (1, 4, 4), 3, seed=0, width=4, heads=1, depth=3).double()
    x = torch.randn(5, 1, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    h = net.embed(x)
    expected = {}
    for place, layer in enumerate(net.layers):
        below, h = h, layer(h)
        expected[f"layers.{place}"] = (h.norm() / below.norm()).item()
    found = signal_growths(net, x)
    assert list(found) == [*expected, "head"]
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_between_blocks_of_any_width_it_is_the_ratio_of_activities():
    net, (x, _) = chain(), batch()
    found = activities(net, x)
    assert signal_growths(net, x) == {"2": found["2"] / found["0"], "4": found["4"] / found["2"]}


def test_behind_a_silent_block_growth_is_undefined_and_layers_of_no_chain_have_none():
    net, (x, _) = chain(), batch()
    nn.init.zeros_(net[0].weight)
    nn.init.zeros_(net[0].bias)
    assert math.isnan(signal_growths(net, x)["2"])
    assert signal_growths(nn.ModuleDict({"a": net[0]})["a"], x) == {}


def test_backpropagations_signals_are_the_derivatives_of_the_loss():
    net, (x, y) = chain(), batch()
    first = net[:2](x)
    second = net[2:4](first)
    output = net[4](second)
    errors = torch.autograd.grad(F.cross_entropy(output, y), (first, second, output))
    found = teaching_signals(net, rules.create("bp", net), x, y, F.cross_entropy)
    assert list(found) == ["0", "2", "4"]
    for signal, error in zip(found.values(), errors, strict=True):
        torch.testing.assert_close(signal, error)


def test_direct_feedback_signals_are_the_errors_of_the_output_through_fixed_weights():
    net, (x, y) = chain(), batch()
    rule = rules.create("dfa", net).double()
    found = teaching_signals(net, rule, x, y, F.cross_entropy)
    error = (net(x).softmax(1) - F.one_hot(y, 3)) / len(x)
    torch.testing.assert_close(found["4"], error)
    for name in ("0", "2"):
        assert torch.linalg.matrix_rank(torch.cat([found[name], error], 1)) == torch.linalg.matrix_rank(error)


def test_rules_that_fill_in_hidden_weights_without_a_signal_have_that_of_the_output_alone():
    net, (x, y) = chain(), batch()
    assert list(teaching_signals(net, rules.create("shallow", net), x, y, F.cross_entropy)) == ["4"]


def test_stability_over_batches_is_the_cosine_between_the_means_of_two_halves():
    net, (x, y) = chain(), batch(7)
    found = teaching_signals(net, rules.create("bp", net), x, y, F.cross_entropy)
    expected = {name: cosine(one[:3].mean(0), one[3:6].mean(0)) for name, one in found.items()}
    assert stability_over_batches(found) == pytest.approx(expected)
    alone = teaching_signals(net, rules.create("bp", net), x[:1], y[:1], F.cross_entropy)
    assert all(math.isnan(value) for value in stability_over_batches(alone).values())


def test_a_signal_that_does_not_look_at_the_examples_is_a_constant_drift():
    net, (x, _) = chain(), batch()
    y = torch.zeros(6, dtype=torch.long)  # which is all that these hidden layers are told
    rows = measure(net, rules.create("drtp", net).double(), x, y, F.cross_entropy)
    found = values(rows, "batch_stability")
    assert [found["0"], found["2"]] == pytest.approx([1, 1])


def test_stability_over_steps_is_the_cosine_to_the_mean_signal_of_the_measurement_before():
    net, (x, y) = chain(), batch()
    rule, remembered = rules.create("bp", net), {}
    assert values(measure(net, rule, x, y, F.cross_entropy, remembered=remembered), "step_stability") == {}
    before = mean_signals(teaching_signals(net, rule, x, y, F.cross_entropy))
    with torch.no_grad():
        net[4].weight.add_(torch.randn(3, 6, dtype=torch.double))
    rows = measure(net, rule, x, y, F.cross_entropy, remembered=remembered)
    now = teaching_signals(net, rule, x, y, F.cross_entropy)
    expected = {name: cosine(before[name], now[name].mean(0)) for name in now}
    assert values(rows, "step_stability") == pytest.approx(expected)
    assert stability_over_steps(before, mean_signals(now)) == pytest.approx(expected)
    assert all(torch.equal(remembered[name], signal.mean(0)) for name, signal in now.items())


@pytest.mark.parametrize(("scale", "is_undefined"), [(1e-3, False), (1e-9, True)])
def test_angles_to_a_gradient_that_has_vanished_are_undefined(scale, is_undefined):
    net, (x, y) = chain(), batch()
    rows = measure(net, rules.create("fa", net).double(), scale * x, y, F.cross_entropy)
    assert (values(rows, "reference_norm")["0.weight"] < 1e-7) is is_undefined
    assert math.isnan(values(rows, "gradient_angle")["0.weight"]) is is_undefined
    assert not math.isnan(values(rows, "gradient_angle")["4.weight"])


def test_signals_leave_nothing_behind():
    net, (x, y) = chain(), batch()
    rule = rules.create("dtp", net, sample=x[:1])
    state = torch.get_rng_state()
    teaching_signals(net, rule.double(), x, y, F.cross_entropy)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in [*net.parameters(), *rule.parameters()])
    assert not any(module._forward_hooks for module in net.modules())
