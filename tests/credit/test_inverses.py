"""Exact, kept and learned inverses against NumPy's, and when a kept one is made anew."""

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from biograd.credit.back.corrections import foretold
from biograd.credit.back.inverses import ExactInverse, KeptInverse, LearnedInverse
from biograd.credit.back.pseudo_inverse import pseudo_inverse
from biograd.credit.back.weight_matrices import (
    as_matrices,
    as_weight,
    require_invertible_kind,
    weight_matrices,
)
from biograd.credit.late import Late
from biograd.errors import NotFinite, UnsupportedNet
from biograd.layers import (
    InvertibleConv2d,
    LocallyConnected,
    LocallyConnected1d,
    LocallyConnected2d,
    LocallyConnected3d,
)
from tests.equations.joins import joins_of

# A layer of each kind, and an input for it. The last ones of each kind are square.
LAYERS: dict[str, Any] = {
    "tall": (lambda: nn.Linear(7, 4), (3, 7)),
    "wide": (lambda: nn.Linear(4, 7), (3, 4)),
    "tokens": (lambda: nn.Linear(5, 5), (3, 2, 5)),
    "linear": (lambda: nn.Linear(6, 6), (3, 6)),
    "sequences": (lambda: nn.Conv1d(2, 5, 3, stride=2, padding=1), (3, 2, 7)),
    "volumes": (lambda: nn.Conv3d(1, 9, 2), (2, 1, 3, 3, 3)),
    "in groups": (lambda: nn.Conv2d(4, 6, 2, groups=2, padding=1), (2, 4, 3, 4)),
    "dilated": (lambda: nn.Conv2d(2, 20, 3, padding="same", dilation=2), (2, 2, 5, 5)),
    "square groups": (lambda: nn.Conv2d(4, 16, 2, groups=2), (2, 4, 3, 4)),
    "convolution": (lambda: InvertibleConv2d(2, 3, stride=2, padding=1), (2, 2, 6, 5)),
    "tall places": (lambda: LocallyConnected2d(2, 3, 2, (4, 3)), (2, 2, 4, 3)),
    "places": (lambda: LocallyConnected2d(2, 8, 2, (4, 3), stride=2), (2, 2, 4, 3)),
    "places of sequences": (lambda: LocallyConnected1d(2, 6, 3, 7, padding=1), (2, 2, 7)),
    "places of volumes": (lambda: LocallyConnected3d(1, 5, 2, (2, 3, 3)), (2, 1, 2, 3, 3)),
}
SQUARE = ["tokens", "linear", "square groups", "convolution", "places"]


def made(name, seed=0):
    """A layer in float64, an input, and a signal for its outputs."""
    torch.manual_seed(seed)
    make, shape = LAYERS[name]
    layer = make().double()
    x = torch.randn(shape, dtype=torch.float64)
    return layer, x, torch.randn_like(layer(x))


def through_pinv(layer, delta, x, used=None):
    """``δ W⁺`` for every patch, in NumPy: each group, or place, has a matrix of its own."""
    weight = layer.weight.detach().numpy().copy()
    if isinstance(layer, LocallyConnected):
        matrices = weight.reshape(*layer.output_size, -1, weight.shape[-1])[..., :used]
        B = np.zeros(weight.shape)
        B[..., :used] = np.linalg.pinv(matrices).swapaxes(-1, -2).reshape(B[..., :used].shape)
    else:
        groups = getattr(layer, "groups", 1)
        parts = np.split(weight.reshape(len(weight), -1)[:used], groups)
        B = np.zeros(weight.shape)
        B[:used] = np.concatenate([np.linalg.pinv(p).T for p in parts]).reshape(B[:used].shape)
    if isinstance(layer, nn.Linear):
        return delta.numpy() @ B
    return joins_of(layer, x.shape[1:]).error_back(delta.numpy(), B, x.shape)


