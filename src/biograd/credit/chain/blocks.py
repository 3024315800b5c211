"""Blocks of a chain: each runs on a detached input, so that nothing can leak between them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from biograd.credit.kinds import Place, nearest_kind
from biograd.credit.structures import require_tensor_from
from biograd.credit.wrappers import unwrap
from biograd.errors import UnsupportedNet


@dataclass(frozen=True)
class Block:
    """A part of a chain that learns from one teaching signal at its output.

    Attributes:
        name: the name of the layer that opens it, as in ``net.named_modules()``.
        layers: its modules, in order.
        opening: the layer that opens it.
    """

    name: str
    layers: tuple[nn.Module, ...]
    opening: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        """The block's output.

        Raises:
            UnsupportedNet: it is no single tensor.
        """
        output = run_layers(self.layers, x)
        require_tensor_from(f"the block {self.name!r}", output)
        return output

    @property
    def leading(self) -> tuple[nn.Module, ...]:
        """The layers before the opening one."""
        return self.layers[: self.layers.index(self.opening)]

    @property
    def following(self) -> tuple[nn.Module, ...]:
        """The layers behind the opening one."""
        return self.layers[self.layers.index(self.opening) + 1 :]

    @property
    def driving(self) -> tuple[nn.Module, ...]:
        """The layers that make the drive: up to the opening one, and normalisations right behind it."""
        end = len(self.leading) + 1
        while end < len(self.layers) and _place(self.layers[end]) == "closes":
            end += 1
        return self.layers[:end]

    @property
    def firing(self) -> tuple[nn.Module, ...]:
        """The layers behind the drive: nonlinearity and pooling."""
        return self.layers[len(self.driving) :]

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all its layers."""
        for layer in self.layers:
            yield from layer.parameters()


def blocks(net: nn.Module) -> list[Block]:
    """Cut a flat or nested ``nn.Sequential`` into blocks.

    A block opens at a weight layer, or at any other child that holds parameters (a residual unit, a
    ``Sequential`` subclass with a forward of its own), which may be more than a rule takes; see
    `biograd.credit.chain.insides`. Flattening, dropout and padding before it belong to it;
    normalisation, nonlinearity and pooling after it belong to it too.

    Raises:
        UnsupportedNet: the net is no chain, or nothing in it has weights.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(), nn.Linear(3, 2))
        >>> [(block.name, len(block.layers)) for block in blocks(net)]
        [('0', 2), ('3', 2)]
    """
    if isinstance(net, nn.parallel.DistributedDataParallel):
        raise UnsupportedNet(
            "a rule that teaches block by block bypasses DistributedDataParallel, which would not average its "
            "gradients: pass the net itself and use biograd.training.GradientSum"
        )
    net = unwrap(net)
    if not _is_chain(net):
        hooked = " with a hook: take it off, or put it on a layer" if is_plain_sequential(net) else ""
        raise UnsupportedNet(
            f"the net must be a chain (an nn.Sequential without hooks of its own) for a rule that teaches block by "
            f"block; got {type(net).__name__}{hooked}"
        )
    found = _cut(list(_flatten(net)))
    if not found:
        raise UnsupportedNet("the chain has no layer with weights")
    for block in found:
        if any(isinstance(parameter, nn.UninitializedParameter) for parameter in block.parameters()):
            raise UnsupportedNet(
                f"{block.name!r} has no shape yet: pass one batch through the net before making the rule"
            )
    return found


def layers_of(chain: Iterable[Block]) -> list[nn.Module]:
    """The layers of all blocks, in order."""
    return [layer for block in chain for layer in block.layers]


def is_plain_sequential(module: nn.Module) -> bool:
    """Whether it is an ``nn.Sequential`` with no forward of its own; one with hooks is a unit all the same."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _is_chain(module: nn.Module) -> bool:
    hooks = (
        *(module._forward_pre_hooks, module._forward_hooks),
        *(module._backward_pre_hooks, module._backward_hooks),
    )
    return is_plain_sequential(module) and not any(hooks)


def _flatten(net: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in net._modules.items():
        if child is None:
            continue
        if _is_chain(child):
            yield from _flatten(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _cut(layers: list[tuple[str, nn.Module]]) -> list[Block]:
    found: list[Block] = []
    waiting: list[nn.Module] = []  # layers that lead the next block, if one opens right behind them
    for name, layer in layers:
        if _opens(layer):
            found.append(Block(name, (*waiting, layer), layer))
            waiting = []
        elif not found or _place(layer) == "leads":
            waiting.append(layer)
        else:
            found[-1] = _extended(found[-1], *waiting, layer)
            waiting = []
    if found:
        found[-1] = _extended(found[-1], *waiting)
    return found


def _extended(block: Block, *layers: nn.Module) -> Block:
    return Block(block.name, (*block.layers, *layers), block.opening)


def _opens(layer: nn.Module) -> bool:
    """Whether a block begins at a layer: one with weights, or anything else that holds a matrix."""
    place = _place(layer)
    if place in ("opens", "closes"):
        return place == "opens"
    return any(parameter.dim() >= 2 for parameter in layer.parameters())


def _place(layer: nn.Module) -> Place | None:
    kind = nearest_kind(layer)
    return None if kind is None else kind.place


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """The output of layers that run one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def spared(block: Block, x: Tensor) -> Tensor:
    """The input of a block, or a copy where a leading layer would overwrite it, since others read it later."""
    return x.clone() if is_in_place(block.leading) else x


def is_in_place(layers: Sequence[nn.Module]) -> bool:
    """Whether one of the layers overwrites its input and says so."""
    return any(getattr(module, "inplace", False) for layer in layers for module in layer.modules())
