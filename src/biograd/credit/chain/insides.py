"""What lies inside a block: several weight layers are backpropagation in it, which no rule may pass off as its own."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from biograd.credit.chain.blocks import Block, is_plain_sequential, spared
from biograd.credit.eager import eagerly
from biograd.credit.isolation import isolated
from biograd.credit.kinds import kind_of, nearest_kind
from biograd.credit.products import ProductsWithWeights
from biograd.errors import UnsupportedNet, listed


class HiddenBackpropagation(UnsupportedNet):
    """Blocks of a chain have several weight layers, and may not."""


def refuse_hidden_backpropagation(chain: Sequence[Block], *, exact_inside: bool) -> None:
    """Refuse blocks with several weight layers, but hidden ones that are frozen: nothing learns there.

    Args:
        chain: the blocks of a net.
        exact_inside: whether hidden ones may have several, as the user said.

    Raises:
        HiddenBackpropagation: there are such; all are named, with what is in them and what would do.
    """
    found = {
        block: layers
        for block in chain
        if (learns(block) or block is chain[-1]) and len(layers := weight_layers(block)) > 1
    }
    if exact_inside:
        found = {block: layers for block, layers in found.items() if block is chain[-1]}
    if not found:
        return
    said = {
        block: f"{block.name!r} ({type(block.opening).__name__}) has {len(layers)} weight layers, {listed(layers, 4)}"
        for block, layers in found.items()
    }
    raise _refusal(said, chain[-1])


def learns(block: Block) -> bool:
    """Whether a parameter of a block learns."""
    return any(parameter.requires_grad for parameter in block.parameters())


def weight_layers(block: Block) -> list[str]:
    """The names of all that multiplies by a weight in a block.

    A layer of a known kind with a weight is one; so is any other parameter of two or more dimensions but those of
    normalisations, and a parametrised one whatever it is computed from.
    """
    return [
        f"{name}.{inner}".rstrip(".")
        for layer in block.layers
        for name in [block.name if layer is block.opening else type(layer).__name__]
        for inner in weights_within(layer)
    ]


def refuse_repeated_use(chain: Sequence[Block], x: Tensor, *, exact_inside: bool) -> None:
    """Refuse blocks that use one weight layer several times, as a recursion does: parameters do not show that.

    The net runs once more where it has layers of a make of their own, and is left as it was.

    Args:
        chain: the blocks of a net.
        x: a batch of inputs.
        exact_inside: whether hidden blocks may.

    Raises:
        UnsupportedNet: there are such.
    """
    suspects = {block for block in chain if (learns(block) or block is chain[-1]) and _may_repeat(block)}
    suspects = suspects & {chain[-1]} if exact_inside else suspects
    if not suspects:
        return
    modules = [layer for block in chain for layer in block.layers]
    with isolated(*modules, devices_of=x), torch.no_grad(), eagerly():
        uses = dict(_uses(chain, x.detach()))
    found = {block: count for block, count in uses.items() if block in suspects and count > 1}
    if not found:
        return
    said = {
        block: f"{block.name!r} ({type(block.opening).__name__}) multiplies by weights {count} times"
        for block, count in found.items()
    }
    raise _refusal(said, chain[-1])


def _uses(chain: Sequence[Block], x: Tensor) -> Iterator[tuple[Block, int]]:
    """Each block, and how many products with weights it computes."""
    for block in chain:
        x = spared(block, x)
        with ProductsWithWeights(block.layers) as products:
            x = block(x)
        yield block, products.count


def _may_repeat(block: Block) -> bool:
    """Whether a layer of the block has parts, or a forward that is neither a known one nor PyTorch's."""
    return any(
        any(True for _ in layer.children())
        or not (kind_of(layer) or type(layer).__module__.startswith("torch.nn."))
        for layer in block.layers
    )


def _refusal(said: dict[Block, str], last: Block) -> HiddenBackpropagation:
    """What is raised for blocks of which something was found."""
    blocks = "several blocks: " if len(said) > 1 else "the block "
    return HiddenBackpropagation(
        f"{blocks}{listed(list(said.values()), 3)}; errors would be backpropagated inside: "
        f"{_ways_out(list(said), last)}"
    )


def _ways_out(found: list[Block], last: Block) -> str:
    hooked = [repr(block.name) for block in found if is_plain_sequential(block.opening)]
    ways = []
    if hooked:
        ways.append(f"take the hooks off {listed(hooked)}, or put them on layers inside")
    if len(hooked) < len(found):
        ways.append("give the nn.Sequential the layers themselves")
    if last in found:
        return f"{', and '.join(ways)} (the last block may never have several, not even with inside='exact')"
    word = "inside='exact' (--rule.inside exact)"
    return f"{', and '.join(ways)}; or write {word} to let errors pass exactly inside hidden blocks"


def weights_within(module: nn.Module, prefix: str = "", seen: set[nn.Module] | None = None) -> Iterator[str]:
    """The names of weight layers in a module, which is the first of them itself where its name is empty."""
    seen = set() if seen is None else seen
    if module in seen:
        return
    seen.add(module)
    yield from (f"{prefix}{name}".rstrip(".") for name in _own_weights(module))
    for name, child in module.named_children():
        if name != "parametrizations" or not is_parametrized(module):
            yield from weights_within(child, f"{prefix}{name}.", seen)


def _own_weights(module: nn.Module) -> list[str]:
    """The weights that a module itself holds, the one of its kind under an empty name."""
    matrices = {name for name, dimensions in _dimensions(module).items() if dimensions >= 2}
    kind = nearest_kind(module)
    if kind is None or kind.place not in ("opens", "closes"):
        return sorted(matrices)
    beside = set() if kind_of(module) else matrices - {"weight", "bias"}  # used by a forward of its own
    return [""] * (kind.place == "opens") + sorted(beside)


def _dimensions(module: nn.Module) -> dict[str, int]:
    """Name to dimensions of a module's own parameters; those that one is computed from count as that one."""
    found: dict[str, int] = {}
    for name, parameter in module._parameters.items():
        if parameter is not None:
            name = _before_a_hook(name, module)
            found[name] = max(found.get(name, 0), parameter.dim())
    if is_parametrized(module):
        for name, originals in module.parametrizations.named_children():  # pyright: ignore
            found[name] = max((tensor.dim() for tensor in originals.parameters(recurse=False)), default=0)
    return found


def _before_a_hook(name: str, module: nn.Module) -> str:
    """What a parameter was called before the older weight_norm or spectral_norm, or pruning, took its place."""
    whole, _, suffix = name.rpartition("_")
    is_part = suffix == "orig" or (
        suffix in "gv" and {f"{whole}_g", f"{whole}_v"} <= module._parameters.keys()
    )
    return whole if whole and is_part else name
