"""Targets, reconstructions and orthogonality are what NumPy computes, and nothing is left behind."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd.diagnostics import (
    error_cosines,
    feedback_angles,
    measure,
    orthogonalities,
    orthogonality,
    reconstruction_losses,
    target_distances,
)
from biograd.layers import LocallyConnected2d
from biograd.rules.backpropagation import Backpropagation
from biograd.rules.base import Credit, Rule


class Propagating(Rule):
    """Targets by a random step, decoders by a random matrix, inverses of the linear layers behind the first."""

    def __init__(self, net, step=0.1):
        super().__init__()
        self.step, self.calls = step, 0
        self.generator = torch.Generator().manual_seed(5)
        self.register_buffer("drawn", torch.zeros(2))
        self.decoder = nn.Parameter(torch.randn(16, 5, generator=self.generator))

    def assign_credit(self, net, x, y, loss_fn):
        output = net(x)
        loss = loss_fn(output, y)
        loss.backward()
        return Credit(loss.detach(), output.detach())

    def targets(self, net, x, y, loss_fn):
        (self.decoder.sum() + loss_fn(net(x), y)).backward()  # all that a careless rule might do
        return {"7": (h := net(x), h + self.step * self._draw(h))}

    def reconstruction_losses(self, net, x):
        h = net[:7](x)
        error = h - net[7](h) @ self.decoder.t()
        self._draw(error)
        return {"7": (error.square().sum() / h.square().sum()).item()}

    def inverse_weights(self, net):
        self._draw(net[7].weight)
        return {"7.weight": net[7].weight.t()}

    def _draw(self, like):
        self.calls += 1
        self.drawn += torch.rand(2, generator=self.generator) + torch.rand(2)
        return torch.randn(like.shape, generator=self.generator)


class Failing(Propagating):
    def _draw(self, like):
        super()._draw(like)
        raise RuntimeError("no")


class Showing(Propagating):
    """Shows what it is given."""

    def __init__(self, targets=None, inverses=None, losses=None):
        super().__init__(None)
        self.shown, self.inverses, self.losses = targets or {}, inverses or {}, losses or {}

    def targets(self, net, x, y, loss_fn):
        return self.shown

    def reconstruction_losses(self, net, x):
        return self.losses

    def inverse_weights(self, net):
        return self.inverses


class Counting(nn.Module):
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
        nn.Hardtanh(inplace=True),
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        Counting(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16, 5),
    )


def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(8, 2, 4, 4, generator=generator), torch.randint(5, (8,), generator=generator)


def everything(net, rule, *batch):
    """All that a measurement might disturb: tensors, then what compares with ``==``."""
    parameters = [*net.parameters(), *rule.parameters()]
    tensors = [*net.state_dict().values(), *rule.state_dict().values(), *batch]
    tensors += [p.grad for p in parameters if p.grad is not None]
    tensors += [torch.get_rng_state(), rule.generator.get_state()]
    plain = [[p.grad is None for p in parameters], [id(p) for p in (*parameters, *net.buffers())]]
    plain += [[m.training for m in net.modules()], net[4].seen, rule.calls]
    return [tensor.clone() for tensor in tensors], plain


QUANTITIES = {
    "target_distances": target_distances,
    "reconstruction_losses": lambda net, rule, x, y, loss_fn: reconstruction_losses(net, rule, x),
    "orthogonalities": lambda net, rule, x, y, loss_fn: orthogonalities(net, rule),
    "measure": measure,
}


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("has_grad", [True, False])
def test_measuring_leaves_net_rule_batch_and_random_numbers_as_they_were(quantity, training, has_grad):
    net = net_with_state().train(training)
    rule, (x, y) = Propagating(net), batch()
    if has_grad:
        rule.targets(net, x, y, F.cross_entropy)
    tensors, plain = everything(net, rule, x, y)
    assert QUANTITIES[quantity](net, rule, x, y, F.cross_entropy)
    tensors_after, plain_after = everything(net, rule, x, y)
    assert plain_after == plain
    assert all(torch.equal(a, b) for a, b in zip(tensors, tensors_after, strict=True))


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_nothing_is_left_after_an_exception_either(quantity):
    net = net_with_state()
    rule, (x, y) = Failing(net), batch()
    tensors, plain = everything(net, rule, x, y)
    with pytest.raises(RuntimeError, match="no"):
        QUANTITIES[quantity](net, rule, x, y, F.cross_entropy)
    tensors_after, plain_after = everything(net, rule, x, y)
    assert plain_after == plain
    assert all(torch.equal(a, b) for a, b in zip(tensors, tensors_after, strict=True))


def test_targets_are_measured_where_gradients_are_off():
    net = net_with_state()
    with torch.no_grad():
        assert target_distances(net, Propagating(net), *batch(), F.cross_entropy).keys() == {"7"}
        assert not torch.is_grad_enabled()


def test_the_distance_of_a_target_is_the_norm_of_the_step_over_that_of_the_output():
    rng = np.random.default_rng(0)
    shown = {"0": (rng.normal(size=(6, 3, 4, 4)), rng.normal(size=(6, 3, 4, 4)))}
    shown["4"] = (rng.normal(size=(6, 7)), 5 + rng.normal(size=(6, 7)))
    rule = Showing({name: (torch.tensor(h), torch.tensor(t)) for name, (h, t) in shown.items()})
    rms = {name: (np.sqrt(np.mean((h - t) ** 2)), np.sqrt(np.mean(h**2))) for name, (h, t) in shown.items()}
    found = target_distances(nn.Linear(1, 1), rule, *batch(), F.cross_entropy)
    assert found == pytest.approx({name: step / of for name, (step, of) in rms.items()}, rel=1e-12)
    assert list(found) == ["0", "4"]


@pytest.mark.parametrize(
    ("h", "target", "expected"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([0.0, 0.0], [1.0, 0.0], math.nan),
        ([0.0, 0.0], [0.0, 0.0], math.nan),
        ([1.0, 1.0], [math.nan, 1.0], math.nan),
        ([math.inf, 1.0], [1.0, 1.0], math.nan),
        ([3e300, 4e300], [3e300, 9e300], 1.0),
        ([1e-200, 0.0], [3e-200, 0.0], 2.0),
    ],
)
def test_a_distance_without_a_meaning_is_nan_and_no_square_overflows(h, target, expected):
    h, target = torch.tensor(h, dtype=torch.float64), torch.tensor(target, dtype=torch.float64)
    found = target_distances(nn.Linear(1, 1), Showing({"0": (h, target)}), *batch(), F.cross_entropy)
    assert found["0"] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("h", "target", "expected"),
    [
        (
            torch.full((2,), 60000.0, dtype=torch.float16),
            torch.full((2,), -60000.0, dtype=torch.float16),
            2.0,
        ),
        (torch.ones(2), torch.full((2,), 1 + 1e-12, dtype=torch.float64), 1e-12),
    ],
)
def test_the_step_is_taken_in_float64_whatever_the_dtypes(h, target, expected):
    found = target_distances(nn.Linear(1, 1), Showing({"0": (h, target)}), *batch(), F.cross_entropy)
    assert found["0"] == pytest.approx(expected, rel=1e-3)


def test_a_target_of_another_shape_is_an_error_and_not_broadcast():
    rule = Showing({"2": (torch.ones(4, 2), torch.ones(2))})
    with pytest.raises(ValueError, match=r"the target of block '2' is \(2,\), its output \(4, 2\)"):
        target_distances(nn.Linear(1, 1), rule, *batch(), F.cross_entropy)


def test_the_reconstruction_loss_is_the_rules_own_now():
    net = net_with_state().eval()
    rule, (x, _) = Propagating(net), batch()
    with torch.no_grad():
        h = net[:7](x.clone()).numpy()
        output = net(x.clone()).numpy()
    error = h - output @ rule.decoder.detach().numpy().T
    expected = (error**2).sum() / (h**2).sum()
    assert reconstruction_losses(net, rule, x) == {"7": pytest.approx(expected, rel=1e-4)}


def test_a_loss_that_is_not_finite_is_nan():
    shown = {"1": 0.5, "2": math.inf, "3": math.nan}
    found = reconstruction_losses(nn.Linear(1, 1), Showing(losses=shown), torch.ones(1, 1))
    assert found == pytest.approx({"1": 0.5, "2": math.nan, "3": math.nan}, nan_ok=True)


def deviation(W):
    """The value by the definition, in NumPy."""
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    return np.linalg.norm(gram - np.eye(len(gram))) / np.sqrt(len(gram))


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (1, 4), (4, 1)])
def test_orthogonality_is_of_the_smaller_gram_matrix_and_the_same_for_the_transpose(shape):
    W = np.random.default_rng(1).normal(size=shape)
    assert orthogonality(torch.tensor(W)) == pytest.approx(deviation(W), rel=1e-12)
    assert orthogonality(torch.tensor(W.T)) == pytest.approx(deviation(W), rel=1e-12)
    squares = np.linalg.svd(W, compute_uv=False) ** 2
    assert orthogonality(torch.tensor(W)) == pytest.approx(np.sqrt(np.mean((squares - 1) ** 2)), rel=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5])
def test_a_scaled_orthogonal_matrix_of_any_width_is_as_far_off_as_its_square_is_from_one(scale):
    for n in (2, 30):
        Q = nn.init.orthogonal_(torch.empty(n, n, dtype=torch.float64))
        assert orthogonality(scale * Q) == pytest.approx(abs(scale**2 - 1), abs=1e-12)


def test_orthogonality_is_computed_in_float64():
    assert orthogonality(torch.tensor([[1 + 2**-20]])) == (1 + 2**-20) ** 2 - 1  # float32 has no such number
    assert orthogonality(torch.tensor([[1e30]])) == pytest.approx(1e60)


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 4, 2), nn.Conv2d(3, 10, 2), nn.Conv3d(2, 3, 2)])
def test_a_kernel_is_a_matrix_from_patch_to_channels(layer):
    W = layer.weight.detach().double().numpy()
    assert orthogonality(layer.weight) == pytest.approx(deviation(W.reshape(W.shape[0], -1).T), rel=1e-12)


def test_a_locally_connected_weight_has_the_mean_over_its_positions():
    layer = LocallyConnected2d(2, 3, 2, input_size=(4, 5))
    W = layer.weight.detach().double().numpy()
    assert W.shape == (3, 4, 2, 2, 2, 3)
    expected = np.mean([deviation(W[i, j].reshape(8, 3)) for i in range(3) for j in range(4)])
    assert orthogonality(layer.weight, layer.layout) == pytest.approx(expected, rel=1e-12)


def test_what_is_no_matrix_has_no_orthogonality():
    assert math.isnan(orthogonality(torch.empty(0, 3)))
    assert not math.isfinite(orthogonality(torch.tensor([[math.inf, 0.0], [0.0, 1.0]])))
    for shape in [(), (3,), (1,) * 6]:
        with pytest.raises(ValueError, match="is no matrix; give one of 2 to 5 dimensions"):
            orthogonality(torch.ones(shape))


def test_a_rules_inverses_are_measured_as_it_inverts_them():
    rng = np.random.default_rng(2)
    one, several = rng.normal(size=(6, 4)), rng.normal(size=(2, 3, 6, 4))
    rule = Showing(inverses={"1.weight": torch.tensor(one), "3.weight": torch.tensor(several)})
    expected = [deviation(one), np.mean([deviation(W) for W in several.reshape(6, 6, 4)])]
    found = orthogonalities(nn.Linear(1, 1), rule)
    assert list(found) == ["1.weight", "3.weight"]
    assert list(found.values()) == pytest.approx(expected, rel=1e-12)


def test_a_rule_that_offers_nothing_of_all_this_has_none_of_the_rows():
    net, (x, y) = net_with_state(), batch()
    rule = Backpropagation(net)
    assert target_distances(net, rule, x, y, F.cross_entropy) == {}
    assert reconstruction_losses(net, rule, x) == orthogonalities(net, rule) == {}
    assert feedback_angles(net, rule) == error_cosines(net, rule, x, y, F.cross_entropy) == {}
    quantities = {row["quantity"] for row in measure(net, rule, x, y, F.cross_entropy)}
    of_updates = {"gradient_angle", "norm_ratio", "update_norm", "reference_norm"}
    of_the_step = {"kept_bytes", "peak_bytes", "seconds"}
    assert quantities == {*of_updates, "activity", "signal_growth", "batch_stability", *of_the_step}


def test_measure_puts_what_each_function_gives_into_rows():
    net, (x, y) = net_with_state(), batch()
    rule = Propagating(net)
    distances = target_distances(net, rule, x, y, F.cross_entropy)
    losses, deviations = reconstruction_losses(net, rule, x), orthogonalities(net, rule)
    rows = measure(torch.compile(net, backend="eager"), rule, x, y, F.cross_entropy)
    assert [tuple(row.values()) for row in rows[-6:-3]] == [
        ("target_distance", "7", distances["7"]),
        ("reconstruction_loss", "7", losses["7"]),
        ("orthogonality", "7.weight", deviations["7.weight"]),
    ]
    assert distances["7"] > 0
    assert losses["7"] > 0
    assert rows[-1]["quantity"] == "seconds"
