"""Nonlinearities, and what a decoder ends in so that its outputs lie in their range."""

import copy
from collections import OrderedDict
from typing import Any

from torch import nn

from biograd.credit.kinds import slopes
from biograd.credit.kinds.bijections import of_identity, of_leaky_relu, of_tanh
from biograd.credit.kinds.layer_kind import LayerKind
from biograd.layers import Scale, Triangle


def _copied(layer: Any) -> nn.Module:
    """The same, with parameters of its own, and without the hooks that watch the net's."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    layer = copy.deepcopy(layer, {id(found): OrderedDict() for found in hooks}).train()
    if hasattr(layer, "inplace"):
        layer.inplace = False
    for parameter in layer.parameters():
        parameter.grad = None
    return layer


def _at_its_mean(layer: nn.RReLU) -> nn.Module:
    """A decoder draws nothing: the slope is the mean of those that may be drawn."""
    return nn.LeakyReLU((layer.lower + layer.upper) / 2)


IDENTITY = LayerKind(
    types=(nn.Identity,),
    is_silent=True,
    is_unit_by_unit=True,
    keeps_range=True,
    bijection=of_identity,
    slope=slopes.IDENTITY,
)

TANH = LayerKind(
    types=(nn.Tanh,),
    is_silent=True,
    is_unit_by_unit=True,
    nonlinearity=_copied,
    bijection=of_tanh,
    slope=slopes.TANH,
)

RELU = LayerKind(
    types=(nn.ReLU,), is_silent=True, is_unit_by_unit=True, nonlinearity=_copied, slope=slopes.RELU
)

SIGMOID = LayerKind(
    types=(nn.Sigmoid,), is_silent=True, is_unit_by_unit=True, nonlinearity=_copied, slope=slopes.SIGMOID
)

LEAKY_RELU = LayerKind(
    types=(nn.LeakyReLU,),
    is_silent=True,
    is_unit_by_unit=True,
    nonlinearity=_copied,
    bijection=of_leaky_relu,
    slope=slopes.LEAKY_RELU,
)

RANDOM_LEAKY_RELU = LayerKind(types=(nn.RReLU,), is_unit_by_unit=True, nonlinearity=_at_its_mean)

UNIT_BY_UNIT = LayerKind(
    types=(
        *(nn.ReLU6, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.LogSigmoid, nn.Hardsigmoid, nn.Hardtanh, nn.Hardswish, nn.Threshold),
        *(nn.Softsign, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink),
    ),
    is_silent=True,
    is_unit_by_unit=True,
    nonlinearity=_copied,
)

OVER_UNITS = LayerKind(
    types=(nn.Softmin, nn.Softmax, nn.Softmax2d, nn.LogSoftmax), is_silent=True, nonlinearity=_copied
)

SCALES = LayerKind(types=(Scale,), is_silent=True, is_unit_by_unit=True)

TRIANGLES = LayerKind(types=(Triangle,), is_silent=True)

NONLINEARITIES = [
    IDENTITY,
    TANH,
    RELU,
    SIGMOID,
    LEAKY_RELU,
    RANDOM_LEAKY_RELU,
    UNIT_BY_UNIT,
    OVER_UNITS,
    SCALES,
    TRIANGLES,
]
