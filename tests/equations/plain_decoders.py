"""Decoders forward and backward in NumPy, a layer at a time, without autograd."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from biograd.layers import LocallyConnectedTranspose2d
from tests.equations.joins import bias_gradient, joins_of, with_bias
from tests.equations.plain import WEIGHT_LAYERS, Step

_WEIGHTS = (*WEIGHT_LAYERS, LocallyConnectedTranspose2d)


def decoded(decoder: Any, h: np.ndarray) -> np.ndarray:
    """What a decoder makes of a batch."""
    return decoder_steps(decoder, h)[-1].y


def decoder_steps(decoder: Any, h: np.ndarray) -> list[Step]:
    """Every layer of a decoder with what went in and came out; a tanh within a linear layer is one of its own."""
    steps = []
    for name, layer in decoder.named_children():
        y = _output(layer, h)
        steps.append(Step(name, layer, h, y))
        h = y
    return steps


def decoder_gradients(steps: Sequence[Step], signal: np.ndarray) -> dict[str, np.ndarray]:
    """Derivative by the parameters of the one weight layer of a decoder that is told ``signal`` at its end."""
    for step in reversed(steps):
        if isinstance(step.layer, _WEIGHTS):
            return _gradients(step, signal)
        signal = _through(step, signal)
    raise AssertionError("a decoder without a weight layer")


def _output(layer: Any, x: np.ndarray) -> np.ndarray:
    if isinstance(layer, _WEIGHTS):
        W = layer.weight.detach().numpy()
        return with_bias(layer, joins_of(layer, x.shape[1:]).forward(x, W))
    if isinstance(layer, nn.Tanh):
        return np.tanh(x)
    if isinstance(layer, nn.ReLU):
        return np.maximum(x, 0)
    if isinstance(layer, nn.Upsample):
        return x.repeat(layer.size[0] // x.shape[2], 2).repeat(layer.size[1] // x.shape[3], 3)  # pyright: ignore
    assert isinstance(layer, nn.Unflatten)
    return x.reshape(len(x), *layer.unflattened_size)  # pyright: ignore[reportArgumentType]


def _through(step: Step, e: np.ndarray) -> np.ndarray:
    if isinstance(step.layer, nn.Tanh):
        return e * (1 - step.y**2)
    if isinstance(step.layer, nn.ReLU):
        return e * (step.x > 0)
    assert isinstance(step.layer, nn.Unflatten)
    return e.reshape(step.x.shape)


def _gradients(step: Step, e: np.ndarray) -> dict[str, np.ndarray]:
    W = step.layer.weight.detach().numpy()
    found = {f"{step.name}.weight": joins_of(step.layer, step.x.shape[1:]).weight_gradient(e, step.x, W)}
    if step.layer.bias is not None:
        found[f"{step.name}.bias"] = bias_gradient(step.layer, e)
    return found
