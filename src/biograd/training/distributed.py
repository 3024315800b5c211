"""Data-parallel training: every process takes a part of each batch, and gradients add up exactly.

Wrapping a net in ``DistributedDataParallel`` silently leaves out rules that run blocks on their own; a hook
on each parameter's ``.grad`` sees them all.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from biograd.errors import UserMistake


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone by default.

    Attributes:
        rank: number of this process, from 0; the process 0 writes the records.
        size: number of processes.
        device: what this process trains on.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the records."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over processes, the same in each."""
        if self.size > 1:
            value = value.to(self.device)
            dist.all_reduce(value)
        return value

    def gather(self, value: Tensor) -> list[Tensor]:
        """The values of all processes, which have one shape, in every process."""
        if self.size == 1:
            return [value]
        placed = value.to(self.device)
        gathered = [torch.empty_like(placed) for _ in range(self.size)]
        dist.all_gather(gathered, placed)
        return [item.to(value.device) for item in gathered]

    def joined(self, rows: Tensor) -> Tensor:
        """The rows of all processes, of which one may have more than another, behind one another in every process."""
        if self.size == 1:
            return rows
        counts = [int(count) for count in self.gather(torch.tensor(len(rows)))]
        padded = torch.cat([rows, rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])])
        return torch.cat([part[:count] for part, count in zip(self.gather(padded), counts, strict=True)])

    def agree(self, decision: bool) -> bool:
        """What the first process decided."""
        if self.size == 1:
            return decision
        return bool(self.gather(torch.tensor(decision))[0])

    def share_state(self, *modules: nn.Module) -> None:
        """Give every process the parameters, buffers and extra state of the first."""
        if self.size == 1:
            return
        for module in modules:
            state = module.state_dict()
            for name, tensor in state.items():
                placed = tensor.to(self.device).contiguous()
                dist.broadcast(placed, src=0)
                state[name] = placed.to(tensor.device)
            module.load_state_dict(state)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, or train alone when it did not start this one.

    A process group that exists already is used and left as it is. CUDA devices are taken by local rank,
    and talk through NCCL; everything else through Gloo.

    Raises:
        UserMistake: what ``torchrun`` sets in the environment is there in part, or wrong.
    """
    started = not dist.is_initialized() and _of_torchrun("WORLD_SIZE", 1) > 1
    if started:
        device = _local(device)
        _join("nccl" if device.type == "cuda" else "gloo")
    if not dist.is_initialized():
        yield Ranks(device)
        return
    try:
        yield Ranks(_local(device), dist.get_rank(), dist.get_world_size())
    finally:
        if started:
            dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process is, or once it has joined will be, the one that writes the records."""
    return dist.get_rank() == 0 if dist.is_initialized() else os.environ.get("RANK", "0") == "0"


def _join(backend: str) -> None:
    for name in ("RANK", "MASTER_PORT"):
        _of_torchrun(name)
    try:
        dist.init_process_group(backend)
    except ValueError as error:  # a name is missing, or a number out of range
        raise UserMistake(f"{str(error).splitlines()[0]}; start the processes with torchrun") from None


def _of_torchrun(name: str, otherwise: int | None = None) -> int:
    """A number that ``torchrun`` sets in the environment of each process."""
    value = os.environ.get(name, otherwise)
    if value is None or not str(value).isdecimal() or len(str(value)) > 9:
        raise UserMistake(
            f"${name} is {value!r}, expected the number that torchrun sets: start the processes with torchrun, "
            "or unset $WORLD_SIZE to train in this one alone"
        )
    return int(value)


def _local(device: torch.device) -> torch.device:
    if device.type != "cuda" or device.index is not None:
        return device
    device = torch.device("cuda", _of_torchrun("LOCAL_RANK", 0))
    torch.cuda.set_device(device)
    return device


