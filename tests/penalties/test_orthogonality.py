"""The penalty's gradient is that of its formula, for every layer that has a part, when and where it is due."""

import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from biograd import penalties
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers import FirstUnits, LocallyConnected2d
from biograd.penalties.orthogonality import orthogonality_gradient
from tests.penalties import nets
from tests.penalties.nets import Case, fill

every_case = pytest.mark.parametrize("make", nets.ALL, ids=lambda make: make.__name__)
both_kinds = pytest.mark.parametrize("kind", ["full", "off-diagonal"])


def make_penalty(net: nn.Module, **settings: Any) -> Any:
    return penalties.create("orthogonality", net, **{"strength": 0.3, **settings})


def written_out(W: Tensor, kind: str) -> Tensor:
    """The penalties as the papers write them, of the smaller Gram matrix."""
    G = W.mT @ W if W.shape[-2] > W.shape[-1] else W @ W.mT
    eye = torch.eye(G.shape[-1], dtype=W.dtype)
    return ((G - eye) if kind == "full" else G * (1 - eye)).square().sum()


def slow(case: Case, kind: str, strength: float = 0.3) -> dict[str, Tensor]:
    """The gradient of every parameter by autograd through the formula."""
    parameters = dict(case.net.named_parameters())
    total = sum(written_out(view(parameters[name]), kind) for name, view in case.matrices.items())
    found = torch.autograd.grad(strength * total, list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def added(penalty: Any, net: nn.Module) -> dict[str, Tensor]:
    """What one call adds to gradients that are zero."""
    fill(net)
    penalty.add_gradient(net)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            got[name], gradient, rtol=1e-11, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- the formula ---


@both_kinds
@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 5, 5), (2, 3, 6, 4)])
def test_the_gradient_of_a_matrix_is_autograds(shape, kind):
    W = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (expected,) = torch.autograd.grad(written_out(W, kind), W)
    before = W.detach().clone()
    torch.testing.assert_close(orthogonality_gradient(W.detach(), kind), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(W, before)


@both_kinds
@every_case
def test_every_layer_but_a_first_that_is_not_square_has_its_part_and_nothing_else_has(make, kind):
    case = make()
    expected = slow(case, kind)
    assert {name for name, gradient in expected.items() if gradient.any()} == set(case.matrices)
    assert_close(added(make_penalty(case.net, kind=kind), case.net), expected)


@both_kinds
def test_what_first_units_leaves_behind_has_no_part_where_only_used_columns_count(kind):
    case = nets.images()
    used = {"5.weight": lambda w: nets.by_position(w)[..., :3], "9.weight": lambda w: w[:3].T}
    used["2.weight"] = lambda w: w[:2].flatten(1).T
    expected = slow(Case(case.net, used), kind)
    assert not expected["9.weight"][3:].any()
    assert_close(added(make_penalty(case.net, kind=kind, columns="used"), case.net), expected)


def test_of_the_first_layer_all_columns_count():
    case = nets.square()
    net = nn.Sequential(case.net[0], FirstUnits(4), nn.Linear(4, 4).double())
    expected = slow(Case(net, {"0.weight": nets.flat, "2.weight": nets.flat}), "full")
    assert_close(added(make_penalty(net, kind="full", columns="used"), net), expected)


def test_orthogonal_weights_are_where_it_is_least():
    net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    for layer in (net[0], net[2]):
        nn.init.orthogonal_(layer.weight)
    for kind in ("full", "off-diagonal"):
        assert all(
            gradient.abs().max() < 1e-14 for gradient in added(make_penalty(net, kind=kind), net).values()
        )


def test_a_net_that_is_one_layer_has_a_part_where_it_is_square():
    square, wide = nn.Linear(4, 4), nn.Linear(4, 5)
    assert added(make_penalty(square), square)["weight"].any()
    with pytest.raises(UserMistake, match="has no linear, convolutional or locally connected layer behind"):
        make_penalty(wide)


# --- when and where ---


def test_it_comes_every_so_many_steps_with_so_many_times_the_weight():
    case = nets.square()
    expected = added(make_penalty(case.net), case.net)
    penalty = make_penalty(case.net, every=3)
    for call in range(7):
        got = added(penalty, case.net)
        assert_close(got, {name: 3 * gradient * (call % 3 == 2) for name, gradient in expected.items()})


def test_held_it_is_computed_every_so_many_steps_and_added_as_it_was_at_every_one():
    case = nets.square()
    penalty = make_penalty(case.net, every=3, held=True)
    for call in range(7):
        if call % 3 == 0:
            expected = added(make_penalty(case.net), case.net)
        got = added(penalty, case.net)
        assert_close(got, expected)
        with torch.no_grad():
            for parameter in case.net.parameters():
                parameter.mul_(1.1)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("made", range(4))
def test_it_goes_on_with_the_same_bits_after_its_state_was_saved_and_loaded(made, held):
    case = nets.images()
    penalty = make_penalty(case.net, every=3, held=held)
    for _ in range(made):
        added(penalty, case.net)
    saved = save({name: value.contiguous() for name, value in penalty.state_dict().items()})
    again = make_penalty(case.net, every=3, held=held)
    again.load_state_dict(load(saved))
    with torch.no_grad():
        case.net[9].weight.mul_(1.1)
    for _ in range(4):
        got, expected = added(again, case.net), added(penalty, case.net)
        assert all(torch.equal(got[name], gradient) for name, gradient in expected.items())


@pytest.mark.parametrize("kind", ["full", "off-diagonal"])
def test_under_autocast_it_is_the_same(kind):
    net, case = nets.square().net.float(), nets.square()
    with torch.autocast("cpu", torch.bfloat16):
        inside = added(make_penalty(net, kind=kind), net)
    for name, gradient in slow(case, kind).items():
        torch.testing.assert_close(inside[name].double(), gradient, rtol=1e-5, atol=1e-5)


def test_compiled_and_data_parallel_wrappers_are_seen_through():
    case = nets.square()
    expected = added(make_penalty(case.net), case.net)
    wrapped = nn.DataParallel(case.net)
    fill(case.net)
    make_penalty(wrapped).add_gradient(wrapped)
    assert all(torch.equal(p.grad, expected[name]) for name, p in case.net.named_parameters())


# --- what is refused, in one line ---


class Scaled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def parametrised() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.utils.parametrize.register_parametrization(net[1], "weight", Scaled())
    return net


@pytest.mark.parametrize(
    ("make", "settings", "mistake", "message"),
    [
        (lambda: nets.square().net, {"strength": 0}, UserMistake, "setting 'strength' got 0"),
        (lambda: nets.square().net, {"strength": float("nan")}, UserMistake, "setting 'strength' got"),
        (lambda: nets.square().net, {"kind": "half"}, UserMistake, "setting 'kind' got 'half'"),
        (lambda: nets.square().net, {"every": 0}, UserMistake, "setting 'every' got 0"),
        (lambda: nets.square().net, {"held": True}, UserMistake, "held goes with an every above 1"),
        (lambda: nets.square().net, {"penalty": "full"}, UserMistake, "its settings: strength, kind, every"),
        (lambda: nn.Sequential(nn.Tanh()), {}, UserMistake, "the net has no linear, convolutional"),
        (
            lambda: nets.branching().net,
            {"columns": "used"},
            UnsupportedNet,
            "got Branching.*leave columns out",
        ),
        (parametrised, {}, UnsupportedNet, "weight of '1' is computed from other parameters"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 4, 1), LocallyConnected2d(4, 4, 1, (3, 3), groups=2)),
            {},
            UnsupportedNet,
            "'1' is locally connected in 2 groups",
        ),
    ],
)
def test_what_it_cannot_do_is_refused(make, settings, mistake, message):
    with pytest.raises(mistake, match=message) as caught:
        make_penalty(make(), **settings)
    assert "\n" not in str(caught.value)


def test_a_strength_must_be_given():
    with pytest.raises(UserMistake, match="needs the setting 'strength'"):
        penalties.create("orthogonality", nets.square().net)


def test_another_net_is_refused():
    case = nets.square()
    penalty = make_penalty(case.net)
    other = copy.deepcopy(case.net)
    other[2] = nn.Linear(6, 5).double()
    with pytest.raises(UnsupportedNet, match=r"'2.weight' had shape \(6, 6\), here it is \(5, 6\)"):
        penalty.add_gradient(other)
