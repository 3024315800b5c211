import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from submitit import Job
from tests.engines.errands import die_at_first, fail, last

from biograd import executor, records
from biograd.errors import RunFailed, UserMistake
from biograd.executor import Needs, results
from biograd.training import compare, grid

PAUSE = f"{Path(__file__).with_name('pausing.py')}:Pause"


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Processes in place of jobs, by the code that submits jobs."""
    monkeypatch.setattr(Job, "_results_timeout_s", 0)  # in which results may still come over a network
    logs = str(tmp_path / "logs")
    return lambda **settings: executor.create("slurm", cluster="local", logs=logs, **settings)


def within(seconds, condition):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_errors_come_home_as_themselves_and_nothing_is_left_of_jobs_that_came_to_an_end(engine, tmp_path):
    with pytest.raises(UserMistake, match=r"^that will not do$"):
        results(engine(jobs=1), fail, ["mistake", "division"])
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_job_that_was_killed_is_submitted_anew_so_often(engine, tmp_path):
    assert results(engine(), die_at_first, [tmp_path / "once"]) == ["done"]
    with pytest.raises(RunFailed, match=r"^job \d+ was lost too often, .*: see .*/logs/\d+_0_log\.err$"):
        results(engine(retries=0), die_at_first, [tmp_path / "again"])


def test_left_early_it_ends_what_is_at_work(interruptible, engine, tmp_path):
    def leave():
        within(120, (tmp_path / "1").exists)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=leave).start()
    with (
        pytest.raises(KeyboardInterrupt),
        contextlib.closing(engine(jobs=1).map(last, [tmp_path / "1", tmp_path / "2"])) as done,
    ):
        next(done)
    pid = (tmp_path / "1").read_text()
    within(30, lambda: not Path(f"/proc/{pid}").exists())
    assert not (tmp_path / "2").exists()


def test_a_run_whose_job_is_out_of_time_goes_on_from_its_checkpoint_with_the_same_rows(engine, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "hold").touch()
    flags = {
        "data": {"name": "iris"},
        "net": {"name": "mlp", "widths": "8"},
        "epochs": 3,
        "device": "cpu",
        "observe": {"name": PAUSE, "folder": str(notes)},
    }
    configs, noted = grid(["fa"], [0], flags), notes / "fa-0"

    def stop():
        try:
            within(120, lambda: noted.exists() and len(noted.read_text().splitlines()) == 2)
            os.kill(int(noted.read_text().split()[0]), signal.SIGUSR2)
            within(
                120, lambda: len(noted.read_text().splitlines()) == 3
            )  # the second process is at the pause
        finally:
            (notes / "hold").unlink()

    stopping = threading.Thread(target=stop)
    stopping.start()
    rows = compare(
        configs, tmp_path / "cluster", executor=engine(time=10), progress=False
    )  # minutes: so few that any stop counts as their end
    stopping.join()
    pids, epochs = zip(
        *((line.split()[0], line.split()[2]) for line in noted.read_text().splitlines()), strict=True
    )
    assert (epochs, len(set(pids))) == (("1", "2", "2", "3"), 2)
    here = compare(configs, tmp_path / "here", progress=False)
    timed = {"seconds", "run"}
    assert [{key: row[key] for key in row.keys() - timed} for row in rows] == [
        {key: row[key] for key in row.keys() - timed} for row in here
    ]
    assert [run.result for run in records.find_runs(tmp_path / "cluster")] == rows


def test_a_job_asks_for_what_its_run_needs(tmp_path):
    slurm = executor.create(
        "slurm", partition="gpu", time="60", memory="8", options="account=deep,--qos=low", logs=str(tmp_path)
    )
    assert slurm._parameters(Needs(4, 1, "runs/fa-seed0")) == {
        "name": "runs/fa-seed0",
        "timeout_min": 60,
        "cpus_per_task": 4,
        "gpus_per_node": 1,
        "mem_gb": 8.0,
        "slurm_partition": "gpu",
        "slurm_additional_parameters": {"account": "deep", "qos": "low"},
    }
    assert "gpus_per_node" not in slurm._parameters(Needs(1, 0, "runs/fa-seed0"))


def test_where_there_is_no_slurm_the_way_out_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserMistake, match=r"there is no Slurm on this machine.*--engine\.cluster local"):
        results(executor.create("slurm", logs=str(tmp_path)), abs, [1])
    with pytest.raises(UserMistake, match="option 'account' of sbatch has no value"):
        executor.create("slurm", options="account")
