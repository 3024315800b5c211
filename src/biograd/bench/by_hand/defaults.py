"""The settings that a rule has where none was given."""

from typing import Any

from torch import nn

from biograd.settings import describe


def defaults(rule: nn.Module) -> dict[str, Any]:
    """Name to default; those of strategies as ``inverse.tolerance``."""
    return {setting.name: setting.default for setting in describe(type(rule))}
