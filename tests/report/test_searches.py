"""Figures of searches draw the best so far, all trials sorted, and which settings the trials depend on."""

import itertools
import math
import random
import statistics

import pytest

from biograd.records import Trials, write_json
from biograd.report import searches as drawn
from biograd.report.importance import FEWEST, importances, outcomes
from biograd.report.page import write_report
from biograd.report.searches import best_so_far, expected_best, search_figures
from biograd.report.trials import state_columns


def trial(number, value, metric="validation_accuracy", rule="fa", **settings):
    return {
        "rule": rule,
        "data": "mnist",
        "net": "mlp",
        "trial": number,
        "seed": 0,
        "settings": settings,
        "epochs": 5,
        "metric": metric,
        "value": value,
        "loss": None,
        "status": "done" if value is not None else "diverged",
        "seconds": 1.0,
    }


def of_values(*values, metric="validation_accuracy"):
    return [trial(number, value, metric) for number, value in enumerate(values)]


def test_the_best_so_far_never_gets_worse_whichever_way_is_better():
    assert math.isnan(best_so_far(of_values(None, 0.5))[0])
    assert best_so_far(of_values(None, 0.5, 0.4, None, 0.6))[1:] == [0.5, 0.5, 0.5, 0.6]
    bits = of_values(3.0, 4.0, None, 2.0, metric="validation_bits_per_token")
    assert best_so_far(bits) == [3.0, 3.0, 3.0, 2.0]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_expected_best_is_the_mean_over_all_subsets(count):
    values = [0.3, 0.9, 0.5, 0.5, 0.1]
    best = [max(subset) for subset in itertools.combinations(values, count)]
    assert expected_best(values, count) == pytest.approx(statistics.fmean(best))


def test_a_trial_that_diverged_counts_as_the_worst_of_the_others():
    assert outcomes(of_values(0.5, None, 0.7)) == [0.5, 0.5, 0.7]
    assert outcomes(of_values(3.0, None, 2.0, metric="validation_bits_per_token")) == [3.0, 3.0, 2.0]
    assert outcomes(of_values(None, None)) == []


def test_the_setting_that_the_value_comes_from_is_the_most_important():
    noise = random.Random(0)
    rows = []
    for number in range(24):
        rate, kind, idle = noise.uniform(0, 1), noise.choice(["sum", "mean", None]), noise.uniform(0, 1)
        value = 0.5 + 0.4 * rate + 0.05 * (kind == "sum")
        rows.append(trial(number, value, rate=rate, kind=kind, idle=idle, fixed=3))
    found = importances(rows)
    assert found.settings[0].setting == "rate"
    assert {one.setting for one in found.settings} == {"rate", "kind", "idle"}
    assert found.settings[0].mean > 5 * found.settings[1].mean
    assert found.r2 > 0.5


def test_too_few_trials_and_trials_that_are_all_alike_say_nothing():
    assert importances([trial(n, n / 10, rate=n) for n in range(FEWEST - 1)]) is None
    assert importances([trial(n, 0.5, rate=n) for n in range(FEWEST)]) is None
    assert importances([trial(n, n / 10, rate=1) for n in range(FEWEST)]) is None
    assert importances([]) is None


def test_the_state_names_the_task_where_there_are_several():
    search = {"rule": "fa", "trials": 2, "epochs": 1, "sampler": "sobol"}
    here, there = of_values(0.5), [{**row, "data": "digits"} for row in of_values(0.6)]

    def shown(*rows):
        columns = state_columns([Trials(search, one) for one in rows])
        return {column.title: [entry.text for entry in column.entries] for column in columns}

    assert shown(here, there)["task"] == ["mnist · mlp", "digits · mlp"]
    assert "task" not in shown(here, here)


@pytest.mark.usefixtures("blank_figures")
def test_searches_are_drawn_by_task_and_those_without_a_value_are_left_out():
    other = [{**row, "data": "digits"} for row in of_values(0.5, 0.6)]
    found = [
        Trials({"rule": rule}, rows)
        for rule, rows in [
            ("fa", of_values(0.5, 0.6)),
            ("fa", of_values(0.4)),
            ("bp", other),
            ("dtp", of_values(None)),
        ]
    ]
    assert [drawing.name for drawing in search_figures(found, {})] == [
        "best-so-far-mnist-mlp",
        "sensitivity-mnist-mlp",
        "best-so-far-digits-mlp",
        "sensitivity-digits-mlp",
    ]
    members = drawn._by_task(found)["mnist", "mlp"]
    assert [one.rule for one in members] == ["fa", "fa #2"]


@pytest.mark.usefixtures("blank_figures")
def test_the_page_shows_a_search_and_its_trials_are_a_spreadsheet(make_run, tmp_path):
    make_run(tmp_path / "fa-seed1", "fa", 1)
    for number, final in enumerate((0.9, 0.95)):
        make_run(tmp_path / "trials" / "fa" / f"00{number}", "fa", final=final)
    space = {"optimizer.lr": "1e-05 to 0.01, logarithmic"}
    search = {"rule": "fa", "sampler": "sobol", "trials": 2, "epochs": 5, "seed": 0, "space": space}
    write_json(tmp_path / "trials" / "fa" / "search.json", search)
    html = write_report(tmp_path).read_text()
    for text in (
        "2 trials of 5 epochs each, sobol",
        "94.90 %",
        'href="trials.csv"',
        "best-so-far-mnist-mlp.svg",
    ):
        assert text in html
    head, *rows = (tmp_path / "trials.csv").read_text().splitlines()
    assert head.endswith("settings.optimizer.lr")
    assert len(rows) == 2
    (tmp_path / "trials" / "fa" / "search.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"left out: .*search\.json"):
        assert "search.json" in write_report(tmp_path).read_text()
