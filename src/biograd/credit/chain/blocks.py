"""Blocks of a chain: each runs on a detached input, so that nothing can leak between them."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from biograd.credit.by_hand.unit import Unit
from biograd.credit.kinds import Place, nearest_kind, nearest_weight
from biograd.credit.structures import map_tensors, require_tensor_from
from biograd.credit.wrappers import refuse_sharded, unwrap
from biograd.errors import UnsupportedNet, listed

_IN_SEQUENCE = nn.Sequential.forward  # another may be put on the class too


class Stretch(Protocol):
    """What runs a block that is no list of layers: the part of a net between two cut points."""

    parameters: tuple[nn.Parameter, ...]
    """What its output depends on."""

    leading: tuple[nn.Parameter, ...]
    """Those of them that what the opening layer gets depends on."""

    ending: tuple[str, nn.Module]
    """The module whose output ends it, in which all that multiplies by weights is, and its name."""

    besides: str
    """What else it is than that module on what the block before gave, in words; empty if nothing."""

    has_one_layer: bool
    """Whether the opening layer is one with weights, through which all of the input passes."""

    def __call__(self, x: Any) -> Tensor:
        """The block's output."""
        ...


@dataclass(frozen=True)
class Block:
    """A part of a net that learns from one teaching signal at its output.

    Attributes:
        name: the name of the layer that opens it, as in ``net.named_modules()``; at named cut points the name of the
            module that ends it, unless one layer with weights opens it.
        layers: its modules, in order; of a stretch those that run in it, whose order says nothing.
        opening: the layer that opens it.
        stretch: what runs it where it is no list of layers, else None.
        unit: its derivatives by formula, where they are known and may be used at this batch, else None.

    Example:
        >>> block = blocks(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh()))[0]
        >>> block.name, block.leading, block.opening, block.following
        ('1', (Flatten(start_dim=1, end_dim=-1),), Linear(in_features=4, out_features=3, bias=True), (Tanh(),))
    """

    name: str
    layers: tuple[nn.Module, ...]
    opening: nn.Module
    stretch: Stretch | None = None
    unit: Unit | None = field(default=None, compare=False)

    def __call__(self, x: Any) -> Tensor:
        """The block's output; the input of a first one at named cut points may be any structure of tensors.

        Raises:
            UnsupportedNet: it is no single tensor.
        """
        output = run_layers(self.layers, x) if self.stretch is None else self.stretch(x)
        require_tensor_from(f"the block {self.name!r}", output)
        return output

    def by_hand(self, x: Tensor) -> Unit | None:
        """Its unit, where that takes the input."""
        return self.unit if self.unit is not None and self.unit.takes(x) else None

    @property
    def leading(self) -> tuple[nn.Module, ...]:
        """The layers before the opening one; none are known of a stretch."""
        return () if self.stretch else self.layers[: self.layers.index(self.opening)]

    @property
    def following(self) -> tuple[nn.Module, ...]:
        """The layers behind the opening one; none are known of a stretch."""
        return () if self.stretch else self.layers[self.layers.index(self.opening) + 1 :]

    @property
    def driving(self) -> tuple[nn.Module, ...]:
        """The layers that make the drive: up to the opening one, and normalisations right behind it."""
        if self.stretch:
            return self.layers
        end = len(self.leading) + 1
        while end < len(self.layers) and _place(self.layers[end]) == "closes":
            end += 1
        return self.layers[:end]

    @property
    def firing(self) -> tuple[nn.Module, ...]:
        """The layers behind the drive: nonlinearity and pooling."""
        return self.layers[len(self.driving) :]

    @property
    def holder(self) -> tuple[str, nn.Module]:
        """The name of a module in which all of the block's weight matrices are, and the module."""
        return (self.name, self.opening) if self.stretch is None else self.stretch.ending

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of all its layers, or of its stretch."""
        if self.stretch is not None:
            yield from self.stretch.parameters
            return
        for layer in self.layers:
            yield from layer.parameters()

    def leading_parameters(self) -> Iterator[nn.Parameter]:
        """Those before its opening layer, which the input of that depends on."""
        if self.stretch is not None:
            yield from self.stretch.leading
            return
        for layer in self.leading:
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
    refuse_data_parallel(net)
    net = unwrap(net)
    if not is_chain(net):
        refuse_sharded(net.parameters())
        hooked = " with a hook: take it off, or put it on a layer" if is_plain_sequential(net) else ""
        raise UnsupportedNet(
            f"the net must be a chain (an nn.Sequential without hooks of its own) for a rule that teaches block by "
            f"block; got {type(net).__name__}{hooked}"
        )
    found = cut_layers(list(flat_layers(net)))
    if not found:
        raise UnsupportedNet("the chain has no layer with weights")
    for block in found:
        refuse_sharded(block.parameters())
        if any(isinstance(parameter, nn.UninitializedParameter) for parameter in block.parameters()):
            raise UnsupportedNet(
                f"{block.name!r} has no shape yet: pass one batch through the net before making the rule"
            )
    return found


def require_layers(chain: Iterable[Block], what: str) -> None:
    """Refuse blocks that are no lists of layers, of which one opens each.

    Raises:
        UnsupportedNet: there is one.
    """
    for block in chain:
        if block.stretch is not None:
            raise UnsupportedNet(f"{what} needs to know the layers of each block, and {_why_unknown(block)}")


def _why_unknown(block: Block) -> str:
    name, module = block.holder
    besides = block.stretch.besides if block.stretch else ""
    if besides and is_one_layer_of_weights(layers_of_module(name, module)):
        return (
            f"in that of {name!r} ({type(module).__name__}) there is {besides} too: name an "
            "nn.Sequential that has this as a layer"
        )
    return (
        f"the block of {block.name!r} ({type(block.opening).__name__}) is not one layer with weights and others in an "
        "nn.Sequential: functions in a forward, and several layers with weights, are not known; name such an "
        "nn.Sequential"
    )


def has_one_layer(block: Block) -> bool:
    """Whether all of a block's input passes one layer with weights, that which opens it."""
    return nearest_weight(block.opening) is not None if block.stretch is None else block.stretch.has_one_layer