class GradientSum:
    """Adds up over processes what a rule writes into ``.grad``, while it is still writing.

    Where each process teaches with its share of the batch as the ``weight`` of `biograd.Rule.assign_credit`, the sum
    is the gradient of the whole batch, for parameters of the net and of the rule alike. Reductions start as gradients
    become complete, in one order everywhere, on copies: a rule may go on reading its local ``.grad``, and what it
    changes there later, or fills without autograd, is reduced at the end. A parameter that no process
    taught keeps ``.grad`` None.

    Args:
        modules: whose parameters' gradients to add up.
        ranks: the processes.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> with GradientSum([net], Ranks(torch.device("cpu"))) as gradients, gradients.over_processes():
        ...     net(torch.ones(3, 2)).mean().backward()
        >>> net.bias.grad
        tensor([1.])
    """

    def __init__(self, modules: Sequence[nn.Module], ranks: Ranks) -> None:
        # Backward order, so that the first reductions start while the backward pass still runs.
        found = [p for module in modules for p in reversed(list(module.parameters()))]
        self._parameters = [p for p in dict.fromkeys(found) if p.requires_grad]
        self._place: dict[Tensor, int] = {p: place for place, p in enumerate(self._parameters)}
        self._ranks = ranks
        self._open = False
        self._taken: dict[int, _Taken] = {}
        self._running: list[Any] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> "GradientSum":
        if self._ranks.size > 1:
            self._hooks = [p.register_post_accumulate_grad_hook(self._completed) for p in self._parameters]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def over_processes(self) -> contextlib.AbstractContextManager[None]:
        """Add up what is written inside; every ``.grad`` must be None or zero before."""
        return _NOTHING if self._ranks.size == 1 else self._added_up()

    @contextlib.contextmanager
    def _added_up(self) -> Iterator[None]:
        self._open, self._taken, self._running = True, {}, []
        try:
            yield
            self._finish()
        finally:
            self._open = False

    @torch.no_grad()
    def _completed(self, parameter: Tensor) -> None:
        """Reduce what autograd has just completed, unless an earlier one in the order is missing."""
        place = self._place[parameter]
        if not self._open or place < len(self._running):
            return
        self._take(place)
        while len(self._running) in self._taken:
            self._start()

    @torch.no_grad()
    def _finish(self) -> None:
        """Reduce what is left and what was changed after its start, and write the sums."""
        for place in range(len(self._running), len(self._parameters)):
            if place not in self._taken or self._has_changed(place):
                self._take(place)
            self._start()
        taught, changed = self._anywhere()
        for work in self._running:
            work.wait()
        for place, parameter in enumerate(self._parameters):
            if changed[place]:
                self._take(place)
                dist.all_reduce(self._taken[place].copy)
            if taught[place]:
                parameter.grad = self._taken[place].copy

    def _anywhere(self) -> tuple[list[int], list[int]]:
        """For each parameter, in how many processes it has a gradient, and one that changed late."""
        places = range(len(self._parameters))
        taught = [self._parameters[place].grad is not None for place in places]
        changed = [self._has_changed(place) for place in places]
        counts = self._ranks.sum(torch.tensor([taught, changed], dtype=torch.int32))
        return counts[0].tolist(), counts[1].tolist()

    def _take(self, place: int) -> None:
        parameter = self._parameters[place]
        gradient = parameter.grad
        if gradient is None:
            self._taken[place] = _Taken(torch.zeros_like(parameter), None, 0)
        else:
            self._taken[place] = _Taken(gradient.detach().clone(), gradient, gradient._version)

    def _has_changed(self, place: int) -> bool:
        gradient, taken = self._parameters[place].grad, self._taken[place]
        return gradient is not taken.of or (gradient is not None and gradient._version != taken.version)

    def _start(self) -> None:
        self._running.append(dist.all_reduce(self._taken[len(self._running)].copy, async_op=True))


_NOTHING = contextlib.nullcontext()


class _Taken(NamedTuple):
    """A copy of a gradient, and which one it was at the time."""

    copy: Tensor
    of: Tensor | None
    version: int
