"""What a rule does to a net on one batch, beside backpropagation: one quantity a file, no trace left."""

from biograd.diagnostics.activity import activities
from biograd.diagnostics.angle import angle
from biograd.diagnostics.error_cosine import error_cosines
from biograd.diagnostics.feedback_angle import feedback_angles
from biograd.diagnostics.gradient_angle import gradient_angles
from biograd.diagnostics.measure import measure
from biograd.diagnostics.norm_ratio import norm_ratios, norms
from biograd.diagnostics.orthogonality import orthogonalities, orthogonality
from biograd.diagnostics.reconstruction_loss import reconstruction_losses
from biograd.diagnostics.target_distance import target_distances
from biograd.diagnostics.updates import Updates, updates

__all__ = [
    "Updates",
    "activities",
    "angle",
    "error_cosines",
    "feedback_angles",
    "gradient_angles",
    "measure",
    "norm_ratios",
    "norms",
    "orthogonalities",
    "orthogonality",
    "reconstruction_losses",
    "target_distances",
    "updates",
]
