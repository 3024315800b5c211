"""Chains that rules teach: cut into blocks, or refused with the names of rules that take any net."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from biograd.credit.chain.blocks import Block, blocks
from biograd.errors import UnsupportedNet


def chain_for_a_rule(net: nn.Module) -> list[Block]:
    """The blocks of a net.

    Raises:
        UnsupportedNet: it is no chain; the message names the rules for any net.
    """
    with suggesting_rules_for_any_net():
        return blocks(net)


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