def assert_close(got: Tensor, expected: Any, relative: float = 1e-11) -> None:
    expected = np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=relative * abs(expected).max())


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (3, 7), (2, 5, 5), (2, 3, 6, 4), (2, 4, 6), (1, 1)])
def test_the_pseudo_inverse_is_numpys(shape):
    W = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(pseudo_inverse(W, "0"), np.linalg.pinv(W.numpy()))


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (3, 7), (3, 4, 4)])
@pytest.mark.parametrize("spoil", [0.0, math.nan, math.inf])
def test_a_matrix_without_inverse_is_refused_by_the_layers_name(shape, spoil):
    W = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    short = -2 if shape[-2] < shape[-1] else -1
    W.select(short, 1).fill_(spoil) if spoil == 0 else W.diagonal(dim1=-2, dim2=-1).select(-1, 1).fill_(spoil)
    with pytest.raises(NotFinite, match=r"the weight of 'stem\.0' is singular or not finite") as caught:
        pseudo_inverse(W, "stem.0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LAYERS)
def test_matrices_take_a_patch_to_the_outputs_and_fit_back_into_the_weight(name):
    layer, _, _ = made(name)
    W = weight_matrices(layer)
    kernel = math.prod(getattr(layer, "kernel_size", ())) * getattr(layer, "in_channels", 0)
    groups = getattr(layer, "groups", 1)
    assert W.shape[-2] == (kernel // groups if kernel else layer.in_features)
    assert not W.requires_grad
    assert torch.equal(as_weight(layer, as_matrices(layer, layer.weight), layer.weight), layer.weight)


@pytest.mark.parametrize("name", LAYERS)
def test_an_exact_inverse_sends_signals_through_the_pseudo_inverse_of_every_patch(name):
    layer, x, delta = made(name)
    assert_close(ExactInverse("0", None)(layer, delta, x), through_pinv(layer, delta, x))


@pytest.mark.parametrize("used", [1, 3])
@pytest.mark.parametrize("name", ["tall", "wide", "linear", "convolution", "dilated", "places"])
def test_used_columns_have_a_pseudo_inverse_of_their_own(name, used):
    layer, x, delta = made(name)
    expected = through_pinv(layer, delta, x, used)
    assert_close(ExactInverse("0", used)(layer, delta, x), expected)
    delta[:, used:] = torch.nan  # what is not used has no part
    assert_close(ExactInverse("0", used)(layer, delta, x), expected)


@pytest.mark.parametrize("name", SQUARE)
def test_a_kept_inverse_is_exact_in_its_first_call(name):
    layer, x, delta = made(name)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))
    assert int(inverse.age) == 0
    assert float(inverse.residual) < 1e-12


@torch.no_grad()
def drift(layer, size):
    """One step that moves every weight by ``size``, as Adam's do."""
    layer.weight += size * torch.randn_like(layer.weight).sign()


@pytest.mark.parametrize("size", [1e-5, 3e-4, 1e-3])
@pytest.mark.parametrize("name", SQUARE)
def test_as_weights_move_what_is_missing_stays_within_the_tolerance(name, size):
    """In single precision, as after any number of Adam's steps at such a rate."""
    layer, x, delta = made(name)
    matrices = {"places": lambda w: w.flatten(2, 4).flatten(0, 1), "square groups": lambda w: w.chunk(2)}
    for matrix in matrices.get(name, lambda w: [w])(layer.weight.data):
        nn.init.orthogonal_(matrix)
    layer, x = layer.float(), x.float()
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    ages = []
    for _ in range(150):
        delta = torch.randn_like(delta)
        e, exact = inverse(layer, delta.float(), x), through_pinv(layer, delta, x)
        assert np.linalg.norm(e.numpy() - exact) <= 1.5e-3 * np.linalg.norm(exact)
        ages.append(int(inverse.age))
        drift(layer, size)
    if isinstance(layer, nn.Linear):  # the other kinds correct X itself, and need no new one
        assert (0 in ages[1:]) >= (size == 1e-3)
        assert (max(ages) == 149) >= (size == 1e-5)
        assert max(ages) > 5


