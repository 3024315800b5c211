import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tuning.small_search import members

from biograd import records
from biograd.errors import UserMistake
from biograd.tuning import Budget, Tpe, tune
from biograd.tuning.tpe import opened

optuna = pytest.importorskip("optuna", reason="the sampler tpe needs the extra tune")

SCRIPT = Path(__file__).with_name("small_search.py")
TRIALS = 5


def budget(**settings):
    return Budget(trials=TRIALS, epochs=2, seeds=1, sampler=Tpe(**settings))


def statuses(folder):
    """Of every rule the numbers of its trials, and of those that ended."""
    return {
        one.search["rule"]: ([row["trial"] for row in one.rows], len(one.done))
        for one in records.find_trials(folder)
    }


DONE = {rule: (list(range(TRIALS)), TRIALS) for rule in ("bp", "dtp")}


def test_every_rule_gets_its_trials_and_the_best_of_them_fresh_seeds(tmp_path):
    results = tune(members(), budget(), tmp_path)
    assert statuses(tmp_path) == DONE
    assert [(row["label"], row["seed"], row["test_reads"]) for row in results] == [
        ("bp", 1, 1),
        ("dtp", 1, 1),
    ]
    for search, row in zip(records.find_trials(tmp_path), results, strict=True):
        assert search.search["sampler"] == "tpe"
        settings = records.flatten(records.Run.load(row["run"]).config)
        assert {name: settings[name] for name in search.search["space"]} == search.best["settings"]
        for trial in search.rows:
            low, high = 1e-5, 1e-2
            assert low <= trial["settings"]["optimizer.lr"] <= high


def test_what_optuna_knows_is_what_the_trials_came_to(tmp_path):
    (one,) = members(["bp"])
    tune([one], budget(pruner="none"), tmp_path)
    folder = tmp_path / "trials" / "bp"
    study = optuna.load_study(
        study_name=(folder / "optuna-study").read_text(), storage=opened(f"sqlite:///{folder / 'optuna.db'}")
    )
    (search,) = records.find_trials(tmp_path)
    assert [trial.value for trial in study.trials] == [row["value"] for row in search.rows]
    assert [trial.params for trial in study.trials] == [row["settings"] for row in search.rows]
    assert study.best_value == search.best["value"]


def test_a_trial_that_is_worse_than_half_of_those_before_it_is_ended_early(tmp_path):
    (one,) = members(["bp"])
    folder = tmp_path / "trials" / "bp"
    folder.mkdir(parents=True)
    (folder / "optuna-study").write_text("known")
    study = optuna.create_study(
        study_name="known", storage=opened(f"sqlite:///{folder / 'optuna.db'}"), direction="maximize"
    )
    for _ in range(TRIALS):
        study.add_trial(optuna.trial.create_trial(value=2.0, intermediate_values={1: 2.0}))
    tune([one], Budget(trials=TRIALS + 1, epochs=2, seeds=0, sampler=Tpe()), tmp_path)
    run = records.Run.load(folder / f"{TRIALS:03d}")
    assert (run.stopped, run.epochs_done, study.trials[TRIALS].state.name) == (
        "Pruner: worse than half of the trials before it",
        1,
        "PRUNED",
    )
    (search,) = records.find_trials(tmp_path)
    assert [row["epochs"] for row in search.rows] == [1]


def test_a_search_by_tpe_is_no_search_by_sobol(tmp_path):
    (one,) = members(["bp"])
    tune([one], Budget(trials=1, epochs=1, seeds=0), tmp_path)
    with pytest.raises(UserMistake, match="sampler sobol, and now sampler is tpe"):
        tune([one], Budget(trials=1, epochs=1, seeds=0, sampler=Tpe()), tmp_path)


def test_a_storage_that_cannot_be_reached_is_a_mistake_in_one_line(tmp_path):
    with pytest.raises(UserMistake, match=r"cannot be used: .*; give the URL"):
        tune(members(["bp"]), budget(storage="nonsense://nowhere"), tmp_path)


def binaries():
    """Where PostgreSQL's programs lie, None where it is not installed."""
    folders = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin")),
        Path(shutil.which("initdb") or "/none").parent,
    ]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@pytest.fixture
def database(tmp_path):
    """The URL of a PostgreSQL that lives as long as the test."""
    found = binaries()
    if found is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed")
    place = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    as_user = []
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(place, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True, "cwd": place}
    data = place / "data"
    subprocess.run(
        [*as_user, found / "initdb", "-D", data, "-U", "biograd", "-A", "trust", "--no-sync"], **quiet
    )
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*as_user, found / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", place / "log", "-o", options, "start"], **quiet)
    yield f"postgresql://biograd@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(place)


def test_four_workers_on_one_database_of_which_one_is_killed_lose_no_trial_and_do_none_twice(
    database, tmp_path
):
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--storage", database]
    mortal = subprocess.Popen([*command, "--die-after", "8"])
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert mortal.wait(timeout=180) == -9
    assert [worker.wait(timeout=180) for worker in workers] == [0, 0, 0]
    assert statuses(tmp_path) == DONE
    for search in records.find_trials(tmp_path):
        name = (tmp_path / "trials" / search.search["rule"] / "optuna-study").read_text()
        trials = optuna.load_study(study_name=name, storage=opened(database)).trials
        assert all(trial.state.is_finished() for trial in trials)
        told = [(trial.number, trial.params) for trial in trials[:TRIALS]]
        assert told == [(row["trial"], row["settings"]) for row in search.rows]
