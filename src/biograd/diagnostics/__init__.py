"""What a rule does to a net on one batch, beside backpropagation: one quantity a file, no trace left."""

from biograd.diagnostics.activity import activities
from biograd.diagnostics.angle import angle
from biograd.diagnostics.error_cosine import error_cosines
from biograd.diagnostics.feedback_angle import feedback_angles
from biograd.diagnostics.gradient_angle import gradient_angles
from biograd.diagnostics.measure import measure
from biograd.diagnostics.memory import Memory, step_memory
from biograd.diagnostics.norm_ratio import norm_ratios, norms
from biograd.diagnostics.orthogonality import orthogonalities, orthogonality
from biograd.diagnostics.reconstruction_loss import reconstruction_losses
from biograd.diagnostics.signal_growth import signal_growths
from biograd.diagnostics.target_distance import target_distances
from biograd.diagnostics.teaching_signal import (
    mean_signals,
    stability_over_batches,
    stability_over_steps,
    teaching_signals,
)
from biograd.diagnostics.updates import Updates, updates

__all__ = [
    "Memory",
    "Updates",
    "activities",
    "angle",
    "error_cosines",
    "feedback_angles",
    "gradient_angles",
    "mean_signals",
    "measure",
    "norm_ratios",
    "norms",
    "orthogonalities",
    "orthogonality",
    "reconstruction_losses",
    "signal_growths",
    "stability_over_batches",
    "stability_over_steps",
    "step_memory",
    "target_distances",
    "teaching_signals",
    "updates",
]