def test_the_residual_is_that_of_the_signal_before_its_correction():
    layer, x, delta = made("linear")
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    drift(layer, 1e-3)
    X, W, d = inverse.X.numpy().copy(), layer.weight.detach().numpy().T, delta.numpy()
    e = inverse(layer, delta, x)
    missing = d - d @ X @ W
    assert float(inverse.residual) == pytest.approx(np.linalg.norm(missing) / np.linalg.norm(d))
    assert_close(e, d @ X + missing @ X)
    assert torch.equal(inverse.X, torch.from_numpy(X))
    left = np.linalg.norm(d - e.numpy() @ W) / np.linalg.norm(d)
    assert left < 10 * float(inverse.residual) ** 2


@pytest.mark.parametrize("name", ["square groups", "convolution", "places"])
def test_of_small_matrices_the_inverse_itself_takes_a_step_of_newton_and_schulz(name):
    layer, x, delta = made(name)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    drift(layer, 1e-4)
    X, W = inverse.X.numpy().copy(), weight_matrices(layer).numpy()
    e = inverse(layer, delta, x)
    missing = np.eye(W.shape[-1]) - W @ X
    count = missing.size // missing.shape[-1]
    assert float(inverse.residual) == pytest.approx(np.linalg.norm(missing) / math.sqrt(count))
    assert_close(inverse.X, X + X @ missing)
    exact = through_pinv(layer, delta, x)
    assert 0 < abs(e.numpy() - exact).max() < 1e-3 * abs(exact).max()


def moved_to_residual(layer, inverse, rho):
    """Make the weights such that the residual of any signal is ρ: W = (1 − ρ) X⁻¹."""
    with torch.no_grad():
        W = (1 - rho) * torch.linalg.inv(inverse.X)
        layer.weight.copy_(as_weight(layer, W, layer.weight))


@pytest.fixture
def late(monkeypatch):
    """As on a GPU, where reading ρ at once would wait for the device."""
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: False)


@pytest.mark.parametrize(
    ("name", "rho"),
    [*itertools.product(["convolution", "places"], [0.03, 0.5, 2.0]), ("linear", 0.5), ("linear", 2.0)],
)
def test_where_reading_costs_nothing_no_signal_goes_through_an_inverse_that_is_too_far_off(name, rho):
    layer, x, delta = made(name)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    moved_to_residual(layer, inverse, rho)
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))
    assert (int(inverse.age), float(inverse.residual) < 1e-12) == (0, True)
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))
    assert int(inverse.age) == 1


def test_batches_of_one_class_after_another_are_sent_back_as_exactly_as_mixed_ones():
    """A signal may lie where the inverse is worst, after others that lay where it was good."""
    layer, x, delta = made("linear")
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    with torch.no_grad():
        layer.weight[0] *= 1.5  # one output alone, which the signals of the first class do not touch
    quiet, loud = delta.index_fill(1, torch.tensor(0), 0.0), delta
    for signal in (quiet, loud, quiet):
        e, exact = inverse(layer, signal, x).numpy(), through_pinv(layer, signal, x)
        assert np.linalg.norm(e - exact) <= 1e-3 * np.linalg.norm(exact)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize(("name", "rho"), [("linear", 0.3), ("convolution", 0.05), ("places", 0.05)])
def test_it_is_made_anew_at_the_call_after_the_residual_asked_for_it(name, rho):
    layer, x, delta = made(name)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    moved_to_residual(layer, inverse, rho)
    inverse(layer, delta, x)
    assert (int(inverse.age), round(float(inverse.residual), 10)) == (1, rho)
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))
    assert int(inverse.age) == 0
    assert_close(inverse.X, np.linalg.inv(weight_matrices(layer).numpy()))


def test_it_is_made_anew_where_going_on_as_before_would_leave_more_than_half_the_tolerance():
    limit = math.sqrt(0.02 / 2)
    for age, rho, renewed in ((1, 0.45, False), (1, 0.55, True), (4, 0.75, False), (4, 0.85, True)):
        layer, x, delta = made("convolution")
        inverse = KeptInverse("0", weight_matrices(layer), 0.02)
        for _ in range(age):
            inverse(layer, delta, x)
        moved_to_residual(layer, inverse, rho * limit)
        inverse(layer, delta, x)
        assert int(inverse.age) == age
        inverse(layer, delta, x)
        assert int(inverse.age) == (0 if renewed else age + 1)


