"""Where a rule becomes backpropagation, or another rule."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.layers import LocallyConnected2d
from biograd.rules.parts.direct_feedback import LowRank, Tiled
from tests.equations.chains import CHAINS, Chain, make


class Unit(nn.Module):
    """A residual unit with batch-norm, added in place."""

    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        y = self.body(x)
        y += x
        return F.relu_(y)


def residual():
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), Unit(4), Unit(4), nn.Flatten(), nn.Linear(64, 3)).double()
    return Chain(net, torch.randn(5, 2, 6, 6, dtype=torch.float64), torch.randint(3, (5,)), ())


NETS = [*CHAINS, "residual"]


def case(name):
    return residual() if name == "residual" else make(name)


def gradients(rule, net, x, y):
    """Gradients of one call, by name; the net is a copy's."""
    net = copy.deepcopy(net)
    rule.assign_credit(net, x, y, F.cross_entropy)
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def assert_backpropagation(rule, chain):
    expected = gradients(biograd.Backpropagation(chain.net), *chain[:3])
    assert_same(gradients(rule, *chain[:3]), expected)


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            got[name], gradient, rtol=1e-11, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}"
        )


def set_feedback(table, net, matrix=lambda W: W):
    with torch.no_grad():
        for name, W in net.named_parameters():
            if name.endswith("weight") and W.dim() > 1:
                table[name].copy_(matrix(W))


@pytest.mark.parametrize("name", NETS)
def test_fa_with_B_equal_to_the_transpose_of_W_is_backpropagation(name):
    chain = case(name)
    rule = biograd.FeedbackAlignment(chain.net)
    set_feedback(rule.B, chain.net)
    assert_backpropagation(rule, chain)


@pytest.mark.parametrize("name", NETS)
def test_kp_with_B_equal_to_W_is_backpropagation(name):
    chain = case(name)
    rule = biograd.KolenPollack(chain.net)
    set_feedback(rule.B, chain.net)
    assert_backpropagation(rule, chain)


@pytest.mark.parametrize("name", NETS)
def test_wm_with_B_equal_to_W_is_backpropagation(name):
    chain = case(name)
    rule = biograd.WeightMirror(chain.net)
    set_feedback(rule.B, chain.net)
    assert_backpropagation(rule, chain)


@pytest.mark.parametrize("name", NETS)
def test_usf_with_weights_of_equal_magnitude_is_backpropagation(name):
    chain = case(name)
    with torch.no_grad():
        for parameter in chain.net.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.3 * parameter.sign())
    assert_backpropagation(biograd.UniformSignConcordant(chain.net), chain)


@pytest.mark.parametrize("name", NETS)
def test_frsf_with_the_magnitudes_of_W_is_backpropagation(name):
    chain = case(name)
    rule = biograd.FixedRandomSignConcordant(chain.net)
    set_feedback(rule.M, chain.net, torch.abs)
    assert_backpropagation(rule, chain)


@pytest.mark.parametrize("name", NETS)
def test_brsf_with_the_magnitudes_of_W_is_backpropagation(name, monkeypatch):
    chain = case(name)
    rule = biograd.BatchwiseRandomSignConcordant(chain.net)
    monkeypatch.setattr("biograd.rules.sign_concordant.draw_like", lambda weight, *_: -weight.abs())
    assert_backpropagation(rule, chain)


@pytest.mark.parametrize("name", ["fa", "usf", "frsf", "brsf", "kp", "wm"])
@pytest.mark.parametrize("net", NETS)
def test_as_it_is_made_no_layerwise_rule_is_backpropagation(name, net):
    chain = case(net)
    got = gradients(biograd.rules.create(name, chain.net), *chain[:3])
    expected = gradients(biograd.Backpropagation(chain.net), *chain[:3])
    first, last = [next(iter(expected)), list(expected)[-1]]
    assert not torch.allclose(got[first], expected[first], rtol=0.05)
    torch.testing.assert_close(got[last], expected[last], rtol=1e-11, atol=1e-13)


def one_hidden_layer(kind):
    torch.manual_seed(2)
    layers = {
        "linear": [nn.Linear(5, 8), nn.Tanh()],
        "convolutional": [nn.Conv2d(2, 2, 2), nn.Tanh(), nn.Flatten()],
        "locally connected": [LocallyConnected2d(2, 2, 2, (3, 3)), nn.Tanh(), nn.Flatten()],
    }[kind]
    shape = (6, 5) if kind == "linear" else (6, 2, 3, 3)
    net = nn.Sequential(*layers, nn.Linear(8, 3)).double()
    return Chain(net, torch.randn(shape, dtype=torch.float64), torch.randint(3, (6,)), ())


@pytest.mark.parametrize("kind", ["linear", "convolutional", "locally connected"])
def test_dfa_with_one_hidden_block_is_feedback_alignment(kind):
    chain = one_hidden_layer(kind)
    direct = biograd.DirectFeedbackAlignment(chain.net, chain.x[:1])
    layerwise = biograd.FeedbackAlignment(chain.net)
    last = [name for name, _ in chain.net.named_parameters() if name.endswith("weight")][-1]
    direct.direct.blocks[0].B.copy_(layerwise.B[last].T)
    assert_same(gradients(direct, *chain[:3]), gradients(layerwise, *chain[:3]))


