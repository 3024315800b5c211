import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from tests.engines.cluster import Cluster
from tests.engines.errands import die_at_first, fail, last, look_around

from biograd import executor, records
from biograd.errors import RunFailed, UserMistake
from biograd.executor import Needs, results
from biograd.training import compare, grid

PAUSE = f"{Path(__file__).with_name('pausing.py')}:Pause"


@pytest.fixture(scope="module")
def cluster():
    there = Cluster()
    yield there
    there.close()


@pytest.fixture
def engine(cluster):
    return lambda **settings: executor.create("ray", address=cluster.address, **settings)


def within(seconds, condition):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_work_is_done_in_the_folder_and_environment_of_who_asks_on_what_it_needs(
    engine, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIOGRAD_DATA", "mine")
    plain, computing = results(
        engine(gpus=0.5), look_around, [0, 1], needs=lambda item: Needs(1, gpus=item, title="looking around")
    )
    assert (plain["folder"], plain["data"]) == (tmp_path, "mine")
    assert (plain["gpus"], len(computing["gpus"])) == ([], 1)
    assert os.getpid() not in (plain["pid"], computing["pid"])


def test_what_the_work_raises_is_raised_here(engine):
    with pytest.raises(UserMistake, match=r"^that will not do$") as caught:
        results(engine(jobs=1), fail, ["mistake", "division"])
    assert caught.value.lines == "line 3 of mine.py\n"


def test_what_no_node_has_is_refused_before_anything_is_begun(engine):
    with pytest.raises(
        UserMistake, match=r"^big asks for 3 CPUs and 0 GPUs, which no node of the cluster has"
    ):
        results(engine(), abs, [1], needs=lambda _: Needs(3, title="big"))


def test_work_whose_worker_was_killed_is_begun_anew_so_often(engine, tmp_path):
    assert results(engine(), die_at_first, [tmp_path / "once"]) == ["done"]
    with pytest.raises(RunFailed, match=r"^a task was lost too often: "):
        results(engine(retries=0), die_at_first, [tmp_path / "again"])


def test_left_early_or_interrupted_it_ends_what_is_at_work(interruptible, engine, tmp_path):
    def interrupt():
        within(120, (tmp_path / "1").exists)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with (
        pytest.raises(KeyboardInterrupt),
        contextlib.closing(engine().map(last, [tmp_path / "1", tmp_path / "2"])) as done,
    ):
        next(done)
    pids = [file.read_text() for file in tmp_path.iterdir() if not file.suffix]
    within(30, lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.parametrize("address", ["127.0.0.1", "ray://127.0.0.1:10001", "127.0.0.1:1"])
def test_an_address_that_is_no_clusters_is_one_line(address):
    with pytest.raises(UserMistake, match="begin one with ray start --head"):
        results(executor.create("ray", address=address), abs, [1])


def test_a_numbered_gpu_is_refused_and_one_that_is_not_here_is_tried_on_the_cpu(tmp_path):
    flags = {"data": {"name": "iris"}, "net": {"name": "mlp", "widths": "8"}, "epochs": 1}
    away = executor.create("ray", address="127.0.0.1:1")
    for device, reason in {"cuda:1": "use --device cuda", "cuda": "no Ray cluster has its head"}.items():
        with pytest.raises(UserMistake, match=reason):
            compare(grid(["fa"], [0], {**flags, "device": device}), tmp_path / device, executor=away)


def test_rows_are_those_of_local_processes_though_a_node_dies_midway(cluster, engine, tmp_path):
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
    configs = grid(["bp", "fa"], [0, 1], flags)
    seen: list[str] = []

    def end_the_second_node():
        try:
            within(120, lambda: len(at_work(notes)) == 2)
            seen.append(cluster.status())
            (lost,) = (pid for pid, group in at_work(notes) if group == cluster.nodes[1].pid)
            cluster.kill(cluster.nodes[1])
            within(120, lambda: not Path(f"/proc/{lost}").exists())
        finally:
            (notes / "hold").unlink()

    ending = threading.Thread(target=end_the_second_node)
    ending.start()
    rows = compare(configs, tmp_path / "cluster", executor=engine(), progress=False)
    ending.join()
    assert "2.0/2.0 CPU" in seen[0]
    assert "'CPU': 1.0}: 2+ pending tasks" in seen[0]
    resumed = [epochs for epochs in epochs_of_runs(notes) if len(epochs) == 2]
    assert resumed in ([[[1, 2], [2, 3]]], [[[1, 2], [3]]])
    assert without_times(rows) == without_times(compare(configs, tmp_path / "here", progress=False))
    assert [run.result for run in records.find_runs(tmp_path / "cluster")] == rows


def at_work(notes):
    """Process and node of the runs that have come to the pause."""
    lines = [line.split() for file in notes.glob("*-*") for line in file.read_text().splitlines()]
    return [(int(pid), int(group)) for pid, group, epoch in lines if epoch == "2"]


def epochs_of_runs(notes):
    """For each run, what each process that was at it noted of its epochs."""
    for file in notes.glob("*-*"):
        lines = [line.split() for line in file.read_text().splitlines()]
        pids = dict.fromkeys(pid for pid, *_ in lines)
        yield [[int(epoch) for own, _, epoch in lines if own == pid] for pid in pids]


def without_times(rows):
    return [{key: value for key, value in row.items() if key not in ("seconds", "run")} for row in rows]
