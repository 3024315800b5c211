"""Whatever a file or a command line holds, a command does its work or says in one line why not.

A few of each kind are tried here; ``BIOGRAD_DAMAGED=400 pytest tests/end_to_end/test_damaged_files.py`` tries so many
of each. What records hold is tried in ``test_damaged_records.py``.
"""

import contextlib
import itertools
import os
import resource
import shutil
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import small_run
from tests.data.official_files import cifar10_files, mnist_files, write
from tests.end_to_end import damaged

from biograd import data, records, report, training
from biograd.errors import UserMistake
from biograd.training import RunConfig
from biograd.training.observers.base import Observer, StepTaken
from biograd.training.trainer import Trainer

COUNT = int(os.environ.get("BIOGRAD_DAMAGED", "8"))
APART = 1 if COUNT >= 100 else 5
SEED = 11
LARGEST = 2**30
"""Bytes that all of these together may add to what the process takes."""
SMALL = "--data iris --net mlp --net.widths 4 --epochs 1 --validation-fraction 0.2 --out run"
COMMANDS = [
    words.split()
    for words in (
        f"train --rule fa --rule.scale 0.5 --lr 0.01 --seed 1 {SMALL}",
        f"train --rule gait-prop --rule.form constant --rule.form.gamma 0.01 {SMALL} --net square --data digits",
        f"train --rule bp --optimizer sgd --optimizer.momentum 0.9 --one-vs-rest setosa --schedule step {SMALL}",
        "train --config run.toml --out run",
        f"compare --rules bp,fa --seeds 1 --label a {SMALL}",
        "resume done",
        "robustness done --attacks fgsm --epsilons 0,0.1 --examples 4 --seed 1",
        "report done --title a",
        "pack done --out some.records.xz --replace",
        "unpack there.records.xz --out here",
        "rules gait-prop --json",
        "nets mlp --json",
        "data iris --data-dir .",
        "penalties orthogonality",
        "reproduce local-stdp --cell nothing --seeds 1",
        "theory alignment --activation relu --examples 4 --features 5 --width 6 --steps 3 --trials 1 --out sim",
        "bench depth --rules bp --depths 1 --seed 0",
    )
]
TOML = """epochs = 1
batch_size = 20
seed = 3
lr = 0.01
validation_fraction = 0.2
device = "cpu"
one_vs_rest = "setosa"
clip_norm = 1.0
rule = "fa"
optimizer = {name = "sgd", momentum = 0.5}
schedule = {name = "step", every = 1}
net = {name = "mlp", widths = [4]}
data = "iris"
"""
TABLES = f"""{TOML}
[rules.slow]
rule = {{name = "fa", scale = 0.5}}
lr = 0.1
[rules.bp]
"""
PENALTY = {"name": "orthogonality", "strength": 0.1}
RUNS = {
    "kp": {"rule": "kp", "optimizer": {"name": "sgd", "momentum": 0.9}, "penalty": PENALTY},
    "brsf": {"rule": "brsf", "optimizer": "nadam", "schedule": "none"},
}


def tried(search: Iterator, attempt: Callable[..., None]) -> None:
    """Try as many as are to be, and name all that end badly; a few are far apart in the search, to be of many kinds."""
    faults = list[str]()
    for case in itertools.islice(search, 0, COUNT * APART, APART):
        try:
            attempt(*case)
        except (Exception, pytest.fail.Exception) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            faults.append(
                f"{str(case[0])[:200]}: {type(error).__name__} {str(error)[:300]} ({place.filename}:{place.lineno})"
            )
    assert not faults, "\n".join([f"{len(faults)} of {COUNT}:", *faults[:30]])


