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

RECURRENT = LayerKind(
    types=(nn.RNNBase,),
    feedback=WrittenOut({getattr(torch, name): layers_parser(step) for name, step in _STEPS.items()}),
)

CELLS = LayerKind(
    types=(nn.RNNCellBase,),
    feedback=WrittenOut({getattr(torch, f"{name}_cell"): cell_parser(step) for name, step in _STEPS.items()}),
)

RECURRENT_LAYERS = [RECURRENT, CELLS]
