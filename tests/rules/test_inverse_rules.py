"""Rules through inverses: what they refuse, what they leave behind, and a net that changes."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import biograd
from biograd import nets
from biograd.credit import blocks
from biograd.credit.back.used_units import used_units
from biograd.diagnostics.angle import angle
from biograd.errors import NotFinite
from biograd.layers import FirstUnits, InvertibleConv2d, LocallyConnected2d
from biograd.rules.parts.inverse_strategies import Kept
from biograd.testing.snapshots import Traces, buffers
from tests.rules.small import Task, assert_same, create, gradients

TARGET_FORMS: list[tuple[str, dict[str, Any]]] = [
    ("tp", {}),
    ("itp", {"form": "constant"}),
    ("gait-prop", {"form": "constant"}),
    ("gait-prop", {"form": "adaptive"}),
]
LINEARISED: list[tuple[str, dict[str, Any]]] = [
    ("gait-prop", {"inverse": "exact"}),
    ("gait-prop", {"inverse": "kept"}),
    ("gait-prop", {"inverse": "learned"}),
    ("itp", {}),
]
ALL_COLUMNS = {"form": {"name": "linearised", "columns": "all"}}
every_target_form = pytest.mark.parametrize(("name", "settings"), TARGET_FORMS, ids=str)
every_linearised = pytest.mark.parametrize(("name", "settings"), LINEARISED, ids=str)
every_form = pytest.mark.parametrize(("name", "settings"), [*TARGET_FORMS, *LINEARISED], ids=str)


def square(dtype: torch.dtype = torch.float64, seed: int = 0) -> Task:
    net = nets.create("square", (6,), 3, hidden=3, seed=seed).to(dtype)
    torch.manual_seed(1)
    return Task(net, torch.randn(8, 6, dtype=dtype), torch.randint(3, (8,)))


def images() -> Task:
    """A block of each kind that can be undone."""
    torch.manual_seed(2)
    net = nn.Sequential(
        *(nn.Conv2d(1, 2, 3), nn.LeakyReLU(0.1), InvertibleConv2d(2, 2, stride=2), nn.LeakyReLU(0.1)),
        *(FirstUnits(2), LocallyConnected2d(2, 8, 2, (3, 3)), nn.LeakyReLU(0.1), FirstUnits(3)),
        *(nn.Flatten(), nn.Linear(12, 12), FirstUnits(3)),
    ).double()
    return Task(net, torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.randint(3, (4,)))


# --- what is refused, in one line ---


@every_target_form
@pytest.mark.parametrize("layer", [nn.ReLU(), nn.GELU(), nn.Sigmoid()], ids=str)
def test_targets_need_a_nonlinearity_with_an_inverse_and_refuse_others_by_name(name, settings, layer):
    net = nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 4)).double()
    with pytest.raises(biograd.UnsupportedNet, match=type(layer).__name__) as caught:
        biograd.rules.create(name, net, **settings)
    assert "'0'" in str(caught.value)
    assert "\n" not in str(caught.value)


@every_target_form
def test_a_layer_that_has_no_inverse_is_refused_with_the_rules_for_any_net(name, settings):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.ConvTranspose2d(4, 4, 3)).double()
    with pytest.raises(
        biograd.UnsupportedNet, match=r"'2' is a ConvTranspose2d.*Rules for any net: bp, fa"
    ) as caught:
        biograd.rules.create(name, net, sample=torch.zeros(1, 1, 8, 8).double(), **settings)
    assert "\n" not in str(caught.value)


def test_linearised_itp_divides_by_the_derivative_and_so_refuses_them_as_well():
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    with pytest.raises(biograd.UnsupportedNet, match=r"'2' has ReLU\(\)"):
        biograd.rules.create("itp", net)
    biograd.rules.create("gait-prop", net)


@pytest.mark.parametrize(
    ("name", "settings"),
    [*TARGET_FORMS, ("gait-prop", ALL_COLUMNS), ("itp", ALL_COLUMNS)],
    ids=str,
)
def test_layers_that_are_not_square_are_refused_but_the_first(name, settings):
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    with pytest.raises(biograd.UnsupportedNet, match="'4' takes 5 numbers to 3: this needs square") as caught:
        biograd.rules.create(name, net, **settings)
    assert "\n" not in str(caught.value)
    biograd.rules.create(name, net[:4], **settings)


@pytest.mark.parametrize(("name", "settings"), TARGET_FORMS[1:], ids=str)
def test_small_steps_need_double_precision(name, settings):
    task = square(torch.float32)
    with pytest.raises(biograd.UnsupportedNet, match=r"torch\.float32.*--precision float64") as caught:
        create(name, task, **settings)
    assert "\n" not in str(caught.value)
    task = square()
    rule = create(name, task, **settings)
    with pytest.raises(biograd.UnsupportedNet, match="float32"):
        rule.assign_credit(task.net.float(), task.x.float(), task.y, F.cross_entropy)


@pytest.mark.parametrize(
    ("name", "settings", "part"),
    [
        ("gait-prop", {"form.gamma": 0.1}, "form 'linearised' has no setting 'gamma'; its settings: columns"),
        (
            "itp",
            {"form.gamma": 0.1},
            "form 'linearised' has no setting 'gamma'; its settings: columns, margin",
        ),
        (
            "gait-prop",
            {"gamma": 0.1},
            "rule 'gait-prop' has no setting 'gamma'; its settings: form, inverse, exact, undo, inside, blocks, seed",
        ),
        ("gait-prop", {"form": "adaptive", "inverse": "kept"}, "whole blocks exactly, got inverse 'kept'"),
        ("itp", {"form": "constant", "inverse": "learned"}, "whole blocks exactly, got inverse 'learned'"),
        (
            "gait-prop",
            {"form": {"name": "constant", "columns": "used"}},
            "form 'constant' has no setting 'columns'",
        ),
        ("gait-prop", {"form": "constant", "form.gamma": 0}, "form 'constant': setting 'gamma' got"),
        ("gait-prop", {"form": "adaptive", "form.gamma": -1e-7}, "form 'adaptive': setting 'gamma' got"),
        ("gait-prop", {"form": "newton"}, "'form' got 'newton': expected linearised, constant, adaptive"),
        ("itp", {"form": "adaptive"}, "'form' got 'adaptive': expected linearised, constant"),
        (
            "gait-prop",
            {"form": {"name": {"name": "constant"}}},
            "'form' got {'name': 'constant'}: expected linearised",
        ),
        ("gait-prop", {"form": {"name": "constant", "settings": 3}}, "expected a name, or a table of a name"),
        ("gait-prop", {"form": 3}, "'form' got 3: expected a name, or a table of a name and its settings"),
        (
            "gait-prop",
            {"inverse": {"tolerance": 0.1}},
            "'inverse' got tolerance without a name: expected exact, kept",
        ),
        (
            "gait-prop",
            {"inverse": {"name": "kept", "tolerance": 0}},
            "inverse 'kept': setting 'tolerance' got",
        ),
        ("gait-prop", {"inverse": "kept", "inverse.tolerance": 1}, "inverse 'kept': setting 'tolerance' got"),
        (
            "gait-prop",
            {"inverse": "exact", "inverse.tolerance": 0.1},
            "inverse 'exact' has no setting 'tolerance'",
        ),
        ("tp", {"margin": 0}, "setting 'margin' got"),
        ("tp", {"margin": 1}, "setting 'margin' got"),
        ("gait-prop", {"inverse": "guessed"}, "'inverse' got 'guessed': expected exact, kept, learned"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(name, settings, part):
    with pytest.raises(biograd.UserMistake, match=part) as caught:
        create(name, square(), **settings)
    assert "\n" not in str(caught.value)


def test_a_strategy_may_be_said_in_every_way():
    task = square()
    ways = (
        Kept(tolerance=0.01),
        {"name": "kept", "tolerance": 0.01},
        {"name": "kept", "settings": {"tolerance": "0.01"}},
    )
    expected = gradients(create("gait-prop", task, inverse=ways[0], **ALL_COLUMNS), task)
    for way in ways[1:]:
        assert_same(gradients(create("gait-prop", task, inverse=way, **ALL_COLUMNS), task), expected, 0)
    dotted = {"inverse": "kept", "inverse.tolerance": "0.01", "form.columns": "all"}
    assert_same(gradients(create("gait-prop", task, **dotted), task), expected, 0)


@pytest.mark.parametrize(("kind", "shape"), [(nn.Linear, (4,)), (nn.Conv2d, (4, 3, 3))])
@every_form
def test_one_example_needs_its_batch_dimension(name, settings, kind, shape):
    size = (1,) if kind is nn.Conv2d else ()
    net = nn.Sequential(kind(4, 4, *size), nn.LeakyReLU(0.1), kind(4, 4, *size)).double()
    rule = biograd.rules.create(name, net, **settings)
    x = torch.randn(shape, dtype=torch.float64)
    with pytest.raises(biograd.UserMistake, match=r"expected a batch .*x\[None\]") as caught:
        rule.assign_credit(net, x, x, lambda output, y: output.mean())
    assert "\n" not in str(caught.value)
    rule.assign_credit(net, x[None], x, lambda output, y: output.mean())


# --- numbers that are not finite ---


@pytest.mark.parametrize("place", [2, 4, 6])
@pytest.mark.parametrize(
    ("name", "settings"), [*TARGET_FORMS, *LINEARISED[:2], ("itp", ALL_COLUMNS)], ids=str
)
def test_a_singular_weight_ends_in_one_line_that_names_it(name, settings, place):
    task = square()
    rule = create(name, task, **settings)
    with torch.no_grad():
        task.net[place].weight[1] = 0  # the second column of W
    with pytest.raises(NotFinite, match=f"weight of '{place}' is singular") as caught:
        rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    assert "\n" not in str(caught.value)
    assert all(parameter.grad is None for parameter in task.net.parameters())


def test_a_learned_inverse_knows_nothing_of_singular_weights_and_stays_finite():
    task = square()
    rule = create("gait-prop", task, inverse="learned")
    with torch.no_grad():
        task.net[4].weight[1] = 0
    assert all(gradient.isfinite().all() for gradient in gradients(rule, task).values())


@pytest.mark.parametrize("where", ["weight", "input", "error"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@every_form
def test_numbers_that_are_not_finite_end_in_a_line_or_in_a_loss_that_is_not(name, settings, number, where):
    """A kept inverse tells so one call later; until then it hides nothing."""
    task = square()
    rule = create(name, task, **settings)
    x, loss_fn = task.x.clone(), F.cross_entropy
    if where == "weight":
        with torch.no_grad():
            task.net[4].weight[0, 0] = number
    elif where == "input":
        x[2, 1] = number
    else:

        def loss_fn(output, y):
            return F.cross_entropy(output, y) * number

    told = []
    for _ in range(2):
        try:
            credit = rule.assign_credit(task.net, x, task.y, loss_fn)
        except NotFinite as error:
            told.append(str(error))
        else:
            assert not credit.loss.isfinite()
    assert told
    assert not any("\n" in line for line in told)


@every_target_form
def test_where_reading_would_wait_numbers_that_are_not_finite_are_told_one_call_later(
    name, settings, monkeypatch
):
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: False)
    task = square()
    rule = create(name, task, **settings)

    def call(number):
        rule.assign_credit(task.net, task.x, task.y, lambda output, y: F.cross_entropy(output, y) * number)

    call(math.nan)
    with pytest.raises(NotFinite) as caught:
        call(1.0)
    assert "\n" not in str(caught.value)
    call(1.0)


# --- traces ---


@every_form
@pytest.mark.parametrize("make", [square, images])
def test_nothing_of_the_net_the_batch_or_the_targets_shown_changes(name, settings, make):
    task = make()
    rule = create(name, task, **settings)
    traces, x, state = Traces(task.net), task.x.clone(), copy.deepcopy(task.net.state_dict())
    gradients(rule, task)
    rule_state = copy.deepcopy(rule.state_dict())
    shown = rule.targets(task.net, task.x, task.y, F.cross_entropy)
    assert all(not h.requires_grad and not target.requires_grad for h, target in shown.values())
    assert torch.equal(task.x, x)
    assert not task.x.requires_grad
    assert not traces.found()
    assert all(torch.equal(value, state[key]) for key, value in task.net.state_dict().items())
    assert all(torch.equal(value, rule_state[key]) for key, value in rule.state_dict().items())
    assert all(parameter.grad is None for parameter in task.net.parameters())


@every_form
def test_frozen_layers_pass_signals_on(name, settings):
    task = images()
    free = gradients(create(name, task, **settings), task)
    for place in (2, 5, 9):
        task.net[place].requires_grad_(False)
    rule = create(name, task, **settings)
    frozen = gradients(rule, task)
    for key in ("0.weight", "0.bias"):
        torch.testing.assert_close(frozen[key], free[key], rtol=1e-9, atol=1e-12)
    assert [key for key, gradient in frozen.items() if gradient is not None] == ["0.weight", "0.bias"]


@every_form
def test_nonlinearities_in_place_teach_the_same(name, settings):
    task = images()
    expected = gradients(create(name, task, **settings), task)
    for layer in task.net:
        if isinstance(layer, nn.LeakyReLU):
            layer.inplace = True
    assert_same(gradients(create(name, task, **settings), task), expected, 1e-12)


def leading() -> Task:
    """Padding, and dropout in place, before layers; a normalisation before the first one."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.BatchNorm2d(2), nn.Dropout(0.2, inplace=True), nn.Conv2d(2, 4, 3), nn.Tanh(), nn.ZeroPad2d(1)),
        *(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        *(
            nn.Dropout(0.3, inplace=True),
            nn.Flatten(),
            nn.Linear(54, 5),
            nn.Tanh(),
            nn.Dropout(0.3),
            nn.Linear(5, 3),
        ),
    ).double()
    return Task(net, torch.randn(6, 2, 8, 8, dtype=torch.float64), torch.randint(3, (6,)))


