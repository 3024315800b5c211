import json
from pathlib import Path

import pytest
import torch

from biograd import records
from biograd.errors import RunFailed, UserMistake
from biograd.training import Ranks, build, checkpoint, resume, train
from biograd.training.observers import create, names, of_run
from biograd.training.trainer import Trainer

FILE = Path(__file__).with_name("small_observers.py")


def own(name, **settings):
    return {"name": f"{FILE}:{name}", **settings}


@pytest.fixture
def observers():
    """The module of small observers, as a configuration imports it."""
    import sys

    create(f"{FILE}:Diary")
    return next(module for name, module in sys.modules.items() if name.startswith("biograd_user_small_obs"))


def test_an_observer_is_told_of_every_moment_in_order(make_config, observers, tmp_path):
    diary = observers.Diary()
    config = make_config(epochs=2, batch_size=20, diagnostics_every=2)  # 3 steps an epoch
    train(config, tmp_path, observers=[diary])
    first = ["measured", "drawn", "taken", "rest", "drawn", "taken", "rest", "measured", "drawn", "taken"]
    second = ["drawn", "taken", "rest", "measured", "drawn", "taken", "rest", "drawn", "taken"]
    closing = ["epoch", "rest"]
    assert diary.told == ["begins", *first, *closing, *second, *closing, "ended", "left"]


def test_it_is_told_when_the_process_leaves_whatever_is_raised(make_config, observers, stop_after, tmp_path):
    diary = observers.Diary()
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(), tmp_path / "stopped", observers=[diary])
    assert diary.told == ["begins", "drawn", "taken", "rest", "left"]
    stop_after(None)
    diary = observers.Diary()
    with pytest.raises(RunFailed):
        train(make_config(optimizer="sgd", lr=1e38), tmp_path / "diverged", observers=[diary])
    assert diary.told[-3:] == ["epoch", "ended", "left"]  # and no rest after an epoch that diverged


def test_a_run_that_is_stopped_is_done_with_fewer_epochs_and_says_who_and_why(make_config, tmp_path):
    config = make_config(epochs=5, observe=[own("Steps", most=8)])
    result = train(config, tmp_path)  # asked in the second epoch of six steps
    assert (result["status"], result["epochs"], result["steps"]) == ("done", 2, 12)
    assert result["stopped"] == "Steps: 8 steps are enough"
    assert result["test_reads"] == 1
    assert result["validation_loss"] == records.read_lines(tmp_path / "metrics.jsonl")[-1]["validation_loss"]
    assert resume(tmp_path) == result


def test_who_asks_in_the_last_epoch_has_stopped_nothing(make_config, tmp_path):
    result = train(make_config(epochs=2, observe=[own("Steps", most=8)]), tmp_path)
    assert (result["epochs"], result["stopped"]) == (2, None)


def test_a_run_that_is_stopped_at_rest_has_its_last_weights_in_the_checkpoint(make_config, tmp_path):
    result = train(make_config(epochs=5, observe=[own("Steps"), own("AtItsEnd")]), tmp_path)
    assert (result["epochs"], result["stopped"]) == (2, "AtItsEnd: two epochs are enough")
    state, _ = checkpoint.load(tmp_path / records.CHECKPOINT)
    assert state["position"]["epoch"] == 2
    assert state["position"]["stopped"] == result["stopped"]


@pytest.mark.parametrize("step", [1, 3, 7, 8, 9, 11, 12])
def test_its_state_and_its_wish_to_stop_are_found_again(step, make_config, stop_after, bits, tmp_path):
    config = make_config(epochs=4, checkpoint_every=2, observe=[own("Steps", most=8)])
    train(config, tmp_path / "whole")
    stop_after(step)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    stop_after(None)
    assert resume(tmp_path / "stopped")["stopped"] == "Steps: 8 steps are enough"
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_one_that_was_given_in_code_gets_its_state_back_too(make_config, observers, stop_after, tmp_path):
    stop_after(9)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(checkpoint_every=2), tmp_path, observers=[observers.Steps()])
    stop_after(None)
    counting = observers.Steps()
    resume(tmp_path, observers=[counting])
    assert counting.taken == 12


def test_a_run_that_goes_on_without_one_that_had_a_state_says_so(
    make_config, observers, stop_after, tmp_path
):
    stop_after(9)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(checkpoint_every=2), tmp_path, observers=[observers.Steps()])
    stop_after(None)
    with pytest.warns(UserWarning, match="goes on without the observer 'Steps', whose state its checkpoint"):
        result = resume(tmp_path)
    assert "without the observer 'Steps'" in result["warnings"][0]


