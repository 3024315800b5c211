"""What holds the same is known alike, in every process, and what differs in anything that counts is not."""

import functools
import operator
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from biograd.identity import digest

SCALE = 2.0


def scaled(x):
    return SCALE * x


def twice(x):
    return scaled(scaled(x))


def made(factor):
    def times(x):
        return factor * x

    return times


@dataclass
class Pair:
    first: object
    second: object


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Net(nn.Module):
    def __init__(self, width=3, gain=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, width)
        self.gain = gain

    def forward(self, x):
        return self.gain * scaled(self.layer(x))


class Holder:
    SIZES = (SCALE, 1)

    @staticmethod
    def fixed(x):
        return scaled(x)

    @classmethod
    def bound(cls, x):
        return scaled(x)

    @property
    def seen(self):
        return scaled(1)


@functools.lru_cache
def remembered(x):
    return scaled(x)


def all_scaled(xs):
    return [SCALE * x for x in xs]


def inside(x):
    def inner():
        return SCALE * x

    return inner()


def renamed(net):
    net.other = net.layer
    del net._modules["layer"]
    return net


DIFFERENT = {
    "numbers": (1, 1.0, True, "1", b"1", None, 1 + 0j),
    "containers": ([1, 2], (1, 2), {1: 2}, {1, 2}, [[1], 2], [1, [2]], [1, 2, 3]),
    "tensors": (
        torch.zeros(2),
        torch.zeros(2, 1),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.tensor([0.0, -0.0]),
        torch.zeros(2, requires_grad=True),
        torch.zeros(2, device="meta"),
        np.zeros(2),
        np.zeros(2, np.float32),
    ),
    "objects": (Pair(1, 2), Pair(2, 1), Slotted(1), Slotted(2), torch.float32, torch.float64),
    "objects of Python's and of packages": (
        range(5),
        range(6),
        slice(5),
        Path("a"),
        Path("b"),
        Fraction(1, 2),
        Fraction(1, 3),
        deque([1]),
        deque([2]),
        SimpleNamespace(width=1),
        SimpleNamespace(width=2),
        operator.itemgetter(1),
        operator.itemgetter(2),
        np.random.default_rng(0),
        np.random.default_rng(1),
        np.sin,
        np.cos,
        torch.relu,
        torch.tanh,
        len,
        sum,
        threading.Lock(),
    ),
    "functions": (
        scaled,
        twice,
        made(1),
        made(2),
        lambda x: x,
        lambda x: x + 1,
        functools.partial(scaled, 1),
        print,
    ),
    "nets": (
        Net,
        Net(),
        Net(4),
        Net(gain=2.0),
        Net().eval(),
        Net().requires_grad_(False),
        renamed(Net()),
        nn.Tanh(),
    ),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_is_known_apart(kind):
    known = [digest(value) for value in DIFFERENT[kind]]
    assert len(set(known)) == len(known)


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"a": [1, (2.5, None)], "b": {"x", "y", "z"}},
        lambda: torch.arange(6.0).view(2, 3),
        lambda: np.array(["a", None], dtype=object),
        lambda: made(3),
        lambda: functools.partial(scaled, x=torch.ones(2)),
        lambda: Pair(Slotted([1]), Net()),
        lambda: [torch.device("cpu"), torch.Generator()],
    ],
)
def test_what_holds_the_same_is_known_alike(make):
    assert digest(make()) == digest(make())


def test_values_count_and_not_how_a_tensor_holds_them():
    x = torch.arange(6.0).view(2, 3)
    assert digest(x.t().contiguous().t()) == digest(x)
    assert digest(torch._neg_view(-x)) == digest(x)


def test_what_a_function_uses_counts(monkeypatch):
    before = digest(twice), digest(Net)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert digest(twice) != before[0]
    assert digest(Net) != before[1]  # its forward uses what uses it


@pytest.mark.parametrize(
    "used",
    [all_scaled, inside, Holder.__dict__["fixed"], Holder.bound, Holder.__dict__["seen"], Holder, remembered],
)
def test_what_is_used_counts_however_deep_it_is_used(monkeypatch, used):
    before = digest(used)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert digest(used) != before


def test_a_value_of_a_class_counts_that_its_source_does_not_show(monkeypatch):
    before = digest(Holder)
    monkeypatch.setattr(Holder, "SIZES", (3.0, 1))
    assert digest(Holder) != before


def test_a_module_of_the_users_own_counts_with_what_it_imports(tmp_path):
    deep, file = tmp_path / "deeper_own.py", tmp_path / "helpers_own.py"
    main = tmp_path / "main.py"
    main.write_text(
        "import helpers_own\nfrom biograd.identity import digest\n\n"
        "def used(x):\n    return helpers_own.scaled(x)\n\nprint(digest(used))\n"
    )

    def known(factor):
        deep.write_text(f"FACTOR = {factor}\n")
        file.write_text("import deeper_own\n\ndef scaled(x):\n    return deeper_own.FACTOR * x\n")
        place = {"PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run([sys.executable, main], env=place, capture_output=True, text=True, check=True)
        return ran.stdout

    assert known(2) == known(2) != known(3)


def test_what_holds_itself_is_known():
    ring = [1]
    ring.append(ring)
    assert digest(ring) != digest([1, [1]])


def test_other_processes_know_it_by_the_same_until_its_source_changes(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from biograd.identity import digest\n\nWORDS = set('abcdefghijkl')\n\n"
        "class Mine:\n    def forward(self, x):\n        return len(WORDS) * x\n\n"
        "print(digest([Mine(), Mine, WORDS, lambda x: x]))\n"
    )

    def known(hash_seed):
        place = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        ran = subprocess.run([sys.executable, file], env=place, capture_output=True, text=True, check=True)
        return ran.stdout

    before = known("1")
    assert known("2") == before
    file.write_text(file.read_text().replace("len(WORDS) * x", "len(WORDS) + x"))
    assert known("1") != before
