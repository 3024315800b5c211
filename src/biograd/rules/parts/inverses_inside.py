"""Inverses of all the weights inside blocks that are no one layer: errors pass such a block as a whole."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit import late
from biograd.credit.back.inverses import Inverse, LearnedInverse
from biograd.credit.back.own_inverses import undoes_itself
from biograd.credit.back.weight_matrices import Reading, why_not_invertible
from biograd.credit.chain.blocks import Block, has_one_layer
from biograd.credit.chain.ledger import Root
from biograd.credit.chain.lesson import Lesson, Record
from biograd.credit.chain.passages import Passage, Run, run_through
from biograd.credit.chain.shapes import evaluating
from biograd.credit.eager import eagerly
from biograd.credit.feedback.loan import Loan
from biograd.credit.feedback.path import path_through
from biograd.credit.feedback.taught_call import OnCall, TaughtCall
from biograd.credit.feedback.weights import carrying_weights, exact_names
from biograd.credit.structures import copied, device_of, of_examples
from biograd.errors import NotFinite, UnsupportedNet, UserMistake
from biograd.rules.parts.chains import suggesting_rules_for_any_net
from biograd.rules.parts.inverse_strategies import Columns, InverseStrategy
from biograd.rules.parts.random_stream import RandomStream


class InversesInside(nn.Module):
    r"""An inverse for every weight inside blocks that errors pass as a whole, such as attention or a residual unit.

    Errors travel back through such a block as its derivative would carry them, with :math:`W^+` in place of
    :math:`W^T` at every weight. The block's own parameters learn by the exact derivative of its output.

    Args:
        chain: the blocks of a net.
        whole: places of those blocks, one or more; see `places_without_one_layer`.
        strategy: how each inverse is made.
        columns: with ``all`` every matrix must be square.
        exact: names of parameters, buffers or modules inside that carry errors exactly, or patterns.
        sample: one input, on which it is seen what the blocks do with their weights; without it the first call shows.
        stream: what learned inverses are drawn from.

    Raises:
        UnsupportedNet: a weight has no inverse, or is used in a way that none can stand for.
    """

    def __init__(
        self,
        chain: list[Block],
        whole: frozenset[int],
        strategy: InverseStrategy,
        columns: Columns,
        exact: Sequence[str],
        sample: Any,
        stream: RandomStream,
    ) -> None:
        super().__init__()
        self.whole, self._stream = whole, stream
        self._were_finite: dict[str, late.Late | None] = {}  # by block, of the last call
        with suggesting_rules_for_any_net():
            held = self._held(chain)
            self._exact = exact_names(held, exact)
            weights = carrying_weights(held, self._exact)
            self._readings = {name: _reading(held, name, weight, columns) for name, weight in weights.items()}
            self._readings = self._only_used(chain, sample)
        self.of = nn.ModuleList(
            strategy.inverse(name, reading.matrices(weights[name]), None, stream)
            for name, reading in self._readings.items()
        )

    def run(self, chain: list[Block], x: Any, record: Record, on_call: OnCall | None = None) -> Run:
        """A `biograd.credit.chain.lesson.Way`: the passages of these blocks are whole, and know what is lent to them.

        Args:
            chain: the blocks.
            x: a batch, any structure of tensors.
            record: which graphs are wanted.
            on_call: is called with each product with a weight inside.
        """
        held = self._held(chain)
        weights = self._weights(held)
        loan = Loan(weights, self._made)
        path = path_through(held, weights, loan.feedback, self._exact, on_call)
        with eagerly(), path:
            run = run_through(chain, x, record, self.whole, path)
        passages = [
            replace(p, loan=loan) if place in self.whole else p for place, p in enumerate(run.passages)
        ]
        path.check([passage.output for passage in passages if passage.loan])
        return Run.of(passages)

    def carried(self, name: str, passage: Passage, signal: Tensor) -> Tensor:
        """A signal at the output of a block that errors pass as a whole, at its input.

        Raises:
            NotFinite: it is not, or a weight inside is singular; on devices that are left free to run ahead this is
                told at the next call.
        """
        assert passage.loan is not None
        e = passage.carried(signal, passage.loan)
        is_finite, self._were_finite[name] = late.are_finite(e, self._were_finite.get(name))
        if not is_finite:
            raise NotFinite(
                f"the error sent back through the block {name!r}, or a weight in it, is not finite: look for inputs or "
                "a loss that are not, or lower the learning rate"
            )
        return e

    def lessons(self, lesson: Lesson) -> Iterator[Root]:
        """The lessons of learned inverses that stood for a weight in this lesson."""
        loan = lesson.passages[min(self.whole)].loan
        assert loan is not None
        for (name, reading), inverse in zip(self._readings.items(), self.of, strict=True):
            if isinstance(inverse, LearnedInverse) and name in loan.used:
                W, generator = reading.matrices(loan.weights[name]), self._stream.next(inverse.X.device)
                yield Root(*inverse.reconstruction(W, lesson.examples, generator), has_examples=False)

    def weights(self, chain: list[Block]) -> dict[str, Tensor]:
        """See `biograd.Rule.inverse_weights`."""
        weights = self._weights(self._held(chain))
        return {name: reading.matrices(weights[name]) for name, reading in self._readings.items()}

    def _weights(self, held: nn.Module) -> dict[str, Tensor]:
        weights = carrying_weights(held, self._exact)
        return {name: weights[name] for name in self._readings}

    def _made(self, name: str, weight: Tensor) -> Tensor:
        """The transpose of W⁺, in the layout of the weight."""
        reading = self._readings[name]
        inverse = self.of[list(self._readings).index(name)]
        assert isinstance(inverse, Inverse)
        return reading.weight(inverse.matrices(reading.matrices(weight), weight).mT, weight)

    def _held(self, chain: Sequence[Block]) -> nn.Module:
        """The modules that hold the blocks' weights, by their names in the net."""
        root = nn.Module()
        for place in sorted(self.whole):
            name, module = chain[place].holder
            around = root
            *outer, last = name.split(".")
            for part in outer:
                if part not in around._modules:
                    around.add_module(part, nn.Module())
                around = around.get_submodule(part)
            around.add_module(last, module)
        return root

    def _only_used(self, chain: list[Block], sample: Any) -> dict[str, Reading]:
        """Those of the weights that blocks multiply by on a sample: tokens and positions are only added."""
        if sample is None:
            return self._readings
        calls: list[TaughtCall] = []
        device = device_of(sample)
        on_cuda = [device] if device.type == "cuda" else []
        with evaluating(chain), torch.enable_grad(), torch.random.fork_rng(on_cuda):
            self.run(chain, copied(of_examples(sample, 1)), lambda block: True, calls.append)
        used = {call.name for call in calls}
        return {name: reading for name, reading in self._readings.items() if name in used}


