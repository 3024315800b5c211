"""Step times side by side: each step beside its references, in random order, on a quiet process."""

import functools
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

Step = Callable[[], object]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Timed:
    """What is timed.

    Attributes:
        step: a step.
        by_hand: the same update by hand, timed beside it; None where there is none.
        move: what follows every turn outside the time, an optimiser's step, where a step costs more at some calls than
            at others by how its net has moved on. Then means count, not medians, and there are more turns.
    """

    step: Step
    by_hand: Step | None = None
    move: Step | None = None

    @property
    def turns(self) -> int:
        """How many a round: enough for a mean."""
        return 4 if self.move else 1


class Beside(NamedTuple):
    """A step beside another that ran in the same turn; the median over the turns.

    For a step that moves it is the ratio of the means.

    Attributes:
        seconds: of the other one.
        ratio: to it.
        low: lower end of the 95 % bootstrap interval of ``ratio``.
        high: upper end.
    """

    seconds: float
    ratio: float
    low: float
    high: float


class Times(NamedTuple):
    """What a step takes.

    Attributes:
        seconds: the median over the turns, or the mean for a step that moves.
        plain: beside plain backpropagation.
        by_hand: beside the update by hand, or None.
    """

    seconds: float
    plain: Beside
    by_hand: Beside | None


def compare(
    steps: Mapping[str, Timed],
    reference: Step,
    *,
    repeats: int,
    seed: int,
    reached: Callable[[int], object] = lambda rounds: None,
    device: torch.device = CPU,
) -> dict[str, Times]:
    """Time every step against the reference, ``repeats`` times, interleaved.

    A round gives every step its turns in random order; in a turn it runs together with the reference and its update by
    hand, the order of these by chance as well. So what slows the machine for longer than a step slows all of a turn.
    With one thread the clock is the process's own, which other work on the machine does not move.

    Args:
        steps: name to what is to be timed; run twice beforehand, to warm up.
        reference: what each is divided by.
        repeats: rounds, at least 1.
        seed: of the order and of the bootstrap.
        reached: is told after each round how many are done.
        device: where steps run; a step has run when all its work there is done.
    """
    beside = {name: [timed.step, reference, *filter(None, [timed.by_hand])] for name, timed in steps.items()}
    for warm_up in [step for together in beside.values() for step in together] * 2:
        warm_up()
    draw, clock, settle = random.Random(seed), _clock(device), _settle(device)
    turns = [name for name, timed in steps.items() for _ in range(timed.turns)]
    found: dict[str, list[list[int]]] = {name: [] for name in steps}
    for done in range(1, repeats + 1):
        for name in draw.sample(turns, len(turns)):
            found[name].append(_turn(beside[name], draw, clock, settle))
            if (move := steps[name].move) is not None:
                move()
        reached(done)
    return {name: _summary(np.array(found[name]), bool(timed.move), seed) for name, timed in steps.items()}


def clock_name(device: torch.device = CPU) -> str:
    """What time is measured by: ``processor`` on a CPU with one thread, else ``wall``."""
    return "processor" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


def _clock(device: torch.device) -> Callable[[], int]:
    return time.process_time_ns if clock_name(device) == "processor" else time.perf_counter_ns


def _settle(device: torch.device) -> Callable[[], object]:
    """Waits until a device has done its work; a CPU has done so when a step returns."""
    return functools.partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None


@contextmanager
def quiet_process(threads: int) -> Iterator[None]:
    """A given number of threads, no garbage collection and no leftover random state, inside the context."""
    threads_before, had_gc = torch.get_num_threads(), gc.isenabled()
    gc.collect()
    gc.disable()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads_before)
        if had_gc:
            gc.enable()


def _turn(
    together: list[Step], draw: random.Random, clock: Callable[[], int], settle: Callable[[], object]
) -> list[int]:
    """Nanoseconds of steps that run one behind the other, in random order."""
    nanoseconds = [0] * len(together)
    for place in draw.sample(range(len(together)), len(together)):
        settle()
        start = clock()
        together[place]()
        settle()
        nanoseconds[place] = clock() - start
    return nanoseconds


def _summary(turns: np.ndarray, is_moving: bool, seed: int) -> Times:
    """Of nanoseconds ``(turns, 2 or 3)``: of the step, of the reference, of the update by hand if there is one."""
    own, *others = turns.T
    plain, *by_hand = (_beside(own, other, is_moving, seed) for other in others)
    average = np.mean if is_moving else np.median
    return Times(float(average(own)) / 1e9, plain, by_hand[0] if by_hand else None)


def _beside(own: np.ndarray, other: np.ndarray, is_moving: bool, seed: int) -> Beside:
    """Of nanoseconds ``(turns,)``."""
    ratio_of = _ratio_of_means if is_moving else _median_ratio
    draws = np.random.default_rng(seed).choice(len(own), (2000, len(own)))
    low, high = np.quantile(ratio_of(own[draws], other[draws]), (0.025, 0.975))
    average = np.mean if is_moving else np.median
    return Beside(float(average(other)) / 1e9, float(ratio_of(own, other)), float(low), float(high))


def _median_ratio(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.median(own / other, axis=-1)


def _ratio_of_means(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    return own.mean(axis=-1) / other.mean(axis=-1)
