"""Every target and every update of tp, itp and gait-prop against the papers' equations, worked out in NumPy."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd.credit.chain.lesson import Lesson, through_every_block
from biograd.layers import FirstUnits, InvertibleConv2d, LocallyConnected2d
from biograd.rules.gait_prop import Linearised
from biograd.rules.target_propagation import _whole_target
from tests.equations.chains import CHAINS, make
from tests.equations.plain import cross_entropy_error, forward, taught_by_feedback
from tests.equations.plain_targets import Part, errors, parts_of, targets, updates


def square():
    net = nn.Sequential(
        *(nn.Linear(5, 6), nn.LeakyReLU(0.3), nn.Linear(6, 6), nn.LeakyReLU(0.1), nn.Linear(6, 6)),
        *(nn.LeakyReLU(0.1), nn.Linear(6, 6), nn.LeakyReLU(0.2), FirstUnits(3)),
    )
    return net, (7, 5)


def tower():
    net = nn.Sequential(
        *(
            nn.Flatten(),
            nn.Linear(8, 8),
            nn.LeakyReLU(0.1),
            nn.Linear(8, 8),
            nn.LeakyReLU(0.1),
            FirstUnits(6),
        ),
        *(nn.Linear(6, 6), nn.LeakyReLU(0.1), FirstUnits(5), nn.Linear(5, 5), FirstUnits(3)),
    )
    return net, (6, 2, 4)


def convolutional():
    """Overlapping patches, padding, a stride below the kernel, rows that no patch begins in, auxiliary channels."""
    net = nn.Sequential(
        *(nn.Conv2d(2, 3, 3, padding=1), nn.LeakyReLU(0.1), InvertibleConv2d(3, 3, stride=2, padding=1)),
        *(nn.LeakyReLU(0.1), FirstUnits(4), nn.Conv2d(4, 16, 2), nn.LeakyReLU(0.2), FirstUnits(3)),
        *(nn.Flatten(), nn.Linear(12, 12), FirstUnits(3)),
    )
    return net, (4, 2, 6, 5)


def locally_connected():
    net = nn.Sequential(
        *(
            LocallyConnected2d(1, 2, 2, (4, 5)),
            nn.LeakyReLU(0.1),
            LocallyConnected2d(2, 8, 2, (3, 4), padding=1),
        ),
        *(nn.LeakyReLU(0.1), FirstUnits(2), LocallyConnected2d(2, 18, 3, (4, 5)), nn.LeakyReLU(0.2)),
        *(FirstUnits(3), nn.Flatten(), nn.Linear(18, 18), FirstUnits(3)),
    )
    return net, (4, 1, 4, 5)


def tanh():
    net = nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), FirstUnits(3)
    )
    return net, (7, 5)


NETS = {
    "square": square,
    "tower": tower,
    "convolutional": convolutional,
    "locally connected": locally_connected,
    "tanh": tanh,
}
LOSSES = {
    "cross-entropy": F.cross_entropy,
    "squared error": lambda output, y: (output - F.one_hot(y, 3)).square().sum(1).mean(),
}
every_net = pytest.mark.parametrize("name", NETS)
every_loss = pytest.mark.parametrize("loss", LOSSES)


class Case(NamedTuple):
    """A net in float64 whose matrices are far from singular and from orthogonal, and a batch for it."""

    net: Any
    x: Tensor
    y: Tensor
    loss_fn: Any


def case(name, loss="cross-entropy"):
    torch.manual_seed(5)
    net, shape = NETS[name]()
    net = net.double()
    for layer in net:
        if hasattr(layer, "weight"):
            spoil(layer)
    return Case(net, torch.randn(shape, dtype=torch.float64), torch.randint(3, shape[:1]), LOSSES[loss])


@torch.no_grad()
def spoil(layer):
    """An orthogonal matrix and noise; biases that matter."""
    local = isinstance(layer, LocallyConnected2d)
    matrices = layer.weight.flatten(2, 4).flatten(0, 1) if local else layer.weight.flatten(1)[None]
    for matrix in matrices:
        Q = torch.linalg.qr(torch.randn(max(matrix.shape), max(matrix.shape), dtype=torch.float64))[0]
        n, k = matrix.shape
        matrix.copy_(Q[:n, :k] + 0.15 * torch.randn(n, k, dtype=torch.float64) / max(n, k) ** 0.5)
    layer.bias.copy_(0.3 * torch.randn_like(layer.bias))


def gradient_of_examples(parts: list[Part], case: Case) -> np.ndarray:
    """g: each example's derivative of its loss by the output."""
    output = parts[-1].y[:, : parts[-1].used]
    if case.loss_fn is F.cross_entropy:
        return len(output) * cross_entropy_error(output, case.y)
    return 2 * (output - np.eye(3)[case.y.numpy()])


