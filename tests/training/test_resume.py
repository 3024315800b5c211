import fcntl
import hashlib
import json
import warnings
from pathlib import Path

import pytest
import torch

from biograd import records, rules
from biograd.errors import CheckpointError, RunFailed, UserMistake
from biograd.training import evaluation, folder, resume, train, trainer
from biograd.training.observers import checkpoints

RULES = [*rules.names()]
VARIANTS = [
    {"schedule": {"name": "cosine", "interval": "step"}},
    {"schedule": {"name": "step", "at": "1"}},
    {"optimizer": "nadam", "precision": "float64"},
    {"optimizer": {"name": "sgd", "momentum": 0.9}, "clip_norm": 0.1},
    {"precision": "bfloat16"},
    {"diagnostics_every": 4},
    {"threads": 2},
    {"validation_fraction": 0},
]


@pytest.fixture(autouse=True)
def checkpoint_at_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "MINIMUM_GAP", 0.0)


@pytest.fixture
def interrupted(make_config, stop_after, tmp_path):
    """A run that was stopped after so many steps, and the same run that was not."""

    def run(step, **flags):
        config = make_config(**{"checkpoint_every": 2, **flags})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # so short a run is too short for some rules
            train(config, tmp_path / "whole")
            stop_after(step)
            with pytest.raises(KeyboardInterrupt):
                train(config, tmp_path / "stopped")
        stop_after(None)
        return tmp_path / "stopped", tmp_path / "whole"

    return run


@pytest.mark.parametrize("step", range(1, 13))
def test_it_goes_on_with_the_same_bits_wherever_it_was_stopped(step, interrupted, bits):
    stopped, whole = interrupted(step, rule="brsf", diagnostics_every=3)
    result = resume(stopped)
    assert bits(stopped) == bits(whole)
    assert result == records.read_json(stopped / "result.json")


@pytest.mark.parametrize(("every", "steps"), [(0, [6, 12]), (2, [2, 4, 6, 8, 10, 12]), (4, [4, 6, 8, 12])])
def test_a_checkpoint_is_made_every_so_many_steps_and_at_every_epoch(
    every, steps, make_config, monkeypatch, tmp_path
):
    made, state = [], trainer.Trainer.state
    monkeypatch.setattr(trainer.Trainer, "state", lambda run: made.append(run.position.step) or state(run))
    train(make_config(checkpoint_every=every), tmp_path)
    assert sorted(set(made)) == steps


@pytest.mark.filterwarnings("ignore:kp")
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_does(rule, interrupted, bits):
    nets = {"tp": "square", "softhebb": "softhebb-mlp", "forward-forward": "ff-mlp"}  # which they need
    stopped, whole = interrupted(9, rule=rule, **({"net": nets[rule]} if rule in nets else {}))
    resume(stopped)
    assert bits(stopped) == bits(whole)


@pytest.mark.parametrize("flags", VARIANTS, ids=str)
def test_every_part_does(flags, interrupted, bits):
    stopped, whole = interrupted(9, **flags)
    resume(stopped)
    assert bits(stopped) == bits(whole)


@pytest.mark.parametrize("part", [{"optimizer": "Remembers"}, {"schedule": "remembers"}], ids=str)
def test_a_part_of_the_users_own_does_whatever_it_keeps(part, interrupted, bits):
    ((kind, name),), file = part.items(), Path(__file__).with_name("small_parts.py")
    stopped, whole = interrupted(9, **{kind: f"{file}:{name}"})
    resume(stopped)
    assert bits(stopped) == bits(whole)


def test_a_layer_that_is_held_twice_does(interrupted, bits, net_file):
    stopped, whole = interrupted(9, rule="fa", net=net_file("Tied"))
    resume(stopped)
    assert bits(stopped) == bits(whole)


@pytest.mark.parametrize(
    ("net", "rule"),
    [
        *(("convnet", "fa"), ("resnet20", "kp"), ("lenet", "wm")),
        ("resnet20", {"name": "dfa", "inside": "exact"}),
    ],
)
@pytest.mark.filterwarnings("ignore:kp")
def test_images_that_are_augmented_and_nets_of_every_kind_do(net, rule, interrupted, bits, net_file):
    data = net_file("augmented").replace("small_nets", "small_data")
    stopped, whole = interrupted(4, net=net, rule=rule, data=data, epochs=1, batch_size=5)
    resume(stopped)
    assert bits(stopped) == bits(whole)


