import math
from types import SimpleNamespace

import pytest
import torch

from biograd import records
from biograd.errors import RunFailed, UnsupportedNet, UserMistake
from biograd.training import (
    Ranks,
    build,
    derive,
    evaluation,
    loop,
    resume,
    stopwatch,
    train,
    trainer,
)
from biograd.training.observers import diagnostics

FILES = {".lock", "checkpoint.safetensors", "config.json", "environment.json", "metrics.jsonl", "result.json"}


def test_a_run_leaves_its_records(make_config, tmp_path):
    config = make_config(rule="fa")
    result = train(config, tmp_path / "run")
    run = records.Run.load(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    assert run.config == config.to_json()
    assert run.result == result
    assert [(row["epoch"], row["step"]) for row in run.metrics] == [(1, 6), (2, 12)]
    assert run.environment["threads"] == 1


def test_the_result_says_what_was_reached_and_how_the_test_set_was_used(make_config, tmp_path):
    result = train(make_config(rule="fa"), tmp_path)
    expected = {
        "rule": "fa",
        "family": "feedback",
        "stopped": None,
        "data": "synthetic",
        "net": "chain",
        "seed": 0,
        "epochs": 2,
        "steps": 12,
    }
    expected |= {"status": "done", "reason": None, "test_reads": 1, "tested_weights": "last", "warnings": []}
    expected |= {"parameters": 6 * 8 + 8 + 8 + 8 + 8 * 3 + 3, "run": str(tmp_path)}
    assert {key: result[key] for key in expected} == expected
    last = records.read_lines(tmp_path / "metrics.jsonl")[-1]
    for key in ("train_loss", "train_accuracy", "validation_loss", "validation_balanced_accuracy"):
        assert result[key] == last[key]
    assert 0 <= result["test_accuracy"] <= 1
    assert result["test_loss"] > 0
    assert result["seconds"] >= last["seconds"] > 0


def test_losses_and_accuracies_are_those_of_the_trained_net(make_config, tmp_path):
    config = make_config(precision="float64")
    result = train(config, tmp_path)
    setup = build(config)
    loop.checkpoint.load_weights(tmp_path / "checkpoint.safetensors", setup.net.eval())
    for part, batches in (("test", setup.test), ("validation", setup.validation)):
        x, y = (torch.cat(tensors) for tensors in zip(*batches.epoch(0), strict=True))
        output = setup.net(x.double())
        assert result[f"{part}_loss"] == pytest.approx(torch.nn.functional.cross_entropy(output, y).item())
        assert result[f"{part}_accuracy"] == (output.argmax(1) == y).double().mean().item()
        recalls = [(output[y == k].argmax(1) == k).double().mean().item() for k in y.unique()]
        assert result[f"{part}_balanced_accuracy"] == pytest.approx(sum(recalls) / len(recalls))


def test_the_training_loss_is_the_mean_over_examples_before_each_update(make_config, net_file, tmp_path):
    config = make_config(net=net_file("plain"), precision="float64", optimizer="sgd", lr=1e-300, epochs=1)
    result = train(config, tmp_path)  # at such a rate the weights stay where they are
    setup = build(config)
    x, y = (torch.cat(tensors) for tensors in zip(*setup.training.epoch(0), strict=True))
    assert len(y) % config.batch_size
    expected = torch.nn.functional.cross_entropy(setup.net(x.double()), y)
    assert result["train_loss"] == pytest.approx(expected.item(), rel=1e-12)


def test_an_epochs_training_loss_is_its_own(make_config, net_file, tmp_path):
    flags = {"net": net_file("plain"), "precision": "float64", "schedule": "none", "lr": 0.1}
    config = make_config(**flags, batch_size=58)  # one step an epoch
    train(config, tmp_path / "two")
    train(config.model_copy(update={"epochs": 1}), tmp_path / "one")
    setup = build(config)
    loop.checkpoint.load_weights(tmp_path / "one" / "checkpoint.safetensors", setup.net)
    ((x, y),) = setup.training.epoch(1)
    output = setup.net(x.double())
    first, second = records.read_lines(tmp_path / "two" / "metrics.jsonl")
    expected = torch.nn.functional.cross_entropy(output, y).item()
    assert second["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert second["train_accuracy"] == (output.argmax(1) == y).double().mean().item()
    assert first["train_loss"] > second["train_loss"]


def test_a_test_set_that_is_left_unread_is_not_even_at_hand(make_config, tmp_path, monkeypatch):
    seen, evaluate = [], evaluation.evaluate
    monkeypatch.setattr(
        trainer,
        "evaluate",
        lambda setup, batches, ranks: seen.append(batches) or evaluate(setup, batches, ranks),
    )
    config = make_config(read_test=False)
    result = train(config, tmp_path)
    assert len(seen) == 2  # the validation part, after each epoch
    assert result["status"] == "done"
    assert {key: value for key, value in result.items() if "test" in key} == {
        "test_loss": None,
        "test_accuracy": None,
        "test_balanced_accuracy": None,
        "test_reads": 0,
        "tested_weights": None,
    }
    assert result["validation_accuracy"] is not None
    assert build(config).test is None
    assert config.digest() != make_config().digest() == make_config(read_test=True).digest()


def test_but_for_the_test_set_it_is_the_same_run(make_config, tmp_path):
    for read_test in (True, False, "every-epoch"):
        train(make_config(read_test=read_test), tmp_path / str(read_test))
    read, unread, every_epoch = (
        [{**row, "seconds": 0} for row in records.read_lines(tmp_path / name / "metrics.jsonl")]
        for name in ("True", "False", "every-epoch")
    )
    assert read == unread
    assert [{key: row[key] for key in unread[0]} for row in every_epoch] == unread


def test_a_test_set_that_is_read_after_every_epoch_is_read_at_the_end_too(make_config, tmp_path):
    result = train(make_config(read_test="every-epoch"), tmp_path / "whole")
    rows = records.read_lines(tmp_path / "whole" / "metrics.jsonl")
    assert len(rows) == 2
    for entry in ("test_loss", "test_accuracy", "test_balanced_accuracy"):
        assert [row[entry] is not None for row in rows] == [True, True]
        assert result[entry] == rows[-1][entry]
    assert result["test_reads"] == 3


def test_evaluation_leaves_every_module_in_its_mode(make_config):
    setup = build(make_config())
    setup.net[2].eval()  # as one that is frozen
    evaluation.evaluate(setup, setup.test, Ranks(setup.device))
    assert [module.training for module in setup.net] == [True, True, False, True, True, True]


def test_no_example_is_in_two_parts(make_config):
    setup = build(make_config())
    held = [
        {tuple(x.tolist()) for batch, _ in batches.epoch(0) for x in batch}
        for batches in (setup.training, setup.validation, setup.test)
    ]
    assert [len(part) for part in held] == [58, 6, 16]
    assert len(set.union(*held)) == 80


def test_seconds_are_those_of_the_steps_alone(make_config, tmp_path, monkeypatch):
    ahead = [0.0]

    def slow(work):
        def slower(*arguments, **keywords):
            ahead[0] += 1000.0
            return work(*arguments, **keywords)

        return slower

    clock = stopwatch.time.perf_counter
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock() + ahead[0]))
    monkeypatch.setattr(diagnostics, "measure", slow(diagnostics.measure))
    monkeypatch.setattr(trainer, "evaluate", slow(trainer.evaluate))
    monkeypatch.setattr(loop.checkpoint, "save", slow(loop.checkpoint.save))
    result = train(make_config(diagnostics_every=5, checkpoint_every=2), tmp_path)
    assert ahead[0] > 6000
    assert 0 < result["seconds"] < 1000


