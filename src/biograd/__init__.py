"""biograd: credit assignment beyond backpropagation, for any PyTorch network.

Importing the package is cheap: PyTorch is loaded when the first name is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what is lazy below, for type checkers
    from biograd import credit as credit
    from biograd import data as data
    from biograd import diagnostics as diagnostics
    from biograd import errors as errors
    from biograd import layers as layers
    from biograd import nets as nets
    from biograd import penalties as penalties
    from biograd import records as records
    from biograd import report as report
    from biograd import robustness as robustness
    from biograd import rules as rules
    from biograd import studies as studies
    from biograd import testing as testing
    from biograd import theory as theory
    from biograd import training as training
    from biograd import user_files as user_files
    from biograd.credit.structures import Inputs as Inputs
    from biograd.errors import BiogradError as BiogradError
    from biograd.errors import UnsupportedNet as UnsupportedNet
    from biograd.errors import UserMistake as UserMistake
    from biograd.penalties.base import Penalty as Penalty
    from biograd.rules.base import Credit as Credit
    from biograd.rules.base import Rule as Rule

__version__ = "0.1.0"

_LAZY = {
    "Credit": "biograd.rules.base",
    "Inputs": "biograd.credit.structures",
    "Rule": "biograd.rules.base",
    "Penalty": "biograd.penalties.base",
    "BiogradError": "biograd.errors",
    "UserMistake": "biograd.errors",
    "UnsupportedNet": "biograd.errors",
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
    "user_files",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"biograd.{name}")
    if name == "__all__":
        return ["__version__", *_LAZY, *_rules(), *sorted(_MODULES)]
    if not name.startswith("_") and name in _rules():
        return getattr(importlib.import_module(_rules()[name]), name)
    raise AttributeError(f"module 'biograd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __getattr__("__all__")


def _rules() -> dict[str, str]:
    """Name of the class of every rule to its module: those of the registry, where a rule is entered once."""
    from biograd.rules import REGISTRY

    return {attribute: module for module, attribute in REGISTRY.places()}