def corrected(rho):
    """A kept inverse after the weights have moved such that every correction leaves ρ of what was missing.

    There are few rows, so that nothing is cheaper than to correct them.
    """
    layer, x, delta = made("linear")
    inverse, delta = KeptInverse("0", weight_matrices(layer), 1e-3), delta[:1]
    inverse(layer, delta, x)
    moved_to_residual(layer, inverse, rho)

    def left():
        e = inverse(layer, delta, x)
        return float((delta - e @ layer.weight.detach().T).norm() / delta.norm())

    return inverse, left


@pytest.mark.parametrize(("rho", "corrections"), [(0.02, 1), (0.05, 2), (0.1, 3), (0.15, 4)])
def test_a_signal_is_corrected_until_less_than_the_tolerance_is_left(rho, corrections):
    inverse, left = corrected(rho)
    assert left() == pytest.approx(rho ** (corrections + 1))
    assert (int(inverse.latest), int(inverse.age)) == (corrections, 1)


def test_a_correction_that_went_well_is_not_taken_for_the_last_one():
    """The first one leaves 0.13, the second a twentieth of that, and the third a fifth of it alone."""
    layer, delta = nn.Linear(3, 3, dtype=torch.float64), torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    layer.weight.data.copy_(eye)
    inverse = KeptInverse("0", eye, 1e-3)
    inverse(layer, delta, delta)
    missing = torch.tensor([[0, 0.13, 0], [0, 0.05, 0.03], [0, 0, 0.3]], dtype=torch.float64)
    layer.weight.data.copy_((eye - missing).T)
    e = inverse(layer, delta, delta)
    assert (int(inverse.age), int(inverse.latest)) == (1, 3)
    assert (delta - e @ layer.weight.T).norm() < 1e-3


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("rho", [0.02, 0.05, 0.09])
def test_elsewhere_the_call_before_tells_how_often(rho):
    inverse, left = corrected(rho)
    assert left() == pytest.approx(rho**2)
    assert left() == pytest.approx(rho ** (foretold(2 * rho, 5e-4) + 1))  # ρ may have doubled since
    assert int(inverse.age) == 2


@pytest.mark.parametrize(("rho", "renewed"), [(0.02, False), (0.05, True)])
def test_it_is_made_anew_at_the_call_after_one_that_is_dearer_than_they_were_on_average(rho, renewed):
    layer, x, delta = made("linear")
    rows = math.ceil(4 * len(layer.weight) / (3 * 0.8))  # another inverse costs 0.8 corrections
    delta = delta[:1].expand(rows, -1)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    moved_to_residual(layer, inverse, rho)
    inverse(layer, delta, x)  # two corrections, and on average (0.8 + 1 + 2) / 2
    assert int(inverse.age) == 1
    inverse(layer, delta, x)
    assert int(inverse.age) == (0 if renewed else 2)


@pytest.mark.parametrize("reads_at_once", [True, False])
@pytest.mark.parametrize("name", SQUARE)
def test_another_net_is_never_taught_through_the_inverse_of_the_first(name, reads_at_once, monkeypatch):
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: reads_at_once)
    layer, x, delta = made(name)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    other, x, delta = made(name, seed=1)
    assert_close(inverse(other, delta, x), through_pinv(other, delta, x))
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))


@pytest.mark.parametrize("name", SQUARE)
def test_where_other_weights_were_put_into_place_the_inverse_is_made_anew_at_once(name):
    layer, x, delta = made(name)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    layer.load_state_dict(made(name, seed=1)[0].state_dict())
    for age in (0, 1):
        assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))
        assert int(inverse.age) == age