def taught(rule, case):
    case.net.zero_grad()
    credit = rule.assign_credit(case.net, case.x, case.y, case.loss_fn)
    assert torch.equal(credit.output, case.net(case.x))
    return {name: parameter.grad.clone().numpy() for name, parameter in case.net.named_parameters()}


def assert_same(got, expected, tolerance):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = abs(value).max()
        assert scale > 0, name
        np.testing.assert_allclose(got[name], value, rtol=0, atol=tolerance * scale, err_msg=name)


def lesson_of(rule, case):
    """What the rule makes targets of."""
    chain = rule.chain(case.net)
    return Lesson.of(chain, case.x, case.y, case.loss_fn, through_every_block, lambda block: True)


def in_form(settings, **more):
    """The settings of a form with those that it shares with others."""
    return {"form": {**settings["form"], **more}} if "form" in settings else more


def found_targets(rule, lesson):
    """Activities, targets and weights of all blocks, from the output down."""
    if isinstance(rule, biograd.TargetPropagation):
        return rule._chain.targets(lesson, _whole_target)
    return rule.way_back.targets(lesson, rule._form.step)


def constant(gamma):
    return lambda y, t, m: np.full_like(m, gamma)


def adaptive(gamma):
    return lambda y, t, m: gamma * np.sqrt(y.shape[1]) / np.linalg.norm(t - y, axis=1, keepdims=True)


# Rule, settings, the plain rule, its γ, and how far rounding may go.
FORMS = {
    "tp": ("tp", {}, "tp", constant(1), 1e-11),
    "itp": ("itp", {"form": {"name": "constant", "gamma": 0.05}}, "itp", constant(0.05), 1e-9),
    "constant": ("gait-prop", {"form": {"name": "constant", "gamma": 0.05}}, "gait", constant(0.05), 1e-8),
    "adaptive": ("gait-prop", {"form": {"name": "adaptive", "gamma": 1e-3}}, "gait", adaptive(1e-3), 1e-9),
}
every_form = pytest.mark.parametrize("form", FORMS)
MARGIN = 0.05


@every_loss
@every_form
@every_net
def test_every_target_and_its_weight_is_the_papers(name, form, loss):
    given = case(name, loss)
    rule_name, settings, plain, gammas, tolerance = FORMS[form]
    rule: Any = biograd.rules.create(rule_name, given.net, **in_form(settings, margin=MARGIN))
    parts = parts_of(given.net, given.x, MARGIN)
    ts, ms = targets(parts, gradient_of_examples(parts, given), plain, gammas)
    found = found_targets(rule, lesson_of(rule, given))[::-1]
    assert len(found) == len(ts)
    for (activity, target, weight, _), part, t, m in zip(found, parts, ts, ms, strict=True):
        np.testing.assert_allclose(activity.flatten(1).numpy(), part.y, rtol=0, atol=1e-12)
        np.testing.assert_allclose(weight.flatten(1).numpy(), m, rtol=1e-6)
        step, expected = (weight * (target - activity)).flatten(1).numpy(), m * (t - part.y)
        np.testing.assert_allclose(step, expected, rtol=0, atol=tolerance * abs(expected).max())


