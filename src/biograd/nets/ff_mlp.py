"""The multilayer perceptron of the forward-forward paper, which sees a label beside every example."""

import math
from typing import Annotated, Literal

from annotated_types import Gt
from torch import nn

from biograd.errors import UserMistake
from biograd.layers import LabelPlaces, LengthNorm
from biograd.nets.activations import Activation, make_activation
from biograd.nets.initialization import Initialization, initialize
from biograd.nets.shapes import check_sizes
from biograd.settings import checked_settings


@checked_settings
def ff_mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    widths: tuple[Annotated[int, Gt(0)], ...] = (512, 512),
    activation: Activation = "relu",
    labels: Literal["before", "overwrite"] = "before",
    label_strength: Annotated[float, Gt(0)] = 5.0,
    initialization: Initialization = "kaiming",
) -> nn.Sequential:
    """Fully connected layers that see a label and are normalised in length, for the rule forward-forward.

    Labels stand in the input, and activities are normalised before every layer, the first one and the readout
    included (Hinton 2022). As an ordinary module the net sees the neutral label, so that any rule can teach it.

    Args:
        input_shape: shape of one example, without the batch; inputs of more than one dimension are flattened.
        outputs: number of classes.
        widths: units of each hidden layer.
        activation: the nonlinearity after every hidden layer; goodness counts squares, so rectifiers.
        labels: ``before`` the features, in places of their own, or in place of the first features (``overwrite``:
            the paper's way, for images with a black border).
        label_strength: of a label, where features have a standard deviation of 1. The paper's, 1 among pixels in
            [0, 1], is about 3 among standardised ones; up to 10 is better on MNIST.
        initialization: how weights start; biases start at zero.

    Raises:
        UserMistake: a size below 1, or fewer features than labels that overwrite them need.

    Example:
        >>> ff_mlp((1, 28, 28), 10, widths=(256,))
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): LabelPlaces(10, strength=5, overwrite=False)
          (2): LengthNorm(epsilon=1e-08)
          (3): Linear(in_features=794, out_features=256, bias=True)
          (4): ReLU()
          (5): LengthNorm(epsilon=1e-08)
          (6): Linear(in_features=256, out_features=10, bias=True)
        )
    """
    check_sizes("ff-mlp", input_shape, outputs)
    features, overwrite = math.prod(input_shape), labels == "overwrite"
    if overwrite and features < outputs:
        raise UserMistake(
            f"ff-mlp: labels of {outputs} classes cannot overwrite {features} features; give labels='before'"
        )
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    layers += [LabelPlaces(outputs, strength=label_strength, overwrite=overwrite), LengthNorm()]
    units = features if overwrite else features + outputs
    for width in widths:
        layers += [nn.Linear(units, width), make_activation(activation), LengthNorm()]
        units = width
    net = nn.Sequential(*layers, nn.Linear(units, outputs))
    initialize(net, initialization, activation)
    return net