def test_two_of_one_class_that_were_given_in_code_have_each_its_own_state(
    make_config, observers, stop_after, tmp_path
):
    first, second = observers.Steps(), observers.Steps()
    second.taken = 100
    stop_after(9)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(checkpoint_every=2), tmp_path, observers=[first, second])
    stop_after(None)
    again = [observers.Steps(), observers.Steps()]
    resume(tmp_path, observers=again)
    assert [one.taken for one in again] == [12, 112]


def test_a_state_that_no_checkpoint_holds_is_one_line(make_config, stop_after, tmp_path):
    with pytest.raises(UserMistake, match=r"Unkept' failed: TypeError: a checkpoint cannot hold a Unkept"):
        train(make_config(observe=[own("Unkept")]), tmp_path / "unkept")
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(observe=[own("Unkept", holds=True)], checkpoint_every=2), tmp_path / "another")
    stop_after(None)
    with pytest.raises(UserMistake, match=r"Unkept' failed: KeyError: 'another'"):
        resume(tmp_path / "another")


def test_one_that_follows_and_has_no_such_state_is_dropped_and_closes_what_it_has_open(
    make_config, stop_after, tmp_path
):
    config = make_config(track=[own("Unkept")])
    following = of_run(config, Ranks(torch.device("cpu")))[1]
    setup = build(config)
    trainer = Trainer(setup, Ranks(setup.device), tmp_path, [following])
    with trainer.watched():
        with pytest.warns(UserWarning, match=r"Unkept' failed after step 0 and was dropped: TypeError"):
            state = trainer.state()
        assert state["observers"] == trainer.state()["observers"] == {}
    assert following.observer.left == 1
    assert len(trainer.warnings) == 1
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(track=[own("Unkept", holds=True)], checkpoint_every=2), tmp_path / "another")
    stop_after(None)
    with pytest.raises(UserMistake, match=r"track '.*Unkept' cannot begin: KeyError: 'another'"):
        resume(tmp_path / "another")


def test_what_one_that_takes_part_raises_is_one_line_and_ends_the_run(make_config, tmp_path):
    with pytest.raises(UserMistake, match=r"observer '.*:Failing' failed: RuntimeError: the server is away$"):
        train(make_config(observe=[own("Failing")]), tmp_path)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("at", ["measured", "epoch", "ended", "left"])
def test_what_one_that_follows_raises_is_a_warning_and_the_records_are_whole(at, make_config, bits, tmp_path):
    flags = {"diagnostics_every": 4, "checkpoint_every": 2}
    train(make_config(**flags), tmp_path / "alone")
    with pytest.warns(
        UserWarning, match=r"'.*Failing' failed after step \d+ and was dropped: Runtime"
    ) as said:
        train(make_config(**flags, track=[own("Failing", at=at)]), tmp_path / "tracked")
    assert len(said) == 1
    result = records.read_json(tmp_path / "tracked" / "result.json")
    assert [line for line in result["warnings"] if "was dropped: RuntimeError: the server is away" in line]
    records.write_json(tmp_path / "tracked" / "result.json", {**result, "warnings": []})
    assert bits(tmp_path / "tracked") == bits(tmp_path / "alone")


def test_one_that_follows_and_cannot_begin_is_refused(make_config, tmp_path):
    with pytest.raises(UserMistake, match=r"Failing' cannot begin: RuntimeError: the server is away$"):
        train(make_config(track=[own("Failing", at="begins")]), tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("key", ["observe", "track"])
def test_where_one_cannot_begin_the_folder_is_as_it_was(key, make_config, tmp_path):
    with pytest.raises(UserMistake, match=r"Untidy' .*: RuntimeError: no more$"):
        train(make_config(**{key: [own("Untidy")]}), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").rglob("*")] == [".lock"]
    assert train(make_config(), tmp_path / "run")["status"] == "done"


def test_one_that_follows_and_asks_to_stop_is_dropped_and_the_run_goes_on(make_config, tmp_path):
    with pytest.warns(
        UserWarning, match=r"Steps' failed .* asks to stop the run, .*: name it under observe$"
    ):
        result = train(make_config(track=[own("Steps", most=2)]), tmp_path)
    assert (result["status"], result["stopped"], len(result["warnings"])) == ("done", None, 1)


def test_what_follows_is_no_part_of_what_a_run_is_and_what_takes_part_is(make_config):
    plain = make_config().digest()
    assert make_config(track=[own("Diary")]).digest() == plain
    assert make_config(observe=[own("Steps", most=2)]).digest() != plain
    assert (
        make_config(observe=[own("Steps", most=2)]).digest() != make_config(observe=[own("Steps")]).digest()
    )


def test_only_what_takes_all_processes_is_in_those_that_write_nothing(make_config):
    config, device = make_config(observe=[own("Steps")], diagnostics_every=1), torch.device("cpu")
    of_ranks = [[type(one).__name__ for one in of_run(config, Ranks(device, rank, 2))] for rank in (0, 1)]
    assert of_ranks == [
        ["Diagnostics", "Records", "Participant", "ProgressBar", "Checkpoints"],
        ["Checkpoints"],
    ]


def test_one_of_the_users_own_is_in_all_processes_where_it_says_so(make_config):
    config = make_config(observe=[own("AtItsEnd"), own("Diary")], track=[own("Diary")])
    others = of_run(config, Ranks(torch.device("cpu"), 1, 2))
    assert [getattr(one, "name", "").rpartition(":")[2] for one in others] == ["AtItsEnd", ""]


def test_a_trainer_needs_none(make_config, tmp_path):
    setup = build(make_config())
    trainer = Trainer(setup, Ranks(setup.device), tmp_path)
    assert trainer.run().metrics["accuracy"] >= 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tensorbord", "unknown observer 'tensorbord': did you mean 'tensorboard'"),
        ([own("Steps", most=0)], "setting 'most' got 0"),
        ([own("Steps", least=1)], "has no setting 'least'; its settings: most"),
        ("tensorboard,tensorboard", "'tensorboard' is named twice"),
        (7, "expected names, or tables with a name, got 7"),
    ],
)
@pytest.mark.parametrize("key", ["observe", "track"])
def test_names_and_settings_are_checked_with_the_configuration(key, given, words, make_config):
    with pytest.raises(UserMistake, match=words):
        make_config(**{key: given})


