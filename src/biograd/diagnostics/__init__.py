"""What a rule does to a net on one batch, beside backpropagation: one quantity a file, no trace left."""

from biograd.diagnostics.angle import angle
from biograd.diagnostics.error_cosine import error_cosines
from biograd.diagnostics.feedback_angle import HasFeedback, feedback_angles
from biograd.diagnostics.gradient_angle import gradient_angles
from biograd.diagnostics.measure import measure
from biograd.diagnostics.norm_ratio import norm_ratios, norms
from biograd.diagnostics.orthogonality import HasInverses, orthogonalities, orthogonality
from biograd.diagnostics.reconstruction_loss import HasDecoders, reconstruction_losses
from biograd.diagnostics.target_distance import HasTargets, target_distances
from biograd.diagnostics.updates import Updates, updates

__all__ = [
    "HasDecoders",
    "HasFeedback",
    "HasInverses",
    "HasTargets",
    "Updates",
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
