"""Runs whose steps are captured as CUDA graphs: where that is refused, and what teaches then."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from biograd.credit.entry import FIRST_CALLS
from biograd.credit.isolation import isolated
from biograd.credit.replays import HostWork, NotReplayable
from biograd.errors import NotFinite, UserMistake
from biograd.rules.base import Credit, Rule
from biograd.rules.parts.epoch import Epoch
from biograd.training.device_waits import DeviceWaits
from biograd.training.replayed import CUDAGraph, Graph, ReplayedTeaching

if TYPE_CHECKING:
    from biograd.training.run_setup import RunSetup

GRAPHS: dict[str, Callable[[torch.device], Graph]] = {"cuda": CUDAGraph}
"""What captures the steps of a kind of device."""


def graphs_on(device: torch.device) -> Callable[[], Graph]:
    """Makes what captures a step on a device.

    Raises:
        UserMistake: nothing does.
    """
    if device.type not in GRAPHS:
        raise UserMistake(
            f"compile graphs is for {', '.join(GRAPHS)}, where steps are captured as CUDA graphs, and the device is "
            f"{device.type}: leave compile out"
        )
    return functools.partial(GRAPHS[device.type], device)


def replayed(setup: "RunSetup", teach: Callable[[Any, Tensor], Credit]) -> ReplayedTeaching:
    """What teaches in a run whose steps are captured; its last batch of an epoch, where smaller, as it is.

    Args:
        setup: of the run.
        teach: teaches a batch as it is.
    """
    graphs = graphs_on(setup.device)
    return ReplayedTeaching(teach, [setup.net, setup.rule], setup.training.examples(0), graphs)


def differs_by_epoch(rule: Rule) -> bool:
    """Whether a step may be another one in another epoch."""
    notes_it = type(rule).begin_epoch is not Rule.begin_epoch
    return notes_it or any(isinstance(part, Epoch) for part in rule.modules())


def require_replayable(setup: "RunSetup", x: Any, y: Tensor) -> None:
    """Take a step as one that is captured would be, and forget it.

    Args:
        setup: of the run.
        x: a batch.
        y: its targets.

    Raises:
        UserMistake: the step could not be captured, or would be another one when it is replayed.
    """
    with _refused_by_name(setup.config.rule.label):
        _require_no_hooks(setup.net, setup.rule)
        rule = copy.deepcopy(setup.rule)
        with (
            isolated(setup.net, setup.loss_fn, devices_of=x),
            setup.autocast(),
            contextlib.suppress(NotFinite),
        ):
            for epoch in range(min(2, setup.config.epochs) if differs_by_epoch(rule) else 1):
                rule.begin_epoch(epoch)
                _try(setup, rule, x, y)


def _try(setup: "RunSetup", rule: Rule, x: Any, y: Tensor) -> None:
    for _ in range(FIRST_CALLS):
        first = HostWork()
        with first.noted():
            rule.assign_credit(setup.net, x, y, setup.loss_fn)
    places, kept = _places(setup.net, rule), _kept_in_python(rule)
    later = HostWork([torch.Generator(device) for device in first.draws])
    with later.noted(), DeviceWaits(_refuse_wait):
        rule.assign_credit(setup.net, x, y, setup.loss_fn)
    moved = [name for name, place in _places(setup.net, rule).items() if places.get(name) != place]
    if moved:
        raise NotReplayable(f"puts a new tensor in the place of {moved[0]!r}")
    changed = [key for _, key in dict(_kept_in_python(rule).items() - kept.items())]
    if changed:
        raise NotReplayable(f"changes {changed[0]!r} in Python")


@contextlib.contextmanager
def _refused_by_name(rule: str) -> Iterator[None]:
    try:
        yield
    except NotReplayable as reason:
        raise UserMistake(
            f"compile graphs: a step of rule {rule!r} {reason}, which no CUDA graph replays: leave compile out "
            "(--compile false)"
        ) from None


def _refuse_wait(wait: str) -> None:
    raise NotReplayable(f"waits for the device ({wait})")


def _require_no_hooks(*modules: nn.Module) -> None:
    for module in modules:
        for name, parameter in module.named_parameters():
            if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
                raise NotReplayable(f"runs a hook on {name!r}")


def _places(*modules: nn.Module) -> dict[str, int]:
    """Where parameters and buffers lie, by name."""
    return {
        f"{type(module).__name__}.{name}": tensor.data_ptr()
        for module in modules
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


def _kept_in_python(rule: nn.Module) -> dict[tuple[str, str], Any]:
    """Numbers, words and truths that a rule and its parts have as attributes."""
    return {
        (name, key): value
        for name, part in rule.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, bool | int | float | str)
    }
