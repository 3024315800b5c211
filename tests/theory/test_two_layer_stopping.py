import dataclasses
import itertools
import math

import pytest
import torch

from biograd.theory import two_layer
from biograd.theory.general import GeneralBatch
from biograd.theory.linear import LinearBatch
from biograd.theory.problem import draw
from biograd.theory.settings import SimulationSettings
from biograd.theory.stopping import Stopping, least_steps
from biograd.theory.two_layer import simulate


class Scripted(two_layer.LinearBatch):
    """Takes no steps that matter; its mean squared errors at the looks are written down here, a column a slab."""

    script: torch.Tensor

    def __init__(self, settings, problems):
        super().__init__(settings, problems)
        self.place, self.columns, self.taken = 0, torch.arange(len(self.y)), 0

    def step(self, kept):
        self.taken += 1

    def keep(self, which):
        super().keep(which)
        self.columns = self.columns[which]

    def measure(self):
        row = self.script[self.place][self.columns]
        self.place += 1
        fill = torch.full_like(row, float(self.taken))
        return {"mean_square": row, "cosine": fill, "first_layer": fill, "second_layer": fill}


@pytest.fixture
def scripted(monkeypatch):
    """Trials that stop by errors written down: ``scripted([[…] a look], settings)``."""

    def run(script, settings, trials):
        made = type("Made", (Scripted,), {"script": torch.tensor(script, dtype=torch.float64)})
        monkeypatch.setattr(two_layer, "LinearBatch", made)
        return simulate(settings, range(trials))

    return run


LINEAR = SimulationSettings(activation="linear", width=100, examples=3, features=5)
LEAST = 3571
"""⌊5000 · 10 / 14⌋; looks come after 1000, 2000, 3000, 4000, … steps."""


def ends(outcomes):
    return [(outcome.steps, outcome.capped, outcome.diverged) for outcome in outcomes]


def test_a_trial_stops_after_the_least_steps_once_its_error_changed_by_less_than_a_thousandth(scripted):
    script = [
        [5.0, 5.0, 5.0, 5.0],
        [5.0009, 5.0, 4.0, 4.5],
        [5.0, 4.0, 3.0, 4.0],  # the first has settled
        [6.0, 3.9999, 2.9999, 3.99],  # after 3571 steps: no look, and the first stops
        [9.9, 3.9991, 2.9, 3.98],  # the second has settled since the look after 3000
        [9.9, 9.9, 2.89901, 3.97],
        [9.9, 9.9, 9.9, 3.9691],
    ]
    outcomes = scripted(script, LINEAR, 4)
    assert ends(outcomes) == [(steps, False, False) for steps in (LEAST, 4000, 5000, 6000)]
    assert [outcome.loss for outcome in outcomes] == [6.0, 3.9991, 2.89901, 3.9691]
    assert [outcome.cosine for outcome in outcomes] == [outcome.steps for outcome in outcomes]


def test_a_change_of_a_thousandth_is_not_less():
    rule, now = Stopping(5), torch.tensor([1e-3, math.nextafter(1e-3, 0)], dtype=torch.float64)
    for change in (now, -now):
        assert rule.settled(torch.zeros_like(now), change).tolist() == [False, True]
    assert rule.settled(None, now).tolist() == [False, False]


def test_a_trial_that_settles_early_and_moves_again_goes_on(scripted):
    (outcome,) = scripted([[5.0], [5.0], [4.0], [4.0], [3.0], [3.0]], LINEAR, 1)
    assert outcome.steps == 5000


def test_the_cap_ends_what_has_not_settled_and_says_so(scripted):
    script = [[5.0, 5.0], [5.0, 4.0], [5.0, 3.0], [5.0, 2.0], [5.0, 1.0], [9.9, 0.9]]
    outcomes = scripted(script, dataclasses.replace(LINEAR, max_steps=4200), 2)
    assert ends(outcomes) == [(LEAST, False, False), (4200, True, False)]


