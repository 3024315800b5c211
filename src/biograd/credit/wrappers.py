"""Data-parallel and compile wrappers, which stand around the net that a rule was made for."""

from torch import nn


def unwrap(net: nn.Module) -> nn.Module:
    """The net inside data-parallel and compile wrappers."""
    while (inner := _inside(net)) is not None:
        net = inner
    return net


def data_parallel(net: nn.Module) -> nn.parallel.DistributedDataParallel | None:
    """The data-parallel wrapper around a net, inside or outside a compile wrapper; None where there is none."""
    inner: nn.Module | None = net
    while inner is not None:
        if isinstance(inner, nn.parallel.DistributedDataParallel):
            return inner
        inner = _inside(inner)
    return None


def _inside(net: nn.Module) -> nn.Module | None:
    if isinstance(net, nn.parallel.DistributedDataParallel):
        return net.module
    return net._modules["_orig_mod"] if is_compile_wrapper(net) else None


def is_compile_wrapper(module: nn.Module) -> bool:
    """Whether it is what torch.compile wraps a module in."""
    return "_orig_mod" in module._modules
