"""Chains that rules teach: cut into blocks, or refused with the names of rules that take any net."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from torch import nn

from biograd.credit.chain.taught_chain import TaughtChain
from biograd.errors import UnsupportedNet
from biograd.settings import Meaning

Inside = Annotated[
    Literal["exact"] | None,
    Meaning(
        "``exact`` lets hidden blocks have several weight layers, between which errors are backpropagated: residual "
        "units, attention. Without it they are refused, and the last block may never have several"
    ),
]


def chain_for_a_rule(net: nn.Module, inside: Inside) -> TaughtChain:
    """What gives the blocks of a net, and of others like it.

    Raises:
        UnsupportedNet: it is no chain, or a block has several weight layers and may not; the message names the rules
            for any net.
    """
    with suggesting_rules_for_any_net():
        return TaughtChain(net, exact_inside=inside == "exact")


@contextmanager
def suggesting_rules_for_any_net() -> Iterator[None]:
    """Add the names of the rules for any net to what is refused inside."""
    try:
        yield
    except UnsupportedNet as error:
        raise UnsupportedNet(f"{error}. Rules for any net: {', '.join(rules_for_any_net())}") from error


def rules_for_any_net() -> list[str]:
    """The names of biograd's own rules that declare to teach any net."""
    from biograd import rules  # at the time of an error: it imports every rule

    return [name for name in rules.REGISTRY.built_in() if rules.REGISTRY.find(name).nets == "any"]