@every_loss
@every_form
@every_net
def test_every_update_is_that_of_the_papers_local_losses(name, form, loss):
    given = case(name, loss)
    rule_name, settings, plain, gammas, tolerance = FORMS[form]
    rule = biograd.rules.create(rule_name, given.net, **in_form(settings, margin=MARGIN))
    parts = parts_of(given.net, given.x, MARGIN)
    ts, ms = targets(parts, gradient_of_examples(parts, given), plain, gammas)
    es = [2 * m * (part.y - t) for part, t, m in zip(parts, ts, ms, strict=True)]
    assert_same(taught(rule, given), updates(parts, es), tolerance)


def test_the_margin_cuts_targets_of_tanh_and_is_needed_in_these_tests():
    given = case("tanh", "squared error")
    parts = parts_of(given.net, given.x, MARGIN)
    g = gradient_of_examples(parts, given)
    ts, _ = targets(parts, g, "tp", constant(1))
    assert (abs(ts[1]) > 1).any()
    assert (abs(ts[1]) < 1 - MARGIN).any()
    cut, uncut = (taught(biograd.rules.create("tp", given.net, margin=m), given) for m in (MARGIN, 1e-9))
    assert not np.allclose(cut["0.weight"], uncut["0.weight"], rtol=1e-3)


@pytest.mark.parametrize(
    ("rule", "settings", "plain", "gammas"),
    [
        ("itp", {"form": {"name": "constant"}}, "itp", constant(1e-3)),
        ("gait-prop", {"form": {"name": "constant"}}, "gait", constant(1e-3)),
        ("gait-prop", {"form": {"name": "adaptive"}}, "gait", adaptive(1e-7)),
    ],
)
def test_the_targets_have_the_papers_gamma_unless_it_is_given(rule, settings, plain, gammas):
    given = case("square")
    made: Any = biograd.rules.create(rule, given.net, **settings)
    parts = parts_of(given.net, given.x)
    _, ms = targets(parts, gradient_of_examples(parts, given), plain, gammas)
    found = found_targets(made, lesson_of(made, given))
    np.testing.assert_allclose(found[2].weight.numpy(), ms[-3], rtol=1e-5)


@every_loss
@pytest.mark.parametrize("inverse", ["exact", "kept"])
@pytest.mark.parametrize("columns", ["used", "all"])
@pytest.mark.parametrize(("rule", "plain"), [("gait-prop", "gait"), ("itp", "itp")])
@every_net
def test_the_linearised_form_sends_errors_through_inverses(name, rule, plain, columns, inverse, loss):
    given = case(name, loss)
    accuracy = {"tolerance": 1e-6} if inverse == "kept" else {}
    form, way = {"name": "linearised", "columns": columns}, {"name": inverse, **accuracy}
    made = biograd.rules.create(rule, given.net, form=form, inverse=way)
    parts = parts_of(given.net, given.x)

    def inverse_of(part, patch):
        if columns == "all":
            return np.linalg.inv(patch.W)
        P = np.zeros_like(patch.W.T)
        P[: part.channels] = np.linalg.pinv(patch.W[:, : part.channels])
        return P

    es = errors(parts, gradient_of_examples(parts, given), plain, inverse_of)
    for _ in range(3):
        assert_same(taught(made, given), updates(parts, es), 1e-11)


@every_loss
@every_net
def test_the_distance_to_a_target_is_half_the_error_that_a_block_is_told(name, loss):
    given = case(name, loss)
    rule: Any = biograd.rules.create("gait-prop", given.net, form=Linearised(columns="all"))
    parts = parts_of(given.net, given.x)
    es = errors(parts, gradient_of_examples(parts, given), "gait", lambda part, p: np.linalg.inv(p.W))
    shown = rule.targets(given.net, given.x, given.y, given.loss_fn)
    assert list(shown) == [part.name for part in parts[:-1]]
    for part, e in zip(parts[:-1], es[:-1], strict=True):
        h, target = (value.flatten(1).numpy() for value in shown[part.name])
        np.testing.assert_allclose(h, part.y[:, : part.used], rtol=0, atol=1e-12)
        np.testing.assert_allclose(h - target, e[:, : part.used] / 2, rtol=0, atol=1e-12 * abs(e).max())