def test_the_test_set_is_read_once_and_after_the_last_step(make_config, tmp_path, monkeypatch):
    seen, evaluate = [], evaluation.evaluate

    def watch(setup, batches, ranks):
        seen.append("test" if batches is setup.test else "validation")
        return evaluate(setup, batches, ranks)

    monkeypatch.setattr(trainer, "evaluate", watch)
    train(make_config(epochs=3), tmp_path)
    assert seen == ["validation"] * 3 + ["test"]


def test_it_learns(make_config, tmp_path):
    result = train(
        make_config(epochs=20, lr=0.05, net=make_config().net.name.replace("chain", "plain")), tmp_path
    )
    assert result["train_accuracy"] > 0.95
    assert result["test_accuracy"] > 0.7


def test_the_same_configuration_gives_the_same_bits(make_config, bits, tmp_path):
    for name in ("a", "b"):
        train(make_config(rule="fa"), tmp_path / name)
        torch.rand(7)  # what the caller draws is nothing to a run
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


@pytest.mark.parametrize("flags", [{"seed": 1}, {"rule": {"name": "fa", "seed": 1}}, {"lr": 2e-3}], ids=str)
def test_another_seed_or_setting_gives_others(flags, make_config, tmp_path):
    results = [train(make_config(**{"rule": "fa", **given}), tmp_path / str(given)) for given in ({}, flags)]
    assert results[0]["test_loss"] != results[1]["test_loss"]