@pytest.mark.parametrize("inverse", ["exact", "kept", "learned"])
def test_dropout_padding_and_normalisation_pass_signals_by_their_derivative(inverse):
    """With the transpose in place of the inverse it would be backpropagation, dropout's masks and all."""
    task = leading()
    rule = create("gait-prop", task, inverse=inverse)
    for part in rule.way_back.of:
        part.forward = lambda layer, delta, x: torch.autograd.functional.vjp(layer, x, delta)[1]
    torch.manual_seed(5)
    got = gradients(rule, task)
    after, state = buffers(task.net), torch.get_rng_state()
    task = leading()
    torch.manual_seed(5)
    assert_same(got, gradients(biograd.Backpropagation(task.net), task), 1e-12)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, after[key]) for key, value in buffers(task.net).items())


def test_integer_inputs_may_be_embedded_first():
    net = nn.Sequential(
        nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 12), nn.LeakyReLU(0.1), nn.Linear(12, 12)
    )
    torch.manual_seed(0)
    nn.init.orthogonal_(net[2].weight)
    nn.init.orthogonal_(net[4].weight)
    task = Task(net.double().append(FirstUnits(5)), torch.randint(7, (6, 4)), torch.randint(5, (6,)))
    expected = gradients(biograd.Backpropagation(task.net), task)
    for settings in ({}, {"form": "adaptive"}):
        got = gradients(biograd.rules.create("gait-prop", task.net, **settings), task)
        assert_same(got, expected, 1e-6)


