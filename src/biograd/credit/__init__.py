"""The two seams into autograd: the feedback path of any net, and the blocks of a chain."""

from biograd.credit.chain.blocks import Block, blocks
from biograd.credit.feedback.path import FeedbackPath, feedback_path
from biograd.credit.feedback.weights import taught_weights
from biograd.credit.wrappers import unwrap

__all__ = ["Block", "FeedbackPath", "blocks", "feedback_path", "taught_weights", "unwrap"]
