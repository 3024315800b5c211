"""What decoders make of a batch: by hand where one is a unit, else in a graph."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit.back.decoders import require_fit
from biograd.credit.by_hand.remembered import Remembered
from biograd.credit.by_hand.unit import Trace, Unit
from biograd.credit.chain.blocks import cut_layers, flat_layers, is_chain
from biograd.credit.chain.ledger import Root

Looked = dict[nn.Module, Unit]
"""Decoders that were looked at in one call of a rule, in which nothing changes them, each with its unit."""


class OneUnit:
    """Gives a decoder as a unit, where it is one, without looking at it again for as long as nothing about it changes.

    It holds nothing of the decoder.
    """

    def __init__(self) -> None:
        self._remembered = Remembered()

    def of(self, decoder: nn.Module, z: Tensor, looked: Looked | None = None) -> Unit | None:
        """The unit; None where the decoder is more than that, or may not run by hand at this batch."""
        if looked is None:
            return self._looked_at(decoder, z)
        unit = looked.get(decoder)
        if unit is None or not _suits(unit, z):
            unit = self._looked_at(decoder, z)
            if unit is not None:
                looked[decoder] = unit
        return unit

    def _looked_at(self, decoder: nn.Module, z: Tensor) -> Unit | None:
        chain = self._remembered.of(decoder, z)
        if chain is None:
            if torch.compiler.is_compiling() or not is_chain(decoder):
                return None
            self._remembered.keep(decoder, cut_layers(list(flat_layers(decoder))))
            chain = self._remembered.of(decoder, z)
        if chain is None or len(chain) != 1:
            return None
        unit = chain[0].unit
        return unit if unit is not None and unit.takes(z) else None


def _suits(unit: Unit, z: Tensor) -> bool:
    """Whether a batch is of the kind that a unit was found for."""
    weight = unit.parameters[0]
    return type(z) is Tensor and z.dtype is weight.dtype and z.device == weight.device and unit.takes(z)


class Made(NamedTuple):
    """What a decoder made of a batch.

    Attributes:
        output: with its graph, or without one where there is a trace.
        trace: what teaches the decoder by hand.
    """

    output: Tensor
    trace: Trace | None

    def root(self, derivative: Tensor) -> Root:
        """What teaches the decoder, of the derivative of its loss by what it made."""
        return Root(self.output, derivative, trace=self.trace, is_alone=True)

    def root_at_drive(self, derivative: Tensor) -> Root:
        """As `root`, for a derivative that may be overwritten; by hand what the decoder made is no longer held."""
        if self.trace is None:
            return self.root(derivative)
        delta = self.trace.drive_signal(derivative, overwrites=True)
        return Root(delta, delta, trace=self.trace.at_drive(delta), is_alone=True)


class MadeEach(NamedTuple):
    """What a decoder made of several batches, in one call of vectors, or one each of maps.

    Joined maps would be copied into another layout; joined vectors need one call in place of several.

    Attributes:
        calls: what it made in each.
        outputs: of each batch, without a graph.
    """

    calls: list[Made]
    outputs: list[Tensor]

    def roots(self, derivatives: Sequence[Tensor]) -> list[Root]:
        """What teaches the decoder, of the derivatives of its loss by what it made; see `Made.root_at_drive`."""
        if len(self.calls) < len(derivatives):
            derivatives = [torch.cat([*derivatives])]
        return [call.root_at_drive(each) for call, each in zip(self.calls, derivatives, strict=True)]


def made(decoder: nn.Module, one: OneUnit, z: Tensor, wanted: Tensor, looked: Looked | None = None) -> Made:
    """What a decoder makes of a batch, ready to learn; to be called without recording gradients.

    Args:
        decoder: of a block.
        one: what remembers it.
        z: outputs of the block, ``(batch, …)``.
        wanted: inputs of the block, ``(batch, …)``.
        looked: what this call has looked at, where it asks of a decoder several times.

    Raises:
        UnsupportedNet: the decoder gives another shape.
    """
    unit = one.of(decoder, z, looked)
    if unit is None:
        with torch.enable_grad():
            found = Made(decoder(z), None)
    else:
        trace = unit.run(z)
        found = Made(trace.output, trace)
    require_fit(found.output, wanted)
    return found


def made_each(decoder: nn.Module, one: OneUnit, batches: Sequence[Tensor], wanted: Tensor) -> MadeEach:
    """What a decoder makes of several batches; as `made`."""
    if batches[0].dim() > 2:
        calls = [made(decoder, one, z, wanted) for z in batches]
        return MadeEach(calls, [call.output.detach() for call in calls])
    call = made(decoder, one, torch.cat([*batches]), wanted)
    return MadeEach([call], [*call.output.detach().split([len(z) for z in batches])])


def output_of(decoder: nn.Module, one: OneUnit, z: Tensor, looked: Looked | None = None) -> Tensor:
    """What a decoder makes of a batch, without a graph; to be called without recording gradients. See `made`."""
    unit = one.of(decoder, z, looked)
    return decoder(z) if unit is None else unit.run(z).output
