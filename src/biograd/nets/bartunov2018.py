"""The nets of Bartunov et al. 2018, "Assessing the scalability of biologically-motivated deep learning".

Every hidden layer is followed by tanh; there is no pooling; weights start as Glorot's, biases at zero. A locally
connected net (lc) has a filter of its own at every position; the conv net beside it shares them.

The paper pads with zeros to the "same" size: an output has ``ceil(size / stride)`` positions. With a stride of 2 or
4 an odd number of zeros is needed, and TensorFlow puts the greater half at the right and bottom. Here every side of a
map gets ``kernel // 2``, which gives the same output sizes and numbers of parameters and lets the layer itself do the
padding, so that every inverse is the transpose of a single layer; filters of a strided layer lie one or two
pixels further to the top left, and still see every pixel.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from biograd.layers import LocallyConnected2d
from biograd.nets.initialization import initialize
from biograd.nets.shapes import check_image


class _Layer(NamedTuple):
    """A row of the paper's tables: a layer on maps, followed by tanh."""

    kernel: int
    channels: int
    stride: int


class _Architecture(NamedTuple):
    """What a net consists of: layers on maps, then linear layers of these widths, then the output layer."""

    data: str
    input_shape: tuple[int, int, int]
    layers: tuple[_Layer, ...]
    widths: tuple[int, ...]


_MNIST_FC = _Architecture("MNIST", (1, 28, 28), (), (256,) * 5)
_MNIST = _Architecture("MNIST", (1, 28, 28), (_Layer(3, 32, 2), _Layer(3, 64, 2)), (1024,))
_CIFAR_FC = _Architecture("CIFAR", (3, 32, 32), (), (1024,) * 3)
_CIFAR = _Architecture(
    "CIFAR", (3, 32, 32), (_Layer(5, 64, 2), _Layer(5, 128, 2), _Layer(3, 256, 1)), (1024,)
)
_IMAGENET = _Architecture(
    "ImageNet",
    (3, 224, 224),
    (
        _Layer(9, 48, 4),
        _Layer(3, 48, 2),
        _Layer(5, 96, 1),
        _Layer(3, 96, 2),
        _Layer(3, 192, 1),
        _Layer(3, 192, 2),
        _Layer(3, 384, 1),
    ),
    (),
)


def _local(into: int, layer: _Layer, size: int) -> nn.Module:
    kernel, channels, stride = layer
    return LocallyConnected2d(into, channels, kernel, (size, size), stride, padding=kernel // 2)


def _shared(into: int, layer: _Layer, size: int) -> nn.Module:
    kernel, channels, stride = layer
    return nn.Conv2d(into, channels, kernel, stride, padding=kernel // 2)


_KINDS = {
    "fully connected": ("fc", None),
    "locally connected": ("lc", _local),
    "convolutional": ("conv", _shared),
}
"""What the paper calls a net to the end of its name, and what makes its layers on maps."""

_DOC = """Bartunov's {kind} net for {sizes} ({data}): {what}.
{note}
Args:
    input_shape: {input_shape}.
    outputs: number of output units.

Raises:
    UserMistake: another input shape.
"""


def _net(kind: str, architecture: _Architecture, what: str, note: str = "") -> Callable[..., nn.Sequential]:
    """The constructor of a net, documented as one that is written out."""
    ending, make = _KINDS[kind]
    data, input_shape = architecture.data, architecture.input_shape
    name = f"{data.lower()}-{ending}"

    def net(input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
        check_image(f"bartunov-{name}", input_shape, outputs, [architecture.input_shape])
        return _chain(architecture, make, outputs)

    net.__name__ = net.__qualname__ = name.replace("-", "_")
    net.__doc__ = _DOC.format(
        kind=kind,
        sizes="×".join(map(str, input_shape)),
        data=data,
        what=what,
        note=note and f"\n{note}\n",
        input_shape=input_shape,
    )
    return net


def _chain(
    architecture: _Architecture, make: Callable[[int, _Layer, int], nn.Module] | None, outputs: int
) -> nn.Sequential:
    units, size, _ = architecture.input_shape
    layers: list[nn.Module] = []
    for layer in architecture.layers:
        assert make is not None  # only a fully connected net has no layers on maps
        layers += [make(units, layer, size), nn.Tanh()]
        units, size = layer.channels, math.ceil(size / layer.stride)
    layers.append(nn.Flatten())
    units *= size * size  # maps are square
    for width in architecture.widths:
        layers += [nn.Linear(units, width), nn.Tanh()]
        units = width
    net = nn.Sequential(*layers, nn.Linear(units, outputs))
    initialize(net, "glorot", "tanh")
    return net


_TWIN = "the locally connected one with shared weights"

mnist_fc = _net("fully connected", _MNIST_FC, "five hidden layers of 256 tanh units")
mnist_lc = _net("locally connected", _MNIST, "32 and 64 channels, then 1024 tanh units")
mnist_conv = _net("convolutional", _MNIST, _TWIN)
cifar_fc = _net("fully connected", _CIFAR_FC, "three hidden layers of 1024 tanh units")
cifar_lc = _net(
    "locally connected", _CIFAR, "64, 128, 256 channels, then 1024 tanh units", "50 M parameters."
)
cifar_conv = _net("convolutional", _CIFAR, _TWIN)
imagenet_lc = _net(
    "locally connected",
    _IMAGENET,
    "seven layers, 48 to 384 channels",
    "260 M parameters, a gigabyte in single precision, and as much again for gradients and each moment of Adam.",
)
imagenet_conv = _net("convolutional", _IMAGENET, _TWIN)
