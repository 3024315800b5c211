"""Targets that go down a chain of invertible blocks."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from biograd.credit import late
from biograd.credit.back.invertible_blocks import InvertibleBlock, activity
from biograd.credit.back.own_inverses import (
    require_inverse,
    require_use_of,
    suggesting_undo,
    undoes_itself,
)
from biograd.credit.chain.blocks import Block
from biograd.credit.chain.lesson import Lesson, Way, through_every_block
from biograd.errors import NotFinite, UnsupportedNet, UserMistake
from biograd.rules.parts.inverse_strategies import InverseStrategy
from biograd.rules.parts.inverses import (
    inverted_weights,
    require_batches,
    require_invertible,
)
from biograd.settings import Meaning

Margin = Annotated[float, Gt(0), Lt(1)]
MARGIN = 1e-6
"""How far targets of tanh stay within its range by default."""
Undo = Annotated[
    str | None,
    Meaning(
        "the name of a method by which modules undo themselves: ``inverse`` where ``module.inverse(y)`` gives the "
        "input for the output y, as invertible nets have it; blocks that open at such modules are undone by it, and "
        "the first call looks whether it does"
    ),
]
Step = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(y, t, f′, m)`` of a block's units gives the activity to invert, which makes the target below, and the m below.

y: a block's activity, ``(batch, units, …)``; t: its target; f′: at its drive; m: weight of each example in the block's
local loss, ``(batch, 1, …)``.
"""


class Target(NamedTuple):
    """A block's activity, its target and the weight of its local loss.

    Attributes:
        activity: y of all units, auxiliary ones included, ``(batch, units, …)``.
        target: t in the same shape.
        weight: m of each example, ``(batch, 1, …)``.
        passed_on: how many units the block passes on, None for all.
    """

    activity: Tensor
    target: Tensor
    weight: Tensor
    passed_on: int | None


ROUNDINGS = 1000
"""How many roundings of an activity the step to its target must be long: fewer turn updates by more than some 5°."""


@dataclass(frozen=True)
class SmallSteps:
    r"""Targets that are small steps away, which an activity's last digits have to tell.

    A target is reached by inverting activities of size 1 to a relative rounding ε. So a step of s arrives with an
    error of about ε / s of it.

    Attributes:
        form: the rule and its form, for messages.
        gamma: γ.
        shrink: whether a step is γ of the one above it, :math:`s = \gamma^k` k blocks below the output; else each is γ.
    """

    form: str
    gamma: float
    shrink: bool

    def require(self, dtype: torch.dtype, blocks: int) -> None:
        """Refuse a chain in which steps would be lost in rounding.

        Raises:
            UnsupportedNet: it is not in float64, or has too many blocks for γ.
        """
        if dtype != torch.float64:
            raise UnsupportedNet(
                f"{self.form} moves targets by less than {dtype} can tell: train in float64 (--precision float64, "
                "net.double()), or take the linearised form"
            )
        least, inverted = ROUNDINGS * torch.finfo(dtype).eps, blocks - 1 if self.shrink else 1
        if self.gamma**inverted >= least or blocks == 1:
            return
        holds = int(math.log(least) / math.log(self.gamma)) + 1
        held = (
            f"holds for {holds} blocks of the {blocks}" if self.shrink and holds > 1 else "holds for no net"
        )
        raise UnsupportedNet(
            f"{self.form} moves the lowest target by γ{f'^{inverted}' if self.shrink else ''} = "
            f"{self.gamma**inverted:.0e}, less than float64 can tell: γ = {self.gamma:g} {held}; take γ ≥ "
            f"{_rounded_up(least ** (1 / inverted))}, or the linearised form, which has no such limit"
        )


