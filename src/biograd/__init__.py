"""biograd: credit assignment beyond backpropagation, for any PyTorch network.

Importing the package is cheap: PyTorch is loaded when the first name is used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "Credit": "biograd.rules.base",
    "Rule": "biograd.rules.base",
    "Penalty": "biograd.penalties.base",
    "BiogradError": "biograd.errors",
    "UserMistake": "biograd.errors",
    "UnsupportedNet": "biograd.errors",
    "Backpropagation": "biograd.rules.backpropagation",
    "FeedbackAlignment": "biograd.rules.feedback_alignment",
    "DirectFeedbackAlignment": "biograd.rules.direct_feedback_alignment",
    "UniformSignConcordant": "biograd.rules.sign_concordant",
    "BatchwiseRandomSignConcordant": "biograd.rules.sign_concordant",
    "FixedRandomSignConcordant": "biograd.rules.sign_concordant",
    "KolenPollack": "biograd.rules.kolen_pollack",
    "WeightMirror": "biograd.rules.weight_mirror",
    "DirectRandomTargetProjection": "biograd.rules.direct_random_target_projection",
    "GaitProp": "biograd.rules.gait_prop",
    "IncrementalTargetPropagation": "biograd.rules.incremental_target_propagation",
    "DifferenceTargetPropagation": "biograd.rules.difference_target_propagation",
    "SimplifiedDifferenceTargetPropagation": "biograd.rules.simplified_difference_target_propagation",
    "AuxiliaryOutputSDTP": "biograd.rules.auxiliary_output_sdtp",
    "DifferenceReconstruction": "biograd.rules.difference_reconstruction",
    "DirectDifferenceTargetPropagation": "biograd.rules.direct_difference_target_propagation",
    "LocalDifferenceReconstruction": "biograd.rules.local_difference_reconstruction",
    "TargetPropagation": "biograd.rules.target_propagation",
    "StdpAssociation": "biograd.rules.stdp_association",
    "SoftHebb": "biograd.rules.softhebb",
    "ForwardForward": "biograd.rules.forward_forward",
    "Pepita": "biograd.rules.pepita",
    "Shallow": "biograd.rules.shallow",
}
_MODULES = {
    "credit",
    "data",
    "diagnostics",
    "errors",
    "layers",
    "nets",
    "penalties",
    "records",
    "report",
    "robustness",
    "rules",
    "studies",
    "testing",
    "theory",
    "training",
}

__all__ = ["__version__", *_LAZY, *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"biograd.{name}")
    raise AttributeError(f"module 'biograd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
