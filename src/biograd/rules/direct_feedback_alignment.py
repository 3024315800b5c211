"""Direct feedback alignment: the output error goes straight to every hidden block."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.chain.lesson import Lesson, plainly, through_the_last_block
from biograd.errors import UnsupportedNet
from biograd.rules.base import ErrorWeights, Family
from biograd.rules.block_rule import BlockRule
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.direct_feedback import DirectFeedback, Full, LowRank, Tiled
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.places import Classes, Features, Layout, Places
from biograd.searched import LogUniform
from biograd.settings import checked_settings


class DirectFeedbackAlignment(BlockRule):
    r"""Direct feedback alignment, :math:`\delta_l = (B_l e) \circ \varphi'(a_l)`, e the error of the output.

    B is fixed and random. No product with a weight carries an error back, so a step is cheaper than
    backpropagation's. With one hidden block it equals feedback alignment. Reference: Nøkland 2016.

    Where features are last, as in sequences (batch, tokens, features), one B serves all tokens: each is told of its own
    error, :math:`B_l e_t`, where the output has tokens, and of the pooled one, :math:`B_l e / \sqrt T`, where it has
    not. Sequences of any length are taught.

    Where they are first, as in maps, there are three forms, by memory for a block of C channels × P positions and K
    outputs: ``full`` C·P·K numbers, ``low-rank`` (C·P + K)·rank, ``tiled`` (one signal a channel, the same at every
    position) C·K. Of tokens B is C × K, or (C + K)·rank at low rank, which large vocabularies call for.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        sample: one input, batch of one; not needed where the first layer is linear.
        form: of every B; ``low-rank`` has a ``rank``.
        scale: standard deviation of the entries of B times √K.
        error: which error goes to hidden blocks: the output's, ``before`` it passes the last block, or what that block
            makes of it, ``after``: the derivative by its input, through its own weights. This is weight transport of
            that one layer; for a large vocabulary K is then the features below it.
        seed: of B.
    """

    family: ClassVar[Family] = "direct feedback"
    error_weights: ClassVar[ErrorWeights] = "none"
    reads_several_outputs: ClassVar[bool] = True

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        form: Full | LowRank | Tiled = Full(),
        scale: Annotated[float, Gt(0), LogUniform(0.1, 10.0)] = 1.0,
        error: Literal["before", "after"] = "before",
        places: Places = None,
        features: Features = (),
        classes: Classes = None,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        way = through_the_last_block if error == "after" else plainly
        super().__init__(net, sample, inside=inside, blocks=blocks, way=way)
        self._is_after = error == "after"
        chain, layout = self.chain(net), Layout(places=places, features=features, classes=classes)
        if self._is_after and len(chain) < 2:
            raise UnsupportedNet(
                f"error='after' needs a block below the last, and the net has one, {chain[0].name!r}"
            )
        self.direct = DirectFeedback(
            *(chain, sample, form, layout), scale=scale, seed=seed, source=-2 if self._is_after else -1
        )

    def teaching_signals(self, lesson: Lesson) -> Iterator[Tensor]:
        """A signal for every hidden block; autograd supplies φ'."""
        # δ_l = (B_l e) ∘ φ'(a_l)
        return self.direct(self._error(lesson), lesson.hidden)

    def _error(self, lesson: Lesson) -> Tensor:
        if not self._is_after or not lesson.passages:
            return lesson.error
        (last,) = lesson.passages
        return last.carried_exactly(lesson.error)
