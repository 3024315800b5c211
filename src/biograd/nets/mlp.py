"""The multilayer perceptron."""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import nn

from biograd.nets.activations import Activation, make_activation
from biograd.nets.initialization import Initialization, initialize
from biograd.nets.shapes import check_sizes
from biograd.settings import checked_settings


@checked_settings
def mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    widths: tuple[Annotated[int, Gt(0)], ...] = (512, 512),
    activation: Activation = "tanh",
    initialization: Initialization = "glorot",
    bias: bool = True,
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> nn.Sequential:
    """Fully connected layers with a nonlinearity between them, for inputs of any shape.

    Inputs of more than one dimension are flattened; the output layer is linear. The default, tanh with Glorot's
    weights, is what learning rules other than backpropagation do well with.

    Args:
        input_shape: shape of one example, without the batch.
        outputs: number of output units.
        widths: units of each hidden layer; none at all gives a linear classifier.
        activation: the nonlinearity after every hidden layer.
        initialization: how weights start; glorot and orthogonal with gain 1, kaiming with the activation's.
        bias: whether layers have biases, which start at zero.
        dropout: share of the hidden units that are left out of each example, in training.

    Raises:
        UserMistake: a size below 1.

    Example:
        >>> mlp((1, 28, 28), 10, widths=(256,))
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): Linear(in_features=784, out_features=256, bias=True)
          (2): Tanh()
          (3): Linear(in_features=256, out_features=10, bias=True)
        )
    """
    check_sizes("mlp", input_shape, outputs)
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    units = math.prod(input_shape)
    for width in widths:
        layers += [nn.Linear(units, width, bias=bias), make_activation(activation)]
        layers += [nn.Dropout(dropout)] if dropout else []
        units = width
    net = nn.Sequential(*layers, nn.Linear(units, outputs, bias=bias))
    initialize(net, initialization, activation)
    return net
