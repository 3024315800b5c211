"""Small steps of targets through inverses, or the limit of ever smaller ones: what ITP and GAIT-prop have in common."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.passages import Passage
from biograd.errors import UserMistake
from biograd.rules.block_rule import Lesson, Root
from biograd.rules.inverse_rule import TOLERANCE, Columns, InverseRule, LinearisedInverses, Strategy
from biograd.rules.target_chain import MARGIN, TargetChain


class IncrementalRule(InverseRule):
    r"""Targets that are small steps, :math:`t_{l-1} = g_l(y_l + \text{step})`, or the limit of step size zero.

    Args:
        net: a chain; see `InverseRule`.
        name: of the rule, for messages.
        form: ``linearised`` for the limit; any other has targets.
        gamma: step size, for a form with targets alone.
        inverse: exact, kept or learned; kept unless given, and for targets exact alone.
        columns: see `LinearisedInverses`; used unless given, and for targets all alone.
        tolerance: of kept inverses, for those alone.
        margin: see `biograd.credit.back.invertible_blocks.bijection`; None for the usual one.
        **shared: the settings of `InverseRule`.

    Attributes:
        inverses: of the linearised form, else None.

    Raises:
        UnsupportedNet: the net does not have what the form needs.
        UserMistake: settings that do not go together.
    """

    def __init__(
        self,
        net: nn.Module,
        name: str,
        *,
        form: str,
        gamma: float | None,
        inverse: Strategy | None,
        columns: Columns | None,
        tolerance: float | None,
        margin: float | None,
        **shared: Any,
    ) -> None:
        super().__init__(net, **shared)
        _require_fitting(name, form, gamma, inverse, columns, tolerance)
        self.inverses = self._targets = None
        if form == "linearised":
            self.inverses = LinearisedInverses(
                net, inverse or "kept", columns or "used", tolerance or TOLERANCE, self._stream
            )
            self._used = self.inverses.used
        else:
            self._targets = TargetChain(net, margin or MARGIN, self.next_target, f"{name} with form={form!r}")

    @abstractmethod
    def next_target(self, y: Tensor, t: Tensor, derivative: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        """What is undone to give the target of the block below, and the weight m of its local loss.

        Args:
            y: a block's activity, ``(batch, units, …)``.
            t: its target.
            derivative: f′ at its drive.
            m: weight of each example in its local loss, ``(batch, 1, …)``.
        """

    @abstractmethod
    def drive_error(self, block: Block, passage: Passage, signal: Tensor) -> Tensor:
        """In the limit, what a block's drive is told when its output is told ``signal``."""

    def teaching_signals(self, lesson: Lesson) -> Sequence[Tensor]:
        """What every hidden block is told: its e, times the share of an example in the loss."""
        if self._targets is not None:
            return self._targets.signals(lesson)
        signal, signals = lesson.error, []
        for place in range(len(lesson.chain) - 1, 0, -1):
            block, passage = lesson.chain[place], lesson.passages[place]
            delta = self.drive_error(block, passage, signal)
            signal = self.inverses.send(place, block, passage, delta)  # pyright: ignore[reportOptionalMemberAccess]
            signals.append(signal)
        return signals[::-1]

    def roots(self, lesson: Lesson) -> Iterator[Root]:
        """The blocks, the penalty, and the learned inverses."""
        yield from super().roots(lesson)
        if self.inverses is not None:
            yield from self.inverses.roots(lesson.chain, len(lesson.x))


def _require_fitting(
    rule: str,
    form: str,
    gamma: float | None,
    inverse: Strategy | None,
    columns: Columns | None,
    tolerance: float | None,
) -> None:
    """Refuse settings of a form that belong to another.

    Raises:
        UserMistake: γ without targets, targets with any but exact inverses of whole layers, or a tolerance where no
            inverse is kept.
    """
    if form == "linearised" and gamma is not None:
        raise UserMistake(
            f"{rule}: gamma {gamma:g} goes with a form with targets; the linearised form is the limit at zero: leave "
            "gamma out, or change the form"
        )
    if form != "linearised" and (inverse or "exact") != "exact":
        raise UserMistake(f"{rule}: form {form!r} needs exact inverses, got {inverse!r}: leave inverse out")
    if form != "linearised" and (columns or "all") != "all":
        raise UserMistake(
            f"{rule}: form {form!r} undoes whole layers, got columns={columns!r}: leave columns out, and make every "
            "layer but the first square"
        )
    if tolerance is not None and (form != "linearised" or (inverse or "kept") != "kept"):
        raise UserMistake(
            f"{rule}: tolerance {tolerance:g} goes with kept inverses, and form {form!r} with inverse={inverse!r} has "
            "none: leave tolerance out"
        )
