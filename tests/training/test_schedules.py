import math

import pytest
import torch

from biograd.errors import UserMistake
from biograd.training import schedules

RATE = 0.5


def rates(name, epochs=6, epoch_steps=3, **settings):
    """The learning rate of each epoch's steps, the loop moving the schedule as training does."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    schedule = schedules.create(name, optimizer, epochs, epoch_steps, **settings)
    seen = []
    for _ in range(epochs):
        for _ in range(epoch_steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if schedule.interval == "step":
                schedule.scheduler.step()
        if schedule.interval == "epoch":
            schedule.scheduler.step()
    return seen


def test_none_keeps_the_rate():
    assert set(rates("none")) == {RATE}


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_cosine_is_half_a_cosine_over_the_whole_training(interval):
    found = rates("cosine", minimum=0.1, interval=interval)
    for step, rate in enumerate(found):
        done = step / 18 if interval == "step" else step // 3 / 6
        assert rate == pytest.approx(0.1 + 0.4 * (1 + math.cos(math.pi * done)) / 2)


def test_step_cuts_every_so_often_or_at_given_times():
    assert rates("step", every=2, factor=0.5)[::3] == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
    assert rates("step", at=(1, 4))[::3] == pytest.approx([0.5, 0.05, 0.05, 0.05, 0.005, 0.005])
    assert rates("step", every=4, factor=0.5, interval="step", epochs=2) == pytest.approx(
        [0.5] * 4 + [0.25] * 2
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cosine", {"minimum": 0.0, "interval": "step"}),
        ("step", {"every": 30, "at": (), "factor": 0.1, "interval": "epoch"}),
    ],
)
def test_the_defaults_are_those_that_the_pages_state(name, settings):
    assert rates(name, epochs=70) == rates(name, epochs=70, **settings)


def test_settings_at_the_ends_of_their_ranges():
    assert rates("cosine", minimum=RATE) == pytest.approx([RATE] * 18)
    assert rates("step", every=1, factor=1) == pytest.approx([RATE] * 18)
    assert rates("step", at=(5,))[::3] == pytest.approx([RATE] * 5 + [0.1 * RATE])


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("cosin", {}, "did you mean 'cosine'"),
        ("none", {"every": 1}, "no setting 'every'; its settings: none"),
        ("step", {"every": 0}, "setting 'every' got 0"),
        ("step", {"factor": 2}, "setting 'factor' got 2"),
        ("step", {"at": "4,1"}, "expected increasing numbers below 6"),
        ("step", {"at": "6"}, "expected increasing numbers below 6"),
        ("cosine", {"minimum": -1}, "setting 'minimum' got -1"),
        ("cosine", {"minimum": 0.6}, "expected at most the learning rate, 0.5"),
    ],
)
def test_a_mistake_is_one_line(name, settings, words):
    with pytest.raises(UserMistake) as caught:
        rates(name, **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("none", {}),
        ("cosine", {"minimum": 0.1}),
        ("cosine", {"interval": "epoch"}),
        ("step", {"every": 4, "factor": 0.5}),
        ("step", {"every": 4, "interval": "step"}),
        ("step", {"at": (1, 4)}),
    ],
)
def test_the_mean_share_is_that_of_the_rates_that_come(name, settings):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    share = schedules.create(name, optimizer, 6, 3, **settings).mean_share
    assert share == pytest.approx(sum(rates(name, **settings)) / 18 / RATE)
