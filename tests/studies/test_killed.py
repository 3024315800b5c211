"""A study that is killed and gone on with, five times: nothing is lost, doubled or other than in one go."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from biograd import records

SCRIPT = Path(__file__).with_name("killed_study.py")
RUNS = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    whole, killed = (tmp_path_factory.mktemp(name) for name in ("whole", "killed"))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(whole), str(killed)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert list(map(int, done.stdout.split())) == [signal.SIGKILL] * 5
    return whole, killed


def outcome(folder):
    """All that a run came to but how long it took and where it lies."""
    return {
        run.folder.relative_to(folder): (
            {key: value for key, value in run.result.items() if key not in ("seconds", "run")},
            [{key: value for key, value in row.items() if key != "seconds"} for row in run.metrics],
        )
        for run in records.find_runs(folder)
    }


def test_every_run_is_there_once_with_the_numbers_of_a_study_in_one_go(trained):
    whole, killed = map(outcome, trained)
    assert len(whole) == RUNS
    assert killed == whole
    assert {len(rows) for _, rows in killed.values()} == {2}


def test_the_table_is_the_same(trained):
    whole, killed = map(records.read_study, trained)
    assert whole == killed
    assert [row["runs"] for row in whole["rows"]] == [RUNS // 4] * 4


def test_so_is_every_tensor_of_the_last_checkpoints(trained):
    whole, killed = trained
    checkpoints = list(whole.rglob(records.CHECKPOINT))
    assert len(checkpoints) == RUNS
    for path in checkpoints:
        assert tensors(killed / path.relative_to(whole)) == tensors(path) != {}


def tensors(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118
