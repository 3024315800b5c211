"""What a checkpoint holds, and whether what a file holds is one of this run: looked at before anything is filled."""

import copy
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, NotRequired, get_type_hints

import torch
from annotated_types import Ge
from pydantic import InstanceOf
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import TypedDict

from biograd.errors import CheckpointError
from biograd.records.schema import Count, Json, Time, checked, row
from biograd.training.tally import Tally

FORMAT = 1
"""The version of the layout below."""


@row
class Header(TypedDict):
    """The JSON in a checkpoint's header."""

    format: int
    fingerprint: str
    """Of the configuration that the state belongs to."""
    state: Json
    """As `biograd.training.packing.pack` writes it."""


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

    epoch: Count = 0
    batch: Count = 0
    step: Count = 0
    seconds: Time = 0.0
    stopped: str | None = None


_Position: Any = row(TypedDict("Position", get_type_hints(Position, include_extras=True)))  # pyright: ignore


@row
class Weights(TypedDict):
    """What a finished run is made of again."""

    net: Json
    rule: NotRequired[Json]


@row
class State(TypedDict):
    """All that a run goes on from. What an optimiser, a schedule or a module holds is checked against its owner."""

    net: Json
    rule: Json
    penalty: NotRequired[Json]
    optimizer: Json
    feedback_optimizer: NotRequired[Json]
    schedule: Json
    feedback_schedule: NotRequired[Json]
    position: dict[str, Any]
    sums: NotRequired[list[InstanceOf[Tensor]]]
    """Of each process what `biograd.training.tally.Tally.sums` gives."""
    random: NotRequired[dict[str, list[InstanceOf[Tensor]]]]
    """The states of the global generators by the kind of device, of each process."""
    observers: NotRequired[dict[str, Any]]
    """The states of observers that have one, by name."""


@row
class OfOptimizer(TypedDict):
    """What ``torch.optim.Optimizer.state_dict`` gives."""

    state: dict[Annotated[int, Ge(0)], dict[str, Any]]
    param_groups: list[dict[str, Any]]


def check(kind: Any, value: object, owner: str = "") -> Any:
    """What a checkpoint holds, held against its declaration.

    Raises:
        CheckpointError: it is none; the message names the entry.
    """
    try:
        return checked(kind, value)
    except ValueError as error:
        raise CheckpointError(_other(owner, str(error))) from None


def check_position(value: Mapping[str, Any], epochs: int, batches: int) -> Position:
    """Where a run of so many epochs, of so many batches each, was stopped.

    Raises:
        CheckpointError: it can never have been there.
    """
    entries = check(_Position, dict(value), "position")
    position = Position(**{field.name: entries[field.name] for field in fields(Position)})
    epoch, batch, step = position.epoch, position.batch, position.step
    if epoch > epochs or batch >= batches or step != epoch * batches + batch:
        raise CheckpointError(
            _other(
                "position",
                f"epoch {epoch}, batch {batch} and step {step} are no place in {epochs} epochs of {batches} batches",
            )
        )
    return position


def check_module(module: nn.Module, state: Mapping[str, Any], owner: str) -> None:
    """Refuse a state that is not of this module.

    Raises:
        CheckpointError: a name, a shape or a type differs.
    """
    here = module.state_dict()
    for name in [*here, *state]:
        saved, expected = _held(state, name), _held(here, name)
        if saved != expected:
            raise CheckpointError(
                f"{owner}: the checkpoint is of another one: it holds {saved} for {name!r}, expected {expected}; use "
                "the configuration, and the version of biograd, that it was made with"
            )


def check_optimizer(optimizer: Optimizer, state: Mapping[str, Any], moves: Collection[str] | None) -> None:
    """Refuse a state that is not of this optimiser.

    Args:
        optimizer: as it is at the start of a run.
        state: what is to be loaded into it.
        moves: the entries of a group that a schedule changes; None where nobody knows, and none of them is compared.
            Of a user's own optimiser, which may keep there what it likes, none is compared either.

    Raises:
        CheckpointError: a group, an entry of it, or what is kept of a parameter is unlike those here.
    """
    owner = "optimizer"
    check(OfOptimizer, dict(state), owner)
    here, saved = (_comparable(optimizer, one["param_groups"]) for one in (optimizer.state_dict(), state))
    require_alike(here, saved, f"{owner}.param_groups")
    for group, other in zip(here, saved, strict=True):
        constant = () if moves is None else set(group) - set(moves)
        _require_equal({key: group[key] for key in ("params", *constant)}, other, f"{owner}.param_groups")
    for group in state["param_groups"]:
        _require_rate(group.get("lr"))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for place, entries in state["state"].items():
        if place >= len(parameters):
            raise CheckpointError(
                _other(owner, f"it holds a state of parameter {place} of {len(parameters)}")
            )
        if is_known(optimizer):
            require_alike(_after_a_step(optimizer, place), entries, f"{owner}.state.{place}")


