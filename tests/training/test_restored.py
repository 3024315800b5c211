import json

import pytest
import torch

from biograd import records
from biograd.errors import CheckpointError, UserMistake
from biograd.training import RunConfig, checkpoint, train
from biograd.training.restored import restored
from biograd.training.run_setup import build


@pytest.fixture
def finished(make_config, tmp_path):
    """A run of dtp, whose decoders learn, on synthetic data, and its configuration."""
    config = make_config(rule="dtp", seed=3)
    train(config, tmp_path / "run", progress=False)
    return tmp_path / "run", config


def test_net_and_rule_are_as_the_run_left_them(finished):
    folder, _ = finished
    run = restored(folder)
    state, _ = checkpoint.load(folder / "checkpoint.safetensors")
    torch.testing.assert_close(run.net.state_dict(), state["net"], rtol=0, atol=0)
    torch.testing.assert_close(run.rule.state_dict(), state["rule"], rtol=0, atol=0)
    assert not run.net.training
    assert run.title == "dtp/seed3"


def test_it_says_what_the_run_said_of_its_test_examples(finished):
    folder, config = finished
    run = restored(folder)
    right = [(run.predict(x).argmax(1) == y) for x, y in build(config).test.epoch(0)]
    expected = records.read_json(folder / "result.json")["test_accuracy"]
    assert torch.cat(right).double().mean().item() == pytest.approx(expected)


@pytest.mark.parametrize(("precision", "dtype"), [("float64", torch.float64), ("bfloat16", torch.float32)])
def test_answers_are_in_full_precision(make_config, tmp_path, precision, dtype):
    train(make_config(precision=precision), tmp_path / "run", progress=False)
    run = restored(tmp_path / "run")
    assert run.predict(torch.zeros(2, 6)).dtype == dtype


def test_a_restored_run_leaves_its_folder_alone(finished):
    folder, _ = finished
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    restored(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_unfinished_run_is_refused(finished):
    folder, _ = finished
    (folder / "result.json").unlink()
    with pytest.raises(UserMistake, match="unfinished: biograd resume goes on with it"):
        restored(folder)


def test_a_run_that_diverged_is_refused(finished):
    folder, _ = finished
    result = records.read_json(folder / "result.json")
    records.write_json(folder / "result.json", {**result, "status": "diverged"})
    with pytest.raises(UserMistake, match="diverged: it has no weights to look at"):
        restored(folder)


def test_a_folder_without_a_run_and_a_damaged_checkpoint_are_refused(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(UserMistake, match="is no run's folder"):
        restored(tmp_path)
    (folder / "checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        restored(folder)
    (folder / "checkpoint.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*; expected a checkpoint"):
        restored(folder)


def test_a_checkpoint_of_another_configuration_is_refused(finished):
    folder, _ = finished
    changed = {**json.loads((folder / "config.json").read_text()), "seed": 4}
    (folder / "config.json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match="another configuration"):
        restored(folder)


def test_another_device_is_taken_for_looking_without_changing_the_run(finished):
    folder, _ = finished
    recorded = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**recorded, "device": "cuda:7"}))
    state, _ = checkpoint.load(folder / "checkpoint.safetensors")
    checkpoint.save(folder / "checkpoint.safetensors", state, RunConfig.load(folder / "config.json").digest())
    with pytest.raises(UserMistake, match="device 'cuda:7' is not there"):
        restored(folder)
    assert restored(folder, device="cpu").device.type == "cpu"


def test_a_run_whose_own_file_was_changed_since_is_refused(make_config, tmp_path):
    source = tmp_path / "mine.py"
    source.write_text(
        "from biograd.rules.backpropagation import Backpropagation\n\n\n"
        'class Mine(Backpropagation):\n    """Mine."""\n'
    )
    train(make_config(rule=f"{source}:Mine"), tmp_path / "run", progress=False)
    restored(tmp_path / "run")
    source.write_text(source.read_text() + "\n# another version\n")
    with pytest.raises(
        UserMistake, match=r"mine\.py has changed since the run in .*run began: put the old version"
    ):
        restored(tmp_path / "run")
