"""Every quantity of one batch as rows."""

import math
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from biograd.checks import VANISHED
from biograd.diagnostics.activity import activities
from biograd.diagnostics.error_cosine import error_cosines
from biograd.diagnostics.feedback_angle import feedback_angles
from biograd.diagnostics.gradient_angle import angles_between
from biograd.diagnostics.memory import step_memory
from biograd.diagnostics.norm_ratio import norms, ratios_between
from biograd.diagnostics.orthogonality import orthogonalities
from biograd.diagnostics.reconstruction_loss import reconstruction_losses
from biograd.diagnostics.signal_growth import growths_between
from biograd.diagnostics.target_distance import target_distances
from biograd.diagnostics.teaching_signal import (
    mean_signals,
    stability_over_batches,
    stability_over_steps,
    teaching_signals,
)
from biograd.diagnostics.updates import updates
from biograd.rules.base import Loss, Rule


def measure(
    net: nn.Module,
    rule: Rule,
    x: Any,
    y: Any,
    loss_fn: Loss,
    *,
    remembered: dict[str, Tensor] | None = None,
) -> list[dict[str, Any]]:
    """Measure a rule on one batch and leave net, rule and random numbers as they were.

    Args:
        net: the net the rule was made for.
        rule: any rule.
        x: a batch of inputs.
        y: its targets.
        loss_fn: a differentiable scalar loss.
        remembered: the `mean_signals` of the measurement before, from an empty dict on; this one leaves its own there.

    Returns:
        Rows ``{"quantity", "layer", "value"}``, layers in the net's order, by the name of the parameter, or of
        the block where it says so:

        - ``gradient_angle``: see `gradient_angles`; degrees.
        - ``norm_ratio``: see `norm_ratios`.
        - ``update_norm`` and ``reference_norm``: norms of the rule's update and of backpropagation's.
        - ``feedback_angle``: see `feedback_angles`; degrees; of the feedback weights as they are now,
          where an error travels through them.
        - ``error_cosine``: see `error_cosines`; of rules that send errors back through weights of their own.
        - ``activity``, by block: see `activities`; what it has grown by is the ratio to an earlier one.
        - ``target_distance``, by block: see `target_distances`; of rules that set targets.
        - ``reconstruction_loss``, by block: see `reconstruction_losses`; of rules with decoders.
        - ``orthogonality``: see `orthogonalities`; of rules that invert weights.
        - ``signal_growth``, by block: see `signal_growths`; of chains.
        - ``batch_stability``, by block: see `stability_over_batches`; of rules that hand out teaching signals.
        - ``step_stability``, by block: see `stability_over_steps`; since the measurement before, where ``remembered``
          holds one.
        - ``kept_bytes`` and ``peak_bytes``, layer None: see `step_memory`.
        - ``seconds``, layer None: what this measurement cost.

        Undefined values are nan: so are angles and cosines to a gradient of backpropagation's whose norm is below
        `biograd.checks.VANISHED`. Weights that the rule does not teach have a ``reference_norm`` only.
    """
    start = time.perf_counter()
    found = updates(net, rule, x, y, loss_fn)
    taught, reference = norms(found.taught), norms(found.reference)
    activity = activities(net, x)
    signals = teaching_signals(net, rule, x, y, loss_fn)
    quantities = {
        "gradient_angle": _where_valid(angles_between(found), reference),
        "norm_ratio": ratios_between(taught, reference),
        "update_norm": taught,
        "reference_norm": reference,
        "feedback_angle": feedback_angles(net, rule, x),
        "error_cosine": _where_valid(error_cosines(net, rule, x, y, loss_fn), reference),
        "activity": activity,
        "signal_growth": growths_between(net, activity),
        "batch_stability": stability_over_batches(signals),
        "step_stability": _since_the_last(remembered, signals),
        "target_distance": target_distances(net, rule, x, y, loss_fn),
        "reconstruction_loss": reconstruction_losses(net, rule, x),
        "orthogonality": orthogonalities(net, rule),
    }
    rows = [
        _row(quantity, layer, value) for quantity, of in quantities.items() for layer, value in of.items()
    ]
    memory = step_memory(net, rule, x, y, loss_fn)
    whole = {"kept_bytes": memory.kept, "peak_bytes": memory.peak, "seconds": time.perf_counter() - start}
    return [*rows, *(_row(quantity, None, value) for quantity, value in whole.items())]


def _where_valid(found: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    """What is compared with a gradient, nan where that has vanished."""
    return {
        name: math.nan if reference.get(name, math.inf) < VANISHED else value for name, value in found.items()
    }


def _since_the_last(remembered: dict[str, Tensor] | None, signals: Mapping[str, Tensor]) -> dict[str, float]:
    """Stability over steps, where there is a measurement before; this one is remembered in its place."""
    if remembered is None:
        return {}
    now = mean_signals(signals)
    found = stability_over_steps(remembered, now)
    remembered.clear()
    remembered.update(now)
    return found


def _row(quantity: str, layer: str | None, value: float) -> dict[str, Any]:
    return {"quantity": quantity, "layer": layer, "value": value}