class TargetChain:
    r"""Targets from :math:`t_L = y_L - \frac12 g` down, one block inverted after another.

    Args:
        chain: invertible blocks; see `biograd.credit.back.invertible_blocks.InvertibleBlock`.
        margin: see `biograd.credit.back.invertible_blocks.bijection`.
        steps: how small its steps are; None where they are whole ones, for which float32 will do.
        undo: the method of modules that undo themselves.

    Raises:
        UserMistake: no module has that method.
        UnsupportedNet: a block cannot be inverted, or steps would be lost in rounding.
    """

    way: ClassVar[Way] = staticmethod(through_every_block)
    """How a batch runs up the chain for targets."""

    whole: ClassVar[frozenset[int]] = frozenset()
    """Places of blocks that signals pass as a whole: none, as each is inverted layer by layer."""

    def __init__(self, chain: list[Block], margin: float, steps: SmallSteps | None, undo: str | None) -> None:
        self._margin, self._steps, self._undo, self._has_looked = margin, steps, undo, False
        self._not_finite: late.Late | None = None  # of the last call
        require_use_of(undo, chain)
        for block in _inverted_by_weight(chain, undo):
            with suggesting_undo(block, undo):
                require_invertible(block.opening, block.name)
        self._take_apart(chain)

    def signals(self, lesson: Lesson, step: Step) -> Iterator[Tensor]:
        """2 m (y − t) / B for every hidden block, from the last down, for the units that it passes on.

        Args:
            lesson: a batch of B, with passages.
            step: what the rule makes of a target before the block is inverted.

        Raises:
            NotFinite: a target is not; on devices that are left free to run ahead this is told at the next call.
        """
        _, *found = self.targets(lesson, step)
        for (y, t, m, passed_on), h in zip(found, reversed(lesson.hidden), strict=True):
            # e_l = 2 m_l (y_l − t_l), over B as the loss is a mean over B examples
            yield (2 / lesson.examples * (m * (y - t))[:, :passed_on]).reshape(h.shape)

    def targets(self, lesson: Lesson, step: Step) -> list[Target]:
        """Activities and targets of all blocks, from the output down to the first; arguments as for `signals`."""
        require_batches(lesson)
        parts = self._take_apart(lesson.chain)
        self._look(parts, lesson)
        ys = [
            activity(part.nonlinearity, part.passed_on, passage)
            for part, passage in zip(parts, lesson.passages, strict=True)
        ]
        found = [_first_target(parts[-1], ys[-1], lesson)]
        for place in range(len(parts) - 1, 0, -1):
            part, passage = parts[place], lesson.passages[place]
            derivative = part.nonlinearity.derivative(ys[place])  # D_l
            moved, m = step(ys[place], found[-1].target, derivative, found[-1].weight)
            back = part.invert(moved, passage.input.detach())  # g_l(…) = (f⁻¹(…) − b) W⁻¹
            found.append(_completed(parts[place - 1], ys[place - 1], back, m))
        self._require_finite(lesson.chain, found)
        return found

    def _require_finite(self, chain: list[Block], found: list[Target]) -> None:
        before, self._not_finite = self._not_finite, None
        of_this_call = _first_not_finite(found)
        if not late.is_read_at_once(of_this_call.device):
            self._not_finite = late.Late.of(of_this_call)
        elif of_this_call >= 0:
            raise _not_finite(chain, int(of_this_call))
        if before is not None and (place := int(before.read())) >= 0:
            raise _not_finite(chain, place)

    def lessons(self, lesson: Lesson) -> tuple[()]:
        """Nothing learns: blocks are inverted exactly."""
        del lesson
        return ()

    def weights(self, chain: list[Block]) -> dict[str, Tensor]:
        """See `biograd.Rule.inverse_weights`."""
        return inverted_weights(_inverted_by_weight(chain, self._undo), {})

    def _take_apart(self, chain: list[Block]) -> list[InvertibleBlock]:
        if self._steps is not None:
            self._steps.require(next(chain[0].parameters()).dtype, len(chain))
        return [
            InvertibleBlock.of(block, self._margin, is_first=place == 0, undo=self._undo)
            for place, block in enumerate(chain)
        ]

    def _look(self, parts: list[InvertibleBlock], lesson: Lesson) -> None:
        """See, in the first call, that modules undo themselves."""
        for part, passage in zip(parts, lesson.passages, strict=True):
            if part.undo is not None and not self._has_looked:
                require_inverse(part.block, part.undo, passage)
        self._has_looked = True


def _inverted_by_weight(chain: list[Block], undo: str | None) -> list[Block]:
    return [block for block in chain[1:] if not undoes_itself(block, undo)]


def _rounded_up(number: float) -> str:
    """A number to two digits, no smaller than it is."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / unit) * unit:.2g}"


def refuse_inverse(inverse: InverseStrategy | None, form: str) -> None:
    """Refuse the choice of an inverse for a form with targets, which inverts whole blocks exactly.

    Raises:
        UserMistake: there is one.
    """
    if inverse is not None:
        raise UserMistake(
            f"form {form!r} inverts whole blocks exactly, got inverse {inverse.name!r}: leave inverse out, or take the "
            "form linearised"
        )


def _first_target(top: InvertibleBlock, y: Tensor, lesson: Lesson) -> Target:
    r""":math:`t_L = y_L - \frac12 g`, g an example's own derivative of the loss."""
    used = y if top.passed_on is None else y[:, : top.passed_on]
    # t_L = y_L − ½ g, with g = B times the derivative of the mean loss
    t = top.completed(used - lesson.error.view_as(used) * (lesson.examples / 2), y)
    return Target(y, t, t.new_ones((len(t), *[1] * (t.dim() - 1))), top.passed_on)


def _completed(below: InvertibleBlock, y: Tensor, back: Tensor, m: Tensor) -> Target:
    """The target of a block's units: what came back for those that it passes on, their own activity for the others."""
    used = y if below.passed_on is None else y[:, : below.passed_on]
    t = below.completed(back.reshape(used.shape), y)
    return Target(y, t, m.reshape(len(t), *[1] * (t.dim() - 1)), below.passed_on)


def _first_not_finite(found: list[Target]) -> Tensor:
    """How many blocks below the output the first target is that is not finite; −1 where all are."""
    off = torch.stack([(t * m).isfinite().all().logical_not() for _, t, m, _ in found])
    return torch.where(off.any(), off.int().argmax(), -1)


def _not_finite(chain: list[Block], below: int) -> NotFinite:
    return NotFinite(
        f"the target of the block {chain[len(chain) - 1 - below].name!r} is not finite: look for inputs or a loss that "
        "are not, lower the learning rate, or keep the weights nearer to orthogonal (the penalty orthogonality)"
    )
