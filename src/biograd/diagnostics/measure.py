"""Every quantity of one batch as rows, from one pass of the rule and one of backpropagation."""

import time
from typing import Any

from torch import nn

from biograd.diagnostics.activity import activities
from biograd.diagnostics.error_cosine import error_cosines
from biograd.diagnostics.feedback_angle import feedback_angles
from biograd.diagnostics.gradient_angle import angles_between
from biograd.diagnostics.norm_ratio import norms, ratios_between
from biograd.diagnostics.orthogonality import orthogonalities
from biograd.diagnostics.reconstruction_loss import reconstruction_losses
from biograd.diagnostics.target_distance import target_distances
from biograd.diagnostics.updates import updates
from biograd.rules.base import Loss, Rule


def measure(net: nn.Module, rule: Rule, x: Any, y: Any, loss_fn: Loss) -> list[dict[str, Any]]:
    """Measure a rule on one batch and leave net, rule and random numbers as they were.

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
        - ``seconds``, layer None: what this measurement cost.

        Undefined values are nan; weights that the rule does not teach have a ``reference_norm`` only.
    """
    start = time.perf_counter()
    found = updates(net, rule, x, y, loss_fn)
    taught, reference = norms(found.taught), norms(found.reference)
    quantities = {
        "gradient_angle": angles_between(found),
        "norm_ratio": ratios_between(taught, reference),
        "update_norm": taught,
        "reference_norm": reference,
        "feedback_angle": feedback_angles(net, rule, x),
        "error_cosine": error_cosines(net, rule, x, y, loss_fn),
        "activity": activities(net, x),
        "target_distance": target_distances(net, rule, x, y, loss_fn),
        "reconstruction_loss": reconstruction_losses(net, rule, x),
        "orthogonality": orthogonalities(net, rule),
    }
    rows = [
        _row(quantity, layer, value) for quantity, of in quantities.items() for layer, value in of.items()
    ]
    return [*rows, _row("seconds", None, time.perf_counter() - start)]


def _row(quantity: str, layer: str | None, value: float) -> dict[str, Any]:
    return {"quantity": quantity, "layer": layer, "value": value}
