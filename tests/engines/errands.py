"""Work for other processes to do."""

import os
import signal
import time
from pathlib import Path

from biograd.errors import RunFailed, UserMistake


def look_around(_):
    import ray

    return {
        "folder": Path.cwd(),
        "data": os.environ.get("BIOGRAD_DATA"),
        "gpus": ray.get_gpu_ids() if ray.is_initialized() else None,
        "pid": os.getpid(),
    }


def fail(how):
    if how == "mistake":
        raise UserMistake("that will not do", "line 3 of mine.py\n")
    if how == "failure":
        raise RunFailed("the disk is full")
    if how == "strange":
        raise Strange(1, 2)
    return 1 / 0


class Strange(Exception):
    """One that cannot be made again of what it says."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def die_at_first(file: Path):
    """End as a process that is killed does, unless it has happened before."""
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def last(file: Path):
    """Leave the process's number in a file, in one go, and last a minute."""
    whole = Path(f"{file}.whole")
    whole.write_text(f"{os.getpid()}")
    whole.replace(file)
    time.sleep(60)
