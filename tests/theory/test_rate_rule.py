import json

import numpy as np
import pytest

from biograd.errors import UserMistake
from biograd.theory.rate_rule import BETA, DRIVES, GROUP, INPUTS, SHOWN, compare
from biograd.theory.spike_timing import sigmoid


@pytest.fixture(scope="module")
def measured():
    return compare(1500, 0)


def column(rows, name):
    return np.array([row[name] for row in rows])


def test_the_same_seed_gives_the_same_rows_and_json_takes_them():
    few = compare(50, 0)
    assert json.loads(json.dumps(few, allow_nan=False)) == few
    assert compare(50, 0) == few
    assert compare(50, 1)["synapse"] != few["synapse"]


def test_the_columns_of_the_rule_are_its_equation(measured):
    synapse, group = measured["synapse"], measured["group"]
    z, taught, h = (column(synapse, name) for name in ("z", "taught", "h"))
    assert len(synapse) == 2 * len(DRIVES) * len(INPUTS)
    assert np.allclose(column(synapse, "rule"), h * (taught - sigmoid(z)))
    z, taught, h = (column(group, name) for name in ("z", "taught", "h"))
    first = np.exp(BETA * z) / np.exp(BETA * GROUP).sum()
    assert len(group) == 2 * len(GROUP) * len(INPUTS)
    assert np.allclose(column(group, "rule"), len(GROUP) * first * h * (taught - sigmoid(z)))
    assert np.allclose(column(measured["race"], "rule").sum(), 1)


@pytest.mark.parametrize("what", ["synapse", "group"])
def test_the_means_agree_with_the_rule(measured, what):
    fit, rows = measured["fits"][what], measured[what]
    assert abs(fit["slope"] - 1) < 4 * fit["standard_error"] < 0.1
    assert fit["correlation"] > 0.998
    far = np.abs(column(rows, "mean") - column(rows, "rule")) / column(rows, "standard_error")
    assert fit["largest"] == far.max() < 4


def test_the_frequencies_of_the_race_agree_with_the_softmax(measured):
    far = np.abs(column(measured["race"], "mean") - column(measured["race"], "rule"))
    assert np.all(far < 4 * column(measured["race"], "standard_error"))


def test_the_spikes_that_are_kept_show_the_teaching_current(measured):
    spikes = measured["spikes"]
    assert {name: len(trains) for name, trains in spikes.items()} == dict.fromkeys(
        ("input", "taught 1", "alone", "taught 0"), SHOWN
    )
    late = {name: sum(time > 0 for train in trains for time in train) for name, trains in spikes.items()}
    assert late["taught 0"] == 0 < late["alone"] < late["taught 1"]
    assert all(abs(time) < measured["half"] for trains in spikes.values() for each in trains for time in each)


def test_one_trial_has_no_spread():
    with pytest.raises(UserMistake, match="trials must be at least 2, got 1"):
        compare(1)
