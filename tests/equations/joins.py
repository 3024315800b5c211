"""Every weight layer as a plain list of joins (output unit, input unit, weight): the slow version of them all.

With ``y[o] += W[w] · x[i]`` for every join, the error goes back as ``e_x[i] += B[w] · e_y[o]`` and the weight
learns from ``e_y[o] · x[i]``: the equations of every layer-wise rule, whatever the layer.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from biograd.layers import LocallyConnected, LocallyConnectedTranspose

_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@dataclass(frozen=True)
class Joins:
    """One layer for inputs of one shape; arrays carry a batch in front."""

    outputs: tuple[int, ...]
    o: np.ndarray
    i: np.ndarray
    w: np.ndarray

    def forward(self, x: np.ndarray, W: np.ndarray) -> np.ndarray:
        inputs = x.reshape(len(x), -1).T  # (inputs, batch)
        y = np.zeros((int(np.prod(self.outputs)), len(x)))
        np.add.at(y, self.o, W.ravel()[self.w][:, None] * inputs[self.i])
        return y.T.reshape(len(x), *self.outputs)

    def error_back(self, e: np.ndarray, B: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        errors = e.reshape(len(e), -1).T  # (outputs, batch)
        back = np.zeros((int(np.prod(shape[1:])), len(e)))
        np.add.at(back, self.i, B.ravel()[self.w][:, None] * errors[self.o])
        return back.T.reshape(shape)

    def weight_gradient(self, e: np.ndarray, x: np.ndarray, W: np.ndarray) -> np.ndarray:
        gradient = np.zeros(W.size)
        products = e.reshape(len(e), -1)[:, self.o] * x.reshape(len(x), -1)[:, self.i]
        np.add.at(gradient, self.w, products.sum(0))
        return gradient.reshape(W.shape)


def joins_of(layer: nn.Module, shape: tuple[int, ...]) -> Joins:
    """The joins of a layer for one input of ``shape``, without its batch."""
    if isinstance(layer, nn.Linear):
        return _make(_linear(layer, shape), (*shape[:-1], layer.out_features))
    if isinstance(layer, LocallyConnected):
        return _locally_connected(layer, shape)
    if isinstance(layer, LocallyConnectedTranspose):
        return _locally_connected_transposed(layer)
    assert isinstance(layer, nn.modules.conv._ConvNd)
    if layer.transposed:
        return _transposed(layer, shape)
    return _convolution(layer, shape)


def bias_gradient(layer: Any, e: np.ndarray) -> np.ndarray:
    """Sum of the error over everything that shares the bias."""
    if isinstance(layer, nn.Linear):
        return e.reshape(-1, e.shape[-1]).sum(0)
    if isinstance(layer, LocallyConnected | LocallyConnectedTranspose):
        return e.sum(0)
    return e.sum((0, *range(2, e.ndim)))


def with_bias(layer: Any, y: np.ndarray) -> np.ndarray:
    """``y`` plus the layer's bias, if it has one."""
    if layer.bias is None:
        return y
    bias = layer.bias.detach().numpy()
    if isinstance(layer, nn.Linear | LocallyConnected | LocallyConnectedTranspose):
        return y + bias
    return y + bias.reshape(-1, *(1,) * (y.ndim - 2))


def _make(triples: Iterable[Any], outputs: tuple[int, ...]) -> Joins:
    o, i, w = np.array(list(triples), dtype=int).reshape(-1, 3).T
    return Joins(outputs, o, i, w)


def _linear(layer, shape):
    places = int(np.prod(shape[:-1]))
    n_out, n_in = layer.out_features, layer.in_features
    for place, a, b in itertools.product(range(places), range(n_out), range(n_in)):
        yield place * n_out + a, place * n_in + b, a * n_in + b


def _padding(layer) -> list[tuple[int, int]]:
    """(before, after) for each dimension, as the documentation of torch.nn.Conv2d says."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    return [(p, p) for p in layer.padding]


def _padded_index(layer, shape) -> np.ndarray:
    """Which input each place of the padded input is; −1 for a zero."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    widths = [(0, 0), *_padding(layer)]
    if layer.padding_mode == "zeros":
        return np.pad(index, widths, constant_values=-1)
    return np.pad(index, widths, mode=_MODES[layer.padding_mode])


