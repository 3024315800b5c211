"""Steps that a device replays: captured once as a CUDA graph, then begun by one call, without their Python."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from biograd.credit.entry import FIRST_CALLS
from biograd.credit.replays import HostWork, NotReplayable
from biograd.credit.structures import copied, tensors_in
from biograd.errors import NotFinite, UserMistake, cut_short
from biograd.rules.base import Credit

Result = TypeVar("Result")


class NotCaptured(UserMistake):
    """A step that no graph can hold."""


class Graph(ABC):
    """Interface: what a device has captured of one step."""

    @abstractmethod
    def beside(self) -> contextlib.AbstractContextManager[None]:
        """A context for the steps that run as they are before one is captured."""

    @abstractmethod
    def captured(self, generators: Sequence[torch.Generator]) -> contextlib.AbstractContextManager[object]:
        """A context whose work on the device is captured, and not done.

        Args:
            generators: all that it draws from, but the device's own.
        """

    @abstractmethod
    def replay(self) -> None:
        """Do what was captured, in the same memory."""


class CUDAGraph(Graph):
    """A graph of PyTorch's, `torch.cuda.CUDAGraph`.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph, self._stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """On the stream that is going to be captured, as PyTorch wants the steps before."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def captured(self, generators: Sequence[torch.Generator]) -> contextlib.AbstractContextManager[object]:
        """See `Graph.captured`."""
        for generator in generators:
            self._graph.register_generator_state(generator)
        return torch.cuda.graph(self._graph, stream=self._stream)

    def replay(self) -> None:
        """See `Graph.replay`."""
        self._graph.replay()


class Replayed(Generic[Result]):
    """A step that runs as it is a few times, is captured then, and replayed from there on.

    A step that is captured is one of the steps: it is replayed at once.

    Args:
        step: takes nothing, and works in the same memory each time.
        graph: what captures it.
    """

    def __init__(self, step: Callable[[], Result], graph: Graph) -> None:
        self._step, self._graph = step, graph
        self._left = FIRST_CALLS  # in which a rule looks at what it is given, which waits for the device
        self._draws: list[torch.device] = []
        self._captured: tuple[HostWork, Result] | None = None

    @property
    def is_captured(self) -> bool:
        """Whether it is replayed."""
        return self._captured is not None

    def __call__(self) -> Result:
        """Take a step; what it gives lies in the same memory each time once it is replayed."""
        if self._left:
            self._left -= 1
            return self._as_it_is()
        if self._captured is None:
            self._captured = self._capture()
        host, result = self._captured
        host.redo()
        self._graph.replay()
        return result

    def _as_it_is(self) -> Result:
        host = HostWork()
        with self._graph.beside(), host.noted():
            result = self._step()
        self._draws = host.draws
        return result

    def _capture(self) -> tuple[HostWork, Result]:
        generators = [torch.Generator(device) for device in self._draws]
        host = HostWork(generators)
        try:
            with host.noted(), self._graph.captured(generators):
                return host, self._step()
        except NotReplayable as reason:
            raise NotCaptured(
                f"a CUDA graph cannot hold the step, which {reason}: leave compile out"
            ) from None
        except (NotFinite, UserMistake):
            raise
        except RuntimeError as error:
            reason = cut_short(" ".join(str(error).split()), 160)
            raise NotCaptured(
                f"the step could not be captured as a CUDA graph ({reason}): leave compile out (--compile false)"
            ) from error


class ReplayedTeaching:
    """What a rule teaches of a batch, captured for batches of one size; others are taught as they are.

    Args:
        teach: a rule's `assign_credit` of inputs and targets; every ``.grad`` is None before.
        modules: net and rule.
        examples: of a batch that is captured.
        graph: makes what captures it.
    """

    def __init__(
        self,
        teach: Callable[[Any, Tensor], Credit],
        modules: Iterable[nn.Module],
        examples: int,
        graph: Callable[[], Graph],
    ) -> None:
        self._teach, self._examples, self._graph = teach, examples, graph
        self._parameters = [p for module in modules for p in module.parameters()]
        self._batch: tuple[Any, Tensor] | None = None
        self._replayed: Replayed[Credit] | None = None
        self._gradients: list[tuple[nn.Parameter, Tensor]] | None = None

    def __call__(self, x: Any, y: Tensor) -> Credit:
        """Teach a batch, as `biograd.Rule.assign_credit` does."""
        if len(y) != self._examples:
            return self._teach(x, y)
        replayed = self._with(x, y)
        credit = replayed()
        if replayed.is_captured:
            self._hand_over()
        return credit

    def begin_anew(self) -> None:
        """Forget what was captured: steps are others from here on."""
        self._batch = self._replayed = self._gradients = None

    def _with(self, x: Any, y: Tensor) -> Replayed[Credit]:
        """The step, with a batch in the memory that it reads."""
        if self._batch is None or self._replayed is None:
            batch = self._batch = copied((x, y))
            self._replayed = Replayed(lambda: self._teach(*batch), self._graph())
            return self._replayed
        for place, given in zip(tensors_in(self._batch), tensors_in((x, y)), strict=True):
            place.copy_(given)
        return self._replayed

    def _hand_over(self) -> None:
        """Put the gradients that the graph fills in their places, which an optimiser has emptied since."""
        if self._gradients is None:
            self._gradients = [(p, p.grad) for p in self._parameters if p.grad is not None]
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
