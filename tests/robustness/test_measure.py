import json
import time

import pytest
import torch

from biograd import UserMistake, records
from biograd.robustness import AttackSettings, measure_run
from biograd.robustness.curves import excuse, second_look
from biograd.robustness.domain import held_out_examples
from biograd.robustness.gradient_sources import true_gradient
from biograd.robustness.projected_gradient_descent import pgd
from biograd.robustness.scores import accuracy, is_right
from biograd.robustness.victim import Victim
from biograd.training.restored import restored

QUICK = AttackSettings(steps=3, queries=10, epsilons=[0, 0.3, 1], examples=None)


def points(measurement, attack, gradient):
    """ε to accuracy."""
    rows = [row for row in measurement["rows"] if (row["attack"], row["gradient"]) == (attack, gradient)]
    return {row["epsilon"]: row["accuracy"] for row in rows}


def test_all_of_the_test_set_gives_the_runs_own_test_accuracy(runs):
    found = measure_run(runs / "fa-0", QUICK)
    result = records.read_json(runs / "fa-0" / "result.json")
    assert found["examples"] == 50
    assert found["clean"]["accuracy"] == result["test_accuracy"]
    assert found["clean"]["balanced_accuracy"] == pytest.approx(result["test_balanced_accuracy"])


def test_every_attack_has_a_curve_with_the_source_of_its_gradient(runs):
    found = measure_run(runs / "fa-0", QUICK, transfer_from=[runs])
    curves = dict.fromkeys((row["attack"], row["gradient"]) for row in found["rows"])
    assert list(curves) == [
        ("fgsm", "true"),
        ("fgsm", "rule"),
        ("pgd", "true"),
        ("pgd", "rule"),
        ("square", "none"),
        ("transfer", "transfer:bp/seed0"),
    ]
    for attack, gradient in curves:
        at = points(found, attack, gradient)
        assert list(at) == [0, 0.3, 1]
        assert at[0] == found["clean"]["accuracy"]
        assert at[1] < at[0]
    assert found["source"] == "bp/seed0"
    assert found["unit"] == "standard deviations of each feature"


def test_the_record_holds_what_the_measurement_was_made_with(runs):
    found = measure_run(runs / "fa-0", QUICK)
    assert records.read_measurements(runs / "fa-0") == [json.loads(json.dumps(found))]
    assert found["settings"] == {**QUICK.to_json(), "epsilons": (0, 0.3, 1)}
    assert found["environment"] == {**records.environment(), "threads": 1, "deterministic": True}
    assert found["test_reads"] == 2
    assert found["seconds"] > 0


def test_a_measurement_can_be_repeated_bit_for_bit_and_leaves_the_process_as_it_was(runs):
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    first, second = (measure_run(runs / "fa-0", QUICK, transfer_from=[runs]) for _ in range(2))
    for passing in ("seconds", "test_reads"):
        assert first.pop(passing) != second.pop(passing)
    assert first == second
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads


def test_another_seed_takes_other_examples_and_starts(runs):
    few = {"attacks": ["pgd"], "epsilons": [0.2], "examples": 30}
    first, second = (measure_run(runs / "bp-0", AttackSettings(**few, seed=seed)) for seed in (0, 1))
    assert first["examples"] == second["examples"] == 30
    assert first["clean"]["logit_scale"] != second["clean"]["logit_scale"]
    assert first["key"] != second["key"]


def test_the_same_settings_replace_and_others_are_kept_beside(runs):
    fgsm = AttackSettings(attacks=["fgsm"])
    for settings in (fgsm, QUICK, fgsm):
        last = measure_run(runs / "bp-0", settings)
    found = records.read_measurements(runs / "bp-0")
    assert [one["settings"]["attacks"] for one in found] == [[*QUICK.attacks], ["fgsm"]]
    assert last["test_reads"] == 4


