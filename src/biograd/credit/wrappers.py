"""Data-parallel and compile wrappers, which stand around the net that a rule was made for."""

from torch import nn


def unwrap(net: nn.Module) -> nn.Module:
    """The net inside data-parallel and compile wrappers."""
    while True:
        if isinstance(net, nn.parallel.DistributedDataParallel):
            net = net.module
        elif is_compile_wrapper(net):
            net = net._modules["_orig_mod"]  # pyright: ignore[reportAssignmentType]
        else:
            return net


def is_compile_wrapper(module: nn.Module) -> bool:
    """Whether it is what torch.compile wraps a module in."""
    return "_orig_mod" in module._modules
