"""Every rule against its equation, worked out in NumPy on a multilayer, a convolutional and a local net."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import biograd
from tests.equations.chains import CHAINS, Chain, make
from tests.equations.joins import joins_of
from tests.equations.plain import cross_entropy_error, forward, taught_by_feedback, taught_by_signals

every_chain = pytest.mark.parametrize("name", CHAINS)


def assert_gradients(net, expected):
    """Every gradient is the expected one; parameters without an expected one have none."""
    assert expected
    for name, parameter in net.named_parameters():
        if name in expected:
            np.testing.assert_allclose(
                parameter.grad.numpy(), expected[name], rtol=1e-11, atol=1e-13, err_msg=name
            )
        else:
            assert parameter.grad is None, name


def assert_feedback_rule(rule, chain, B=None):
    """One call follows the equation with ``B``, by default what the rule says it uses."""
    credit = rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
    if B is None:
        B = {name: matrix.numpy() for name, matrix in rule.feedback_matrices(chain.net).items()}
    steps = forward(chain.net, chain.x)
    e = cross_entropy_error(steps[-1].y, chain.y)
    np.testing.assert_allclose(credit.output.numpy(), steps[-1].y, rtol=1e-12, atol=1e-13)
    assert_gradients(chain.net, taught_by_feedback(steps, e, B))


def assert_block_rule(rule, chain, signal):
    """One call follows the equation with ``signal(index, block output, error)`` for every hidden block."""
    rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
    steps = forward(chain.net, chain.x)
    e = cross_entropy_error(steps[-1].y, chain.y)
    blocks = [steps[part] for part in chain.blocks]
    signals = [signal(index, block[-1].y, e) for index, block in enumerate(blocks[:-1])]
    assert_gradients(chain.net, taught_by_signals(blocks, [*signals, e]))


def weights(net):
    return {name: p.detach().numpy() for name, p in net.named_parameters() if name.endswith("weight")}


@every_chain
def test_bp_sends_the_error_back_through_the_weights(name):
    chain = make(name)
    assert_feedback_rule(biograd.Backpropagation(chain.net), chain, weights(chain.net))


@every_chain
def test_fa_sends_the_error_back_through_its_B(name):
    chain = make(name)
    rule = biograd.FeedbackAlignment(chain.net, seed=3)
    B = {parameter: rule.B[parameter].numpy() for parameter in weights(chain.net)}
    assert_feedback_rule(rule, chain, B)


@every_chain
def test_usf_sends_the_error_back_through_the_signs_of_the_weights_at_the_rms_they_had_at_first(name):
    chain = make(name)
    rms = {parameter: np.sqrt((W**2).mean()) for parameter, W in weights(chain.net).items()}
    rule = biograd.UniformSignConcordant(chain.net, scale=0.7)
    with torch.no_grad():
        for parameter in chain.net.parameters():
            parameter.copy_(3 * torch.randn_like(parameter))
    B = {parameter: np.sign(W) * 0.7 * rms[parameter] for parameter, W in weights(chain.net).items()}
    assert_feedback_rule(rule, chain, B)


@every_chain
def test_frsf_sends_the_error_back_through_the_signs_of_the_weights_and_its_fixed_M(name):
    chain = make(name)
    rule = biograd.FixedRandomSignConcordant(chain.net, seed=3)
    with torch.no_grad():
        for parameter in chain.net.parameters():
            parameter.copy_(torch.randn_like(parameter))
    B = {
        parameter: np.sign(W) * abs(rule.M[parameter].numpy()) for parameter, W in weights(chain.net).items()
    }
    assert_feedback_rule(rule, chain, B)


@pytest.mark.parametrize("width", [255, 256, 257, 700])
@pytest.mark.parametrize("rule_name", ["usf", "frsf"])
def test_sign_concordant_feedback_made_in_parts_is_that_made_at_once(rule_name, width):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, width), torch.nn.Tanh()
    )
    net = net.append(torch.nn.Linear(width, 2)).double()
    chain = Chain(net, torch.randn(5, 4, dtype=torch.float64), torch.randint(2, (5,)), ())
    rule = biograd.rules.create(rule_name, net)
    size = {name: (rule.magnitude if rule_name == "usf" else rule.M)[name].numpy() for name in weights(net)}
    assert_feedback_rule(rule, chain, {name: np.sign(W) * size[name] for name, W in weights(net).items()})


@every_chain
def test_brsf_sends_the_error_back_through_the_signs_of_the_weights_and_the_M_of_the_batch(name):
    chain = make(name)
    rule = biograd.BatchwiseRandomSignConcordant(chain.net, seed=3)
    magnitudes = []
    for _ in range(3):
        chain.net.zero_grad()
        assert_feedback_rule(rule, chain)
        B = {parameter: matrix.numpy() for parameter, matrix in rule.feedback_matrices(chain.net).items()}
        for parameter, W in weights(chain.net).items():
            np.testing.assert_array_equal(np.sign(B[parameter]), np.sign(W))
        magnitudes.append(np.concatenate([abs(matrix).ravel() for matrix in B.values()]))
    assert (magnitudes[0] != magnitudes[1]).all()
    assert (magnitudes[1] != magnitudes[2]).all()


@every_chain
def test_kp_sends_the_error_back_through_its_B_whose_gradient_is_that_of_W(name):
    chain = make(name)
    rule = biograd.KolenPollack(chain.net, seed=3)
    assert_feedback_rule(rule, chain, {n: rule.B[n].detach().numpy() for n in weights(chain.net)})
    for parameter in weights(chain.net):
        W = dict(chain.net.named_parameters())[parameter]
        assert torch.equal(rule.B[parameter].grad, W.grad)


@every_chain
def test_wm_sends_the_error_back_through_the_B_it_had_and_then_mirrors_the_weights(name):
    chain = make(name)
    rate, decay, noise, batch = 0.3, 0.2, 1.5, len(chain.x)
    rule = biograd.WeightMirror(chain.net, mirror_rate=rate, mirror_decay=decay, noise=noise, seed=5)
    before = {parameter: rule.B[parameter].clone().numpy() for parameter in weights(chain.net)}
    inputs = recorded_noise(rule)
    assert_feedback_rule(rule, chain, before)
    steps = [step for step in forward(chain.net, chain.x) if f"{step.name}.weight" in before]
    assert len(inputs) == len(steps)
    for step, x in zip(steps, inputs, strict=True):
        assert x.shape == step.x.shape
        joins, W = joins_of(step.layer, step.x.shape[1:]), step.layer.weight.detach().numpy()
        y = joins.forward(x, W)  # linear, without bias
        pairs = np.bincount(joins.w, minlength=W.size).reshape(W.shape) * batch
        mean = joins.weight_gradient(y, x, W) / np.maximum(pairs, 1)
        expected = (1 - decay) * before[f"{step.name}.weight"] + rate * mean
        np.testing.assert_allclose(rule.B[f"{step.name}.weight"].numpy(), expected, rtol=1e-11, atol=1e-13)


def recorded_noise(rule):
    """The noise that the rule is going to draw in its next mirror phase, filled as it draws."""
    drawn, draw = [], torch.randn

    def recording(*args, **kwargs):
        x = draw(*args, **kwargs)
        drawn.append(x.numpy())  # the same memory, so that scaling in place shows
        return x

    mirror = rule._mirror

    def recorded(*args):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn", recording)
            mirror(*args)

    rule._mirror = recorded
    return drawn


@every_chain
def test_dfa_projects_the_error_of_the_output_to_every_unit(name):
    chain = make(name)
    rule = biograd.DirectFeedbackAlignment(chain.net, chain.x[:1], seed=3)

    def signal(index, h, e):
        B = rule.direct.blocks[index].B.numpy()
        assert B.shape == (h[0].size, e.shape[1])
        return np.einsum("uk,nk->nu", B, e).reshape(h.shape)

    assert_block_rule(rule, chain, signal)


@every_chain
def test_dfa_at_low_rank_projects_the_error_through_V_and_then_U(name):
    chain = make(name)
    rule = biograd.DirectFeedbackAlignment(chain.net, chain.x[:1], form={"name": "low-rank", "rank": 2})

    def signal(index, h, e):
        U, V = rule.direct.blocks[index].U.numpy(), rule.direct.blocks[index].V.numpy()
        assert U.shape == (h[0].size, 2)
        assert V.shape == (2, e.shape[1])
        return np.einsum("ur,rk,nk->nu", U, V, e).reshape(h.shape)

    assert_block_rule(rule, chain, signal)


@every_chain
def test_dfa_tiled_tells_every_position_of_a_channel_the_same(name):
    chain = make(name)
    rule = biograd.DirectFeedbackAlignment(chain.net, chain.x[:1], form="tiled")

    def signal(index, h, e):
        B = rule.direct.blocks[index].B.numpy()
        assert B.shape == (h.shape[1], e.shape[1])
        channels = np.einsum("ck,nk->nc", B, e)
        return np.broadcast_to(channels.reshape(*channels.shape, *(1,) * (h.ndim - 2)), h.shape)

    assert_block_rule(rule, chain, signal)


@pytest.mark.parametrize("form", ["full", "low-rank", "tiled"])
@every_chain
def test_drtp_projects_the_label_with_a_minus_and_over_the_batch_size(name, form):
    chain = make(name)
    rule = biograd.DirectRandomTargetProjection(chain.net, chain.x[:1], form=form)

    def signal(index, h, e):
        projection = rule.direct.blocks[index]
        B = projection.U.numpy() @ projection.V.numpy() if form == "low-rank" else projection.B.numpy()
        target = np.eye(3)[chain.y.numpy()]
        told = -(target @ B.T) / len(target)
        if form == "tiled":
            told = told.reshape(*told.shape, *(1,) * (h.ndim - 2)) * np.ones_like(h)
        return told.reshape(h.shape)

    assert_block_rule(rule, chain, signal)


@every_chain
def test_shallow_teaches_the_last_block_alone(name):
    chain = make(name)
    assert_block_rule(biograd.Shallow(chain.net), chain, lambda index, h, e: None)


def spread(tensors):
    """Standard deviation around zero, and the largest number in units of it."""
    flat = np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])
    deviation = np.sqrt((flat**2).mean())
    return deviation, abs(flat).max() / deviation


def wide_net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(100, 200), torch.nn.Tanh(), torch.nn.Linear(200, 50)).double()


@pytest.mark.parametrize(("distribution", "largest"), [("uniform", math.sqrt(3)), ("normal", 4)])
@pytest.mark.parametrize("rule_name", ["fa", "frsf", "brsf", "kp", "wm"])
def test_drawn_weights_have_the_rms_of_W_times_the_scale(rule_name, distribution, largest):
    net = wide_net()
    rule = biograd.rules.create(rule_name, net, scale=2.5, distribution=distribution)
    for name, B in rule.feedback_matrices(net).items():
        W = dict(net.named_parameters())[name].detach().numpy()
        deviation, reach = spread([B])
        assert deviation == pytest.approx(2.5 * np.sqrt((W**2).mean()), rel=0.03)
        assert reach == pytest.approx(largest, rel=0.02) if distribution == "uniform" else reach > 3


@pytest.mark.parametrize("rule_name", ["dfa", "drtp"])
@pytest.mark.parametrize("form", ["full", "tiled", "low-rank"])
def test_direct_feedback_has_the_deviation_of_its_scale_over_the_root_of_the_outputs(rule_name, form):
    net = wide_net()
    rule = biograd.rules.create(
        rule_name, net, scale=2.0, form={"name": form, **({"rank": 40} if form == "low-rank" else {})}
    )
    projection = rule.direct.blocks[0]
    B = projection.U @ projection.V if form == "low-rank" else projection.B
    assert B.shape == (200, 50)
    assert spread([B])[0] == pytest.approx(2.0 / math.sqrt(50), rel=0.05)


def test_a_weight_that_is_all_zero_gets_feedback_at_the_scale_of_a_fresh_layer():
    net = torch.nn.Linear(300, 200).double()
    torch.nn.init.zeros_(net.weight)
    rule = biograd.FeedbackAlignment(net)
    assert spread([rule.B["weight"]])[0] == pytest.approx(1 / math.sqrt(3 * 300), rel=0.02)
