"""One file that holds all a run needs to go on: tensors as safetensors, everything else as JSON in its header.

Loading it executes nothing. It is put in place by one rename, so that a kill leaves the last one or this one.
"""

import contextlib
import copy
import json
import os
import reprlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from biograd import records
from biograd.errors import BiogradError, CheckpointError, UserMistake, unreadable
from biograd.records.schema import checked
from biograd.training import checkpoint_schema, schedules
from biograd.training.checkpoint_schema import FORMAT, Position
from biograd.training.packing import pack, unpack
from biograd.training.run_setup import RunSetup
from biograd.training.schedules import Schedule

_MOVED_BY_A_SCHEDULE = {"lr"}
_MOVED_IN_A_SCHEDULE = {"last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"}


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
    text = json.dumps({"format": FORMAT, "fingerprint": fingerprint, "state": skeleton})
    header = {"biograd": text, "crc32": str(checksum(text, tensors))}
    with records.replacing(path) as temporary:
        _write(temporary, tensors, header)


def load(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str]:
    """The state in a checkpoint, its tensors on the CPU, and the fingerprint of its configuration.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint, or it is damaged.
        RunFailed: the disk or the file system refuses.
    """
    header, tensors = _read(Path(path))
    text = header.get("biograd", "")
    if header.get("crc32") != str(checksum(text, tensors)):
        raise _damaged(path, "its content does not match its checksum")
    content = _content(path, text)
    try:
        return unpack(content["state"], tensors), content["fingerprint"]
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _content(path: str | os.PathLike[str], text: str) -> checkpoint_schema.Header:
    """The JSON of the header, of the format that this version reads."""
    try:
        value = json.loads(text)
        if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
            raise CheckpointError(
                f"{path} has format {reprlib.repr(value['format'])}, this version of biograd reads {FORMAT}"
            )
        return checked(checkpoint_schema.Header, value)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header holds no state: {error}") from None


def load_weights(path: str | os.PathLike[str], net: nn.Module) -> None:
    """Fill a net with the trained weights in a checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged, or of another net.
    """
    fill(net, weights(path)[0]["net"], f"{path}: net")


def weights(path: str | os.PathLike[str]) -> tuple[checkpoint_schema.Weights, str]:
    """What of a checkpoint a finished run is made of again, and the fingerprint of its configuration.

    Raises:
        CheckpointError: the file is missing or damaged, or holds no net.
    """
    state, fingerprint = load(path)
    return checkpoint_schema.check(checkpoint_schema.Weights, state, str(path)), fingerprint


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
    """Put back what `capture` gave, all of it or nothing.

    Raises:
        CheckpointError: the state is of other setup, which is left as it was.
    """
    position = _checked(state, setup)
    with _all_or_nothing(setup):
        _fill(state, setup)
    return position


def _checked(state: Mapping[str, Any], setup: RunSetup) -> Position:
    """Look at everything before anything is filled."""
    content: checkpoint_schema.State = checkpoint_schema.check(checkpoint_schema.State, dict(state))
    position = checkpoint_schema.check_position(content["position"], setup.config.epochs, len(setup.training))
    for name, module in _modules(setup).items():
        checkpoint_schema.check_module(module, state.get(name, {}), name)
    is_ours = setup.config.schedule.name in schedules.REGISTRY.built_in()
    for name, optimizer in _optimizers(setup).items():
        moved = _MOVED_BY_A_SCHEDULE if is_ours else None
        checkpoint_schema.check_optimizer(optimizer, _part(state, name), moved)
    for name, (scheduler, interval, _) in _schedules(setup).items():
        moved = _MOVED_IN_A_SCHEDULE if is_ours else None
        moves = position.step if interval == "step" else position.epoch
        checkpoint_schema.check_schedule(scheduler, _part(state, name), moves, moved)
    return position


def _fill(state: Mapping[str, Any], setup: RunSetup) -> None:
    for name, module in _modules(setup).items():
        fill(module, state.get(name, {}), name)
    for name, optimizer in _optimizers(setup).items():
        fill_optimizer(optimizer, state[name])
    for name, schedule in _schedules(setup).items():
        with refusing(name):
            schedule.scheduler.load_state_dict(state[name])


@contextlib.contextmanager
def _all_or_nothing(setup: RunSetup) -> Iterator[None]:
    """Put everything back as it was when a part refuses its state: a rule, say, whose state has a form of its own."""
    before = copy.deepcopy(capture(setup, Position()))
    try:
        yield
    except CheckpointError:
        _fill(before, setup)
        raise


@contextlib.contextmanager
def refusing(owner: str) -> Iterator[None]:
    """Say in one line what a part raises that is given a state: a rule, say, whose state has a form of its own."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        reason = first if isinstance(error, BiogradError) else f"{type(error).__name__}: {first}"
        raise CheckpointError(f"{owner}: the checkpoint is damaged or of another run: {reason}") from error


def _part(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if name not in state:
        raise CheckpointError(f"the checkpoint is of another run: it holds nothing of the {name}")
    return state[name]


def _modules(setup: RunSetup) -> dict[str, nn.Module]:
    return {"net": setup.net, "rule": setup.rule, "penalty": setup.penalty}


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
        CheckpointError: a name, a shape or a type differs.
    """
    checkpoint_schema.check_module(module, state, owner)
    with refusing(owner):
        module.load_state_dict(state)


def fill_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's state with the types it was saved in, where PyTorch would cast to the parameter's.

    Raises:
        CheckpointError: it is of another optimiser, or of other parameters.
    """
    checkpoint_schema.check_optimizer(optimizer, state, None)
    with refusing("optimizer"):
        optimizer.load_state_dict(dict(state))
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
        _read_through(path)
        with safetensors.safe_open(path, framework="pt") as file:
            # Clones: tensors in memory that the file is mapped to would be neither aligned nor ours.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except OSError as error:
        wrong = unreadable(path, error, "a checkpoint")
        raise CheckpointError(str(wrong)) if isinstance(wrong, UserMistake) else wrong from None
    except _NONE as error:
        raise _damaged(path, str(error)) from None


_NONE = (
    safetensors.SafetensorError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
)  # the last of types we lack


def _read_through(path: Path) -> None:
    """Read a file once before it is mapped: where the disk fails this raises, and a mapped file ends the process."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def _damaged(path: str | os.PathLike[str], why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or no checkpoint: {why}; remove it to start its run again from the beginning"
    )


def checksum(text: str, tensors: Mapping[str, Tensor]) -> int:
    """Over the JSON and each tensor's name, type, shape and content."""
    value = zlib.crc32(text.encode())
    for name, tensor in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return value
