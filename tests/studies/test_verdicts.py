"""What intervals say of a rule on a rung, from made-up runs."""

import pytest

from biograd.statistics import paired_difference, probability_of_improvement
from biograd.studies.ladder import LADDER
from biograd.studies.verdicts import Climbed, across, verdicts

RUNG = LADDER[1]
SEEDS = RUNG.full.seeds


def runs_of(make_run, values, **more):
    runs = [make_run(seed, value, **more) for seed, value in enumerate(values)]
    for run in runs:
        run.result["seconds"] = 2.0
    return runs


def climbed(make_run, rung=RUNG, **values):
    return Climbed(rung, {rule: runs_of(make_run, of_rule) for rule, of_rule in values.items()})


def around(value):
    return [value + 0.001 * (seed % 3) for seed in range(SEEDS)]


def row_of(climb, rule, budget="full"):
    (row,) = (row for row in verdicts(climb, budget) if row["rule"] == rule)
    return row


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (0.90, "below bp, above frozen"),
        (0.96, "above bp, above frozen"),
        (0.70, "below bp, below frozen"),
        (0.95, "not told from bp, above frozen"),
    ],
)
def test_the_verdict_is_what_the_intervals_say(make_run, ours, said):
    noise = [0.004 * (-1) ** seed for seed in range(SEEDS)] if "not told" in said else [0.0] * SEEDS
    values = [value + more for value, more in zip(around(ours), noise, strict=True)]
    climb = climbed(make_run, bp=around(0.95), shallow=around(0.8), frozen=around(0.85), fa=values)
    assert row_of(climb, "fa")["verdict"] == said
    assert row_of(climb, "fa", "quick")["open"] == "judged at the full budget"
    assert row_of(climb, "bp")["verdict"] is None


def test_differences_are_paired_by_seed_and_corrected_for_all_rules_of_the_rung(make_run):
    bp, fa = [0.9 + 0.01 * (seed % 4) for seed in range(10)], [0.88 + 0.01 * (seed % 3) for seed in range(10)]
    alone = row_of(climbed(make_run, bp=bp, fa=fa), "fa")
    plain = paired_difference(dict(enumerate(fa)), dict(enumerate(bp)))
    assert (alone["gap"]["value"], alone["gap"]["low"]) == (plain.value, plain.low)
    many = row_of(climbed(make_run, bp=bp, fa=fa, dfa=fa, kp=fa, usf=fa), "fa")
    assert many["gap"]["low"] < alone["gap"]["low"]
    assert many["gap"]["p_value"] > alone["gap"]["p_value"]
    chance = probability_of_improvement({"digits": fa}, {"digits": bp})
    assert (many["improvement"]["value"], many["improvement"]["low"]) == (chance.value, chance.low)
    assert row_of(climbed(make_run, bp=bp, fa=fa), "bp")["improvement"]["value"] is None


def test_too_few_seeds_leave_a_rule_open(make_run):
    climb = climbed(make_run, bp=around(0.95), frozen=around(0.8), fa=around(0.9)[:-1])
    assert row_of(climb, "fa")["open"] == f"{SEEDS - 1} of {SEEDS} seeds"


def test_a_seed_that_diverged_leaves_a_rule_open_and_says_so_and_so_does_one_of_a_baseline(make_run):
    lost = [*runs_of(make_run, around(0.9)[:-1]), make_run(SEEDS - 1, None, status="diverged")]
    there = {"bp": runs_of(make_run, around(0.95)), "frozen": runs_of(make_run, around(0.8))}
    row = row_of(Climbed(RUNG, {**there, "fa": lost}, {}), "fa")
    assert (row["verdict"], row["open"]) == (None, f"{SEEDS - 1} of {SEEDS} seeds, 1 diverged")
    whole = runs_of(make_run, around(0.9))
    for baseline in there:
        row = row_of(Climbed(RUNG, {**there, "fa": whole, baseline: lost}, {}), "fa")
        assert (row["verdict"], row["open"]) == (None, f"{SEEDS - 1} of {SEEDS} seeds beside {baseline}")
    row = row_of(Climbed(RUNG, {"frozen": there["frozen"], "fa": whole}, {"bp": "no trial"}), "fa")
    assert (row["verdict"], row["open"]) == ("above frozen", None)


def test_runs_that_diverged_are_counted_and_have_no_part(make_run):
    ours = [
        *runs_of(make_run, [0.9, 0.8]),
        make_run(2, None, status="diverged"),
        make_run(3, 0, status="unfinished"),
    ]
    row = row_of(Climbed(RUNG, {"bp": runs_of(make_run, around(0.95)), "fa": ours}, {}), "fa")
    assert (row["runs"], row["diverged"], row["unfinished"], row["accuracy"]["n"]) == (4, 1, 1, 2)
    assert row["accuracy"]["value"] == pytest.approx(0.85)
    assert row["seconds"] == 2.0


def test_the_worst_of_each_check_and_the_most_that_was_kept_are_in_the_row(make_run):
    def measured(quantity, layer, value):
        return {"step": 0, "epoch": 1, "quantity": quantity, "layer": layer, "value": value}

    rows = [measured("signal_growth", "2", 70.0), measured("signal_growth", "4", 3.0)]
    rows += [measured("kept_bytes", None, 10.0), measured("kept_bytes", None, 30.0)]
    fa = runs_of(make_run, [0.9, 0.9], diagnostics=rows)
    row = row_of(Climbed(RUNG, {"bp": runs_of(make_run, [0.95, 0.95]), "fa": fa}, {}), "fa")
    assert row["checks"] == [{"check": "growth", "value": 70.0, "layer": "2", "flagged": True}]
    assert row["kept_bytes"] == 30.0


def test_over_all_rungs_runs_count_that_failed_nowhere(make_run):
    lower = climbed(make_run, LADDER[0], bp=[0.9, 0.8], frozen=[0.7, 0.6], fa=[0.95, 0.75])
    upper = climbed(make_run, LADDER[1], bp=[0.5, 0.4], frozen=[0.3, 0.2], fa=[0.1, 0.1])
    found = {row["rule"]: row for row in across([lower, upper])}
    assert found["fa"]["rungs"] == 2
    assert found["fa"]["improvement"]["value"] == pytest.approx((0.5 + 0.0) / 2)
    assert found["fa"]["improvement_over_frozen"]["value"] == pytest.approx((1.0 + 0.0) / 2)
    assert found["bp"]["improvement"]["value"] is None
    assert across([lower]) == []
    nowhere = Climbed(LADDER[2], {"fa": [make_run(0, None, status="diverged")]}, {})
    assert across([lower, nowhere]) == []
