"""Data-parallel and compile wrappers, which stand around the net that a rule was made for."""

from collections.abc import Iterable

from torch import Tensor, nn

from biograd.errors import UnsupportedNet


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


def refuse_sharded(parameters: Iterable[Tensor]) -> None:
    """Refuse parameters that are split over processes: while the net runs other tensors stand in their place.

    Raises:
        UnsupportedNet: there is one.
    """
    for parameter in parameters:
        if type(parameter) is not nn.Parameter and type(parameter).__module__.startswith(
            "torch.distributed."
        ):
            raise UnsupportedNet(
                f"the net's parameters are split over processes ({type(parameter).__name__}s, as FSDP2's fully_shard "
                "makes them), and the rule would not see those that stand in their place while the net runs: use "
                "biograd.training.GradientSum, DistributedDataParallel under feedback rules, or the rule bp"
            )


def _inside(net: nn.Module) -> nn.Module | None:
    if isinstance(net, nn.parallel.DistributedDataParallel):
        return net.module
    return net._modules["_orig_mod"] if is_compile_wrapper(net) else None


def is_compile_wrapper(module: nn.Module) -> bool:
    """Whether it is what torch.compile wraps a module in."""
    return "_orig_mod" in module._modules
