import contextlib
import importlib
import shutil
from pathlib import Path

import pytest

from biograd import records
from biograd.errors import RunFailed, UnsupportedNet, UserMistake
from biograd.executor import Local
from biograd.training import RunConfig, build, compare, folder, grid, resume, shared_folder, train, train_all

OBSERVERS = Path(__file__).with_name("small_observers.py")

comparing = importlib.import_module("biograd.training.compare")  # the package has a function of that name


@pytest.fixture
def shared(net_file):
    data = {"name": "synthetic", "examples": 64, "test_examples": 16, "features": "6", "classes": 3}
    return {"data": data, "net": net_file("plain"), "epochs": 1, "batch_size": 10, "device": "cpu"}


def folders(directory):
    return sorted(path.name for path in directory.iterdir())


def test_every_rule_gets_every_seed_in_a_folder_of_its_own(shared, tmp_path):
    results = compare(grid(["bp", "fa"], [0, 1], shared), tmp_path)
    assert [(row["rule"], row["seed"]) for row in results] == [("bp", 0), ("bp", 1), ("fa", 0), ("fa", 1)]
    assert folders(tmp_path) == ["bp-seed0", "bp-seed1", "fa-seed0", "fa-seed1"]
    assert [run.result for run in records.find_runs(tmp_path)] == results


def test_rules_start_from_the_same_weights_on_the_same_parts_of_the_data(shared):
    backpropagation, alignment = (build(config) for config in grid(["bp", "fa"], [3], shared))
    for p, q in zip(backpropagation.net.parameters(), alignment.net.parameters(), strict=True):
        assert p.equal(q)
    for (x, _), (z, _) in zip(backpropagation.training.epoch(0), alignment.training.epoch(0), strict=True):
        assert x.equal(z)


def test_finished_runs_are_kept_and_unfinished_ones_resumed(shared, tmp_path, stop_after, bits):
    configs = grid(["bp", "fa"], [0], {**shared, "epochs": 2})
    stop_after(7)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compare(configs, tmp_path / "stopped")
    stop_after(None)
    kept = compare(configs[:1], tmp_path / "stopped")
    before = (tmp_path / "stopped" / "bp-seed0" / "result.json").stat().st_mtime_ns
    results = compare(configs, tmp_path / "stopped")
    assert results[:1] == kept
    assert (tmp_path / "stopped" / "bp-seed0" / "result.json").stat().st_mtime_ns == before
    compare(configs, tmp_path / "whole")
    for name in ("bp-seed0", "fa-seed0"):
        assert bits(tmp_path / "stopped" / name) == bits(tmp_path / "whole" / name)


def test_a_run_that_diverges_is_recorded_and_the_others_go_on(shared, tmp_path, monkeypatch):
    def spoil(place, config, progress):
        if config.rule.name == "bp":
            config = config.model_copy(
                update={"optimizer": type(config.rule)(name="sgd", settings={"lr": 1e38})}
            )
        return run(place, config, progress)

    run = comparing._run
    monkeypatch.setattr(comparing, "_run", spoil)
    results = compare(grid(["bp", "fa"], [0], shared), tmp_path)
    assert [row["status"] for row in results] == ["diverged", "done"]
    with pytest.raises(RunFailed):
        resume(tmp_path / "bp-seed0")


