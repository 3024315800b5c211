"""What a run asks of the machine that trains it, for executors that choose among machines."""

from biograd.errors import UserMistake
from biograd.executor import Executor, Needs
from biograd.training.config import RunConfig
from biograd.training.run_setup import find_device


def needs_of(config: RunConfig, title: str) -> Needs:
    """A run's threads, and a GPU where it trains on one.

    Args:
        config: of the run.
        title: what lists of a cluster call it.

    Raises:
        UserMistake: the GPU has a number, and who asks for needs hands GPUs out.
    """
    if config.device.startswith("cuda:"):
        raise UserMistake(
            f"device {config.device!r} is one GPU of one machine, and a cluster gives a run what is free: use "
            "--device cuda"
        )
    return Needs(config.threads, int(config.device == "cuda"), title)


def as_tried_here(config: RunConfig, executor: Executor) -> RunConfig:
    """The configuration by which a run is tried before it is sent away.

    Where its device may be another machine's it is tried on the CPU, and not compiled; else as it is.
    """
    if executor.is_on_this_machine or _is_here(config):
        return config
    return config.model_copy(update={"device": "cpu", "compile": False})


def _is_here(config: RunConfig) -> bool:
    try:
        find_device(config)
    except UserMistake:
        return False
    return True