def test_a_linear_layer_over_tokens_is_undone_along_its_last_dimension():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.1), nn.Linear(4, 4)).double()
    for layer in (net[0], net[2]):
        nn.init.orthogonal_(layer.weight)
    task = Task(net, torch.randn(3, 4, 4, dtype=torch.float64), torch.randint(4, (3, 4)))

    def loss_fn(output, y):
        return F.cross_entropy(output.transpose(1, 2), y)

    expected = gradients(biograd.Backpropagation(net), task, loss_fn)
    for settings in ({}, {"form": "adaptive"}):
        got = gradients(biograd.rules.create("gait-prop", net, **settings), task, loss_fn)
        assert_same(got, expected, 1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_tanh_is_saturated_itp_stays_finite(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).to(dtype)
    nn.init.constant_(net[2].bias, 50.0)
    task = Task(net, torch.randn(8, 4, dtype=dtype), torch.randint(4, (8,)))
    for margin in (1e-3, 1e-6, 1e-12):
        got = gradients(create("itp", task, form={"name": "linearised", "margin": margin}), task)
        assert all(gradient.isfinite().all() for gradient in got.values())


@every_linearised
def test_under_autocast_inverses_keep_the_precision_of_the_weights(name, settings):
    task = square(torch.float32)
    expected = gradients(create(name, task, **settings), task)
    rule = create(name, task, **settings)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            got = gradients(rule, task)
        for key, gradient in got.items():
            assert gradient.dtype == torch.float32
            assert (gradient - expected[key]).norm() < 0.1 * expected[key].norm()
    if settings.get("inverse") == "kept":
        assert all(int(inverse.age) > 0 for inverse in rule.way_back.of[:-1])
        assert all(float(inverse.residual) < 1e-5 for inverse in rule.way_back.of[:-1])


@pytest.mark.parametrize("make", [square, images])
@pytest.mark.parametrize(
    ("name", "settings"), [("gait-prop", {}), ("gait-prop", {"inverse": "exact"}), ("itp", {}), ("tp", {})]
)
def test_weights_in_bfloat16_have_no_inverse_and_a_line_says_what_to_do(name, settings, make):
    task = make()
    task = Task(task.net.bfloat16(), task.x.bfloat16(), task.y)
    rule = create(name, task, **settings)
    with pytest.raises(
        biograd.UnsupportedNet, match="bfloat16, which no matrix is inverted in: keep the net in"
    ):
        gradients(rule, task)
    assert all(p.grad is None for p in task.net.parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [square, images])
def test_under_autocast_targets_are_undone_in_the_precision_of_the_weights(make, bias):
    task = make()
    for layer in task.net:
        if not bias and hasattr(layer, "bias"):
            layer.register_parameter("bias", None)
    single = Task(task.net.float(), task.x.float(), task.y)
    rule = create("tp", single)
    expected = gradients(rule, single)
    with torch.autocast("cpu", torch.bfloat16):
        got = gradients(rule, single)
    for gradient in got.values():
        assert gradient.dtype == torch.float32
        assert gradient.isfinite().all()
    last = list(expected)[-1]
    torch.testing.assert_close(got[last], expected[last], rtol=0.1, atol=0.02)


@pytest.mark.parametrize("inverse", ["exact", "kept", "learned"])
def test_a_layer_of_which_a_square_part_is_passed_on_is_inverted_by_that_part(inverse):
    """Auxiliary units that the square part leaves out have no say."""
    torch.manual_seed(0)
    wide = nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 9), nn.Tanh(), FirstUnits(6), nn.Linear(6, 3)
    )
    slim = nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Identity(), nn.Linear(6, 3)
    )
    state = {k: v[: slim.get_parameter(k).shape[0]] for k, v in wide.state_dict().items()}
    slim.load_state_dict(state)
    x, y = torch.randn(8, 4), torch.randint(3, (8,))
    got, expected = (
        gradients(create("gait-prop", Task(net, x, y), inverse=inverse), Task(net, x, y))
        for net in (wide, slim)
    )
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name][: len(gradient)], gradient, rtol=1e-3, atol=1e-4)


