"""Observers for these tests, named to the configuration as path/to/small_observers.py:Patience."""

from typing import Annotated

from annotated_types import Gt

from biograd.training.observers import (
    AtRest,
    BatchDrawn,
    EpochEnded,
    Measured,
    Observer,
    RunBegins,
    RunEnded,
    RunLeft,
    StatefulObserver,
    StepTaken,
)

WORDS = {
    RunBegins: "begins",
    BatchDrawn: "drawn",
    Measured: "measured",
    StepTaken: "taken",
    EpochEnded: "epoch",
    AtRest: "rest",
    RunEnded: "ended",
    RunLeft: "left",
}


class Diary(Observer):
    """Keeps what it was told."""

    def __init__(self):
        self.told = []

    def notice(self, moment, run):
        self.told.append(WORDS[type(moment)])


class Steps(StatefulObserver):
    """Counts steps, and asks to stop after so many."""

    def __init__(self, *, most: Annotated[int, Gt(0)] = 10**9):
        self.most, self.taken = most, 0

    def notice(self, moment, run):
        if isinstance(moment, StepTaken):
            self.taken += 1
            return f"{self.most} steps are enough" if self.taken == self.most else None
        return None

    def state(self):
        return {"taken": self.taken}

    def restore(self, state):
        self.taken = state["taken"]


class Failing(Observer):
    """Raises at a moment."""

    def __init__(self, *, at: str = "epoch"):
        self.at = at

    def notice(self, moment, run):
        if WORDS[type(moment)] == self.at:
            raise RuntimeError("the server is away\nand more")


def nothing():
    """Makes no observer."""
    return 3


class AtItsEnd(Observer):
    """Asks to stop when the second epoch is over and at rest."""

    is_everywhere = True

    def notice(self, moment, run):
        is_due = isinstance(moment, AtRest) and moment.is_epoch and run.position.epoch == 2
        return "two epochs are enough" if is_due else None


class Unkept(StatefulObserver):
    """Has a state that no checkpoint holds, and fails on every state."""

    def __init__(self, *, holds: bool = False):
        self.holds, self.left = holds, 0

    def notice(self, moment, run):
        self.left += isinstance(moment, RunLeft)

    def state(self):
        return {"self": 1 if self.holds else self}

    def restore(self, state):
        raise KeyError("another")


class Untidy(Observer):
    """Leaves files behind and fails, when a run begins and when it is left."""

    def notice(self, moment, run):
        if isinstance(moment, RunBegins):
            (run.folder / "of" / "mine").mkdir(parents=True)
            (run.folder / "of" / "mine" / "file.txt").write_text("begun")
        raise RuntimeError("no more")
