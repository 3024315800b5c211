import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engines.errands import fail, look_around

from biograd.engines.away import Home, Order, RaisedElsewhere, carried_out, opened, require
from biograd.errors import RunFailed, UserMistake


def done(work, item, home=None):
    return opened(carried_out(Order.of(home or Home.here(), work, item)))


def test_work_finds_itself_in_the_folder_and_environment_it_was_asked_for_in(monkeypatch, tmp_path):
    monkeypatch.setenv("BIOGRAD_DATA", "of home")
    monkeypatch.chdir(tmp_path)
    home = replace(Home.here(), imports=[*sys.path, str(tmp_path)])
    monkeypatch.setenv("BIOGRAD_DATA", "of the machine")
    monkeypatch.chdir("/")
    before = list(sys.path)
    there = done(look_around, None, home)
    assert (there["folder"], there["data"]) == (tmp_path, "of home")
    assert (Path.cwd(), os.environ["BIOGRAD_DATA"], sys.path) == (Path("/"), "of the machine", before)


def test_errors_come_home_as_themselves_with_the_place_where_they_were_raised():
    with pytest.raises(UserMistake, match=r"^that will not do$") as caught:
        done(fail, "mistake")
    assert caught.value.lines == "line 3 of mine.py\n"
    with pytest.raises(RunFailed, match=r"^the disk is full$"):
        done(fail, "failure")
    with pytest.raises(ZeroDivisionError) as caught:
        done(fail, "division")
    assert isinstance(caught.value.__cause__, RaisedElsewhere)
    assert "return 1 / 0" in str(caught.value.__cause__)


def test_of_an_error_that_cannot_travel_the_words_do():
    with pytest.raises(RunFailed, match=r"^Strange: 1 and 2$"):
        done(fail, "strange")


def test_a_machine_that_lacks_the_folder_is_named_and_what_the_work_lacks_is_not_taken_for_it(tmp_path):
    home = replace(Home.here(), folder=tmp_path / "mine")
    with pytest.raises(UserMistake, match=r"has no folder .*/mine, from which the command was given.*share"):
        done(abs, -1, home)
    with pytest.raises(FileNotFoundError):
        done(os.remove, "nothing of this name")


def test_another_biograd_is_refused():
    home = replace(Home.here(), version="0.0.1")
    with pytest.raises(UserMistake, match=r"the command was given with 0\.0\.1: install the same"):
        done(abs, -1, home)


def test_a_package_that_is_missing_is_named_with_what_brings_it():
    with pytest.raises(UserMistake, match=r"needs the package rray.*pip install 'biograd\[cluster\]'"):
        require("rray", "ray", "cluster")
