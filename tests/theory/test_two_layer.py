import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from biograd import rules
from biograd.errors import UserMistake
from biograd.theory import two_layer
from biograd.theory.general import GeneralBatch
from biograd.theory.linear import LinearBatch
from biograd.theory.problem import draw
from biograd.theory.settings import SimulationSettings
from biograd.theory.two_layer import simulate
from tests.theory.plain_two_layer import train

ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")
SMALL = {"width": 30, "examples": 7, "features": 11, "precision": "float64", "seed": 5}
STEPS = 200


def settings(activation="tanh", **changes):
    return SimulationSettings(**{"activation": activation, **SMALL, "steps": STEPS, **changes})


def assert_equals_the_plain_loop(given, trials=2):
    """Loss, cosine and both distances of every trial and λ, to 1e-10."""
    for outcome in simulate(given, range(trials)):
        problem = draw(given, outcome.trial)
        W, beta, e = train(given, problem, outcome.regularization, outcome.steps)
        factor = 0.5 if given.units == "paper" else 1 / given.examples
        assert np.abs(W - problem.W).max() > 1e-3
        assert abs(outcome.loss - factor * (e @ e)) < 1e-10
        assert abs(outcome.cosine - cosine(problem.b, beta)) < 1e-10
        assert abs(outcome.first_layer - np.linalg.norm(W - problem.W)) < 1e-10
        assert abs(outcome.second_layer - np.linalg.norm(beta - problem.beta)) < 1e-10


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("units", ["published", "paper"])
@pytest.mark.parametrize("method", ["fa", "bp"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_both_algorithms_equal_a_plain_loop_over_trials(activation, method, units):
    strengths = (0.0, 0.3) if units == "published" else (0.0, 1.0)
    assert_equals_the_plain_loop(
        settings(activation, method=method, units=units, regularization=strengths), trials=3
    )


@pytest.mark.parametrize("schedule", ["cut-off", "decay"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_regularisation_goes_by_its_schedule(activation, schedule):
    given = settings(activation, schedule=schedule, horizon=90, regularization=(0.3, 0.1))
    assert_equals_the_plain_loop(given)
    constant = dataclasses.replace(given, schedule="constant", horizon=None)
    assert simulate(given, [0])[0].cosine != pytest.approx(simulate(constant, [0])[0].cosine, abs=1e-4)


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_inputs_may_be_more_than_features_and_of_unit_length(activation):
    given = settings(activation, examples=9, features=4, normalize=True, regularization=(0.2,))
    assert np.allclose(np.linalg.norm(draw(given, 0).X, axis=1), 1)
    assert_equals_the_plain_loop(given)


def test_units_are_two_names_for_the_same_steps():
    published = settings("relu", regularization=(0.3,))
    paper = settings("relu", regularization=(0.3 * published.examples / 2,), units="paper")
    assert paper.rate == 2 * published.rate / published.examples
    (one,), (other,) = simulate(published, [0]), simulate(paper, [0])
    assert other.cosine == pytest.approx(one.cosine, abs=1e-12)
    assert other.loss == pytest.approx(one.loss * published.examples / 2, abs=1e-12)


def test_the_linear_network_has_a_short_cut_that_is_exact():
    given = settings("linear", regularization=(0.0, 0.4))
    problems = [draw(given, trial) for trial in range(3)]
    short, general = LinearBatch(given, problems), GeneralBatch(given, problems)
    assert isinstance(two_layer.start(given, problems), LinearBatch)
    assert isinstance(two_layer.start(dataclasses.replace(given, method="bp"), problems), GeneralBatch)
    kept = torch.tensor([1.0, 0.999] * 3, dtype=torch.float64)
    for _ in range(STEPS):
        short.step(kept)
        general.step(kept)
    U = short.U0 + short.a[:, :, None] * short.b[:, None]
    assert (U - general.V).abs().max() < 1e-10
    assert (short.beta() - general.beta()).abs().max() < 1e-10
    for name, values in short.measure().items():
        assert (values - general.measure()[name]).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["fa", "dfa"])
def test_the_rules_fa_and_dfa_are_this_algorithm_on_one_hidden_layer(name):
    given = settings("tanh", units="paper", steps=25)
    problem = draw(given, 0)
    net = nn.Sequential(
        nn.Linear(given.features, given.width, bias=False), nn.Tanh(), nn.Linear(given.width, 1, bias=False)
    ).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(problem.W))
        net[2].weight.copy_(torch.from_numpy(problem.beta)[None] / math.sqrt(given.width))
    x, y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)[:, None]
    rule = rules.create(name, net, sample=x[:1])
    (feedback,) = (buffer for buffer in rule.buffers() if buffer.numel() == given.width)
    feedback.copy_(torch.from_numpy(problem.b).view_as(feedback) / math.sqrt(given.width))
    optimizer = torch.optim.SGD(
        [
            {"params": net[0].parameters(), "lr": given.rate},
            {"params": net[2].parameters(), "lr": given.rate / given.width},  # its weights are β / √p
        ]
    )
    for _ in range(given.steps):
        optimizer.zero_grad()
        rule.assign_credit(net, x, y, lambda f, y: 0.5 * (f - y).square().mean(), weight=len(x))
        optimizer.step()
    (outcome,) = simulate(given, [0])
    assert 0.5 * (net(x) - y).square().sum().item() == pytest.approx(outcome.loss, rel=1e-12)
    beta = net[2].weight.detach()[0].numpy()
    assert cosine(beta, problem.b) == pytest.approx(outcome.cosine, rel=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_trial_is_the_same_whatever_its_company(activation, precision):
    given = settings(activation, precision=precision, regularization=(0.0, 0.3), width=210, examples=20)
    together = simulate(given, range(5), chunk=5)
    assert simulate(given, range(5), chunk=5) == together
    assert_same(simulate(given, range(5), chunk=2), together, precision)
    assert_same(simulate(given, [3]), together[6:8], precision)
    alone = simulate(dataclasses.replace(given, regularization=(0.3,)), range(5))
    assert_same(alone, together[1::2], precision)


def assert_same(these, those, precision="float32"):
    """To rounding: how PyTorch takes the entries of a tensor together depends on their number."""
    near = {"rel": 1e-5, "abs": 1e-6} if precision == "float32" else {"rel": 1e-12, "abs": 1e-13}
    for this, that in zip(these, those, strict=True):
        for name, value in dataclasses.asdict(that).items():
            if name != "curves":
                assert getattr(this, name) == pytest.approx(value, **near), name


def test_seeds_and_trials_draw_differently():
    given = settings()
    first = draw(given, 0)
    assert not np.allclose(first.X, draw(given, 1).X)
    assert not np.allclose(first.X, draw(dataclasses.replace(given, seed=6), 0).X)
    assert np.array_equal(first.W, draw(dataclasses.replace(given, regularization=(0.7,)), 0).W)


def test_the_targets_are_a_linear_map_or_a_teacher_of_the_same_kind():
    given = settings("linear", examples=40, features=5, width=3)
    problem = draw(given, 0)
    assert np.linalg.lstsq(problem.X, problem.y, rcond=None)[1] < 1e-20
    wide = [draw(settings("relu", width=400, features=50, examples=4), trial).y for trial in range(300)]
    assert np.var(wide) == pytest.approx(50 / 2, rel=0.25)  # E relu(w·x)² = |x|² / 2


def test_single_precision_stays_near_double():
    given = settings("tanh", regularization=(0.0, 0.01), width=100, steps=400)
    for single, double in zip(
        simulate(dataclasses.replace(given, precision="float32"), [0, 1]),
        simulate(given, [0, 1]),
        strict=True,
    ):
        assert single.cosine == pytest.approx(double.cosine, abs=1e-5)
        assert single.loss == pytest.approx(double.loss, rel=1e-3)


def test_curves_are_measured_every_so_many_steps_and_at_the_end():
    given = settings("tanh", steps=50, regularization=(0.0, 0.2))
    for outcome in simulate(given, [0, 1], follow=20):
        assert outcome.curves["steps"] == [0, 20, 40, 50]
        for place, steps in enumerate(outcome.curves["steps"]):
            if steps:
                cut = dataclasses.replace(given, steps=steps, regularization=(outcome.regularization,))
                (there,) = simulate(cut, [outcome.trial])
                assert [outcome.curves[name][place] for name in two_layer.CURVES] == [
                    getattr(there, name) for name in two_layer.CURVES
                ]
        assert outcome.curves["first_layer"][0] == outcome.curves["second_layer"][0] == 0
        problem = draw(given, outcome.trial)
        assert outcome.curves["cosine"][0] == pytest.approx(cosine(problem.b, problem.beta))


def test_a_curve_that_ends_on_a_point_has_it_once():
    (outcome,) = simulate(settings("tanh", steps=40), [0], follow=20)
    assert outcome.curves["steps"] == [0, 20, 40]
    assert {len(points) for points in outcome.curves.values()} == {3}


def test_no_curves_unless_wanted():
    assert simulate(settings(steps=5), [0])[0].curves == {}


def test_chunks_are_told_as_they_end():
    told = []
    simulate(settings(steps=1), range(5), chunk=2, tell=told.append)
    assert told == [2, 4, 5]


def test_a_simulation_is_in_single_precision_unless_asked():
    plain = SimulationSettings(activation="tanh", width=5)
    for given, dtype in (
        (plain, torch.float32),
        (dataclasses.replace(plain, precision="float64"), torch.float64),
    ):
        assert two_layer.start(given, [draw(given, 0)]).y.dtype == dtype


def test_chunks_fill_the_cache_and_hold_a_trial_at_least():
    assert two_layer.trials_at_once(SimulationSettings(activation="tanh", width=200)) > 4
    assert two_layer.trials_at_once(SimulationSettings(activation="tanh", width=12800)) == 1
    assert two_layer.trials_at_once(SimulationSettings(activation="linear", width=12800)) > 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "tan"}, "unknown activation 'tan': choose one of linear, relu, tanh, sigmoid"),
        ({"schedule": "off"}, "unknown schedule 'off': choose one of constant, cut-off, decay"),
        ({"method": "dfa"}, "unknown method 'dfa': choose one of fa, bp"),
        ({"units": "si"}, "unknown units 'si'"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number > 0, got nan"),
        ({"regularization": ()}, "regularization must be some λ, none twice, got []"),
        ({"regularization": (0.1, 0.1)}, "none twice, got [0.1, 0.1]"),
        ({"regularization": (-0.1,)}, "regularization must be ≥ 0, and below 1/η = 10, got -0.1"),
        ({"regularization": (10.0,)}, "below 1/η = 10, got 10"),
        ({"regularization": (math.nan,)}, "regularization must be ≥ 0"),
        ({"horizon": 5}, "schedule 'constant' takes no horizon"),
        ({"schedule": "decay"}, "schedule 'decay' needs a horizon"),
        ({"max_steps": 5}, "steps are taken without the stopping rule"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(UserMistake) as caught:
        settings(**changes)
    assert message in str(caught.value)


def test_only_what_was_published_stands_beside_published_numbers():
    published = SimulationSettings(
        activation="tanh", width=200, regularization=(0.001,), seed=3, max_steps=99999
    )
    assert published.is_published()
    assert not published.is_published(steps=9)
    for change in (
        {"units": "paper"},
        {"method": "bp"},
        {"learning_rate": 0.2},
        {"examples": 40},
        {"normalize": True},
        {"max_steps": None, "steps": 9},
        {"schedule": "cut-off", "horizon": 5},
    ):
        assert not dataclasses.replace(published, **change).is_published()
    early = dataclasses.replace(published, max_steps=None, steps=9)
    assert early.is_published(steps=9)