@pytest.mark.parametrize("reads_at_once", [True, False])
def test_a_signal_that_is_all_zero_stays_so_and_tells_nothing_of_the_inverse(reads_at_once, monkeypatch):
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: reads_at_once)
    layer, x, delta = made("linear")
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    drift(layer, 0.5)
    assert not inverse(layer, 0 * delta, x).any()
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_signal_that_is_not_finite_is_told_at_once_where_reading_costs_nothing(number):
    layer, x, delta = made("linear")
    inverse = KeptInverse("4", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    with pytest.raises(NotFinite, match="sent back through '4', or its weight, is not finite") as caught:
        inverse(layer, delta.index_fill(1, torch.tensor(2), number), x)
    assert "\n" not in str(caught.value)
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_signal_that_is_not_finite_is_told_one_call_later_and_not_hidden_until_then(number):
    layer, x, delta = made("linear")
    inverse = KeptInverse("4", weight_matrices(layer), 1e-3)
    inverse(layer, delta, x)
    assert not inverse(layer, delta.index_fill(1, torch.tensor(2), number), x).isfinite().any()
    with pytest.raises(NotFinite, match="'4'"):
        inverse(layer, delta, x)
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["linear", "tall", "convolution", "places"])
def test_exact_and_learned_inverses_refuse_a_signal_that_is_not_finite_at_once(name, number):
    layer, x, delta = made(name)
    for inverse in (
        ExactInverse("4", None),
        LearnedInverse("4", weight_matrices(layer), None, torch.Generator()),
    ):
        with pytest.raises(NotFinite, match="'4'"):
            inverse(layer, delta.index_fill(1, torch.tensor(2), number), x)


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("name", ["linear", "tall", "wide", "convolution", "places"])
def test_exact_and_learned_inverses_tell_it_one_call_later_where_reading_would_wait(name):
    layer, x, delta = made(name)
    for make in (
        lambda: ExactInverse("4", None),
        lambda: LearnedInverse("4", weight_matrices(layer), None, torch.Generator()),
    ):
        inverse = make()
        assert not inverse(layer, delta.index_fill(1, torch.tensor(2), math.nan), x).isfinite().all()
        with pytest.raises(NotFinite, match="'4'"):
            inverse(layer, delta, x)
        assert inverse(layer, delta, x).isfinite().all()
        inverse(layer, delta.index_fill(1, torch.tensor(2), math.nan), x)
        assert copy.deepcopy(inverse)(layer, delta, x).isfinite().all(), "a copy has no last call"


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("make", [lambda W: KeptInverse("4", W, 1e-3), lambda W: ExactInverse("4", None)])
def test_a_singular_weight_is_told_one_call_later_where_reading_would_wait(make):
    layer, x, delta = made("linear")
    inverse, W = make(weight_matrices(layer)), layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight[1] = 0
    inverse(layer, delta, x)
    layer.weight.data.copy_(W)
    with pytest.raises(NotFinite, match="'4'"):
        inverse(layer, delta, x)
    assert_close(inverse(layer, delta, x), through_pinv(layer, delta, x))


