"""A group's number is over the seeds that all of its cells have, and a claim is judged when all is there."""

import math
import statistics
from dataclasses import replace

import pytest

from biograd.errors import UserMistake
from biograd.records import Trials
from biograd.studies.outcome import rows, sensitivities, verdicts
from biograd.studies.quantities import AtEnd
from biograd.studies.study import Budget, Claim, Group, Published, SensitivityClaim, Shown, Tuning

ACCURACY = AtEnd("test_accuracy")


def runs_of(make_run, **accuracies):
    """Runs by cell, ``a_bp=[0.9, 0.8]`` for seeds 0 and 1; a status in place of a number."""
    return {
        name.replace("_", "/"): [
            make_run(seed, None, status=value) if isinstance(value, str) else make_run(seed, value)
            for seed, value in enumerate(values)
        ]
        for name, values in accuracies.items()
    }


def test_cells_are_averaged_for_each_seed_and_then_seeds(make_study, make_run):
    runs = runs_of(make_run, a_bp=[0.9, 0.8], b_bp=[0.7, 0.2])
    (row,) = rows(make_study(), runs)
    assert (row["group"], row["seeds"], row["cells"], row["of_cells"]) == ("bp", 2, 2, 2)
    assert row["mean"] == pytest.approx(0.65)
    assert row["sd"] == pytest.approx(statistics.stdev([0.8, 0.5]))
    assert (row["published"], row["published_sd"], row["source"]) == (0.5, 0.1, "Nobody")
    assert row["difference"] == pytest.approx(0.15)


def test_a_group_with_a_rule_that_was_exact_inside_blocks_says_so(make_study, make_run):
    exact = make_run(0, 0.9)
    exact.config["rule"]["settings"]["inside"] = "exact"
    (row,) = rows(make_study(), {"a/bp": [make_run(1, 0.8), exact]})
    assert row["group"] == "bp (inside=exact)"
    exact.config["rule"]["settings"] = {"blocks": ["embed", "head"]}
    (row,) = rows(make_study(), {"a/bp": [make_run(1, 0.8), exact]})
    assert row["group"] == "bp (blocks=embed head)"


def test_a_seed_that_one_cell_lacks_has_no_part_in_the_mean(make_study, make_run):
    runs = runs_of(make_run, a_bp=[0.9, 0.8, 0.7, 0.6], b_bp=[0.7, "diverged", "unfinished"])
    (row,) = rows(make_study(), runs)
    assert (row["mean"], row["sd"], row["seeds"]) == (pytest.approx(0.8), None, 1)
    assert (row["runs"], row["diverged"], row["unfinished"]) == (7, 1, 1)


def test_what_a_run_reached_before_it_diverged_is_no_result(make_study, make_run):
    runs = {"a/bp": [make_run(0, 0.9), make_run(1, 0.1, status="diverged")]}
    (row,) = rows(make_study(), runs)
    assert (row["mean"], row["seeds"], row["diverged"]) == (0.9, 1, 1)


def test_cells_without_runs_are_counted(make_study, make_run):
    (row,) = rows(make_study(), runs_of(make_run, a_bp=[0.9]))
    assert (row["mean"], row["cells"], row["of_cells"]) == (0.9, 1, 2)


@pytest.mark.parametrize(("trained", "beside"), [((2, 2), {}), ((2, 1), {"epochs": 1, "of_epochs": 2})])
def test_a_number_of_fewer_epochs_says_so_and_is_not_held_against_the_published(
    make_study, make_run, trained, beside
):
    runs = runs_of(make_run, a_bp=[0.9], b_bp=[0.9])
    for cell, epochs in zip(("a/bp", "b/bp"), trained, strict=True):
        runs[cell][0].config["epochs"] = epochs
    (row,) = rows(make_study(), runs)
    assert {key: row[key] for key in ("epochs", "of_epochs") if key in row} == beside
    assert row["difference"] == (None if beside else pytest.approx(0.4))


@pytest.mark.parametrize(("trained", "difference"), [(1, None), (2, 0.4)])
def test_what_was_published_of_a_longer_training_says_so_and_a_result_is_held_against_it(
    make_study, make_run, trained, difference
):
    published = Published(0.5, "Nobody", epochs=500)
    study = make_study(groups=(Group("all", "*", (Shown(ACCURACY, published),)),), claims=())
    run = make_run(0, 0.9)
    run.config["epochs"] = trained
    (row,) = rows(study, {"a/bp": [run]})
    assert (row["epochs"], row["of_epochs"]) == (trained, 500)
    assert row["difference"] == (difference and pytest.approx(difference))