class Stop(Observer):
    """Ends a run after four steps as ^C does."""

    def notice(self, moment, run):
        if isinstance(moment, StepTaken) and run.position.step == 4:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def _little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < LARGEST


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """Runs that were stopped in their second epoch, by name."""
    folder = tmp_path_factory.mktemp("stopped")
    warnings.simplefilter("ignore")  # pytest puts the filters back after each test
    for name, flags in RUNS.items():
        small = {"data": "iris", "net": {"name": "mlp", "widths": "4,4"}, "epochs": 2, "batch_size": 30}
        config = RunConfig.from_sources({**small, "checkpoint_every": 1, "device": "cpu", **flags})
        with pytest.raises(KeyboardInterrupt):
            training.train(config, folder / name, observers=[Stop()])
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A finished run."""
    warnings.simplefilter("ignore")
    return small_run.trained("kp", tmp_path_factory.mktemp("done") / "done")


def in_one_line(ended) -> None:
    """A command that did its work, failed or found a mistake, with one line besides its warnings."""
    assert ended.code in (0, 1, 2), ended.err
    said = [line for line in ended.err.split("\n")[:-1] if ": warning: " not in line]
    assert ended.code == 0 or len(said) == 1, said
    assert all(len(line) < 2500 and line.isprintable() for line in said), said


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_a_checkpoint_that_is_whole_and_wrong_is_refused_and_the_run_goes_on_from_the_right_one(
    name, stopped, tmp_path, biograd
):
    run, right = tmp_path / name, (stopped / name / "checkpoint.safetensors").read_bytes()

    def resumed(how: str, content: bytes) -> None:
        if not run.exists() or (run / "result.json").exists():
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(stopped / name, run)
        (run / "checkpoint.safetensors").write_bytes(content)
        ended = biograd("resume", run)
        in_one_line(ended)
        assert ended.code != 2 or "checkpoint.safetensors" in ended.err

    tried(damaged.states(stopped / name / "checkpoint.safetensors", SEED), resumed)
    shutil.rmtree(run)
    shutil.copytree(stopped / name, run)
    (run / "checkpoint.safetensors").write_bytes(next(damaged.broken(right, SEED))[1])
    assert biograd("resume", run).code == 2
    (run / "checkpoint.safetensors").write_bytes(right)
    assert biograd("resume", run).code == 0


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_whole_and_wrong_are_attacked_or_refused(done, tmp_path, biograd):
    run = tmp_path / "done"
    shutil.copytree(done, run)

    def attacked(how: str, content: bytes) -> None:
        (run / "checkpoint.safetensors").write_bytes(content)
        in_one_line(biograd("robustness", run, "--attacks", "fgsm", "--epsilons", "0", "--examples", "2"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda *_: run)
        tried(damaged.states(done / "checkpoint.safetensors", SEED), attacked)


def test_a_checkpoint_of_any_bytes_is_refused(stopped, tmp_path, biograd):
    run = tmp_path / "brsf"
    shutil.copytree(stopped / "brsf", run)
    right = (run / "checkpoint.safetensors").read_bytes()

    def resumed(how: str, content: bytes) -> None:
        if content != right:
            (run / "checkpoint.safetensors").write_bytes(content)
            assert "checkpoint.safetensors" in biograd("resume", run).mistake

    tried(damaged.broken(right, SEED), resumed)


FOLDERS = {"mnist": "mnist", "cifar10": "cifar-10-batches-py"}


@pytest.mark.parametrize("kind", FOLDERS)
def test_official_files_of_any_bytes_are_read_or_refused(kind, tmp_path):
    files = mnist_files() if kind == "mnist" else cifar10_files(2)
    files |= {name.removesuffix(".gz"): damaged.unpacked(content) for name, content in files.items()}

    def searched() -> Iterator:
        for name, search in itertools.cycle([(name, damaged.broken(files[name], SEED)) for name in files]):
            yield name, *next(search)

    def read(name: str, how: str, content: bytes) -> None:
        shutil.rmtree(tmp_path / FOLDERS[kind], ignore_errors=True)
        write(tmp_path / FOLDERS[kind], {**files, name: content})
        if not name.endswith(".gz") and kind == "mnist":
            (tmp_path / FOLDERS[kind] / f"{name}.gz").unlink()
        read_or_refused(kind, tmp_path)

    tried(searched(), read)


def test_idx_files_of_any_size_are_read_or_refused(tmp_path):
    files = mnist_files()

    def read(case: tuple[str, bytes], name: str) -> None:
        write(tmp_path / "mnist", {**files, name: case[1]})
        read_or_refused("mnist", tmp_path)

    tried(zip(damaged.idx_files(SEED), itertools.cycle(files), strict=False), read)


def test_pickles_of_any_content_are_read_or_refused(tmp_path):
    files = cifar10_files(2)

    def read(case: tuple[str, bytes], name: str) -> None:
        write(tmp_path / "cifar-10-batches-py", {**files, name: case[1]})
        read_or_refused("cifar10", tmp_path)

    tried(zip(damaged.pickles(SEED), itertools.cycle(files), strict=False), read)


def read_or_refused(kind: str, folder: Path) -> None:
    with contextlib.suppress(UserMistake):
        data.load(kind, directory=folder, download=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("search", [damaged.broken, damaged.packs])
def test_packed_files_of_any_content_are_read_or_refused(search, done, tmp_path, biograd):
    file, out = tmp_path / "there.records.xz", tmp_path / "here"
    assert biograd("pack", done, "--out", file).code == 0

    def unpacked(how: str, content: bytes) -> None:
        shutil.rmtree(out, ignore_errors=True)
        file.write_bytes(content)
        ended = biograd("unpack", file, "--out", out)
        in_one_line(ended)
        assert out.exists() == (ended.code == 0)
        with contextlib.suppress(UserMistake):
            records.find_runs(file)

    tried(search(file.read_bytes(), SEED), unpacked)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", [TOML, TABLES], ids=["one run", "tables of rules"])
def test_configurations_of_any_text_train_or_are_refused(whole, tmp_path, biograd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Trainer, "_is_over", lambda run: run.position.epoch > 0)
    command = "train" if whole is TOML else "compare"

    def trained(how: str, content: bytes) -> None:
        (tmp_path / "run.toml").write_bytes(content)
        in_one_line(biograd(f"{command} --config run.toml --out run"))
        shutil.rmtree(tmp_path / "run", ignore_errors=True)

    monkeypatch.setattr(report, "write_report", lambda directory, *_: directory)
    tried(damaged.texts(whole, SEED), trained)


@pytest.mark.filterwarnings("ignore")
def test_any_words_are_a_command_or_refused(done, tmp_path, biograd, monkeypatch):
    monkeypatch.setattr(Trainer, "_is_over", lambda run: run.position.epoch > 0)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = tmp_path / "place"

    def ended(words: list[str]) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        monkeypatch.chdir(place)
        (place / "run.toml").write_text(TOML)
        shutil.copytree(done, place / "done")
        in_one_line(biograd(*words, "")) if len(words) == 1 else in_one_line(biograd(*words))

    tried(((words,) for words in damaged.typed(COMMANDS, SEED)), ended)


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "x"},
        {"WORLD_SIZE": "-2"},
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "first"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "9" * 5000},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "29500"},
    ],
    ids=str,
)
def test_an_environment_that_torchrun_did_not_make_is_refused(variables, tmp_path, biograd, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "run"
    assert "torchrun" in biograd(f"train --rule fa {SMALL} --out {out}").mistake
    assert not out.exists()


@pytest.mark.filterwarnings("ignore")
def test_records_of_simulations_of_any_content_are_read_or_refused(tmp_path, biograd):
    small = "--activation relu --examples 4 --features 5 --width 6 --steps 3 --trials 1"
    command = f"theory alignment {small} --out {tmp_path}"
    assert biograd(command).code == 0
    (file,) = tmp_path.glob("*.json")
    whole = file.read_bytes()

    def read(name: Path, how: str, content: bytes | None) -> None:
        file.write_bytes(whole if content is None else content)
        in_one_line(biograd(command))
        file.write_bytes(whole)

    tried(damaged.damaged(tmp_path, [Path(file.name)], SEED), read)