@pytest.mark.parametrize("inverse", ["exact", "kept"])
@pytest.mark.parametrize("name", CHAINS)
def test_in_any_chain_the_linearised_form_is_feedback_through_pseudo_inverses(name, inverse):
    """Any nonlinearity, pooling, groups, widths that grow and shrink."""
    chain = make(name)
    rule = biograd.rules.create("gait-prop", chain.net, inverse=inverse)
    rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
    B = {
        f"{n}.weight": feedback(layer) for n, layer in chain.net.named_children() if hasattr(layer, "weight")
    }
    steps = forward(chain.net, chain.x)
    expected = taught_by_feedback(steps, cross_entropy_error(steps[-1].y, chain.y), B)
    got = {n: p.grad.numpy() for n, p in chain.net.named_parameters()}
    assert_same(got, expected, 1e-11)


def feedback(layer):
    """The transpose of W⁺ in the layout of the weight."""
    weight = layer.weight.detach().numpy()
    if isinstance(layer, LocallyConnected2d):
        matrices = weight.reshape(*weight.shape[:2], -1, weight.shape[-1])
        return np.linalg.pinv(matrices).swapaxes(-1, -2).reshape(weight.shape)
    groups = getattr(layer, "groups", 1)
    parts = np.split(weight.reshape(len(weight), -1), groups)
    return np.concatenate([np.linalg.pinv(part).T for part in parts]).reshape(weight.shape)


# What rounding leaves of an example without error: targets carry it down, the more the smaller a constant γ is.
ALL_FORMS: list[tuple[str, dict[str, Any], float]] = [
    ("tp", {}, 1e-12),
    ("itp", {"form": {"name": "constant", "gamma": 0.05}}, 1e-10),
    ("itp", {}, 0),
    ("gait-prop", {"form": {"name": "constant", "gamma": 0.05}}, 1e-10),
    ("gait-prop", {"form": {"name": "adaptive"}}, 1e-12),
    ("gait-prop", {}, 0),
    ("gait-prop", {"inverse": "exact"}, 0),
    ("gait-prop", {"inverse": "learned"}, 0),
]
every_rule = pytest.mark.parametrize(("rule", "settings", "rounding"), ALL_FORMS, ids=str)


@pytest.mark.parametrize("name", ["square", "convolutional"])
@every_rule
def test_an_example_without_error_teaches_nothing_and_spoils_nothing(rule, settings, rounding, name):
    given = case(name)
    counts = torch.ones(len(given.x), dtype=torch.float64)
    counts[[0, 2]] = 0
    kept = counts.bool()

    def some(output, y):
        return (counts * (output - F.one_hot(y, 3)).square().sum(1)).mean()

    got = taught(biograd.rules.create(rule, given.net, **settings), given._replace(loss_fn=some))
    others = Case(given.net, given.x[kept], given.y[kept], LOSSES["squared error"])
    expected = taught(biograd.rules.create(rule, given.net, **settings), others)
    share = kept.sum().item() / len(kept)
    assert_same(got, {n: share * g for n, g in expected.items()}, 1e-7 if "form" in settings else 1e-11)


@every_rule
def test_a_batch_without_error_teaches_nothing_at_all(rule, settings, rounding):
    given = case("convolutional")._replace(loss_fn=lambda output, y: 0 * output.sum())
    got = taught(biograd.rules.create(rule, given.net, **settings), given)
    assert all(abs(gradient).max() <= rounding for gradient in got.values())