def test_nothing_measured_is_no_number(make_study, make_run):
    (row,) = rows(make_study(), runs_of(make_run, a_bp=["diverged"]))
    assert (row["mean"], row["sd"], row["seeds"], row["difference"]) == (None, None, 0, None)


def test_a_published_number_is_not_needed(make_study, make_run):
    (row,) = rows(make_study(), runs_of(make_run, a_fa=[0.9]))
    assert (row["published"], row["difference"], row["source"]) == (None, None, None)


FULL = {"a_bp": [0.9, 0.8], "b_bp": [0.9, 0.8], "b_fa": [0.8, 0.8]}


@pytest.mark.parametrize(("first", "met"), [([0.8, 0.7], True), ([0.6, 0.5], False)])
def test_a_claim_is_about_the_difference_seed_by_seed(make_study, make_run, first, met):
    (claim,) = verdicts(make_study(), runs_of(make_run, **FULL, a_fa=first), "full")
    of_seeds = [(first[0] + 0.8) / 2 - 0.9, (first[1] + 0.8) / 2 - 0.8]
    assert claim["mean"] == pytest.approx(statistics.fmean(of_seeds))
    assert claim["sd"] == pytest.approx(statistics.stdev(of_seeds))
    assert (claim["low"], claim["high"]) == pytest.approx((min(of_seeds), max(of_seeds)))
    assert (claim["met"], claim["open"], claim["seeds"]) == (met, None, 2)


HOLDS = "the interval holds the bound, which the mean {}"


@pytest.mark.parametrize(
    ("bound", "met", "reason"),
    [
        (0.79, True, None),
        (0.84, None, HOLDS.format("meets")),
        (0.86, None, HOLDS.format("misses")),
        (0.91, False, None),
    ],
)
def test_a_claim_about_one_group_is_judged_by_the_interval_of_its_mean(
    make_study, make_run, bound, met, reason
):
    study = make_study(claims=(Claim("bp does well", "bp", ACCURACY, at_least=bound),))
    (claim,) = verdicts(study, runs_of(make_run, a_bp=[0.9, 0.8], b_bp=[0.9, 0.8]), "full")
    assert (claim["mean"], claim["met"], claim["open"]) == (pytest.approx(0.85), met, reason)


@pytest.mark.parametrize(("bound", "met"), [(0.84, True), (0.86, False)])
def test_one_seed_has_no_interval_and_its_number_judges(make_study, make_cell, make_run, bound, met):
    cells = (make_cell("a/bp", seeds=1), make_cell("a/fa", rule="fa"))
    study = make_study(cells=cells, claims=(Claim("bp does well", "bp", ACCURACY, at_least=bound),))
    (claim,) = verdicts(study, runs_of(make_run, a_bp=[0.85]), "full")
    assert (claim["low"], claim["met"], claim["open"]) == (None, met, None)


@pytest.mark.parametrize(
    ("group", "beside", "exactly"), [("bp", None, 0.75), ("fa", "bp", -0.25)], ids=["mean", "difference"]
)
def test_a_bound_that_is_exactly_met_is_met(make_study, make_run, group, beside, exactly):
    """``at_least`` is ≥; powers of two, so that nothing is rounded."""
    runs = runs_of(make_run, a_bp=[0.75] * 2, b_bp=[0.75] * 2, a_fa=[0.5] * 2, b_fa=[0.5] * 2)
    for bound, met in ((exactly, True), (math.nextafter(exactly, 1), False)):
        study = make_study(claims=(Claim("…", group, ACCURACY, at_least=bound, beside=beside),))
        (claim,) = verdicts(study, runs, "full")
        assert (claim["mean"], claim["met"]) == (exactly, met)


def test_nothing_is_judged_by_the_quick_budget(make_study, make_run):
    (claim,) = verdicts(make_study(), runs_of(make_run, **FULL, a_fa=[0.9, 0.9]), "quick")
    assert (claim["met"], claim["open"]) == (None, "judged at the full budget")
    assert claim["mean"] == pytest.approx(0.0)


def test_nothing_is_judged_before_all_cells_and_seeds_are_there(make_study, make_run):
    study = make_study()
    (claim,) = verdicts(study, runs_of(make_run, **FULL), "full")
    assert (claim["met"], claim["open"]) == (None, "1 of 2 cells of 'fa'")
    (claim,) = verdicts(study, runs_of(make_run, **FULL, a_fa=[0.9, "diverged"]), "full")
    assert (claim["met"], claim["open"]) == (None, "1 of 2 seeds")