def test_a_cap_below_the_least_number_of_steps_is_kept(scripted):
    (outcome,) = scripted([[1.0]], dataclasses.replace(LINEAR, max_steps=10), 1)
    assert (outcome.steps, outcome.capped, outcome.cosine) == (10, True, 10)


def test_what_settled_before_a_low_cap_is_capped_nonetheless(scripted):
    (outcome,) = scripted([[1.0], [1.0], [1.0]], dataclasses.replace(LINEAR, max_steps=3000), 1)
    assert ends([outcome]) == [(3000, True, False)]


def test_a_given_number_of_steps_is_no_cap(scripted):
    (outcome,) = scripted([[1.0]], dataclasses.replace(LINEAR, steps=5000), 1)
    assert ends([outcome]) == [(5000, False, False)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_longer_finite_stops_at_once_and_is_called_diverged(scripted, value):
    script = [[5.0, 5.0], [5.0, value], [5.0, 0.0], [5.0, 0.0]]
    assert ends(scripted(script, LINEAR, 2)) == [(LEAST, False, False), (2000, False, True)]


def test_what_the_last_look_found_stays_with_its_trial_when_another_diverges(scripted):
    script = [[5.0, 5.0], [4.0, 5.0], [float("nan"), 5.0], [9.0, 9.0]]
    assert ends(scripted(script, LINEAR, 2)) == [(3000, False, True), (LEAST, False, False)]


def test_the_least_number_of_steps_is_counted_from_the_time_of_the_schedule():
    cut = dataclasses.replace(LINEAR, regularization=(0.1,), schedule="cut-off", horizon=4500)
    assert cut.stopping.least == 4500 + LEAST
    assert dataclasses.replace(cut, schedule="decay", horizon=5).stopping.least == 5 + LEAST


@pytest.mark.parametrize(
    ("rule", "times"),
    [
        (Stopping(1714), [1000, 1714, 2000, 3000]),
        (Stopping(2000), [1000, 2000, 3000, 4000]),
        (Stopping(1714, most=2000), [1000, 1714, 2000]),
        (Stopping(1714, most=1800), [1000, 1714, 1800]),
        (Stopping(714, most=9), [9]),
        (Stopping(7, every=2), [2, 4, 6, 7]),
        (Stopping(7, every=7, most=7), [7]),
    ],
)
def test_looks_are_a_thousand_steps_apart_up_to_the_cap(rule, times):
    assert list(itertools.islice(rule.times(), 4)) == times
    assert [rule.is_look(time) for time in times] == [time % rule.every == 0 for time in times]


def test_the_least_number_of_steps_is_that_of_the_published_runs():
    widths = [200 * 2**k for k in range(7)]
    assert [least_steps(p) for p in widths] == [5050, 7142, 10101, 14285, 20203, 28571, 40406]


def test_slabs_that_end_leave_the_others_as_they_were():
    sizes = {"width": 8, "examples": 4, "features": 12, "learning_rate": 1e-2, "precision": "float64"}
    given = SimulationSettings(activation="linear", regularization=(0.0, 0.9), **sizes)
    together = simulate(given, range(3), chunk=3)
    assert len({outcome.steps for outcome in together}) > 1
    for outcome in together:
        (alone,) = simulate(
            dataclasses.replace(given, regularization=(outcome.regularization,)), [outcome.trial]
        )
        assert (alone.steps, alone.cosine) == (outcome.steps, pytest.approx(outcome.cosine, abs=1e-12))


@pytest.mark.parametrize("batch", [GeneralBatch, LinearBatch])
def test_a_batch_goes_on_with_some_of_its_slabs(batch):
    given = SimulationSettings(activation="linear", width=5, examples=4, features=6, precision="float64")
    problems = [draw(given, trial) for trial in range(3)]
    whole, part = batch(given, problems), batch(given, problems)
    for taken in range(20):
        whole.step(torch.ones(3))
        part.step(torch.ones(len(part.y)))
        if taken == 9:
            part.keep(torch.tensor([0, 2]))
    for name, values in whole.measure().items():
        assert torch.allclose(part.measure()[name], values[[0, 2]], rtol=0, atol=1e-12), name