# --- steps that rounding would swallow ---


def deep(blocks):
    torch.manual_seed(0)
    layers = [nn.Linear(16, 16) for _ in range(blocks)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
    net = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh()))).double()
    return Task(net, torch.randn(32, 16, dtype=torch.float64), torch.randint(16, (32,)))


def degrees(name, form, task):
    """From the update of the lowest layer to that of the limit, in which nothing is swallowed."""
    linearised = {"form": "linearised", "inverse": "exact"}
    got, limit = (gradients(create(name, task, **one), task) for one in ({"form": form}, linearised))
    return float(angle(got["0.weight"], limit["0.weight"]))


def least(blocks):
    """The smallest γ of the constant form that so many blocks are taught with."""
    return (1000 * torch.finfo(torch.float64).eps) ** (1 / (blocks - 1))


@pytest.mark.parametrize("blocks", [3, 5, 8, 12])
@pytest.mark.parametrize("name", ["gait-prop", "itp"])
def test_constant_steps_are_taken_as_deep_as_float64_can_tell_them_and_refused_below(name, blocks):
    task = deep(blocks)
    assert degrees(name, {"name": "constant", "gamma": 1.01 * least(blocks)}, task) < 6
    with pytest.raises(
        biograd.UnsupportedNet, match=rf"γ\^{blocks - 1} = \de-13.* holds for {blocks - 1} blocks"
    ):
        create(name, task, form={"name": "constant", "gamma": 0.99 * least(blocks)})


