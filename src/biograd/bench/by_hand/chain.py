"""A chain of linear layers in plain tensor operations, with buffers that are kept from step to step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd.layers import FirstUnits


class Nonlinearity(NamedTuple):
    """φ unit by unit, and its derivative by formula.

    Attributes:
        apply: puts φ(a) in the place of a.
        derive: ``(signal, h, scratch)`` puts signal ∘ φ'(a), where h = φ(a), in the place of the signal.
    """

    apply: Callable[[Tensor], object]
    derive: Callable[[Tensor, Tensor, Tensor], object]


def _tanh() -> Nonlinearity:
    def derive(signal: Tensor, h: Tensor, scratch: Tensor) -> None:
        # φ' = 1 − h²
        torch.mul(signal, h, out=scratch)
        signal.addcmul_(scratch, h, value=-1)

    return Nonlinearity(torch.tanh_, derive)


def _rectifier(slope: float) -> Nonlinearity:
    def derive(signal: Tensor, h: Tensor, scratch: Tensor) -> None:
        # φ' = 1 above 0, else the slope
        torch.mul(signal, slope, out=scratch)
        torch.where(h > 0, signal, scratch, out=signal)

    return Nonlinearity(lambda a: F.leaky_relu_(a, slope), derive)


NONE = Nonlinearity(lambda a: None, lambda signal, h, scratch: None)


def nonlinearity(layer: Any) -> Nonlinearity | None:
    """The formulas of a layer; None where they are not known here."""
    if isinstance(layer, nn.Tanh):
        return _tanh()
    if type(layer) is nn.ReLU:
        return _rectifier(0.0)
    if type(layer) is nn.LeakyReLU and layer.negative_slope > 0:
        return _rectifier(layer.negative_slope)
    return NONE if type(layer) is nn.Identity else None


class Layer:
    """A linear layer and its nonlinearity, for batches of one size; all but W and b are buffers.

    Args:
        linear: with a bias.
        phi: what stands behind it.
        batch: examples.
        passed_on: how many units are passed on, None for all. The others are computed, and taught nothing.

    Attributes:
        linear: the layer.
        W: the rows of units that are passed on, ``(out, in)``.
        h: what it passes on, ``(batch, out)``.
        signal: its teaching signal, and in the same place δ once it is taught.
        gradient: of all rows of W.
    """

    def __init__(
        self, linear: nn.Linear, phi: Nonlinearity, batch: int, passed_on: int | None = None
    ) -> None:
        self.linear, self._phi, self._passed_on = linear, phi, passed_on
        W, self._b = linear.weight.detach(), linear.bias.detach()
        self._transposed, self.W = W.t(), W[:passed_on]
        self._all = self.buffer(batch)
        self.h = self._all[:, :passed_on]
        self.signal, self._scratch = torch.empty_like(self.h), torch.empty_like(self.h)
        self.gradient, self._of_bias = torch.zeros_like(W), torch.zeros_like(self._b)
        self._taught = self.gradient[:passed_on], self._of_bias[:passed_on]

    def buffer(self, batch: int) -> Tensor:
        """Room for what the layer makes of so many examples."""
        return self._b.new_empty(batch, len(self._b))

    def run(self, x: Tensor, out: Tensor) -> Tensor:
        """What it passes on, φ(W x + b), in a buffer that the caller keeps."""
        torch.addmm(self._b, x, self._transposed, out=out)
        self._phi.apply(out)
        return out[:, : self._passed_on]

    def forward(self, x: Tensor) -> Tensor:
        """As `run`, in ``h``."""
        return self.run(x, self._all)

    def drive(self, x: Tensor) -> Tensor:
        """W x + b, in the place of ``h`` until it fires."""
        return torch.addmm(self._b, x, self._transposed, out=self._all)

    def fire(self) -> Tensor:
        """What it passes on, of its drive."""
        self._phi.apply(self._all)
        return self.h

    def teach(self, x: Tensor) -> None:
        """Gradients from the teaching signal and the layer's input."""
        # δ = signal ∘ φ'(a)
        self._phi.derive(self.signal, self.h, self._scratch)
        self.learn(x)

    def learn(self, x: Tensor) -> None:
        """Gradients of W and b where ``signal`` is δ."""
        W, b = self._taught
        # ΔW = δᵀ x
        torch.mm(self.signal.t(), x, out=W)
        torch.sum(self.signal, 0, out=b)
        self.linear.weight.grad, self.linear.bias.grad = self.gradient, self._of_bias


@dataclass(frozen=True)
class Chain:
    """Linear layers, each with a nonlinearity or none, and auxiliary units at most behind the last one.

    Attributes:
        layers: in the order of the net.
        names: of their weights.
        batch: examples.
    """

    layers: list[Layer]
    names: list[str]
    batch: int

    @classmethod
    def of(cls, net: nn.Module, batch: int) -> "Chain | None":
        """The layers of a net for batches of one size; None where it is made of anything else, or a part is frozen."""
        if type(net) is not nn.Sequential or not all(p.requires_grad for p in net.parameters()):
            return None
        rest = list(net.named_children())
        if rest and type(rest[0][1]) is nn.Flatten:
            del rest[0]
        layers, names = [], []
        while rest:
            name, linear = rest.pop(0)
            layer = _layer(linear, rest, batch)
            if layer is None:
                return None
            layers.append(layer)
            names.append(f"{name}.weight")
        return cls(layers, names, batch) if layers else None

    def inputs(self, x: Tensor) -> list[Tensor]:
        """What each layer was given."""
        return [x.flatten(1), *(layer.h for layer in self.layers[:-1])]

    def error(self, x: Tensor, y: Tensor) -> Tensor:
        """Run a batch up; the loss, whose derivative by the output is then the last layer's teaching signal."""
        h = x.flatten(1)
        for layer in self.layers[:-1]:
            h = layer.forward(h)
        return self.output_error(h, y)

    def output_error(self, h: Tensor, y: Tensor) -> Tensor:
        """As `error`, from what the last layer is given."""
        last = self.layers[-1]
        return cross_entropy(last.forward(h), y, last.signal)


def _layer(linear: Any, rest: list[tuple[str, nn.Module]], batch: int) -> Layer | None:
    """A layer of what comes next in a net, which is taken off the rest; None where it is none."""
    if type(linear) is not nn.Linear or linear.bias is None:
        return None
    phi = NONE if not rest or type(rest[0][1]) in (nn.Linear, FirstUnits) else nonlinearity(rest.pop(0)[1])
    cut = rest.pop(0)[1] if rest and type(rest[0][1]) is FirstUnits else None
    if phi is None or (cut is not None and rest):
        return None
    return Layer(linear, phi, batch, cut.count if isinstance(cut, FirstUnits) else None)


def cross_entropy(output: Tensor, y: Tensor, error: Tensor) -> Tensor:
    """The mean loss over a batch, and its derivative by the output in ``error``.

    Args:
        output: ``(batch, classes)``.
        y: class indices.
        error: where the derivative goes.
    """
    logarithms = torch.log_softmax(output, 1)
    # e = (p − t) / B
    torch.exp(logarithms, out=error)
    error.scatter_add_(1, y.unsqueeze(1), error.new_full((len(y), 1), -1.0)).div_(len(y))
    return F.nll_loss(logarithms, y)