def test_it_can_be_stopped_again_and_again(interrupted, bits, stop_after):
    stopped, whole = interrupted(3)
    for step in (5, 6, 8, 12):
        stop_after(step)
        with pytest.raises(KeyboardInterrupt):
            resume(stopped)
    stop_after(None)
    resume(stopped)
    assert bits(stopped) == bits(whole)


def test_stopped_before_its_first_checkpoint_it_begins_again(interrupted, bits):
    stopped, whole = interrupted(4, checkpoint_every=0, diagnostics_every=1)
    assert not (stopped / "checkpoint.safetensors").exists()
    resume(stopped)
    assert bits(stopped) == bits(whole)


def test_stopped_after_its_last_checkpoint_it_only_tests(make_config, bits, tmp_path, monkeypatch):
    def die(parts, batches, ranks):
        if batches is parts.test:
            raise KeyboardInterrupt
        return evaluation.evaluate(parts, batches, ranks)

    train(make_config(), tmp_path / "whole")
    monkeypatch.setattr(trainer, "evaluate", die)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(), tmp_path / "stopped")
    monkeypatch.undo()
    resume(tmp_path / "stopped")
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_rows_after_the_checkpoint_and_a_torn_line_are_dropped(interrupted, bits):
    stopped, whole = interrupted(9, diagnostics_every=1)
    for name in ("metrics.jsonl", "diagnostics.jsonl"):
        late = dict.fromkeys(("epoch", "step"), 99) | {"quantity": "norm_ratio", "value": 1.0}
        late |= dict.fromkeys(("train_loss", "train_accuracy", "seconds"), 0.5)
        with (stopped / name).open("a") as file:
            file.write(json.dumps(late) + '\n{"epoch": 1, "st')
    resume(stopped)
    assert bits(stopped) == bits(whole)


def test_a_killed_processs_temporary_files_are_removed(interrupted):
    stopped, _ = interrupted(3)
    (stopped / ".checkpoint.safetensors.0123.tmp").write_bytes(b"half")
    resume(stopped)
    assert not list(stopped.glob("*.tmp")) + list(stopped.glob(".*.tmp"))


def test_the_callers_state_is_nothing_to_it_and_stays(interrupted, bits):
    stopped, whole = interrupted(3, threads=1)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    resume(stopped)
    assert torch.equal(torch.get_rng_state(), before)
    assert bits(stopped) == bits(whole)


def test_a_finished_run_is_left_as_it_is(make_config, tmp_path):
    result = train(make_config(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != ".lock"}
    assert resume(tmp_path) == result
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_diverged_stays_so(make_config, tmp_path):
    with pytest.raises(RunFailed):
        train(make_config(optimizer="sgd", lr=1e38), tmp_path)
    with pytest.raises(RunFailed, match=r"the run diverged: the training loss is (nan|inf)"):
        resume(tmp_path)


@pytest.mark.parametrize("content", [{}, {"thesis.tex": "years of work"}, {"result.json": "{}"}], ids=str)
def test_a_folder_that_is_no_runs_is_refused_and_left_alone(content, tmp_path):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserMistake, match=r"is no run's folder: it has no config\.json"):
            resume(place)
    assert {path.name for path in tmp_path.iterdir()} == set(content)


