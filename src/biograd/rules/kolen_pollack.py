"""Kolen–Pollack: feedback weights that receive the weights' own updates and forget as they do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.errors import UserMistake
from biograd.rules.base import ErrorWeights
from biograd.rules.feedback_rule import FeedbackRule
from biograd.rules.parts.feedback_weights import Distribution, ExactNames, Seed, WeightTable, draw_beside
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import checked_settings

_UNFIT = {
    "Adafactor": "its step depends on the size of the weight, which differs between W and B",
    "ASGD": "its decay does not act on W and B alike",
}
_DECAYING_APART = ("SGD", "AdamW", "Muon")
_ENOUGH = 3.0  # W − B shrinks by e⁻³, to a twentieth


class KolenPollack(FeedbackRule):
    r"""Kolen–Pollack, :math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'`, :math:`\Delta B = \Delta W`.

    B is a parameter in W's shape whose gradient equals W's; give it to the same optimiser, with the same
    learning rate η and decay λ. Under decoupled decay (SGD, AdamW, Muon) each step makes

    .. math:: W - B \leftarrow (1 - \eta\lambda)(W - B)

    so that B meets W after a few times 1/(ηλ) steps. Without decay W − B stays what it was. Decay that is added to the
    gradient inside Adam, RMSprop and their kin leaves the two apart.

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

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        scale: Annotated[float, Gt(0)] = 1.0,
        distribution: Distribution = "uniform",
        exact: ExactNames = (),
        seed: Seed = 0,
    ) -> None:
        del sample
        super().__init__(net, exact=exact)
        start = draw_beside(self.weights(net), scale, distribution, RandomStream(seed))
        self.B = WeightTable(start, learned=True)

    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """B as it is now."""
        # δ_l = (B_{l+1} δ_{l+1}) ∘ φ'(a_l)
        return {name: B.detach() for name, B in self.B.by_name().items()}

    @contextmanager
    def alongside(self, weights: Mapping[str, nn.Parameter]) -> Iterator[None]:
        """What a batch adds to the gradient of W is added to that of B as well."""
        before = {name: W.grad.clone() for name, W in weights.items() if W.grad is not None}
        yield
        for name, B in self.B.by_name().items():
            gradient = weights[name].grad
            if gradient is not None:
                # ΔB = ΔW. A copy, never the same tensor: clipping or scaling gradients would act on it twice.
                _add_gradient(B, gradient - before[name] if name in before else gradient.clone())

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
        return [warning for group in matrices for warning in _warnings(kind, group, steps)]


def _add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def _warnings(kind: str, group: Mapping[str, Any], steps: float) -> list[str]:
    decay = group.get("weight_decay", 0.0)
    decoupled = kind in _DECAYING_APART or group.get("decoupled_weight_decay", False)
    if decay and not decoupled:
        return [f"kp: {kind} adds its decay to the gradient, so B will not align with W; use AdamW or SGD"]
    reached = float(group["lr"]) * float(decay) * steps
    if reached < _ENOUGH:
        return [
            f"kp: learning rate × weight decay × steps = {reached:.2g}, and B needs about {_ENOUGH:g} to align "
            "with W: raise the weight decay, or train longer"
        ]
    return []
