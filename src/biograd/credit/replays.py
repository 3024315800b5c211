"""What a step does on the host, which a device that replays the step would leave out.

A captured step is replayed without its Python. What has to happen on the host at every step goes through here: in an
ordinary step at once, in a captured one before each replay. What no replay could do is refused.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch


class NotReplayable(Exception):
    """Why a step cannot be captured, as what the rule does."""


class HostWork:
    """What one step does on the host beside what it asks of the device.

    Args:
        generators: for a step that is captured, one for each draw, which the graph knows; None for a step that runs as
            it is, whose draws are counted.

    Attributes:
        draws: the devices that generators were asked for on.
    """

    def __init__(self, generators: Sequence[torch.Generator] | None = None) -> None:
        self.draws: list[torch.device] = []
        self._left = None if generators is None else iter(generators)
        self._actions: list[Callable[[], object]] = []

    @property
    def is_kept(self) -> bool:
        """Whether the step is one that is captured, whose host work waits for the replays."""
        return self._left is not None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """A context that a step runs in, one at a time."""
        global _NOTED
        before, _NOTED = _NOTED, self
        try:
            yield
        finally:
            _NOTED = before

    def redo(self) -> None:
        """Do once more what the captured step would have done, in its order."""
        for action in self._actions:
            action()

    def act(self, action: Callable[[], object]) -> None:
        """Do it now, or keep it for the replays of a captured step."""
        if self._left is None:
            action()
        else:
            self._actions.append(action)

    def generator(self, device: torch.device, seed: Callable[[], int]) -> torch.Generator:
        """The generator of a draw; in a captured step it is seeded before each replay."""
        self.draws.append(device)
        if self._left is None:
            return torch.Generator(device).manual_seed(seed())
        made = next(self._left, None)
        if made is None or made.device.type != device.type:
            raise NotReplayable("draws other numbers than in the step before")
        self.act(lambda: made.manual_seed(seed()))
        return made


_NOTED: HostWork | None = None
"""Of the step that runs now."""


def is_captured() -> bool:
    """Whether the step that runs now is one that is captured."""
    return _NOTED is not None and _NOTED.is_kept


def at_each_step(action: Callable[[], object]) -> None:
    """Do something on the host, in a replayed step too."""
    if _NOTED is None:
        action()
    else:
        _NOTED.act(action)


def generator(device: torch.device | str, seed: Callable[[], int]) -> torch.Generator:
    """A generator for one draw of a step.

    Args:
        device: where numbers are drawn.
        seed: gives the seed, another one for each step.
    """
    if _NOTED is None:
        return torch.Generator(device).manual_seed(seed())
    return _NOTED.generator(torch.device(device), seed)


def refuse(what: str) -> None:
    """Say what keeps a step from being replayed; nothing where it is not captured.

    Args:
        what: the step does, in words that follow the rule's name.

    Raises:
        NotReplayable: the step that runs now is captured.
    """
    if is_captured():
        raise NotReplayable(what)
