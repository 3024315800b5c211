"""Modules that use their weights where no feedback path can follow."""

import torch
from torch import nn

from biograd.credit.kinds.layer_kind import LayerKind, Opaque

_REASONS: dict[type[nn.Module], str] = {
    torch.jit.ScriptModule: "a scripted module's operations cannot be seen",
    nn.DataParallel: "it copies the net for every batch; use DistributedDataParallel",
}

OPAQUE_MODULES = [LayerKind(types=(kind,), feedback=Opaque(reason)) for kind, reason in _REASONS.items()]
