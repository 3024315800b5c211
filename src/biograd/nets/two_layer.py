"""The net that the theory of feedback alignment speaks of: one hidden layer, weights of variance 1."""

import math
from typing import Annotated

from annotated_types import Gt
from torch import nn

from biograd.layers.scale import Scale
from biograd.nets.activations import Activation, make_activation
from biograd.nets.shapes import check_sizes
from biograd.settings import checked_settings


@checked_settings
def two_layer(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: Annotated[int, Gt(0)] = 1000,
    activation: Activation = "relu",
) -> nn.Sequential:
    r"""One hidden layer of p units in the scaling of theory, :math:`f(x) = W_2\, \psi(W_1 x) / \sqrt p`.

    All weights are drawn from N(0, 1) and there are no biases. Reference: Song, Xu & Lafferty 2021, who train it on
    MNIST with 1000 units.

    Args:
        input_shape: shape of one example, without the batch.
        outputs: number of output units.
        width: p, units of the hidden layer.
        activation: ψ.

    Raises:
        UserMistake: a size below 1.

    Example:
        >>> two_layer((4,), 2, width=100)
        Sequential(
          (0): Linear(in_features=4, out_features=100, bias=False)
          (1): ReLU()
          (2): Linear(in_features=100, out_features=2, bias=False)
          (3): Scale(0.1)
        )
    """
    check_sizes("two-layer", input_shape, outputs)
    flatten = [nn.Flatten()] if len(input_shape) > 1 else []
    layers = [nn.Linear(math.prod(input_shape), width, bias=False), nn.Linear(width, outputs, bias=False)]
    for layer in layers:
        nn.init.normal_(layer.weight)
    return nn.Sequential(
        *flatten, layers[0], make_activation(activation), layers[1], Scale(1 / math.sqrt(width))
    )
