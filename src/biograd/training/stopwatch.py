"""Seconds of training, without what is not training."""

import contextlib
import time
from collections.abc import Iterator

import torch


class Stopwatch:
    """Counts while a block runs, and not while a block inside it is paused.

    Args:
        device: whose queued work is waited for before the watch is read.

    Attributes:
        seconds: counted so far.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._device = device
        self._since: float | None = None  # None while it stands still

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Count what the block takes."""
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what the block takes, inside `running`; elsewhere nothing is counted anyway."""
        is_running = self._since is not None
        if is_running:
            self._stop()
        try:
            yield
        finally:
            self._since = time.perf_counter() if is_running else None

    def _stop(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        assert self._since is not None
        self.seconds += time.perf_counter() - self._since
        self._since = None
