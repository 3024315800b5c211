"""Blocks of a chain: each runs on a detached input, so that nothing can leak between them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from biograd.credit.weights import unwrap
from biograd.errors import UnsupportedNet
from biograd.layers.label_places import LabelPlaces
from biograd.layers.length_norm import LengthNorm
from biograd.layers.locally_connected import LocallyConnected2d
from biograd.layers.locally_connected_transpose import LocallyConnectedTranspose2d

_WEIGHT_LAYERS = (
    nn.Linear,
    nn.modules.conv._ConvNd,
    LocallyConnected2d,
    LocallyConnectedTranspose2d,
    nn.Bilinear,
    nn.Embedding,
    nn.EmbeddingBag,
)
_LEADING = (
    LabelPlaces,
    LengthNorm,
    nn.Flatten,
    nn.Unflatten,
    nn.modules.dropout._DropoutNd,
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
    nn.modules.padding._CircularPadNd,
)
"""Layers that belong to the block after them."""

_CLOSING = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
"""Layers with parameters that belong to the block before them."""


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
        """The block's output."""
        return run_layers(self.layers, x)

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
        """The layers that make what the nonlinearity gets: to the opening one, and normalisations right behind it."""
        end = len(self.leading) + 1
        while end < len(self.layers) and isinstance(self.layers[end], _CLOSING):
            end += 1
        return self.layers[:end]

    @property
    def firing(self) -> tuple[nn.Module, ...]:
        """The layers behind those that drive: nonlinearity and pooling."""
        return self.layers[len(self.driving) :]

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all its layers."""
        for layer in self.layers:
            yield from layer.parameters()


def blocks(net: nn.Module) -> list[Block]:
    """Cut a flat or nested ``nn.Sequential`` into blocks.

    A block opens at a weight layer, or at any other child that holds parameters (a residual unit, a
    ``Sequential`` subclass with a forward of its own). Flattening, dropout and padding before it belong to it;
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
            "gradients: pass the net itself and use biograd.training.GradientAverage"
        )
    net = unwrap(net)
    if not _is_chain(net):
        raise UnsupportedNet(
            f"the net must be a chain (an nn.Sequential without hooks of its own) for a rule that teaches block by "
            f"block; got {type(net).__name__}. Rules for any net: bp, fa, usf, brsf, frsf, kp, wm"
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


def run_detached(chain: Sequence[Block], x: Tensor, record: Callable[[Block], bool]) -> list[Tensor]:
    """Run every block on the detached output of the one before.

    Args:
        chain: the blocks.
        x: a batch of inputs.
        record: whether a block's graph is wanted; a frozen block on a detached input has none.

    Returns:
        The output of each block, ``(batch, …)``; the values are bit for bit those of the net.
    """
    outputs = []
    for block in chain:
        with torch.set_grad_enabled(record(block)):
            x = block(spared(block, x.detach()))
        outputs.append(x)
    return outputs


def spared(block: Block, x: Tensor) -> Tensor:
    """The input of a block, or a copy where what leads the block would overwrite it: others read it later."""
    return x.clone() if _is_in_place(block.leading) else x


@dataclass(frozen=True)
class Passage:
    """A batch's way through one block, in one graph that ends at the block's input.

    Attributes:
        entry: the block's input, detached; signals go back to it but in the first block, below which is nothing.
        input: what the opening layer got: the entry, after the layers that lead the block.
        drive: what the opening layer gave.
        output: what the block gave.
    """

    entry: Tensor
    input: Tensor
    drive: Tensor
    output: Tensor

    def drive_signal(self, signal: Tensor) -> Tensor:
        """What the drive is told when the output is told ``signal``: its derivative through the layers between."""
        if self.drive is self.output:
            return signal
        return torch.autograd.grad(self.output, self.drive, signal, retain_graph=True)[0]

    def entry_signal(self, signal: Tensor) -> Tensor:
        """What the block's input is told when the opening layer's input is told ``signal``."""
        if self.input is self.entry:
            return signal
        return torch.autograd.grad(self.input, self.entry, signal, retain_graph=True)[0]


def run_through(chain: Sequence[Block], x: Tensor, record: Callable[[Block], bool]) -> list[Passage]:
    """As `run_detached`, and keep what signals need to travel back through the layers around each opening one.

    Args:
        chain: the blocks.
        x: a batch of inputs.
        record: whether a block's graph is wanted.
    """
    passages = []
    for block in chain:
        with torch.set_grad_enabled(record(block)):
            passages.append(_passage(block, x.detach(), is_first=block is chain[0]))
        x = passages[-1].output
    return passages


def _passage(block: Block, entry: Tensor, *, is_first: bool) -> Passage:
    if block.leading and not is_first and torch.is_grad_enabled() and entry.is_floating_point():
        entry.requires_grad_()
    x = run_layers(block.leading, spared(block, entry))
    # What leads the first block may learn too (a normalisation): it stays within the graph.
    drive = block.opening(x if is_first else x.detach())
    if torch.is_grad_enabled() and not drive.requires_grad:
        drive.requires_grad_()  # frozen weights: signals pass all the same
    return Passage(entry, x, drive, _run_unharmed(block.following, drive, block.name))


def _run_unharmed(layers: Sequence[nn.Module], drive: Tensor, name: str) -> Tensor:
    """The output of the layers, which may not overwrite the drive."""
    version = drive._version
    output = run_layers(layers, drive.clone() if _is_in_place(layers) else drive)
    if drive._version != version:
        raise UnsupportedNet(
            f"a layer behind {name!r} overwrites its input without an attribute inplace=True that says so: "
            "let it make a new tensor"
        )
    return output


def _is_in_place(layers: Sequence[nn.Module]) -> bool:
    return any(getattr(module, "inplace", False) for layer in layers for module in layer.modules())


def run_layers(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """The output of layers one behind the other."""
    for layer in layers:
        x = layer(x)
    return x


def teach(outputs: Sequence[Tensor], signals: Sequence[Tensor | None]) -> None:
    """Add to ``.grad`` in one backward from all outputs that were recorded and have a signal.

    Args:
        outputs: what `run_detached` gave.
        signals: derivative that each output is told, in the output's shape; None teaches nothing.
    """
    taught = [(h, s) for h, s in zip(outputs, signals, strict=True) if s is not None and h.requires_grad]
    if taught:
        torch.autograd.backward([h for h, _ in taught], [s for _, s in taught])


def _is_chain(module: nn.Module) -> bool:
    plain = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    hooks = (
        *(module._forward_pre_hooks, module._forward_hooks),
        *(module._backward_pre_hooks, module._backward_hooks),
    )
    return plain and not any(hooks)


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
        elif not found or isinstance(layer, _LEADING):
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
    if isinstance(layer, _WEIGHT_LAYERS):
        return True
    if isinstance(layer, _CLOSING):
        return False
    return any(parameter.dim() >= 2 for parameter in layer.parameters())


def output_shapes(chain: Sequence[Block], sample: Tensor | None) -> list[torch.Size]:
    """Shape of every block's output for one example.

    The blocks are run once in evaluation mode; training flags, buffers, random state and the sample stay as they
    were.

    Args:
        chain: the blocks.
        sample: one input with its batch dimension; may be None where the first layer is linear.

    Raises:
        UnsupportedNet: a sample is needed and there is none, or it does not fit.
    """
    x = _example(chain) if sample is None else sample[:1].detach().clone()  # in-place layers may overwrite it
    on_cuda = [x.device] if x.device.type == "cuda" else []  # forking every GPU's generator would warn
    shapes = []
    with _evaluating(chain), torch.no_grad(), torch.random.fork_rng(on_cuda):
        for block in chain:
            try:
                x = block(x)
            except (RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UnsupportedNet(f"the sample does not fit block {block.name!r}: {reason}") from error
            shapes.append(x.shape[1:])
    return shapes


def _example(chain: Sequence[Block]) -> Tensor:
    opening = chain[0].opening
    if not isinstance(opening, nn.Linear):
        raise UnsupportedNet(
            f"the shapes behind {type(opening).__name__} depend on the input: give one, sample=x[:1]"
        )
    return opening.weight.new_zeros((1, opening.in_features))


@contextmanager
def _evaluating(chain: Sequence[Block]) -> Iterator[None]:
    modules = [module for block in chain for layer in block.layers for module in layer.modules()]
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, flag in zip(modules, training, strict=True):
            module.training = flag