def places_without_one_layer(chain: Sequence[Block], undo: str | None) -> frozenset[int]:
    """The places of blocks, but for the first, that errors do not just pass one layer of, whose weight is inverted.

    Such have several weights, a skip around one, one that is computed or that a forward of its own uses, or something
    before it that learns.

    Args:
        chain: the blocks.
        undo: the method of modules that undo themselves, which are none of them.
    """
    return frozenset(
        place
        for place, block in enumerate(chain)
        if place > 0
        and not undoes_itself(block, undo)
        and (
            not has_one_layer(block)
            or why_not_invertible(block.opening, block.name) is not None
            or any(parameter.requires_grad for parameter in block.leading_parameters())
        )
    )


def refuse_exact_names(exact: Sequence[str]) -> None:
    """Refuse names of what is to carry errors exactly where no block is passed as a whole.

    Raises:
        UserMistake: there are some.
    """
    if exact:
        raise UserMistake(
            f"exact names {exact[0]!r}, and it is for what lies inside blocks of several weights, of which the net has "
            "none above the first: leave it out"
        )


def _reading(held: nn.Module, name: str, weight: Tensor, columns: Columns) -> Reading:
    owner = held.get_submodule(name.rpartition(".")[0])
    reading = Reading.of(owner, name, weight)
    fan_in, out = reading.matrices(weight).shape[-2:]
    if columns == "all" and fan_in != out:
        raise UnsupportedNet(
            f"the weight {name!r} takes {fan_in} numbers to {out}, and form.columns = all needs square ones: take used"
        )
    return reading
