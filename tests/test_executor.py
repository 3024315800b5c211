import contextlib
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from biograd import executor
from biograd.errors import RunFailed, UserMistake
from biograd.executor import Local


def die(code):
    os._exit(code)


def wait_and_say(seconds):
    time.sleep(seconds)
    return seconds


def refuse(item):
    raise UserMistake(f"{item} will not do")


def note(item):
    folder, name = item
    (folder / f"{name} began").touch()
    time.sleep(60 if name == "long" else 0)
    (folder / f"{name} ended").touch()


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_the_order_of_the_items_and_each_is_told(jobs):
    told = []
    assert executor.results(Local(jobs=jobs), abs, [-3, 2, -1], told.append) == [3, 2, 1]
    assert told == [1, 2, 3]


def test_what_is_done_first_comes_first():
    assert [place for place, _ in Local(jobs=2).map(wait_and_say, [2.0, 0.0])] == [1, 0]


def test_in_one_process_an_item_is_begun_when_the_one_before_has_been_taken(tmp_path):
    done = Local().map(note, [(tmp_path, "first"), (tmp_path, "second")])
    next(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first began", "first ended"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_the_work_raises_is_raised_here(jobs):
    with pytest.raises(UserMistake, match="will not do"):
        executor.results(Local(jobs=jobs), refuse, ["a", "b"])
    assert multiprocessing.active_children() == []


def test_a_process_that_was_killed_is_one_line():
    with pytest.raises(RunFailed, match=r"a process was killed.*fewer jobs need less"):
        executor.results(Local(jobs=2), die, [9, 9])
    assert multiprocessing.active_children() == []


def test_left_early_it_ends_what_is_at_work_and_begins_no_more(tmp_path: Path):
    items = [(tmp_path, name) for name in ("short", "long", "long", "late")]
    with contextlib.closing(Local(jobs=2).map(note, items)) as done:
        assert next(done) == (0, None)
    assert multiprocessing.active_children() == []
    assert not list(tmp_path.glob("long ended")) + list(tmp_path.glob("late*"))


def test_it_is_made_by_name_with_settings_in_their_range():
    assert executor.create("local", jobs="2").jobs == 2
    with pytest.raises(UserMistake, match="setting 'jobs' got 0"):
        executor.create("local", jobs=0)
    with pytest.raises(UserMistake, match="unknown engine 'locl': did you mean 'local'"):
        executor.create("locl")


def test_what_makes_no_executor_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("class Nobody:\n    pass\n")
    with pytest.raises(
        UserMistake, match="makes a Nobody, expected one with is_here, is_on_this_machine and map"
    ):
        executor.create(f"{tmp_path / 'mine.py'}:Nobody")


def test_no_jobs_are_refused():
    with pytest.raises(UserMistake, match="jobs is 0, expected at least 1"):
        Local(jobs=0)
