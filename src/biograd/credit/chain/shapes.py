"""Shapes of what the blocks of a chain give, found by running one example."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.named_chain import NamedChain
from biograd.credit.kinds import input_shape
from biograd.credit.structures import copied, device_of, of_examples
from biograd.errors import UnsupportedNet


def output_shapes(chain: Sequence[Block], sample: Any) -> list[torch.Size]:
    """Shape of every block's output for one example.

    The blocks are run once in evaluation mode; training flags, buffers, random state and the sample stay as they
    were.

    Args:
        chain: the blocks.
        sample: one input with its batch dimension, of parts of a net at named cut points any structure of tensors; may
            be None where the first layer is linear, and is not read where the net has named cut points.

    Raises:
        UnsupportedNet: a sample is needed and there is none, or it does not fit.
    """
    if isinstance(chain, NamedChain):
        return chain.shapes
    # in-place layers may overwrite it
    x = _example(chain) if sample is None else copied(of_examples(sample, 1))
    device = device_of(x)
    on_cuda = [device] if device.type == "cuda" else []  # forking every GPU's generator would warn
    shapes = []
    with evaluating(chain), torch.no_grad(), torch.random.fork_rng(on_cuda):
        for block in chain:
            try:
                x = block(x)
            except (RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise UnsupportedNet(f"the sample does not fit block {block.name!r}: {reason}") from error
            shapes.append(x.shape[1:])
    return shapes


def run_once(chain: NamedChain, sample: Any) -> None:
    """Run a net at named cut points on one example, as `output_shapes` runs blocks."""
    device = device_of(sample)
    on_cuda = [device] if device.type == "cuda" else []
    with evaluating(chain), torch.no_grad(), torch.random.fork_rng(on_cuda):
        chain.run(copied(of_examples(sample, 1)), lambda block: False)


def _example(chain: Sequence[Block]) -> Tensor:
    opening: Any = chain[0].opening
    shape = input_shape(opening)
    if shape is None:
        raise UnsupportedNet(
            f"the shapes behind {type(opening).__name__} depend on the input: give one, sample=x[:1]"
        )
    return next(opening.parameters()).new_zeros((1, *shape))  # a computed weight would be computed anew


@contextmanager
def evaluating(chain: Sequence[Block]) -> Iterator[None]:
    """Let blocks run in evaluation mode inside the context; flags are put back, also after an exception."""
    modules = [module for block in chain for layer in block.layers for module in layer.modules()]
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, flag in zip(modules, training, strict=True):
            module.training = flag