def test_a_record_that_cannot_be_written_stops_the_comparison(shared, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RunFailed("cannot write")

    monkeypatch.setattr(comparing, "train", fail)
    with pytest.raises(RunFailed, match="cannot write"):
        compare(grid(["bp"], [0], shared), tmp_path)


def test_several_at_once_get_the_same_bits_and_their_warnings_are_said_here(shared, tmp_path, bits):
    configs = grid(["bp", "kp"], [0], shared)
    with pytest.warns(UserWarning, match="^kp: ") as said:
        assert [row["rule"] for row in compare(configs, tmp_path / "two", executor=Local(jobs=2))] == [
            "bp",
            "kp",
        ]
    assert len(said) == 1
    with pytest.warns(UserWarning, match="^kp: "):
        compare(configs, tmp_path / "one")
    for name in ("bp-seed0", "kp-seed0"):
        assert bits(tmp_path / "two" / name) == bits(tmp_path / "one" / name)


class Sent:
    """An executor that works here and keeps what was sent to it, time after time."""

    is_here = False
    is_on_this_machine = True

    def __init__(self):
        self.times = []

    def map(self, work, items, needs):
        self.times.append([needs(item).title for item in items])
        yield from ((place, work(item)) for place, item in enumerate(items))


def test_what_is_finished_is_not_sent_to_others_nor_what_is_taken_before_it_is_free(
    shared, tmp_path, stop_after, monkeypatch
):
    configs, sent = grid(["bp", "fa"], [0], {**shared, "epochs": 2}), Sent()
    compare(configs[:1], tmp_path)
    stop_after(7)
    with pytest.raises(KeyboardInterrupt):
        compare(configs[1:], tmp_path)
    stop_after(None)
    with contextlib.ExitStack() as held:
        held.enter_context(folder.existing(tmp_path / "fa-seed0"))
        monkeypatch.setattr(comparing.time, "sleep", lambda _: held.close())
        assert [row["rule"] for row in compare(configs, tmp_path, executor=sent)] == ["bp", "fa"]
    assert sent.times == [[], [f"{tmp_path}/fa-seed0"]]


def test_records_that_do_not_come_from_another_machine_are_missed(shared, tmp_path, monkeypatch):
    class Lost(Sent):
        def map(self, work, items, needs):
            for place, result in super().map(work, items, needs):
                shutil.rmtree(items[place][0])
                yield place, result

    monkeypatch.setattr(shared_folder, "PATIENCE", 0.0)
    with pytest.raises(RunFailed, match="was trained on another machine, and its records do not come here"):
        compare(grid(["bp"], [0], shared), tmp_path / "all", executor=Lost())


def test_a_machine_without_the_folder_of_the_runs_is_named(shared, tmp_path):
    class Elsewhere(Sent):
        def map(self, work, items, needs):
            (tmp_path / "all").rmdir()
            yield from super().map(work, items, needs)

    with pytest.raises(UserMistake, match=r"has no folder .*/all, where the runs lie: give one that all"):
        compare(grid(["bp"], [0], shared), tmp_path / "all", executor=Elsewhere())


def test_a_rule_that_cannot_teach_the_net_is_found_before_anything_is_trained(shared, net_file, tmp_path):
    configs = grid(["bp", "fa"], [0], {**shared, "net": net_file("Bilinear")})
    with pytest.raises(UnsupportedNet):
        compare(configs, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_observer_that_cannot_be_made_is_found_before_anything_is_trained(shared, tmp_path):
    configs = grid(["bp"], [0], shared)
    configs += grid(["fa"], [0], {**shared, "observe": f"{OBSERVERS}:nothing"})
    with pytest.raises(UserMistake, match=r"makes a int, expected a biograd\.training\.Observer"):
        compare(configs, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_has_begun_goes_on_with_its_trackers_and_says_so(shared, stop_after, tmp_path):
    stop_after(2)
    with pytest.raises(KeyboardInterrupt):
        compare(grid(["bp"], [0], shared), tmp_path)
    stop_after(None)
    with pytest.warns(UserWarning, match="bp-seed0 goes on with the trackers that it began with: none"):
        compare(grid(["bp"], [0], {**shared, "track": f"{OBSERVERS}:Diary"}), tmp_path)


def test_runs_of_another_configuration_are_not_mixed_in(shared, tmp_path):
    compare(grid(["bp"], [0], shared), tmp_path)
    with pytest.raises(
        UserMistake, match=r"bp-seed0 holds a run with another epochs \(1 there, 2 here\); give another"
    ):
        compare(grid(["fa", "bp"], [0], {**shared, "epochs": 2}), tmp_path)
    assert folders(tmp_path) == ["bp-seed0"]


def test_a_folder_that_holds_something_else_is_refused(shared, tmp_path):
    (tmp_path / "bp-seed0").mkdir()
    (tmp_path / "bp-seed0" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserMistake, match="is not empty"):
        compare(grid(["bp"], [0], shared), tmp_path)


def test_budgets_are_the_same_for_every_rule(shared, tmp_path):
    configs = [
        RunConfig.from_sources({**shared, "rule": rule, "epochs": epochs})
        for rule, epochs in (("bp", 1), ("fa", 2))
    ]
    with pytest.raises(UserMistake, match="one budget: epochs is 1 and 2"):
        compare(configs, tmp_path)
    assert not folders(tmp_path)


def test_nor_are_losses_mixed(shared, tmp_path):
    losses = {"bp": "cross-entropy", "fa": "squared-error"}
    configs = [
        RunConfig.from_sources({**shared, "rule": rule, "loss": loss}) for rule, loss in losses.items()
    ]
    with pytest.raises(UserMistake, match="one budget: loss is cross-entropy and squared-error"):
        compare(configs, tmp_path)


@pytest.mark.parametrize(
    ("rules", "seeds", "words"),
    [([], [0], "at least one rule"), (["bp", "bp"], [0], "none twice"), (["bp"], [], "at least one seed")],
)
def test_a_comparison_names_each_rule_and_seed_once(rules, seeds, words, shared):
    with pytest.raises(UserMistake, match=words):
        grid(rules, seeds, shared)


def test_epochs_that_a_stopped_run_has_done_are_not_estimated_again(shared, stop_after, tmp_path):
    (config,) = grid(["bp"], [0], {**shared, "epochs": 3})
    stop_after(7)  # in the second epoch
    with pytest.raises(KeyboardInterrupt):
        train_all({tmp_path / "run": config})
    stop_after(None)
    said = []
    train_all({tmp_path / "run": config}, announce=said.append)
    assert [(one.runs, one.epochs) for one in said] == [(1, 2)]


def test_settings_go_to_the_rule_that_a_file_names(shared, tmp_path):
    file = tmp_path / "compare.toml"
    file.write_text("[rule]\nname = 'fa'\nscale = 0.5\n")
    settings = {config.rule.name: config.rule.settings for config in grid(["fa", "dfa"], [0], shared, file)}
    assert settings == {"fa": {"scale": 0.5}, "dfa": {}}
    with pytest.raises(UserMistake, match="flags name the rule 'kp': name it among the rules"):
        grid(["fa"], [0], {**shared, "rule": "kp"})
    with pytest.raises(UserMistake, match="cannot hold for 2 rules"):
        grid(["fa", "dfa"], [0], {**shared, "rule": {"scale": 2}})
    assert grid(["fa"], [0], {**shared, "rule": {"scale": 2}})[0].rule.settings == {"scale": 2.0}


def test_each_rule_trains_under_its_own_defaults(shared):
    optimizers = {config.rule.name: config.optimizer.name for config in grid(["bp", "kp"], [0], shared)}
    assert optimizers == {"bp": "adam", "kp": "adamw"}


def test_the_folder_of_a_single_run_is_refused(shared, tmp_path):
    (config,) = grid(["bp"], [0], shared)
    train(config, tmp_path)
    before = folders(tmp_path)
    with pytest.raises(UserMistake, match="is the folder of a single run"):
        compare([config], tmp_path)
    assert folders(tmp_path) == before


def test_the_rule_that_cannot_teach_the_net_is_named(shared, net_file, tmp_path):
    with pytest.raises(UnsupportedNet, match=r"^rule 'fa': "):
        compare(grid(["bp", "fa"], [0], {**shared, "net": net_file("Bilinear")}), tmp_path)
