"""Running blocks once more without a trace: buffers and random numbers stay as the first run left them."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from biograd.credit import replays
from biograd.credit.kinds import is_silent

_CONTAINERS: set[type[nn.Module]] = {nn.Sequential, nn.ModuleList}


RandomState = tuple[Tensor | None, Tensor | None]
"""States of the CPU's global generator and, on a GPU, of that GPU's; None where there is none to go back to."""


def random_state(device: torch.device) -> RandomState:
    """Where the global generators of the CPU and a device stand; a captured step, which draws once, may not ask."""
    if replays.is_captured():
        return None, None
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextlib.contextmanager
def without_side_effects(
    layers: Iterable[nn.Module], device: torch.device, start: RandomState | None = None
) -> Iterator[None]:
    """Let layers run inside the context, and find their buffers and the global generators as they were.

    Costs next to nothing where all layers are known to have no buffers and to draw nothing.

    Args:
        layers: those whose buffers are put back.
        device: whose generator is put back beside the CPU's.
        start: where the generators begin inside, so that an earlier run's random numbers are drawn again; None goes on
            from where they are.
    """
    torch.clear_autocast_cache()  # before PyTorch 2.10 weights cast in a first run without gradients would get none
    modules = [m for layer in layers if not is_silent(layer) for m in layer.modules()]
    if all(type(module) in _CONTAINERS or is_silent(module) for module in modules):
        yield
        return
    replays.refuse("runs layers that draw random numbers, or have buffers, a second time")
    kept = [(module, dict(module._buffers)) for module in modules if module._buffers]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            for module, buffers in kept:
                module._buffers.update(
                    {n: None if b is None else b.detach().clone() for n, b in buffers.items()}
                )
            _put_back(start, device)
            yield
        finally:
            for module, buffers in kept:
                module._buffers.clear()
                module._buffers.update(buffers)


def _put_back(start: RandomState | None, device: torch.device) -> None:
    of_host, of_device = start or (None, None)
    if of_host is not None:
        torch.set_rng_state(of_host)
    if of_device is not None:
        torch.cuda.set_rng_state(of_device, device)
