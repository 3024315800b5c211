"""Recurrent layers and cells, whose products with weights lie inside one function."""

import torch
from torch import nn

from biograd.credit.kinds.layer_kind import LayerKind, WrittenOut
from biograd.credit.recurrence import cell_parser, elman, gru_step, layers_parser, lstm_step

_STEPS = {
    "rnn_tanh": elman(torch.tanh),
    "rnn_relu": elman(torch.relu),
    "lstm": lstm_step,
    "gru": gru_step,
}

_GATES = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3}


def _gates(layer: nn.Module, name: str) -> int:
    """How many gates a matrix leads to; that of a projection leads to none."""
    if name.startswith("weight_hr"):
        return 1
    return next((gates for kind, gates in _GATES.items() if isinstance(layer, kind)), 1)


RECURRENT = LayerKind(
    types=(nn.RNNBase,),
    feedback=WrittenOut({getattr(torch, name): layers_parser(step) for name, step in _STEPS.items()}),
    stacked=_gates,
)

CELLS = LayerKind(
    types=(nn.RNNCellBase,),
    feedback=WrittenOut({getattr(torch, f"{name}_cell"): cell_parser(step) for name, step in _STEPS.items()}),
    stacked=_gates,
)

RECURRENT_LAYERS = [RECURRENT, CELLS]