@pytest.mark.parametrize(("blocks", "gamma"), [(5, "0.001"), (7, "0.01")])
@pytest.mark.parametrize("name", ["gait-prop", "itp"])
def test_the_depth_that_holds_is_named_with_what_to_do(name, blocks, gamma):
    task = deep(12)
    said = rf"γ = {gamma} holds for {blocks} blocks of the 12; take γ ≥ 0\.071, or the linearised form"
    with pytest.raises(biograd.UnsupportedNet, match=said) as caught:
        create(name, task, form={"name": "constant", "gamma": float(gamma)})
    assert "\n" not in str(caught.value)
    assert degrees(name, {"name": "constant", "gamma": 0.071}, task) < 6
    assert degrees(name, {"name": "constant", "gamma": float(gamma)}, deep(blocks)) < 6


@pytest.mark.parametrize("blocks", [2, 12, 20])
def test_adaptive_steps_keep_their_size_at_any_depth(blocks):
    task = deep(blocks)
    for gamma in (1e-7, 2.3e-13):
        assert degrees("gait-prop", {"name": "adaptive", "gamma": gamma}, task) < 6
    with pytest.raises(biograd.UnsupportedNet, match=r"holds for no net; take γ ≥ 2\.3e-13"):
        create("gait-prop", task, form={"name": "adaptive", "gamma": 2e-13})