def test_default_sizes_are_those_of_the_kind_of_data_and_recorded(runs):
    found = measure_run(runs / "bp-0", AttackSettings(attacks=["fgsm"]))
    assert found["settings"]["epsilons"] == (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
    given = measure_run(
        runs / "bp-0", AttackSettings(attacks=["fgsm"], epsilons=found["settings"]["epsilons"])
    )
    assert given["key"] == found["key"]


def test_backpropagations_own_feedback_is_the_true_gradient(runs):
    found = measure_run(runs / "bp-0", QUICK)
    for attack in ("fgsm", "pgd"):
        assert points(found, attack, "rule") == points(found, attack, "true")
    assert found["clean"]["zero_gradients"] == {"true": 0.0, "rule": 0.0}


def test_a_rule_without_a_feedback_path_says_so_in_its_row(runs):
    found = measure_run(runs / "shallow-0", QUICK)
    rows = [row for row in found["rows"] if row["gradient"] == "rule"]
    assert [(row["attack"], row["epsilon"], row["accuracy"]) for row in rows] == [
        ("fgsm", None, None),
        ("pgd", None, None),
    ]
    assert all("no feedback path to the input" in row["reason"] for row in rows)
    assert found["clean"]["zero_gradients"] == {"true": 0.0, "rule": None}


def test_transfer_without_another_run_says_so_in_its_row(runs):
    (row,) = measure_run(runs / "bp-0", AttackSettings(attacks=["transfer"]))["rows"]
    assert row["reason"] == "no other run of the same task and test examples was given"
    assert measure_run(runs / "bp-0", QUICK)["source"] is None


@pytest.mark.parametrize("name", ["double", "half"])
def test_a_run_of_any_precision_is_attacked_in_it(runs, name):
    found = measure_run(runs / name, QUICK, transfer_from=[runs])
    assert found["clean"]["accuracy"] > 0.4
    assert points(found, "pgd", "true")[1] < found["clean"]["accuracy"]
    assert points(found, "pgd", "rule")


def test_a_binary_task_has_two_classes_and_a_balanced_accuracy_of_its_own(runs):
    found = measure_run(runs / "virginica", QUICK)
    assert found["classes"] == ["rest", "virginica"]
    scores = found["clean"]
    assert scores["accuracy"] != scores["balanced_accuracy"]


def test_an_example_counts_if_it_is_right_before_and_after(runs):
    run = restored(runs / "bp-0")
    victim = Victim(run, None, 0)

    def repair(x, y, epsilon, generator):
        """An attack that finds the class out, and says it."""
        return x + 100 * epsilon

    victim.predict = lambda x: torch.nn.functional.one_hot(victim.y[: len(x)], 3).float()
    assert torch.equal(victim.right_under(repair, 0.0), victim.clean)
    assert (victim.right_under(repair, 0.1) <= victim.clean).all()
    assert not victim.clean.all()


def test_where_every_answer_is_wrong_nothing_is_attacked(runs):
    victim = Victim(restored(runs / "fa-0"), None, 0)
    victim.clean = torch.zeros_like(victim.clean)

    def attack(x, y, epsilon, generator):
        raise AssertionError("there is nothing to attack")

    assert not victim.right_under(attack, 0.1).any()


def test_the_logit_scale_and_the_share_of_zero_gradients_are_those_of_the_clean_examples(runs):
    run = restored(runs / "bp-0")
    x, y = held_out_examples(run.dataset, None, 0)
    with torch.no_grad():
        logits = run.predict(x)
    others = logits.masked_fill(torch.nn.functional.one_hot(y, 3).bool(), -torch.inf).amax(1)
    scale = (logits[torch.arange(50), y] - others).abs().mean().item()
    found = measure_run(runs / "bp-0", AttackSettings(attacks=["fgsm"], examples=None))
    assert found["clean"]["logit_scale"] == pytest.approx(scale)
    assert found["clean"]["accuracy"] == accuracy(is_right(logits, y))

    victim = Victim(run, None, 0)
    first = torch.tensor(
        [1.0, 0.0, 0.0, 0.0]
    )  # some examples have no gradient, the others one by a single feature
    victim.predict = lambda x: victim.run.predict(x * first * (x[:, :1] > 0))
    assert torch.equal(victim.without_gradient("true"), x[:, 0] <= 0)


def test_what_an_attack_draws_is_a_function_of_the_seed_and_the_batch(runs, monkeypatch):
    monkeypatch.setattr("biograd.robustness.victim.BATCH", 10)
    run, drawn = restored(runs / "bp-0"), {}

    def attack(x, y, epsilon, generator):
        drawn[seed].append(generator.initial_seed())
        return x

    for seed in (0, 1):
        drawn[seed] = []
        Victim(run, None, seed).right_under(attack, 0.1)
    assert len(drawn[0]) > 2
    assert len({*drawn[0], *drawn[1]}) == len(drawn[0]) + len(drawn[1])


def test_the_rules_gradient_is_computed_in_the_precision_of_the_run(runs):
    run = restored(runs / "half")
    victim = Victim(run, 20, 0)
    exact = run.rule.input_gradient(run.net, victim.x, victim.y, torch.nn.functional.cross_entropy)
    with run.autocast():
        rounded = run.rule.input_gradient(run.net, victim.x, victim.y, torch.nn.functional.cross_entropy)
    found = victim.gradient("rule")(victim.x, victim.y)
    assert torch.equal(found, rounded.float())
    assert not torch.equal(found, exact)


def test_an_excuse_is_the_rules_own_words(runs):
    assert excuse(Victim(restored(runs / "fa-0"), 10, 0), "rule") is None
    assert "no feedback path" in str(excuse(Victim(restored(runs / "shallow-0"), 10, 0), "rule"))


def test_a_run_that_is_not_done_is_refused(runs):
    (runs / "bp-0" / "result.json").unlink()
    with pytest.raises(UserMistake, match="the run is unfinished: biograd resume goes on with it"):
        measure_run(runs / "bp-0")
    with pytest.raises(UserMistake, match="is no run's folder"):
        measure_run(runs)


def test_a_large_size_is_tried_even_if_it_is_not_asked_for(runs):
    started = time.perf_counter()
    found = measure_run(runs / "bp-0", AttackSettings(attacks=["pgd"], gradients=["true"], epsilons=[0.1]))
    large = next(check for check in found["verdict"]["checks"] if check["name"] == "large ε")
    assert large["passed"]
    assert large["seen"].endswith("at ε 5")
    assert found["seconds"] <= time.perf_counter() - started


def test_a_second_look_finds_what_is_hidden_by_answers_that_are_sure(runs):
    """A thousand times the logits are the same answers, with a cross-entropy that is flat to rounding."""
    run, settings = restored(runs / "bp-0"), AttackSettings(steps=10)
    victim = Victim(run, None, 0)
    plain = victim.predict
    found = second_look(victim, settings, [1.0])[1.0]
    victim.predict = lambda x: 1e4 * plain(x)
    attack = {"steps": 10, "gradient": true_gradient(victim.predict)}
    blind = victim.right_under(
        lambda x, y, size, draw: pgd(victim.predict, x, y, size, generator=draw, **attack), 1.0
    )
    assert accuracy(blind) > accuracy(found) + 0.3
    assert abs(accuracy(second_look(victim, settings, [1.0])[1.0]) - accuracy(found)) < 0.05


def test_a_run_is_looked_at_again_at_the_sizes_that_are_in_doubt_alone(runs, monkeypatch):
    asked = []

    def look(victim, settings, sizes):
        asked.append(sizes)
        return second_look(victim, settings, sizes)

    monkeypatch.setattr("biograd.robustness.measure.second_look", look)
    measure_run(runs / "bp-0", QUICK)
    monkeypatch.setattr("biograd.robustness.curves.pgd", lambda predict, x, *args, **kwargs: x)
    masked = measure_run(runs / "bp-0", QUICK)
    assert asked == [[], [0.3, 1.0, 5.0]]
    assert masked["verdict"]["masking"] == "suspected"
