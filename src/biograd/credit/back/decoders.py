"""Decoders: modules that map the output of a block back to its input, each with weights of its own."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.named_chain import NamedChain
from biograd.credit.chain.shapes import output_shapes, run_once
from biograd.errors import UnsupportedNet, UserMistake
from biograd.registry import Registry
from biograd.user_files import lines_of

REGISTRY = Registry(
    "decoder",
    {
        "mirror": "biograd.credit.back.mirror:mirror",
        "transpose": "biograd.credit.back.transpose:transpose",
        "mlp": "biograd.credit.back.mlp:mlp",
    },
    group="biograd.decoders",
)
"""Ways to make decoders, by name; each is a `Decoder`."""


@dataclass(frozen=True)
class Site:
    """Where a decoder is wanted.

    Attributes:
        block: whose inverse it is to be.
        below: the block before it, whose output the decoder gives back.
        shapes: what one example looks like before the block's first layer and behind each of its layers, or behind the
            whole block where it is no list of layers.
        auxiliary: how many numbers the decoder also reads, behind the block's outputs in dimension 1.
        is_named: whether the block ends at a cut point that the user named, so that its layers may not be known.
    """

    block: Block
    below: Block
    shapes: tuple[torch.Size, ...]
    auxiliary: int = 0
    is_named: bool = False

    @property
    def given(self) -> torch.Size:
        """Shape of what the decoder reads for one example."""
        outputs = self.shapes[-1]
        return torch.Size((outputs[0] + self.auxiliary, *outputs[1:]))

    @property
    def wanted(self) -> torch.Size:
        """Shape of what it gives back."""
        return self.shapes[0]


Decoder = Callable[[Site], nn.Module]
"""Makes the decoder of a block: a module that maps ``(batch, *site.given)`` to ``(batch, *site.wanted)``.

It may read the block's layers but must not keep them or their tensors: a rule holds nothing of the net. What it
draws from the global random number generator is a function of the rule's seed, and leaves the generator alone. The
module must treat every example of a batch alone.
"""


def sites(chain: Sequence[Block], sample: Any) -> list[Site]:
    """Where the decoders of all blocks but the first stand, in the order of the chain.

    Args:
        chain: the blocks of a net.
        sample: one input with its batch dimension, at named cut points any structure of tensors; may be None where the
            first layer is linear.

    Raises:
        UnsupportedNet: a sample is needed and there is none, or it does not fit.
    """
    if isinstance(chain, NamedChain) and sample is not None:
        run_once(chain, sample)  # blocks that run alone are parts of the net on this input
    parts = [_parts(block) for block in chain]
    shapes = output_shapes([part for inner in parts for part in inner], sample)
    found, start, is_named = [], len(parts[0]), isinstance(chain, NamedChain)
    for (below, block), inner in zip(itertools.pairwise(chain), parts[1:], strict=True):
        stop = start + len(inner)
        found.append(Site(block, below, tuple(shapes[start - 1 : stop]), is_named=is_named))
        start = stop
    return found


def _parts(block: Block) -> list[Block]:
    """Its layers one by one; a stretch is one part."""
    return (
        [block] if block.stretch else [Block(block.name, (layer,), block.opening) for layer in block.layers]
    )


def make_decoders(places: Sequence[Site], decoder: str | Decoder, seed: int) -> nn.ModuleList:
    """Make a decoder for every site, each tried once.

    Args:
        places: where; dtype and device are those of each block's parameters.
        decoder: how, or the name of it in `REGISTRY`; see `Decoder`.
        seed: of whatever is drawn.

    Raises:
        UnsupportedNet: a block cannot be mirrored.
        UserMistake: an unknown name, or a decoder that does not give the block's input.
    """
    name, make = (decoder, REGISTRY.find(decoder)) if isinstance(decoder, str) else (_name(decoder), decoder)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return nn.ModuleList(_made(name, make, site) for site in places)


def require_fit(back: Tensor, wanted: Tensor) -> None:
    """Refuse what a decoder gives for inputs of another size than the rule was made for.

    Args:
        back: what it gives, ``(batch, …)``.
        wanted: what it is to give back, ``(batch, …)``.

    Raises:
        UnsupportedNet: their examples differ in shape.
    """
    if back.shape[1:] != wanted.shape[1:]:
        raise UnsupportedNet(
            f"a decoder gives back {tuple(back.shape[1:])} where its block was given {tuple(wanted.shape[1:])}: it was "
            "made for inputs of the sample's size; make the rule with a sample of this size"
        )


def _name(decoder: Decoder) -> str:
    return getattr(decoder, "__name__", type(decoder).__name__)


def _made(name: str, make: Decoder, site: Site) -> nn.Module:
    if not site.shapes[-1]:
        raise UnsupportedNet(
            f"block {site.block.name!r} gives one number an example, (batch,), and a decoder reads (batch, 1): leave "
            "out what drops the last axis, and drop it in the loss"
        )
    try:
        module = make(site)
    except TypeError as error:
        raise UserMistake(
            f"decoder {name!r} cannot be called with a Site for block {site.block.name!r}: {error}; expected a "
            "function of one argument that makes an nn.Module",
            lines_of(error),
        ) from error
    if not isinstance(module, nn.Module):
        raise UserMistake(
            f"decoder {name!r} made a {type(module).__name__} for block {site.block.name!r}, expected an nn.Module"
        )
    like = next(site.block.parameters())
    module = module.to(device=like.device, dtype=like.dtype)
    given, wanted = (2, *site.given), (2, *site.wanted)
    shape = _tried(name, module, like.detach().new_zeros(given), site)
    if shape != wanted:
        raise UserMistake(
            f"decoder {name!r} of block {site.block.name!r} gives {shape} for {given}, expected the shape of the "
            f"block's input, {wanted}"
        )
    return module


def _tried(name: str, module: nn.Module, x: Tensor, site: Site) -> tuple[int, ...]:
    """Shape of what a decoder gives, run in evaluation mode, so that statistics stay as they are."""
    flags = [(part, part.training) for part in module.modules()]
    try:
        with torch.no_grad():
            return tuple(module.eval()(x).shape)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserMistake(
            f"decoder {name!r} of block {site.block.name!r} does not take {tuple(x.shape)}: {reason}",
            lines_of(error),
        ) from error
    finally:
        for part, flag in flags:
            part.training = flag