def test_what_makes_no_observer_is_refused_before_anything_is_written(make_config, tmp_path):
    with pytest.raises(UserMistake, match=r"makes a int, expected a biograd\.training\.Observer"):
        train(make_config(observe=f"{FILE}:nothing"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_file_and_flags_name_observers_together_and_refine_each_other(make_config, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        f"track = ['tensorboard', {{name = 'mlflow', uri = 'sqlite:///a.db', experiment = 'mine'}}]\n"
        f"observe = '{FILE}:Steps'\n"
    )
    from biograd.training import RunConfig

    flags = {"rule": "bp", "data": "iris", "net": "mlp"}
    typed = {"track": {"mlflow": {"uri": "sqlite:///b.db"}}, "observe": {"Steps": {"most": "3"}}}
    config = RunConfig.from_sources({**flags, **typed}, file)
    assert [(one.name, one.settings) for one in config.track] == [
        ("tensorboard", {}),
        ("mlflow", {"uri": "sqlite:///b.db", "experiment": "mine"}),
    ]
    assert [(one.name, one.settings) for one in config.observe] == [(f"{FILE}:Steps", {"most": 3})]
    assert RunConfig(**json.loads(json.dumps(config.to_json()))) == config


def test_another_observer_of_the_same_label_drops_the_settings_of_the_first(make_config, tmp_path):
    file, other = tmp_path / "run.toml", tmp_path / "other.py"
    other.write_text(FILE.read_text())
    file.write_text(
        f"observe = {{name = '{FILE}:Steps', most = 3}}\ntrack = {{mlflow = {{uri = 'sqlite:///a.db'}}}}\n"
    )
    from biograd.training import RunConfig

    typed = {"observe": {"Steps": {"name": f"{other}:Steps"}}, "track": {"mlflow": {"name": "mlflow"}}}
    config = RunConfig.from_sources({"rule": "bp", "data": "iris", "net": "mlp", **typed}, file)
    assert [(one.name, one.settings) for one in config.observe] == [(f"{other}:Steps", {})]
    assert [(one.name, one.settings) for one in config.track] == [("mlflow", {"uri": "sqlite:///a.db"})]


def test_the_names_are_those_of_the_trackers_that_come_along():
    assert names() == ["tensorboard", "mlflow"]


def test_a_run_whose_observer_has_changed_is_not_resumed(make_config, stop_after, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(FILE.read_text())
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(observe=f"{mine}:Diary"), tmp_path / "run")
    stop_after(None)
    mine.write_text(mine.read_text() + "\n")
    with pytest.raises(UserMistake, match=r"mine\.py has changed since the run in .*run began"):
        resume(tmp_path / "run")


def test_settings_alone_switch_no_tracker_on(make_config):
    with pytest.raises(UserMistake, match=r"mlflow\.uri needs mlflow to be named too: --track mlflow"):
        make_config(track={"mlflow": {"uri": "sqlite:///a.db"}})


def test_nothing_that_may_stop_a_run_sees_the_test_set_in_between(make_config):
    words = (
        r"read_test every-epoch is for runs that nothing stops .* observe names Patience: .*--read-test true"
    )
    with pytest.raises(UserMistake, match=words):
        make_config(read_test="every-epoch", observe=[f"{FILE}:Patience"])
    assert make_config(read_test="every-epoch", track=["tensorboard"]).read_test == "every-epoch"
    with pytest.raises(UserMistake, match=r"read_test got 'often': expected true, false or every-epoch"):
        make_config(read_test="often")
