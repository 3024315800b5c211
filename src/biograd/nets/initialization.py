"""How the weights of a net start."""

import math
from typing import Literal

from torch import nn

from biograd.layers import LocallyConnected
from biograd.layers.local.own_filters import layout_of
from biograd.nets.activations import Activation

Initialization = Literal["glorot", "kaiming", "orthogonal"]
"""Names of the initialisations; see `initialize`."""

WeightLayer = nn.Linear | nn.Conv2d | LocallyConnected

_KAIMING_GAINS = {
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "elu": math.sqrt(2),
    "gelu": math.sqrt(2),
    "silu": math.sqrt(2),
}
"""Those of `torch.nn.init.calculate_gain`; elu, gelu and silu count as rectifiers, the others as linear."""


def initialize(
    net: nn.Module, initialization: Initialization, activation: Activation, slope: float = 0.01
) -> None:
    r"""Draw every weight matrix of a net anew, and set the biases beside them to zero.

    - ``glorot``: uniform within :math:`\sqrt{6 / (n_{in} + n_{out})}`, gain 1 (Glorot and Bengio 2010).
    - ``kaiming``: normal with deviation :math:`g / \sqrt{n_{in}}` (He et al. 2015), where g is
      :math:`\sqrt 2` for rectifiers (relu, leaky-relu, elu, gelu, silu), 5/3 for tanh, 1 for the others.
    - ``orthogonal``: orthonormal rows or columns, whichever are fewer, gain 1 (Saxe et al. 2014).

    The same gain holds for every layer, the output layer too. Normalisation layers stay as they are.

    Args:
        net: whose linear, two-dimensional convolutional and locally connected layers are drawn, in place.
        initialization: how.
        activation: the nonlinearity between the layers; only ``kaiming`` depends on it.
        slope: of a leaky ReLU below zero; its gain is :math:`\sqrt{2 / (1 + \text{slope}^2)}`.
    """
    leaky = math.sqrt(2 / (1 + slope**2))
    gain = leaky if activation == "leaky-relu" else _KAIMING_GAINS.get(activation, 1.0)
    for layer in net.modules():
        if isinstance(layer, WeightLayer):
            _draw(layer, initialization, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def fans(layer: WeightLayer) -> tuple[int, int]:
    """Inputs of one output, and outputs that one input reaches at stride 1, both counted inside.

    A locally connected layer counts as the convolution of the same shape: its fans are those of one position.

    Example:
        >>> fans(nn.Conv2d(3, 64, kernel_size=5)) == (3 * 25, 64 * 25)
        True
    """
    return layout_of(layer).fans(layer.weight)


def _draw(layer: WeightLayer, initialization: Initialization, kaiming_gain: float) -> None:
    fan_in, fan_out = fans(layer)
    if initialization == "glorot":
        bound = math.sqrt(6 / (fan_in + fan_out))
        nn.init.uniform_(layer.weight, -bound, bound)
    elif initialization == "kaiming":
        nn.init.normal_(layer.weight, std=kaiming_gain / math.sqrt(fan_in))
    else:
        _draw_orthogonal(layer)


def _draw_orthogonal(layer: WeightLayer) -> None:
    layout = layout_of(layer)
    if not layout.positions:
        nn.init.orthogonal_(layer.weight)
        return
    for position in layout.filters(layer.weight.detach()):  # (fan_in, out), a view: drawn in place
        nn.init.orthogonal_(position)
