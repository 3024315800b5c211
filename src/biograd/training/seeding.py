"""Where a run's random numbers come from, and what of the process they depend on."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@contextlib.contextmanager
def settled(
    *, seed: int, threads: int, deterministic: bool = True, device: torch.device | None = None
) -> Iterator[None]:
    """Run a block in a process state that only the arguments decide, and put the caller's back after.

    Sets the global generators' seed, the threads within an operation, the default dtype (float32), the
    gradient mode and PyTorch's deterministic algorithms.

    Args:
        seed: of the global generators, which dropout draws from.
        threads: how many threads an operation may use; other numbers give other bits.
        deterministic: refuse operations whose bits vary from call to call.
        device: whose generator to seed and restore besides the CPU's.
    """
    on_cuda = device is not None and device.type == "cuda"
    with (
        torch.random.fork_rng(devices=[device] if on_cuda else []),
        torch.inference_mode(False),
        torch.enable_grad(),
        _threads(threads),
        _default_dtype(torch.float32),
        _deterministic(deterministic, on_cuda),
    ):
        torch.manual_seed(seed)
        yield


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of the global generators that training on ``device`` draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps":
        torch.mps.set_rng_state(states["mps"])


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _deterministic(wanted: bool, on_cuda: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    if wanted and on_cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS varies without it
    torch.use_deterministic_algorithms(wanted)
    memory.fill_uninitialized_memory = False  # costs a write of every new tensor
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill
