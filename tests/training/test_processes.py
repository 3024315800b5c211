import os

import pytest

from biograd.errors import RunFailed
from biograd.training.processes import in_processes


def die(code):
    os._exit(code)


def test_results_come_in_order():
    assert in_processes(abs, [-3, 2, -1], 2, "numbers", progress=False) == [3, 2, 1]


def test_a_process_that_was_killed_is_one_line():
    with pytest.raises(RunFailed, match=r"a process was killed.*fewer jobs need less"):
        in_processes(die, [9, 9], 2, "deaths", progress=False)