def test_feedback_is_not_drawn_from_the_numbers_that_the_weights_are(make_config, net_file):
    setup = build(make_config(rule="fa", net={"name": net_file("plain"), "widths": "200,200"}))
    for name, B in setup.rule.feedback_matrices(setup.net).items():
        W = setup.net.get_parameter(name)
        both = torch.stack([W.flatten().sort().values, B.flatten()])
        correlation = torch.corrcoef(torch.stack([W.flatten(), B.flatten()]))[0, 1]
        assert abs(correlation) < 4 / math.sqrt(both.shape[1])


def test_the_callers_process_is_as_it_was(make_config, tmp_path):
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    train(make_config(threads=threads + 1, rule="fa"), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_callers_process_is_nothing_to_the_run(make_config, bits, tmp_path):
    train(make_config(), tmp_path / "a")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            train(make_config(), tmp_path / "b")
    finally:
        torch.set_default_dtype(torch.float32)
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"one_vs_rest": "9"}, "no class '9'"),
        ({"validation_fraction": 0.001}, "takes 0 of 64 examples"),
        ({"optimizer": {"name": "adam", "fused": "true", "foreach": "true"}}, "cannot be `True` together"),
        ({"schedule": {"name": "step", "at": "2"}}, "expected increasing numbers below 2"),
        ({"rule": "kp", "optimizer": "asgd"}, "kp cannot align under ASGD"),
        ({"data": "mnist", "data_dir": "/nowhere"}, "/nowhere"),
        ({"batch_size": 19}, "the last batch of an epoch has one example"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(flags, words, make_config, tmp_path):
    with pytest.raises(UserMistake, match=words) as caught:
        train(make_config(**flags), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_so_is_a_net_that_the_rule_cannot_teach(make_config, net_file, tmp_path):
    with pytest.raises(UnsupportedNet):
        train(make_config(rule="fa", net=net_file("Bilinear")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_so_is_one_that_shows_only_when_the_net_runs(make_config, net_file, tmp_path):
    with pytest.raises(UnsupportedNet, match="checkpoint"):
        train(make_config(rule="fa", net=net_file("Checkpointed")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_making_the_parts_leaves_no_trace_of_having_tried_them(make_config):
    config = make_config(rule="wm")
    once, again = build(config), build(config)
    for part in ("net", "rule"):
        state = getattr(once, part).state_dict()
        assert state["2.running_mean"].abs().sum() == 0 if part == "net" else True
        for key, value in getattr(again, part).state_dict().items():
            assert torch.equal(state[key], value), key
    assert all(p.grad is None for p in once.net.parameters())


def test_a_folder_that_holds_anything_is_refused_and_left_alone(make_config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserMistake, match=r"is not empty \(it holds 'thesis.tex'\)"):
        train(make_config(), tmp_path)
    with pytest.raises(UserMistake, match="is a file; a run needs a folder of its own"):
        train(make_config(), tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_process_leaves_that_is_killed_before_it_has_a_run_is_in_nobodys_way(make_config, tmp_path):
    for name in (".lock", ".config.json.0123abcd.tmp"):
        (tmp_path / name).write_bytes(b"")
    train(make_config(epochs=1), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_folder_that_holds_a_run_is_refused(make_config, tmp_path):
    train(make_config(epochs=1), tmp_path)
    with pytest.raises(UserMistake, match="holds a run already: resume it"):
        train(make_config(), tmp_path)


def test_a_run_that_diverges_stops_early_and_its_record_says_so(make_config, tmp_path):
    config = make_config(optimizer="sgd", lr=1e38, epochs=500, validation_fraction=0)
    with pytest.raises(
        RunFailed, match=r"the run diverged: the training loss is (nan|inf) after step"
    ) as caught:
        train(config, tmp_path)
    result = records.read_json(tmp_path / "result.json")
    assert result["status"] == "diverged"
    assert result["reason"] in str(caught.value)
    assert result["steps"] <= 7
    assert result["epochs"] == 1
    assert (result["test_reads"], result["test_accuracy"], result["train_loss"]) == (0, None, None)


def test_a_loss_is_looked_at_within_an_epoch_too(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHECK_EVERY", 3)
    with pytest.raises(RunFailed, match=r"the training loss is (nan|inf) after step 3;"):
        train(make_config(optimizer="sgd", lr=1e38), tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("diagnostics_every", [0, 1])
def test_a_rule_that_meets_numbers_that_are_not_finite_has_diverged(
    diagnostics_every, make_config, rule_file, tmp_path
):
    config = make_config(rule=rule_file("Singular"), epochs=3, diagnostics_every=diagnostics_every)
    with pytest.raises(RunFailed, match=r"the run diverged: a weight is singular \(after step 12\)"):
        train(config, tmp_path)
    result = records.read_json(tmp_path / "result.json")
    assert (result["status"], result["steps"], result["test_reads"]) == ("diverged", 12, 0)
    with pytest.raises(RunFailed, match="a weight is singular"):
        resume(tmp_path)


def test_a_validation_or_test_loss_that_is_not_finite_is_a_divergence_as_well(
    make_config, tmp_path, monkeypatch
):
    for name, reads in {"validation": 1, "test": 3}.items():
        calls, evaluate = [], evaluation.evaluate

        def spoilt(*arguments, calls=calls, reads=reads, evaluate=evaluate):
            calls.append(arguments)
            return evaluate(*arguments)._replace(**({"loss": math.inf} if len(calls) == reads else {}))

        monkeypatch.setattr(trainer, "evaluate", spoilt)
        with pytest.raises(RunFailed, match=f"the {name} loss is inf"):
            train(make_config(), tmp_path / name)
        monkeypatch.undo()
        result = records.read_json(tmp_path / name / "result.json")
        assert (result["status"], result["test_reads"]) == ("diverged", int(name == "test"))


def test_without_a_validation_part_its_fields_are_null(make_config, tmp_path):
    result = train(make_config(validation_fraction=0), tmp_path)
    rows = [*records.read_lines(tmp_path / "metrics.jsonl"), result]
    assert {(row["validation_loss"], row["validation_accuracy"]) for row in rows} == {(None, None)}


def test_one_class_against_the_rest_has_two_outputs(make_config, tmp_path):
    result = train(make_config(one_vs_rest=2), tmp_path)
    assert result["parameters"] == 6 * 8 + 8 + 8 + 8 + 8 * 2 + 2


def test_gradients_are_cut_to_the_norm_asked_for(make_config, tmp_path):
    """Under plain gradient descent the longest possible way is steps × rate × norm."""
    config = make_config(optimizer="sgd", lr=1.0, clip_norm=1e-3)
    start = [p.detach().clone() for p in build(config).net.parameters()]
    train(config, tmp_path)
    state, _ = loop.checkpoint.load(tmp_path / "checkpoint.safetensors")
    names = dict(build(config).net.named_parameters())
    way = torch.cat([(state["net"][n] - p).flatten() for n, p in zip(names, start, strict=True)]).norm()
    assert 0 < way <= 12 * 1e-3 * (1 + 1e-5)


@pytest.mark.parametrize(("precision", "dtype"), [("float64", torch.float64), ("bfloat16", torch.float32)])
@pytest.mark.parametrize("rule", ["bp", "fa", "dfa"])
def test_precision_is_that_of_the_weights_or_of_the_products(rule, precision, dtype, make_config, tmp_path):
    config = make_config(rule=rule, precision=precision)
    setup = build(config)
    assert {p.dtype for p in setup.net.parameters()} == {dtype}
    assert {b.dtype for b in setup.rule.buffers()} <= {dtype}
    with setup.autocast():
        x, _ = next(setup.training.epoch(0))
        assert setup.net(setup.inputs(x)).dtype == (torch.bfloat16 if precision == "bfloat16" else dtype)
    assert train(config, tmp_path)["status"] == "done"


def test_the_same_seed_starts_from_the_same_weights_in_any_precision(make_config):
    single, double = (build(make_config(precision=name)).net for name in ("float32", "float64"))
    for p, q in zip(single.parameters(), double.parameters(), strict=True):
        assert torch.equal(p.double(), q)


def test_schedules_move_once_an_epoch_or_once_a_step(make_config, tmp_path):
    for interval, cuts in {"epoch": [0, 1], "step": [5, 11]}.items():
        schedule = {"name": "step", "every": 1, "factor": 0.5, "interval": interval}
        train(make_config(schedule=schedule, lr=1.0), tmp_path / interval)
        rows = records.read_lines(tmp_path / interval / "metrics.jsonl")
        assert [row["learning_rate"] for row in rows] == [0.5 ** (n + (interval == "step")) for n in cuts]


def test_diagnostics_are_measured_every_so_many_steps_and_change_nothing(make_config, bits, tmp_path):
    train(make_config(rule="brsf"), tmp_path / "plain")
    train(make_config(rule="brsf", diagnostics_every=5), tmp_path / "measured")
    rows = records.read_lines(tmp_path / "measured" / "diagnostics.jsonl")
    assert sorted({(row["step"], row["epoch"]) for row in rows}) == [(0, 1), (5, 1), (10, 2)]
    assert {"gradient_angle", "feedback_angle", "norm_ratio", "seconds"} <= {row["quantity"] for row in rows}
    assert {row["layer"] for row in rows} == {"1.weight", "5.weight", "1", "5", None}
    assert not (tmp_path / "plain" / "diagnostics.jsonl").exists()
    kept = bits(tmp_path / "measured")[
        1
    ]  # and beside it the signals that the next measurement is compared with
    assert bits(tmp_path / "plain")[1].items() <= kept.items()


def test_what_a_rule_says_of_the_optimizer_reaches_the_user_and_the_record(make_config, tmp_path):
    config = make_config(rule="kp", optimizer={"name": "adam", "weight_decay": 0.1})
    with pytest.warns(UserWarning, match="kp: learning rate × weight decay × steps.* under Adam"):
        result = train(config, tmp_path)
    assert result["warnings"][0].startswith("kp: learning rate × weight decay")


def test_net_and_rule_parameters_share_one_group(make_config):
    setup = build(make_config(rule="kp"))
    (group,) = setup.optimizer.param_groups
    held = [*setup.net.parameters(), *setup.rule.parameters()]
    assert len(held) == 8
    assert [id(p) for p in group["params"]] == [id(p) for p in held]


def test_a_rules_seed_derives_from_the_runs_unless_it_is_set(make_config):
    def drawn(**flags):
        rule = build(make_config(**flags)).rule
        return torch.cat([tensor.flatten() for tensor in rule.buffers()])

    assert not torch.equal(drawn(rule="fa"), drawn(rule="fa", seed=1))
    derived = {"name": "fa", "seed": derive(0, "rule")}
    assert torch.equal(drawn(rule="fa"), drawn(rule=derived))