def test_dfa_and_drtp_agree_where_the_error_is_minus_the_label():
    chain = make("mlp")
    dfa = biograd.DirectFeedbackAlignment(chain.net, seed=1)
    drtp = biograd.DirectRandomTargetProjection(chain.net, seed=1)

    def minus_label(output, y):
        return -(output * F.one_hot(y, 3)).sum(1).mean()

    got, expected = [], []
    for rule, into in ((dfa, got), (drtp, expected)):
        net = copy.deepcopy(chain.net)
        rule.assign_credit(net, chain.x, chain.y, minus_label)
        into.extend(parameter.grad for parameter in net.parameters())
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("form", [Tiled(), LowRank(rank=3)], ids=lambda form: form.name)
def test_a_dfa_form_that_can_hold_the_full_matrix_equals_it(form):
    chain = make("mlp")
    full = biograd.DirectFeedbackAlignment(chain.net)
    other = biograd.DirectFeedbackAlignment(chain.net, form=form)
    for projection, whole in zip(other.direct.blocks, full.direct.blocks, strict=True):
        if form.name == "tiled":  # a block without positions
            projection.B.copy_(whole.B)
        else:
            projection.U.copy_(whole.B)
            projection.V.copy_(torch.eye(3))
    assert_same(gradients(other, *chain[:3]), gradients(full, *chain[:3]))


def mirror(net, x, phases, **settings):
    """A weight mirror after so many phases beside a net that does not learn."""
    rule = biograd.WeightMirror(net, phases=phases, **settings)
    outputs = torch.zeros_like(net(x))
    rule.assign_credit(net, x, outputs, F.mse_loss)
    return rule


def angle(a, b):
    return math.degrees(math.acos(float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))))


@pytest.mark.parametrize(("inputs", "batch", "decay"), [(100, 20, 0.01), (400, 20, 0.01), (100, 5, 0.02)])
def test_a_weight_mirror_at_constant_rates_reaches_the_angle_that_the_noise_leaves(inputs, batch, decay):
    torch.manual_seed(0)
    net = nn.Linear(inputs, 60, bias=False).double()
    x = torch.zeros(batch, inputs, dtype=torch.float64)
    rule = mirror(net, x, int(8 / decay), mirror_rate=decay, mirror_decay=decay, anneal_to=1.0)
    predicted = math.degrees(math.atan(math.sqrt(inputs * decay / (2 * batch))))
    assert angle(rule.B["weight"], net.weight.detach()) == pytest.approx(predicted, rel=0.08)


LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (64, 6)),
    "linear on sequences": (lambda: nn.Linear(6, 5), (16, 4, 6)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3, padding=1), (16, 2, 6, 6)),
    "strided, padded, grouped convolution": (
        lambda: nn.Conv2d(4, 4, 3, stride=2, padding=2, groups=2),
        (16, 4, 7, 7),
    ),
    "dilated 1-d convolution with even same padding": (
        lambda: nn.Conv1d(2, 3, 2, padding="same", dilation=3),
        (16, 2, 9),
    ),
    "transposed convolution": (
        lambda: nn.ConvTranspose2d(3, 2, 3, stride=2, output_padding=1),
        (16, 3, 4, 4),
    ),
    "locally connected": (lambda: LocallyConnected2d(2, 3, 3, (4, 4), stride=1, padding=1), (64, 2, 4, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_mirror_converges_to_a_multiple_of_the_weights_of_every_kind_of_layer(name):
    factory, shape = LAYERS[name]
    torch.manual_seed(0)
    net, x = factory().double(), torch.zeros(shape, dtype=torch.float64)
    rate, decay, noise, phases = 0.06, 0.03, 1.5, 600
    rule = mirror(net, x, phases, mirror_rate=rate, mirror_decay=decay, noise=noise)
    W, B = net.weight.detach(), rule.B["weight"]
    seen = W if name != "locally connected" else W * _joined(net, x)  # corners of padding meet no input
    assert angle(B, seen) < 6
    multiple = rate * noise**2 / decay * (1 - 1 / (1 + decay * phases))  # what the first B has left by then
    assert float((B * seen).sum() / seen.square().sum()) == pytest.approx(multiple, rel=0.02)


def _joined(layer, x):
    """1 for the weights that meet an input at all, 0 for those that padding alone meets."""
    layer(torch.ones_like(x)).sum().backward()
    joined = (layer.weight.grad != 0).double()
    layer.zero_grad()
    return joined


def test_annealing_lowers_the_angle_that_constant_rates_leave():
    torch.manual_seed(0)
    net, x = nn.Linear(100, 60).double(), torch.zeros(20, 100, dtype=torch.float64)
    constant = mirror(net, x, 400, mirror_rate=0.05, mirror_decay=0.05, anneal_to=1.0)
    annealed = mirror(net, x, 400, mirror_rate=0.05, mirror_decay=0.05, anneal_to=0.02)
    W = net.weight.detach()
    assert angle(annealed.B["weight"], W) < 0.6 * angle(constant.B["weight"], W)


def test_without_mirror_phases_B_stays_and_phases_come_every_so_many_steps():
    chain = make("mlp")
    rule = biograd.WeightMirror(chain.net, every=3)
    B = rule.B["0.weight"].clone()
    changed = []
    for _ in range(6):
        rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
        changed.append(not torch.equal(B, rule.B["0.weight"]))
        B = rule.B["0.weight"].clone()
    assert changed == [False, False, True, False, False, True]
