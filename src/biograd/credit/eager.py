"""Looking at a net once, before compiled code hides what it does."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from biograd.errors import UnsupportedNet

LOOKS_FIRST = (
    "the first call of a rule looks at what the net does with its weights, and at the loss, which a compiler hides: "
    "call assign_credit once before compiling what calls it"
)


@contextmanager
def eagerly() -> Iterator[None]:
    """Run compiled parts as plain Python inside the context.

    Raises:
        UnsupportedNet: within a function that is being compiled, or was.
    """
    if torch.compiler.is_compiling():
        raise UnsupportedNet(LOOKS_FIRST)
    if "torch._dynamo" not in sys.modules:  # nothing has been compiled
        yield
        return
    try:
        stance = torch.compiler.set_stance("force_eager")
    except RuntimeError:  # within a function that is compiled
        raise UnsupportedNet(LOOKS_FIRST) from None
    with stance:
        yield
