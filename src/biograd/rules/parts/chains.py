"""Nets that rules teach block by block: cut, or refused with what would do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from torch import nn

from biograd.credit.chain.blocks import is_chain, is_plain_sequential
from biograd.credit.chain.cut_points import proposal
from biograd.credit.chain.insides import HiddenBackpropagation
from biograd.credit.chain.taught_chain import Reading, TaughtBlocks, TaughtChain, TaughtCuts
from biograd.credit.structures import require_tensor_for
from biograd.credit.wrappers import unwrap
from biograd.errors import UnsupportedNet, UserMistake
from biograd.settings import Meaning

Inside = Annotated[
    Literal["exact"] | None,
    Meaning(
        "``exact`` lets hidden blocks have several weight layers, between which errors are backpropagated: residual "
        "units, attention. Without it they are refused, and the last block may never have several"
    ),
]


CutPoints = Annotated[
    tuple[str, ...],
    Meaning(
        "cut points of a net that is no chain: names of modules whose outputs end blocks, in any order; the one that "
        "runs last gives the net's output; ``*`` stands for any text in one part of a name, ``embed,layers.*,head``. "
        "Inside a block errors pass exactly. Needs a sample"
    ),
]


def blocks_for_a_rule(
    net: nn.Module,
    sample: Any,
    inside: Inside,
    blocks: CutPoints,
    reading: Reading = "in sequence",
    *,
    several_outputs: bool = False,
) -> TaughtBlocks:
    """What gives the blocks of a net, and of others like it.

    Args:
        net: a chain, or any net where cut points are named.
        sample: one input, at cut points any structure of tensors; needed where there are any.
        inside: ``exact`` where hidden blocks of a chain may have several weight layers.
        blocks: the cut points, none for a chain.
        reading: what is asked of blocks at cut points.
        several_outputs: whether a net at cut points may give several tensors.

    Raises:
        UnsupportedNet: it is no chain, or cannot be cut where the user says, or a block has several weight layers and
            may not; the message names cut points that would do, and the rules for any net.
        UserMistake: cut points beside ``inside``, or without a sample.
    """
    with suggesting_rules_for_any_net():
        if not blocks:
            if sample is not None:
                require_tensor_for("a rule for a chain", sample)
            _require_chain(net)
            return _taught_chain(net, inside)
        if inside is not None:
            raise UserMistake(
                "inside='exact' is for chains, and blocks= names cut points, between which errors pass exactly anyway: "
                "leave one of them out"
            )
        return TaughtCuts(net, blocks, sample, reading, several_outputs=several_outputs)


def _taught_chain(net: nn.Module, inside: Inside) -> TaughtChain:
    try:
        return TaughtChain(net, exact_inside=inside == "exact")
    except HiddenBackpropagation as error:
        instead = proposal(unwrap(net))
        raise UnsupportedNet(f"{error}{f'; or {instead}' if instead else ''}") from None


def _require_chain(net: nn.Module) -> None:
    proper = unwrap(net)
    if (
        isinstance(net, nn.parallel.DistributedDataParallel)
        or is_chain(proper)
        or is_plain_sequential(proper)
    ):
        return  # what is wrong with these no cut points mend
    instead = proposal(proper)
    raise UnsupportedNet(
        "the net must be a chain (an nn.Sequential without hooks of its own) for a rule that teaches block by block, "
        f"or have named cut points; got {type(proper).__name__}{f': {instead}' if instead else ''}"
    )


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
