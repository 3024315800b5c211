"""One file that holds all a run needs to go on: tensors as safetensors, everything else as JSON in its header.

Loading it executes nothing. It is put in place by one rename, so that a kill leaves the last one or this one.
"""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from biograd import records
from biograd.errors import CheckpointError
from biograd.training.packing import pack, unpack
from biograd.training.run_setup import RunSetup
from biograd.training.schedules import Schedule

_FORMAT = 1


@dataclass
class Position:
    """Where a run is.

    Attributes:
        epoch: epochs finished.
        batch: batches taken of the epoch that has begun.
        step: optimiser steps taken in all.
        seconds: seconds of training so far.
        stopped: who has asked to stop when the epoch is over, and why.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    stopped: str | None = None


def save(path: str | os.PathLike[str], state: Mapping[str, Any], fingerprint: str = "") -> None:
    """Replace the file at ``path`` by a nested state, in one step.

    Args:
        path: the file.
        state: dicts, lists, tuples, scalars and tensors.
        fingerprint: of the configuration that the state belongs to.

    Raises:
        RunFailed: it cannot be written (a full disk, say); the file that was there is intact.
    """
    skeleton, tensors = pack(state)
    text = json.dumps({"format": _FORMAT, "fingerprint": fingerprint, "state": skeleton})
    header = {"biograd": text, "crc32": str(_checksum(text, tensors))}
    with records.replacing(path) as temporary:
        _write(temporary, tensors, header)


def load(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """The state in a checkpoint, its tensors on the CPU, and the fingerprint of its configuration.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint, or it is damaged.
    """
    header, tensors = _read(Path(path))
    if header.get("crc32") != str(_checksum(header.get("biograd", ""), tensors)):
        raise _damaged(path, "its content does not match its checksum")
    content = json.loads(header["biograd"])
    if content["format"] != _FORMAT:
        raise CheckpointError(
            f"{path} has format {content['format']}, this version of biograd reads {_FORMAT}"
        )
    return unpack(content["state"], tensors), content["fingerprint"]


def load_weights(path: str | os.PathLike[str], net: nn.Module) -> None:
    """Fill a net with the trained weights in a checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged, or of another net.
    """
    state, _ = load(path)
    fill(net, state["net"], f"{path}: net")


def capture(setup: RunSetup, position: Position) -> dict[str, Any]:
    """All state of a run but what differs between its processes."""
    return {
        "net": setup.net.state_dict(),
        "rule": setup.rule.state_dict(),
        **{name: optimizer.state_dict() for name, optimizer in _optimizers(setup).items()},
        **{name: schedule.scheduler.state_dict() for name, schedule in _schedules(setup).items()},
        **_penalty(setup),
        "position": asdict(position),
    }


def restore(state: Mapping[str, Any], setup: RunSetup) -> Position:
    """Put back what `capture` gave.

    Raises:
        CheckpointError: the state is of other setup.
    """
    fill(setup.net, state["net"], "net")
    fill(setup.rule, state["rule"], "rule")
    fill(setup.penalty, state.get("penalty", {}), "penalty")
    for name, optimizer in _optimizers(setup).items():
        fill_optimizer(optimizer, state[name])
    for name, schedule in _schedules(setup).items():
        schedule.scheduler.load_state_dict(state[name])
    return Position(**state["position"])


def _optimizers(setup: RunSetup) -> dict[str, torch.optim.Optimizer]:
    """The optimisers by the names they have in a checkpoint; the second is there only where it is another."""
    return dict(zip(("optimizer", "feedback_optimizer"), setup.optimizers, strict=False))


def _schedules(setup: RunSetup) -> dict[str, Schedule]:
    return dict(zip(("schedule", "feedback_schedule"), setup.schedules, strict=False))


def _penalty(setup: RunSetup) -> dict[str, Any]:
    """The state of the penalty, under its name, where it has one."""
    state = setup.penalty.state_dict()
    return {"penalty": state} if state else {}


def fill(module: nn.Module, state: Mapping[str, Tensor], owner: str) -> None:
    """Load a module's state, or say what does not fit.

    Raises:
        CheckpointError: a name or a shape differs.
    """
    here = module.state_dict()
    for name in [*here, *state]:
        saved, expected = _held(state, name), _held(here, name)
        if saved != expected:
            raise CheckpointError(
                f"{owner}: the checkpoint is of another one: it holds {saved} for {name!r}, expected {expected}; use "
                "the configuration, and the version of biograd, that it was made with"
            )
    module.load_state_dict(state)


def _held(state: Mapping[str, Any], name: str) -> object:
    """What a state holds under a name, for messages; of what is no weight its presence alone."""
    if name not in state:
        return "nothing"
    return "a state" if name.endswith("_extra_state") else tuple(state[name].shape)


def fill_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's state with the types it was saved in, where PyTorch would cast to the parameter's.

    Raises:
        CheckpointError: it is of another optimiser, or of other parameters.
    """
    try:
        optimizer.load_state_dict(dict(state))
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"the checkpoint is of another optimizer: {error}") from None
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for place, entries in state["state"].items():
        held = optimizer.state[parameters[place]]
        for key, value in entries.items():
            if isinstance(value, Tensor) and held[key].dtype != value.dtype:
                held[key] = value.to(held[key].device)


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    path.touch()
    mode = path.stat().st_mode
    try:
        safetensors.torch.save_file(tensors, path, metadata=header)
    except safetensors.SafetensorError as error:  # how it reports a full disk
        raise OSError(str(error)) from error
    path.chmod(mode)  # safetensors lets nobody but the owner read


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # Clones: tensors in memory that the file is mapped to would be neither aligned nor ours.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from None
    except (safetensors.SafetensorError, ValueError) as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: str | os.PathLike[str], why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or no checkpoint: {why}; remove it to start its run again from the beginning"
    )


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> int:
    """Over the JSON and each tensor's name, type, shape and content."""
    value = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return value