def test_a_claim_waits_for_the_seeds_of_the_cell_that_has_most(make_study, make_cell, make_run):
    cells = (make_cell("a/bp", seeds=2), make_cell("a/fa", rule="fa", seeds=3))
    study = make_study(cells=cells)
    (claim,) = verdicts(study, runs_of(make_run, a_bp=[0.9] * 3, a_fa=[0.9] * 2), "full")
    assert (claim["met"], claim["open"]) == (None, "2 of 3 seeds")
    (claim,) = verdicts(study, runs_of(make_run, a_bp=[0.9] * 3, a_fa=[0.9] * 3), "full")
    assert (claim["met"], claim["open"]) == (True, None)


def test_a_claim_about_a_group_without_runs_is_not_shown(make_study, make_run):
    assert verdicts(make_study(), runs_of(make_run, a_bp=[0.9]), "full") == []


@pytest.mark.parametrize(("values", "caveat"), [([0.0, 0.0], None), ([0.0, 0.5], 0.25)])
def test_what_speaks_against_a_measurement_is_said_where_it_was_seen(make_study, make_run, values, caveat):
    study = make_study(claims=(Claim("…", "bp", ACCURACY, at_least=0.0, caveat=ACCURACY),))
    (claim,) = verdicts(study, runs_of(make_run, a_bp=values, b_bp=values), "full")
    assert (claim["caveat"] and claim["caveat"]["mean"]) == caveat


def searched(*values, of=8):
    """The trials of a cell by their accuracies, None where one diverged, a status in place of another."""
    rows = [
        {
            "value": None if isinstance(value, str) else value,
            "status": value if isinstance(value, str) else "done",
            "metric": "validation_accuracy",
            "loss": None,
            "trial": trial,
        }
        for trial, value in enumerate(values)
    ]
    return Trials({"rule": "fa", "trials": of}, rows)


@pytest.fixture
def tuned_study(make_study, make_cell):
    cells = tuple(
        replace(make_cell(f"a/{rule}", rule=rule), full=Budget(seeds=2, epochs=2, tuning=Tuning(8, 1)))
        for rule in ("bp", "fa")
    )
    return make_study(
        cells=cells, sensitivities=(SensitivityClaim("fa minds more", "a/fa", "a/bp", at_least=0.1),)
    )


STEADY = [0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.5]


def test_a_claim_about_trials_compares_how_far_the_middle_of_them_falls_short(tuned_study):
    searches = {"a/bp": searched(*STEADY), "a/fa": searched(0.6, 0.6, 0.3, 0.3, 0.3, 0.3, "diverged", 0.2)}
    (claim,) = sensitivities(tuned_study, searches, "full")
    # of the middle four: bp 0, .1, .1, .1 and fa .3 each
    assert claim["mean"] == pytest.approx(0.3 - 0.075)
    assert claim["low"] < claim["mean"] < claim["high"]
    assert (claim["trials"], claim["seeds"]) == (8, 0)
    assert (claim["group"], claim["beside"]) == ("a/fa", "a/bp")


@pytest.mark.parametrize(
    ("bound", "met", "reason"),
    [
        (-0.1, True, None),
        (0.2, None, HOLDS.format("meets")),
        (0.25, None, HOLDS.format("misses")),
        (0.9, False, None),
    ],
)
def test_a_claim_about_trials_is_judged_by_its_interval(tuned_study, bound, met, reason):
    searches = {"a/bp": searched(*STEADY), "a/fa": searched(0.6, 0.6, 0.3, 0.3, 0.3, 0.3, "diverged", 0.2)}
    claims = (replace(tuned_study.sensitivities[0], at_least=bound),)
    (claim,) = sensitivities(replace(tuned_study, sensitivities=claims), searches, "full")
    assert (claim["met"], claim["open"]) == (met, reason)


def test_a_trial_that_diverged_falls_short_by_all_of_the_best(tuned_study):
    searches = {"a/bp": searched(*STEADY), "a/fa": searched(0.9, *["diverged"] * 7)}
    assert sensitivities(tuned_study, searches, "full")[0]["mean"] == pytest.approx(0.9 - 0.075)


def test_a_claim_about_trials_waits_for_all_of_them(tuned_study):
    there = searched(*STEADY)
    for searches, budget, reason in (
        ({"a/bp": there, "a/fa": there}, "quick", "judged at the full budget"),
        ({"a/bp": there, "a/fa": searched(*STEADY[:7], "unfinished")}, "full", "7 of 8 trials of 'a/fa'"),
    ):
        (claim,) = sensitivities(tuned_study, searches, budget)
        assert (claim["met"], claim["open"]) == (None, reason)
    assert sensitivities(tuned_study, {"a/bp": there}, "full") == []


def test_a_claim_about_trials_names_cells_that_have_some(make_study):
    with pytest.raises(UserMistake, match="has no cell 'a/fa' that its full budget has tuned"):
        make_study(sensitivities=(SensitivityClaim("…", "a/fa", "a/bp"),))
