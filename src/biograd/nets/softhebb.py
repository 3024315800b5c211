"""Nets for soft winner-take-all learning: no biases below the readout, and activities relative to rivals'."""

import math
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Gt, Lt, MinLen
from torch import nn

from biograd.errors import UserMistake
from biograd.layers.triangle import Triangle
from biograd.nets.initialization import fans
from biograd.nets.shapes import check_sizes, check_smallest_image
from biograd.settings import checked_settings

Widths = Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1)]
Powers = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Radius = Annotated[float, Gt(0)]


@checked_settings
def mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    widths: Widths = (2000,),
    powers: Powers = (1.4,),
    radius: Radius = 25.0,
    batch_norm: bool = True,
    dropout: Share = 0.0,
) -> nn.Sequential:
    """Fully connected layers without biases, each with the Triangle activation, then a linear layer.

    Args:
        input_shape: shape of one example, without the batch.
        outputs: number of output units.
        widths: units of each hidden layer.
        powers: of the Triangle activation, one for all hidden layers or one for each.
        radius: about the norm that a hidden neuron's weights start at; they are normal.
        batch_norm: whether what a hidden layer gives is normalised over the batch, without scale and shift.
        dropout: probability before the last layer.

    Raises:
        UserMistake: a size below 1, or as many powers as neither 1 nor the hidden layers are.
    """
    check_sizes("softhebb-mlp", input_shape, outputs)
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    units = math.prod(input_shape)
    for width, power in zip(widths, _for_each("softhebb-mlp", widths, powers), strict=True):
        layers += [nn.Linear(units, width, bias=False), Triangle(power)]
        layers += [nn.BatchNorm1d(width, affine=False)] if batch_norm else []
        units = width
    return _finished(layers, units, outputs, radius, dropout)


@checked_settings
def cnn(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Widths = (96, 384, 1536),
    powers: Powers = (0.7, 1.4, 1.0),
    radius: Radius = 25.0,
    readout_norm: bool = True,
    dropout: Share = 0.5,
) -> nn.Sequential:
    """The convolutional net of Journé et al. 2023: normalisation, convolution, Triangle and pooling by turns.

    Made for 3×32×32 (CIFAR-10). Batch normalisation without scale and shift before each convolution; the first
    5×5, the others 3×3, with reflected borders and without biases; maxima of 4×4 positions 2 apart, and means of 2×2
    behind the last; dropout and a linear layer.

    Args:
        input_shape: (channels, height, width) of one example.
        outputs: number of output units.
        channels: of each convolution.
        powers: of the Triangle activation, one for all convolutions or one for each.
        radius: about the norm that a channel's weights start at; they are normal.
        readout_norm: whether what the last convolution gives is normalised too, which the paper leaves to Adam; a
            linear layer can say the same without it, but plain gradient descent finds it more slowly.
        dropout: probability before the last layer.

    Raises:
        UserMistake: no image, one too small to be halved once for each convolution, or as many powers as neither 1
            nor the convolutions are.
    """
    check_smallest_image("softhebb-cnn", input_shape, outputs, smallest=max(2 ** len(channels), 3))
    into, height, width = input_shape
    layers: list[nn.Module] = []
    for index, (out, power) in enumerate(
        zip(channels, _for_each("softhebb-cnn", channels, powers), strict=True)
    ):
        size, is_last = 3 if index else 5, index == len(channels) - 1
        layers += [nn.BatchNorm2d(into, affine=False)]
        layers += [nn.Conv2d(into, out, size, padding=size // 2, padding_mode="reflect", bias=False)]
        layers += [Triangle(power), nn.AvgPool2d(2) if is_last else nn.MaxPool2d(4, stride=2, padding=1)]
        into, height, width = out, height // 2, width // 2
    layers += [nn.BatchNorm2d(into, affine=False)] if readout_norm else []
    return _finished([*layers, nn.Flatten()], into * height * width, outputs, radius, dropout)


def _finished(
    layers: list[nn.Module], units: int, outputs: int, radius: float, dropout: float
) -> nn.Sequential:
    """Hidden layers at their initial norm, and the readout behind them."""
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=radius / math.sqrt(fans(layer)[0]))
    layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(units, outputs))


def _for_each(net: str, widths: Sequence[int], powers: Sequence[float]) -> Sequence[float]:
    if len(powers) not in (1, len(widths)):
        raise UserMistake(
            f"{net}: powers needs one number, or one for each of the {len(widths)} hidden layers; got {len(powers)}"
        )
    return [*powers] * len(widths) if len(powers) == 1 else powers
