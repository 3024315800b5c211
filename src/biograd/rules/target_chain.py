"""Targets that go down a chain of invertible blocks: what TP, ITP and GAIT-prop have in common."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from biograd.credit.back.invertible_blocks import InvertibleBlock
from biograd.credit.chain.blocks import Block, blocks
from biograd.errors import NotFinite, UnsupportedNet
from biograd.rules.block_rule import Lesson

Margin = Annotated[float, Gt(0), Lt(1)]
MARGIN = 1e-6
"""By which targets of tanh stay within its range, unless another is given."""
NextTarget = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(y, t, f′, m)`` of a block's units gives what is undone to give the target below, and the m below."""


class Targets(NamedTuple):
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


class TargetChain:
    r"""Targets from :math:`t_L = y_L - \frac12 g` down, one block undone after another.

    Args:
        net: a chain of invertible blocks; see `biograd.credit.back.invertible_blocks.InvertibleBlock`.
        margin: see `biograd.credit.back.invertible_blocks.bijection`.
        next_target: what the rule makes of a target before the block is undone.
        precise: what needs float64, for the message; None where float32 will do.

    Raises:
        UnsupportedNet: a block cannot be undone, or the net is not in float64 where it must be.
    """

    def __init__(self, net: nn.Module, margin: float, next_target: NextTarget, precise: str | None) -> None:
        self._margin, self._next = margin, next_target
        self._precise = precise
        self._take_apart(blocks(net))

    def signals(self, lesson: Lesson) -> list[Tensor]:
        """2 m (y − t) / batch for every hidden block, for the units that it passes on.

        Raises:
            NotFinite: a target is not.
        """
        found = self.targets(lesson)[1:]
        signals = [2 / len(lesson.x) * (m * (y - t))[:, :passed_on] for y, t, m, passed_on in reversed(found)]
        return [signal.reshape(h.shape) for signal, h in zip(signals, lesson.hidden, strict=True)]

    def targets(self, lesson: Lesson) -> list[Targets]:
        """Activities and targets of all blocks, from the output down to the first.

        Raises:
            NotFinite: a target is not.
        """
        parts = self._take_apart(lesson.chain)
        ys = [
            part.activity(passage.drive).detach()
            for part, passage in zip(parts, lesson.passages, strict=True)
        ]
        top = parts[-1]
        used = ys[-1] if top.passed_on is None else ys[-1][:, : top.passed_on]
        t = top.completed(used - lesson.error.view_as(used) * (len(lesson.x) / 2), ys[-1])
        m = t.new_ones((len(t), *[1] * (t.dim() - 1)))
        found = [Targets(ys[-1], t, m, top.passed_on)]
        for place in range(len(parts) - 1, 0, -1):
            part, passage, below = parts[place], lesson.passages[place], parts[place - 1]
            derivative = part.nonlinearity.derivative(passage.drive.detach())
            moved, m = self._next(ys[place], t, derivative, m)
            back = part.undo(moved, passage.input.detach())
            activity = ys[place - 1]
            used = activity if below.passed_on is None else activity[:, : below.passed_on]
            t = below.completed(back.reshape(used.shape), activity)
            m = m.reshape(len(t), *[1] * (t.dim() - 1))
            found.append(Targets(activity, t, m, below.passed_on))
        self._require_finite(lesson.chain, found)
        return found

    def _take_apart(self, chain: list[Block]) -> list[InvertibleBlock]:
        dtype = next(chain[0].parameters()).dtype
        if self._precise is not None and dtype != torch.float64:
            raise UnsupportedNet(
                f"{self._precise} moves targets by less than {dtype} can tell: train in float64 (--precision float64, "
                "net.double()), or take the linearised form"
            )
        return [
            InvertibleBlock.of(block, self._margin, is_first=place == 0) for place, block in enumerate(chain)
        ]

    @staticmethod
    def _require_finite(chain: list[Block], found: list[Targets]) -> None:
        finite = torch.stack([(t * m).isfinite().all() for _, t, m, _ in found])
        if not finite.all():
            first = chain[len(chain) - 1 - int(finite.logical_not().nonzero()[0])]
            raise NotFinite(
                f"the target of the block {first.name!r} is not finite: look for inputs or a loss that are not, "
                "lower the learning rate, or keep the weights "
                "nearer to orthogonal (the setting orthogonality)"
            )