def require_nothing_learns_before(
    chain: Sequence[Block], net: nn.Module, whole: Collection[int] = ()
) -> None:
    """Refuse parameters between a cut point and the layer that opens the next block, where signals pass untaught.

    Args:
        chain: the blocks of the net; what leads the first one is taught with it.
        net: without wrappers.
        whole: places of blocks that signals pass as a whole, which leave nothing untaught.

    Raises:
        UnsupportedNet: there are such that learn.
    """
    names = {parameter: name for name, parameter in net.named_parameters()}
    for place, (below, block) in enumerate(itertools.pairwise(chain), start=1):
        if place in whole:
            continue
        untaught = [names[parameter] for parameter in block.leading_parameters() if parameter.requires_grad]
        if untaught:
            raise UnsupportedNet(
                f"{listed([repr(name) for name in untaught], 4)} between the blocks {below.name!r} and {block.name!r} "
                "would learn nothing: freeze them, or name a module in blocks that holds them behind the layer before"
            )


def refuse_data_parallel(net: nn.Module) -> None:
    """Refuse a wrapper whose averaging a rule for blocks would go past.

    Raises:
        UnsupportedNet: it is DistributedDataParallel.
    """
    if isinstance(net, nn.parallel.DistributedDataParallel):
        raise UnsupportedNet(
            "a rule that teaches block by block bypasses DistributedDataParallel, which would not average its "
            "gradients: pass the net itself and use biograd.training.GradientSum"
        )


def layers_of(chain: Iterable[Block]) -> list[nn.Module]:
    """The layers of all blocks, in order."""
    return [layer for block in chain for layer in block.layers]


def is_plain_sequential(module: nn.Module) -> bool:
    """Whether it is an ``nn.Sequential`` with no forward of its own; one with hooks is a unit all the same."""
    return (
        isinstance(module, nn.Sequential)
        and type(module).forward is _IN_SEQUENCE
        and type(module).__call__ is nn.Module.__call__
        and "forward" not in module.__dict__
    )


def is_chain(module: nn.Module) -> bool:
    """Whether it is an ``nn.Sequential`` without a forward or hooks of its own."""
    hooks = (
        *(module._forward_pre_hooks, module._forward_hooks),
        *(module._backward_pre_hooks, module._backward_hooks),
    )
    return is_plain_sequential(module) and not any(hooks)


def flat_layers(net: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested chains by name, in order."""
    for name, child in net._modules.items():
        if child is None:
            continue
        if is_chain(child):
            yield from flat_layers(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def layers_of_module(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a chain by name, in order; of any other module itself."""
    return list(flat_layers(module, f"{name}.")) if is_chain(module) else [(name, module)]


def is_one_layer_of_weights(layers: list[tuple[str, nn.Module]]) -> bool:
    """Whether layers one after another make one block, which opens at a layer of a known kind."""
    found = cut_layers(layers)
    return len(found) == 1 and nearest_weight(found[0].opening) is not None


def cut_layers(layers: list[tuple[str, nn.Module]]) -> list[Block]:
    """Cut layers that run one after another, each with its name, into blocks."""
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


def run_layers(layers: Iterable[nn.Module], x: Any) -> Tensor:
    """The output of layers that run one after the other."""
    for layer in layers:
        x = layer(x)
    return x


def spared(block: Block, x: Any) -> Any:
    """The input of a block, or a copy where a leading layer would overwrite it, since others read it later."""
    return (
        map_tensors(Tensor.clone, x) if is_in_place(block.layers if block.stretch else block.leading) else x
    )


def is_in_place(layers: Sequence[nn.Module]) -> bool:
    """Whether one of the layers overwrites its input and says so."""
    return any(getattr(module, "inplace", False) for layer in layers for module in layer.modules())
