"""Kolen–Pollack: feedback weights that receive the weights' own updates and forget as they do."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.feedback.computed_weights import computed_weights
from biograd.credit.operations import Following
from biograd.credit.wrappers import unwrap
from biograd.errors import UserMistake, listed
from biograd.rules.base import ErrorWeights
from biograd.rules.feedback_rule import FeedbackRule
from biograd.rules.parts.feedback_weights import (
    Attention,
    Distribution,
    ExactNames,
    Seed,
    WeightTable,
    draw_beside,
)
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform, Range
from biograd.settings import checked_settings

_UNFIT = {
    "Adafactor": "its step depends on the size of the weight, which differs between W and B",
    "ASGD": "its decay does not act on W and B alike",
}
_DECAYING_APART = ("SGD", "AdamW", "Muon")
_DIVIDING = ("Adam", "NAdam", "RAdam", "Adamax", "RMSprop")
_ENOUGH = 3.0  # W − B shrinks by e⁻³, to a twentieth
_GRADIENT = 0.005  # the RMS of the entries of a gradient with decay: 0.002 to 0.005 on digits and MNIST


class KolenPollack(FeedbackRule):
    r"""Kolen–Pollack, :math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'`, :math:`\Delta B = \Delta W`.

    B is a parameter in W's shape. Every product with W brings B the gradient that it brings W; give it to the same
    optimiser, with the same learning rate η and decay λ. Under decoupled decay (SGD without momentum, AdamW, Muon) each
    step makes

    .. math:: W - B \leftarrow (1 - \eta\lambda)(W - B)

    so that B meets W after a few times 1/(ηλ) steps. Decay that is added to the gradient inside Adam, RMSprop and their
    kin is divided by the size of gradients as they are, :math:`1 - \eta\lambda/\sqrt v`: small values do much, and W
    shrinks as well. Without decay W − B stays what it was. A loss that reads W (an L2 penalty in it) teaches W alone: W
    decays, B does not, and the two do not meet.

    Equals backpropagation when B = W. References: Kolen & Pollack 1994; Akrout, Wilson, Humphreys, Lillicrap &
    Tweed 2019.

    Args:
        net: any net; see `FeedbackRule`.
        sample: not needed.
        scale: standard deviation of B at the start in units of the RMS of W.
        distribution: what B is drawn from at the start.
        seed: of B at the start.

    Attributes:
        B: the feedback weights by parameter name, learned, in W's own shape.
    """

    error_weights: ClassVar[ErrorWeights] = "learned"
    default_training: ClassVar[Mapping[str, Any]] = {"optimizer": {"name": "adamw", "weight_decay": 1.2}}
    searched_training: ClassVar[Mapping[str, Range]] = {"optimizer.weight_decay": LogUniform(0.1, 10.0)}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        scale: Annotated[float, Gt(0)] = 1.0,
        distribution: Distribution = "uniform",
        exact: ExactNames = (),
        attention: Attention = "exact",
        seed: Seed = 0,
    ) -> None:
        del sample
        super().__init__(net, exact=exact, attention=attention)
        start = draw_beside(net, self.weights(net), scale, distribution, RandomStream(seed))
        self.B = WeightTable(start, learned=True)
        self._beside_computed = [name for name in computed_weights(unwrap(net)) if name in start]

    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Following]:
        """B as it is now, which every product with W teaches what it teaches W."""
        # δ_l = (B_{l+1} δ_{l+1}) ∘ φ'(a_l), ΔB = ΔW
        return {name: Following(B) for name, B in self.B.by_name().items()}

    def advise_on_optimizer(self, optimizer: torch.optim.Optimizer, steps: float) -> list[str]:
        """Refuse optimisers that move W and B apart, and warn where the two will not meet."""
        kind = type(optimizer).__name__
        if kind in _UNFIT:
            raise UserMistake(
                f"kp cannot align under {kind}: {_UNFIT[kind]}; use AdamW or SGD with weight decay"
            )
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if any(id(B) not in held for B in self.parameters()):
            raise UserMistake(
                "kp moves B as it moves W, so both belong in one optimiser: give no feedback_optimizer, and in a "
                "loop of your own give the optimiser [*net.parameters(), *rule.parameters()]"
            )
        matrices = [g for g in optimizer.param_groups if any(p.dim() > 1 for p in g["params"])]
        return [
            *(warning for group in matrices for warning in _warnings(kind, group, steps)),
            *_warnings_of_computed(self._beside_computed),
        ]


def _warnings_of_computed(names: list[str]) -> list[str]:
    if not names:
        return []
    return [
        f"kp: {listed([repr(name) for name in names])} is computed of parameters that take steps of their own, so that "
        "B need not align with it: look at the feedback angle"
    ]


def _warnings(kind: str, group: Mapping[str, Any], steps: float) -> list[str]:
    decay = float(group.get("weight_decay", 0.0))
    is_apart = not decay or kind in _DECAYING_APART or group.get("decoupled_weight_decay", False)
    if not is_apart and kind not in _DIVIDING:
        return [
            f"kp: {kind} adds its decay to the gradient and finds its own rate, so that only the feedback angle tells "
            "whether B aligns with W; use AdamW or SGD"
        ]
    reached, needed, against = float(group["lr"]) * decay * steps, _ENOUGH, ""
    if kind == "SGD":  # momentum sums up what it is given
        reached *= (1 - group["dampening"]) / (1 - group["momentum"]) if group["momentum"] else 1
    elif not is_apart:
        needed, against = (
            _ENOUGH * _GRADIENT,
            f" under {kind}, which divides the decay by the size of gradients,",
        )
    if reached < needed:
        return [
            f"kp: learning rate × weight decay × steps = {reached:.2g}, and B needs about {needed:g}{against} to align "
            "with W: raise the weight decay, or train longer"
        ]
    return []