def check_schedule(
    scheduler: Any, state: Mapping[str, Any], moved: int, moves: Collection[str] | None
) -> None:
    """Refuse a state that is not of this scheduler after so many moves; what a user's own keeps is its own affair.

    Raises:
        CheckpointError: an entry is missing, of another type, or another number than it can be.
    """
    if not is_known(scheduler):
        return
    here = scheduler.state_dict()
    require_alike(here, state, "schedule")
    if moves is not None:
        constant = {key: value for key, value in here.items() if key not in moves}
        _require_equal({**constant, "last_epoch": moved}, state, "schedule")


def check_sums(sums: Sequence[Tensor], tally: Tally) -> None:
    """Refuse running sums of the epoch that no batches add up to; the loss may have diverged.

    Raises:
        CheckpointError: they are of another shape, or counts that are none.
    """
    for one in sums:
        require_alike(tally.sums(), one, "sums")
        if not tally.could_be(one):
            raise CheckpointError(_other("sums", f"no examples add up to {one.tolist()}"))


def require_alike(here: Any, saved: Any, place: str) -> None:
    """Refuse a value of another kind than the one here: another type, other keys, another length, another shape.

    Raises:
        CheckpointError: it is; the message says where.
    """
    if isinstance(here, Tensor):
        if _shape(saved) != _shape(here):
            raise CheckpointError(_other(place, f"it is {_shape(saved)}, expected {_shape(here)}"))
    elif isinstance(here, Mapping):
        if not isinstance(saved, Mapping) or set(saved) != set(here):
            expected = ", ".join(sorted(map(str, here))) or "none"
            raise CheckpointError(_other(place, f"{_keys(saved)}, expected the entries {expected}"))
        for key, value in here.items():
            require_alike(value, saved[key], f"{place}.{key}")
    elif isinstance(here, list | tuple):
        if type(saved) is not type(here) or len(saved) != len(here):
            raise CheckpointError(
                _other(place, f"it is {_kind(saved)}, expected a {type(here).__name__} of {len(here)}")
            )
        for number, (one, other) in enumerate(zip(here, saved, strict=True)):
            require_alike(one, other, f"{place}.{number}")
    elif not _is_like(here, saved):
        raise CheckpointError(_other(place, f"it is {_kind(saved)}, expected {_kind(here)}"))


def is_known(part: Any) -> bool:
    """Whether a part is PyTorch's or ours, of which it is known what moves and what is kept; users' own decide that."""
    return type(part).__module__.startswith(("torch.optim", "biograd."))


def _comparable(optimizer: Optimizer, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What of groups is known to be alike at every step: all of it, or of a user's own optimiser the parameters."""
    return groups if is_known(optimizer) else [{"params": group.get("params")} for group in groups]


def _after_a_step(optimizer: Optimizer, place: int) -> Mapping[str, Any]:
    """What an optimiser keeps of a parameter: what it holds already, or what a twin holds that has taken a step."""
    groups = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    parameter, group = groups[place]
    if optimizer.state.get(parameter):
        return optimizer.state[parameter]
    moved = torch.zeros_like(parameter, requires_grad=True)
    moved.grad = torch.zeros_like(moved)
    twin = copy.copy(optimizer)
    twin.state, twin.param_groups = defaultdict(dict), [{**group, "params": [moved]}]
    twin.step()
    return twin.state[moved]


def _require_equal(here: Mapping[str, Any], saved: Mapping[str, Any], place: str) -> None:
    for key, value in here.items():
        if saved[key] != value:
            raise CheckpointError(
                _other(f"{place}.{key}", f"it is {_kind(saved[key])}, expected {_kind(value)}")
            )


def _require_rate(rate: Any) -> None:
    if isinstance(rate, float) and not (math.isfinite(rate) and rate >= 0):
        raise CheckpointError(_other("optimizer.param_groups.lr", f"it is {rate}, expected a rate from 0 on"))


def _is_like(here: Any, saved: Any) -> bool:
    """Whether a plain value can stand in place of another."""
    if here is None or isinstance(here, bool | str):
        return type(saved) is type(here)
    if isinstance(here, int | float):
        is_number = isinstance(saved, int | float) and not isinstance(saved, bool)
        return is_number and (isinstance(saved, float) or abs(saved) < 2**63)
    return True


def _held(state: Mapping[str, Any], name: str) -> object:
    """What a state holds under a name, for messages; of what is no weight its presence alone."""
    if name not in state:
        return "nothing"
    if not isinstance(name, str):
        return f"a name that is {_kind(name)}"
    return "a state" if name.endswith("_extra_state") else _shape(state[name])


def _shape(value: Any) -> object:
    """The shape and type of a tensor, or what is there in its place."""
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else _kind(value)


def _kind(value: Any) -> str:
    """A value in a few words, whatever it is."""
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int | str):
        text = (
            repr(value) if isinstance(value, str) else str(value) if abs(value) < 2**63 else "a large integer"
        )
        return text if len(text) < 40 else f"{text[:36]}…"
    return f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"


def _keys(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"it is {_kind(value)}"
    return f"it has the entries {', '.join(sorted(_kind(key) for key in value)) or 'none'}"


def _other(place: str, why: str) -> str:
    return f"{place + ': ' if place else ''}the checkpoint is damaged or of another run: {why}"