def test_a_damaged_checkpoint_is_one_line_and_nothing_else_is_touched(interrupted):
    stopped, _ = interrupted(9)
    path = stopped / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    metrics = (stopped / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        resume(stopped)
    assert (stopped / "metrics.jsonl").read_bytes() == metrics
    assert path.read_bytes() == content[:-1]


def test_a_checkpoint_of_another_configuration_is_refused(interrupted):
    stopped, _ = interrupted(9)
    config = records.read_json(stopped / "config.json")
    records.write_json(stopped / "config.json", {**config, "batch_size": 20})
    with pytest.raises(CheckpointError, match="was made with another configuration"):
        resume(stopped)


def test_data_that_has_moved_is_no_other_configuration(interrupted, bits, tmp_path):
    stopped, whole = interrupted(9)
    config = records.read_json(stopped / "config.json")
    records.write_json(stopped / "config.json", {**config, "data_dir": str(tmp_path)})
    resume(stopped)
    assert bits(stopped) == bits(whole)


def test_two_processes_do_not_train_in_one_folder(interrupted):
    stopped, _ = interrupted(3)
    with open(stopped / ".lock", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserMistake, match="another process trains in"):
            resume(stopped)
    resume(stopped)


def test_the_lock_holds_between_two_that_resume(interrupted):
    stopped, _ = interrupted(3)
    with (
        folder.existing(stopped),
        pytest.raises(UserMistake, match="another process"),
        folder.existing(stopped),
    ):
        pytest.fail("both hold the folder")


def test_another_machine_that_it_goes_on_at_is_noted(interrupted):
    stopped, whole = interrupted(3)
    was = records.read_json(stopped / "environment.json")
    records.write_json(stopped / "environment.json", {**was, "cpu": "another"})
    resume(stopped)
    assert records.read_json(stopped / "environment.json") == {**was, "cpu": "another", "resumed": [was]}
    resume(whole)
    assert "resumed" not in records.read_json(whole / "environment.json")


def test_a_place_that_is_none_among_those_where_it_went_on_is_one_line(interrupted):
    stopped, _ = interrupted(3)
    was = records.read_json(stopped / "environment.json")
    records.write_json(stopped / "environment.json", {**was, "resumed": [{**was, "files": 5}]})
    with pytest.raises(UserMistake, match=r"environment\.json: resumed\.0\.files is 5, expected a"):
        resume(stopped)


def test_killed_before_its_environment_was_written_it_gets_one(interrupted, bits):
    stopped, whole = interrupted(1)
    (stopped / "environment.json").unlink()
    resume(stopped)
    assert bits(stopped) == bits(whole)
    same = [records.read_json(place / "environment.json") for place in (stopped, whole)]
    assert same[0] == same[1]


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    make_config, stop_after, small_disk, bits, tmp_path
):
    config = make_config(checkpoint_every=2)
    train(config, tmp_path / "whole")
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(config, small_disk / "run")
    stop_after(None)
    before = (small_disk / "run" / "checkpoint.safetensors").read_bytes()
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(2**20))
    with pytest.raises(RunFailed, match="No space left on device") as caught:
        resume(small_disk / "run")
    assert "\n" not in str(caught.value)
    assert (small_disk / "run" / "checkpoint.safetensors").read_bytes() == before
    filler.unlink()
    resume(small_disk / "run")
    assert bits(small_disk / "run") == bits(tmp_path / "whole")


@pytest.mark.parametrize("kept", [0, 1])
def test_rows_that_the_checkpoint_counts_on_are_missed_and_nothing_is_touched(kept, interrupted):
    stopped, _ = interrupted(15, epochs=3)
    metrics, environment = stopped / "metrics.jsonl", (stopped / "environment.json").read_bytes()
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(lines[1] * kept)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl lacks epochs"):
        resume(stopped)
    assert metrics.read_bytes() == lines[1] * kept
    assert (stopped / "environment.json").read_bytes() == environment


def test_a_run_is_not_resumed_with_another_version_of_a_file_of_the_users_own(
    interrupted, net_file, tmp_path, bits
):
    mine = tmp_path / "mine.py"
    mine.write_text(Path(net_file("x").rpartition(":")[0]).read_text())
    stopped, whole = interrupted(9, net=f"{mine}:chain")
    was = records.read_json(stopped / "environment.json")
    assert was["files"] == {str(mine): hashlib.sha256(mine.read_bytes()).hexdigest()}
    mine.write_text((old := mine.read_text()) + "\n")
    with pytest.raises(
        UserMistake, match=r"mine\.py has changed since the run in .* began: put the old version back"
    ):
        resume(stopped)
    assert records.read_json(stopped / "environment.json") == was
    mine.write_text(old)
    resume(stopped)
    assert bits(stopped) == bits(whole)


def test_a_configuration_that_is_damaged_is_named_once(interrupted):
    stopped, _ = interrupted(3)
    (stopped / "config.json").write_text("{")
    with pytest.raises(UserMistake) as caught:
        resume(stopped)
    assert str(caught.value).count("config.json") == 1