@pytest.mark.usefixtures("late")
@pytest.mark.parametrize("name", ["linear", "tall", "convolution"])
def test_where_reading_would_wait_nothing_is_read_but_what_the_last_call_sent(name, monkeypatch):
    layer, x, delta = made(name)
    kept = [KeptInverse("4", weight_matrices(layer), 1e-3)] if name != "tall" else []
    inverses = [*kept, ExactInverse("4", None)]
    for inverse in inverses:
        inverse(layer, delta, x)  # the first call may look
    sent, read, send = [], [], Late.of
    monkeypatch.setattr(Late, "of", lambda number: sent.append(send(number)) or sent[-1])
    monkeypatch.setattr(Late, "read", lambda number: read.append(number) or number.copy.tolist())
    for reading in ("item", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(Tensor, reading, lambda *_: pytest.fail("waits for the device"))
    for _ in range(2):
        for inverse in inverses:
            inverse(layer, delta, x)
    count = len(inverses)
    assert len(read) == len(sent) == 2 * count
    assert [*map(id, read[count:])] == [*map(id, sent[:count])]


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("way", ["saved", "copied", "loaded by one in use"])
def test_a_state_taken_midway_goes_on_with_the_same_bits(name, way):
    layer, x, delta = made(name)
    inverse = KeptInverse("0", weight_matrices(layer), 1e-3)
    for _ in range(4):
        inverse(layer, delta, x)
        drift(layer, 1e-5)
    twin = copy.deepcopy(layer)
    if way == "copied":
        other = copy.deepcopy(inverse)
    else:
        other = KeptInverse("0", weight_matrices(twin), 1e-3)
        if way == "loaded by one in use":
            other(made(name, seed=1)[0], delta, x)
        other.load_state_dict(load(save({k: v.contiguous() for k, v in inverse.state_dict().items()})))
    for _ in range(3):
        assert torch.equal(inverse(layer, delta, x), other(twin, delta, x))
        assert int(inverse.age) == int(other.age) >= 4
    for key, value in inverse.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


def learned(name, used=None, seed=3):
    layer, x, delta = made(name)
    return (
        layer,
        LearnedInverse("0", weight_matrices(layer, used), used, torch.Generator().manual_seed(seed)),
        x,
        delta,
    )


@pytest.mark.parametrize("name", ["linear", "tall", "wide", "in groups", "convolution", "places"])
def test_a_learned_inverse_is_told_the_gradient_of_its_noise_loss(name):
    layer, inverse, _, _ = learned(name)
    W, X, rows = weight_matrices(layer).numpy(), inverse.X.detach().numpy().copy(), 5
    root, told = inverse.reconstruction(
        weight_matrices(layer, inverse._used), rows, torch.Generator().manual_seed(9)
    )
    root.backward(told)
    shape = (*W.shape[:-2], rows, W.shape[-2])
    u = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9)).numpy()
    expected = (u @ W).swapaxes(-1, -2) @ (u @ W @ X - u) * 2 / rows
    assert_close(inverse.X.grad, expected)
    assert layer.weight.grad is None


@pytest.mark.parametrize(
    ("name", "used"), [("linear", None), ("tall", None), ("linear", 3), ("convolution", 4)]
)
def test_what_it_learns_is_the_pseudo_inverse(name, used):
    layer, inverse, x, delta = learned(name, used)
    with torch.no_grad():
        nn.init.orthogonal_(layer.weight)
        drift(layer, 0.05)
    optimizer = torch.optim.SGD(inverse.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(1)
    assert abs(inverse(layer, delta, x).numpy() - through_pinv(layer, delta, x, used)).max() > 0.1
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.2 / (1 + step / 30)
        optimizer.zero_grad()
        root, told = inverse.reconstruction(weight_matrices(layer, inverse._used), 32, generator)
        root.backward(told)
        optimizer.step()
    P, expected = np.linalg.pinv(weight_matrices(layer, used).numpy()), through_pinv(layer, delta, x, used)
    assert np.linalg.norm(inverse.X.detach().numpy() - P) < 0.15 * np.linalg.norm(P)
    assert np.linalg.norm(inverse(layer, delta, x).numpy() - expected) < 0.15 * np.linalg.norm(expected)


def test_it_starts_random_by_its_generator_alone():
    draws = [learned("linear", seed=seed)[1].X for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


REFUSED = {
    "ConvTranspose2d": nn.ConvTranspose2d(2, 2, 2),
    "Embedding": nn.Embedding(3, 2),
    "Sequential": nn.Sequential(nn.Linear(2, 2)),
    "pads with 'reflect'": nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    "pads with 'circular'": LocallyConnected2d(2, 2, 3, 3, padding="same", padding_mode="circular"),
    "and 'same'": nn.Conv2d(2, 2, 2, padding="same"),
    "locally connected in 2 groups": LocallyConnected2d(2, 2, 1, 3, groups=2),
}


@pytest.mark.parametrize("part", REFUSED)
def test_layers_whose_weights_are_no_matrices_are_refused_in_one_line(part):
    with pytest.raises(UnsupportedNet, match=part) as caught:
        require_invertible_kind(REFUSED[part], "body.2")
    assert "'body.2'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_subclass_with_a_forward_of_its_own_is_refused():
    class Scaled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    with pytest.raises(UnsupportedNet, match="Scaled"):
        require_invertible_kind(Scaled(2, 2), "0")
