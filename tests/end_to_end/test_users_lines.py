"""What a user's own file raises is told in one line, and below it stand the user's lines alone."""

import pickle
from pathlib import Path

import pytest

from biograd.errors import UserMistake
from biograd.training import RunConfig
from biograd.training.compare import _run_in_worker

OWN = '''
import torch
from torch import nn

from biograd import Backpropagation
from biograd.penalties.base import Penalty
from biograd.training import Observer

CALLS = []


def boom(after=0):
    CALLS.append(None)
    if len(CALLS) > after:
        raise KeyError("boom")  # here


class Early(Backpropagation):
    """A rule."""

    def assign_credit(self, net, x, y, loss_fn):
        boom()


class Late(Backpropagation):
    """A rule."""

    def assign_credit(self, net, x, y, loss_fn):
        boom(after=5)
        return super().assign_credit(net, x, y, loss_fn)


class LateNet(nn.Sequential):
    def __init__(self, input_shape, outputs):
        super().__init__(nn.Flatten(), nn.Linear(input_shape[0], outputs))

    def forward(self, x):
        boom(after=5)
        return super().forward(x)


def net(input_shape, outputs):
    boom()


def data(directory, download, seed):
    boom()


def no_file(directory, download, seed):
    return open("nowhere.csv")  # here


class Late_(Penalty):
    def __init__(self, net):
        super().__init__()

    def add_gradient(self, net):
        boom(after=3)


class Watch(Observer):
    def notice(self, moment, run):
        boom()


def decoder(site):
    boom()


def study():
    boom()
'''
TASK = "--data iris --epochs 1 --batch-size 10"
FAILING = {
    "rule": f"train --rule mine.py:Early --net mlp {TASK}",
    "rule while training": f"train --rule mine.py:Late --net mlp {TASK}",
    "net": f"train --rule bp --net mine.py:net {TASK}",
    "net while training": f"train --rule bp --net mine.py:LateNet {TASK}",
    "data": "train --rule bp --net mlp --data mine.py:data",
    "data file": "train --rule bp --net mlp --data mine.py:no_file",
    "penalty while training": f"train --rule bp --net mlp --penalty mine.py:Late_ {TASK}",
    "observer": f"train --rule bp --net mlp --observe mine.py:Watch {TASK}",
    "tracker": f"train --rule bp --net mlp --track mine.py:Watch {TASK}",
    "decoder": f"train --rule dtp --rule.decoder mine.py:decoder --net mlp {TASK}",
    "study": "reproduce mine.py:study",
    "comparison": f"compare --rules mine.py:Late --seeds 1 --net mlp {TASK}",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


def told(ended, place):
    """The first line, and those below, of a mistake in the user's own file."""
    assert (ended.code, ended.out) == (2, "")
    first, *below = ended.err.splitlines()
    assert below[0].startswith(f'  File "{place}')
    assert {line.split('"')[1] for line in below[::2]} == {str(place)}
    return first, below


@pytest.mark.parametrize("command", FAILING.values(), ids=FAILING)
def test_an_error_in_a_users_file_is_followed_by_the_users_lines(own, biograd, command):
    first, below = told(biograd(command), own / "mine.py")
    assert "KeyError: 'boom'" in first or "No such file" in first
    assert below[-1].endswith("# here")


def test_so_is_one_when_the_file_is_imported(own, biograd):
    (own / "mine.py").write_text("import math\n\nVALUE = math.sqrt(-1)\n")
    first, below = told(biograd(f"train --rule mine.py:Mine --net mlp {TASK}"), own / "mine.py")
    assert first.endswith("mine.py cannot be imported: ValueError: math domain error")
    assert below == [f'  File "{own}/mine.py", line 3, in <module>', "    VALUE = math.sqrt(-1)"]


def test_so_is_one_that_comes_from_another_process(own):
    task = {"data": "iris", "net": "mlp", "batch_size": 10}
    config = RunConfig.from_sources({"rule": f"{own}/mine.py:Late", **task})
    with pytest.raises(UserMistake) as caught:
        _run_in_worker((own / "run", config, {}))
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  as an executor would
    assert str(error).endswith("mine.py failed: KeyError: 'boom'")
    assert error.lines.endswith("# here\n")


def test_another_process_refuses_a_file_that_was_edited_meanwhile(own):
    config = RunConfig.from_sources({"rule": f"{own}/mine.py:Late", "data": "iris", "net": "mlp"})
    before = {str(own / "mine.py"): "what it was"}
    with pytest.raises(UserMistake, match=r"mine\.py was changed while runs with it were waiting"):
        _run_in_worker((own / "run", config, before))
    assert not (own / "run").exists()