def _windows(layer, padded_shape):
    """(output position, kernel position, place in the padded input) of a convolution."""
    geometry = list(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True))
    sizes = [(n - d * (k - 1) - 1) // s + 1 for n, (k, s, d) in zip(padded_shape, geometry, strict=True)]
    kernels = [range(k) for k, _, _ in geometry]
    for position in itertools.product(*map(range, sizes)):
        for offset in itertools.product(*kernels):
            place = tuple(p * s + q * d for p, q, (_, s, d) in zip(position, offset, geometry, strict=True))
            yield position, offset, place, tuple(sizes)


def _convolution(layer, shape) -> Joins:
    index = _padded_index(layer, shape)
    windows = list(_windows(layer, index.shape[1:]))
    outputs = (layer.out_channels, *windows[0][3])
    o_index = np.arange(int(np.prod(outputs))).reshape(outputs)
    w_index = np.arange(layer.weight.numel()).reshape(layer.weight.shape)
    per_in, per_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    triples = (
        (
            o_index[(c_out, *position)],
            index[(c_out // per_out * per_in + c_in, *place)],
            w_index[(c_out, c_in, *q)],
        )
        for position, q, place, _ in windows
        for c_out in range(layer.out_channels)
        for c_in in range(per_in)
    )
    return _make((t for t in triples if t[1] >= 0), outputs)


def _transposed(layer, shape) -> Joins:
    """Output place = input place · stride + kernel place · dilation − padding, wherever that exists."""
    geometry = list(zip(layer.kernel_size, layer.stride, layer.dilation, layer.padding, strict=True))
    sizes = [
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, extra, (k, s, d, p) in zip(shape[1:], layer.output_padding, geometry, strict=True)
    ]
    outputs = (layer.out_channels, *sizes)
    i_index = np.arange(int(np.prod(shape))).reshape(shape)
    o_index = np.arange(int(np.prod(outputs))).reshape(outputs)
    w_index = np.arange(layer.weight.numel()).reshape(layer.weight.shape)
    per_in, per_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups

    def triples():
        for position in itertools.product(*map(range, shape[1:])):
            for q in itertools.product(*map(range, layer.kernel_size)):
                place = tuple(
                    a * s + b * d - p for a, b, (_, s, d, p) in zip(position, q, geometry, strict=True)
                )
                if all(0 <= a < n for a, n in zip(place, sizes, strict=True)):
                    for c_in, c_out in itertools.product(range(layer.in_channels), range(per_out)):
                        group = c_in // per_in
                        o = o_index[(group * per_out + c_out, *place)]
                        yield o, i_index[(c_in, *position)], w_index[(c_in, c_out, *q)]

    return _make(triples(), outputs)


def _locally_connected(layer, shape) -> Joins:
    index = _padded_index(layer, shape)
    outputs = (layer.out_channels, *layer.output_size)
    o_index = np.arange(int(np.prod(outputs))).reshape(outputs)
    w_index = np.arange(layer.weight.numel()).reshape(layer.weight.shape)
    per_in, per_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    triples = (
        (
            o_index[(c_out, *p)],
            index[(c_out // per_out * per_in + c_in, *place)],
            w_index[(*p, *q, c_in, c_out)],
        )
        for p, q, place, _ in _windows(layer, index.shape[1:])
        for c_out in range(layer.out_channels)
        for c_in in range(per_in)
    )
    return _make((t for t in triples if t[1] >= 0), outputs)


def _locally_connected_transposed(layer) -> Joins:
    """Output place = input place · stride + kernel place · dilation − padding at the top left, where that exists."""
    outputs = (layer.out_channels, *layer.output_size)
    o_index = np.arange(int(np.prod(outputs))).reshape(outputs)
    i_shape = (layer.in_channels, *layer.input_size)
    i_index = np.arange(int(np.prod(i_shape))).reshape(i_shape)
    w_index = np.arange(layer.weight.numel()).reshape(layer.weight.shape)
    per_in, per_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    before = [edge for edge, _ in _padding(layer)]

    def triples():
        for position in itertools.product(*map(range, layer.input_size)):
            for q in itertools.product(*map(range, layer.kernel_size)):
                steps = zip(position, layer.stride, q, layer.dilation, before, strict=True)
                place = tuple(a * s + b * d - p for a, s, b, d, p in steps)
                if all(0 <= a < n for a, n in zip(place, layer.output_size, strict=True)):
                    for c_in, c_out in itertools.product(range(layer.in_channels), range(per_out)):
                        o = o_index[(c_in // per_in * per_out + c_out, *place)]
                        yield o, i_index[(c_in, *position)], w_index[(*position, *q, c_out, c_in)]

    return _make(triples(), outputs)