# --- a net that changes ---


def test_other_weights_in_the_same_place_are_taught_right_at_once():
    task, other = square(), square(seed=5)
    rule = create("gait-prop", task, **ALL_COLUMNS)
    gradients(rule, task)
    task.net.load_state_dict(other.net.state_dict())
    first, second = gradients(rule, task), gradients(rule, task)
    expected = gradients(create("gait-prop", task, inverse="exact", **ALL_COLUMNS), task)
    assert_same(first, expected, 1e-9)
    assert_same(second, expected, 1e-9)


def test_what_kept_inverses_teach_stays_within_their_tolerance_of_what_exact_ones_do():
    """Through Adam's steps at a usual rate."""
    task = square(torch.float32)
    rules = {
        inverse: create("gait-prop", task, inverse=inverse, **ALL_COLUMNS) for inverse in ("kept", "exact")
    }
    optimizer = torch.optim.Adam(task.net.parameters(), lr=1e-3)
    ages = set()
    for _ in range(60):
        kept, exact = (gradients(rule, task) for rule in rules.values())
        ages |= {int(inverse.age) for inverse in rules["kept"].way_back.of}
        for key, gradient in exact.items():
            assert (kept[key] - gradient).norm() <= 5e-3 * gradient.norm()
        for key, parameter in task.net.named_parameters():
            parameter.grad = exact[key]
        optimizer.step()
    assert max(ages) > 5


@pytest.mark.parametrize("name", ["tp", "itp", "gait-prop"])
def test_the_diagnostics_get_the_matrices_that_signals_go_back_through(name):
    task = images()
    for columns in ("used", "all"):
        settings = {} if name == "tp" else {"form": {"name": "linearised", "columns": columns}}
        shown = create(name, task, **settings).inverse_weights(task.net)
        used = columns == "used" and name != "tp"
        assert {key: tuple(W.shape) for key, W in shown.items()} == {
            "2.weight": (8, 2 if used else 8),
            "5.weight": (2, 2, 8, 3 if used else 8),
            "9.weight": (12, 3 if used else 12),
        }
        W = task.net[9].weight.T
        assert torch.equal(shown["9.weight"], W[:, :3] if used else W)


def test_columns_that_a_normalisation_mixes_into_those_passed_on_are_used():
    mixing = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), FirstUnits(2), nn.Linear(2, 2)).double()
    apart = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), FirstUnits(2), nn.Linear(2, 2)).double()
    assert used_units(blocks(mixing)[0]) is None
    assert used_units(blocks(apart)[0]) == 2


def test_batches_sorted_by_class_are_taught_as_exactly_as_mixed_ones():
    """Each class lies elsewhere: what was measured of the inverse in the batch before says little of this one."""
    pixels, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    net = nets.create("square", (64,), 10, seed=0)
    kept, exact = (
        biograd.rules.create("gait-prop", net, inverse=inverse, **ALL_COLUMNS)
        for inverse in ("kept", "exact")
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for rows in labels.argsort(stable=True).split(60):
        batch = Task(net, pixels[rows].float() / 16, labels[rows])
        got, expected = gradients(kept, batch), gradients(exact, batch)
        for key, parameter in net.named_parameters():
            assert (got[key] - expected[key]).norm() <= 5e-3 * expected[key].norm(), key
            parameter.grad = expected[key]
        optimizer.step()
