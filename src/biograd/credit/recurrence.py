"""Recurrent layers written out: what PyTorch computes in one function, step by step, in products that can be taught.

Values are those of PyTorch's functions to rounding, which add up in another order; so are states behind the last step
and the random numbers of dropout between layers.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``W x + b`` of x, W and b."""

State = Sequence[Tensor]
"""What one step hands to the next: h ``(batch, hidden)``, and the cell c of an LSTM."""


class Weights(NamedTuple):
    """Those of one layer in one direction, in PyTorch's order but for the projection.

    Attributes:
        ih: ``(gates · hidden, in)``.
        hh: ``(gates · hidden, hidden)``.
        b_ih: ``(gates · hidden,)``, or None.
        b_hh: as b_ih.
        hr: ``(projected, hidden)`` of an LSTM with ``proj_size``, or None.
    """

    ih: Tensor
    hh: Tensor
    b_ih: Tensor | None = None
    b_hh: Tensor | None = None
    hr: Tensor | None = None

    @property
    def matrices(self) -> list[Tensor]:
        """Those that are there."""
        return [self.ih, self.hh] if self.hr is None else [self.ih, self.hh, self.hr]


Step = Callable[[Product, Tensor, State, Weights], State]
"""``step(product, W_ih x + b_ih, state, weights)`` gives the next state."""


def elman(nonlinearity: Callable[[Tensor], Tensor]) -> Step:
    r"""A step of `torch.nn.RNN`, :math:`h' = \varphi(W_{ih} x + b_{ih} + W_{hh} h + b_{hh})`."""

    def step(product: Product, from_input: Tensor, state: State, weights: Weights) -> State:
        return (nonlinearity(product(state[0], weights.hh, weights.b_hh) + from_input),)

    return step


def lstm_step(product: Product, from_input: Tensor, state: State, weights: Weights) -> State:
    r"""A step of `torch.nn.LSTM`, :math:`c' = \sigma(f) \circ c + \sigma(i) \circ \tanh(g)`."""
    h, c = state
    # (i, f, g, o) = W_ih x + b_ih + W_hh h + b_hh
    i, f, g, o = (product(h, weights.hh, weights.b_hh) + from_input).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if weights.hr is None else product(h, weights.hr, None)), c


def gru_step(product: Product, from_input: Tensor, state: State, weights: Weights) -> State:
    r"""A step of `torch.nn.GRU`, :math:`h' = (1 - z) \circ n + z \circ h`."""
    (h,) = state
    of_x, of_h = from_input.chunk(3, -1), product(h, weights.hh, weights.b_hh).chunk(3, -1)
    r, z = (of_h[0] + of_x[0]).sigmoid(), (of_h[1] + of_x[1]).sigmoid()
    n = (of_x[2] + r * of_h[2]).tanh()
    return ((h - n) * z + n,)


class RecurrentCell(NamedTuple):
    """A call of a cell, taken apart.

    Attributes:
        step: what it computes.
        x: ``(batch, in)``.
        state: ``(batch, hidden)`` each.
        parts: its weights.
    """

    step: Step
    x: Tensor
    state: State
    parts: Weights

    @property
    def weights(self) -> list[Tensor]:
        """The matrices."""
        return self.parts.matrices

    def run(self, product: Product) -> Any:
        """The next state, as the cell gives it."""
        from_input = product(self.x, self.parts.ih, self.parts.b_ih)
        state = self.step(product, from_input, self.state, self.parts)
        return tuple(state) if len(state) > 1 else state[0]


class RecurrentLayers(NamedTuple):
    """A call of recurrent layers, taken apart.

    Attributes:
        step: what each computes.
        x: ``(time, batch, in)``, or ``(steps of all examples, in)`` where packed.
        sizes: of a packed sequence, how many examples are there at each step, fewer and fewer; else None.
        state: ``(layers · directions, batch, hidden)`` each.
        parts: the weights of each layer and direction.
        dropout: probability between layers; 0 where there is none.
        directions: 1 or 2.
        batch_first: whether the output has the batch in front.
    """

    step: Step
    x: Tensor
    sizes: list[int] | None
    state: State
    parts: list[Weights]
    dropout: float
    directions: int
    batch_first: bool = False

    @property
    def weights(self) -> list[Tensor]:
        """The matrices."""
        return [matrix for weights in self.parts for matrix in weights.matrices]

    def run(self, product: Product) -> tuple[Tensor, ...]:
        """What the last layer gives at each step, and the last states of all layers and directions."""
        x, last = self.x, []
        for first in range(0, len(self.parts), self.directions):
            x = F.dropout(x, self.dropout) if first and self.dropout else x
            outputs = []
            for place in range(first, first + self.directions):
                output, state = self._along(product, x, place)
                outputs.append(output)
                last.append(state)
            x = torch.cat(outputs, -1) if self.directions > 1 else outputs[0]
        return (x.transpose(0, 1) if self.batch_first else x), *map(torch.stack, zip(*last, strict=True))

    def _along(self, product: Product, x: Tensor, place: int) -> tuple[Tensor, State]:
        """What one layer gives at each step in one direction, and its last state."""
        weights, state = self.parts[place], tuple(part[place] for part in self.state)
        from_input = product(x, weights.ih, weights.b_ih)
        inputs = from_input.unbind() if self.sizes is None else from_input.split(self.sizes)
        is_reversed = place % self.directions == 1
        outputs = []
        for at_step in reversed(inputs) if is_reversed else inputs:
            output, state = self._advance(product, at_step, state, weights)
            outputs.append(output)
        in_time = outputs[::-1] if is_reversed else outputs
        return torch.stack(in_time) if self.sizes is None else torch.cat(in_time), state

    def _advance(
        self, product: Product, from_input: Tensor, state: State, weights: Weights
    ) -> tuple[Tensor, State]:
        """What the examples that are there give, and the state of all: others have ended, or not yet begun."""
        there, batch = len(from_input), len(state[0])
        if there == batch:
            state = self.step(product, from_input, state, weights)
            return state[0], state
        after = self.step(product, from_input, tuple(part[:there] for part in state), weights)
        return after[0], tuple(torch.cat([new, old[there:]]) for new, old in zip(after, state, strict=True))


def cell_parser(step: Step) -> Callable[..., RecurrentCell]:
    """What takes apart a call of ``torch.lstm_cell`` or one of its kin."""

    def parse(
        input: Tensor,
        hx: Any,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None = None,
        b_hh: Tensor | None = None,
    ) -> RecurrentCell:
        return RecurrentCell(step, input, _state(hx), Weights(w_ih, w_hh, b_ih, b_hh))

    return parse


def layers_parser(step: Step) -> Callable[..., RecurrentLayers]:
    """What takes apart a call of ``torch.lstm`` or one of its kin, of a packed sequence or not."""

    def parse_padded(
        input: Tensor,
        hx: Any,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> RecurrentLayers:
        x = input.transpose(0, 1) if batch_first else input
        parts = _parts(params, has_biases, num_layers * (1 + bidirectional))
        probability = dropout if train else 0.0
        return RecurrentLayers(step, x, None, _state(hx), parts, probability, 1 + bidirectional, batch_first)

    def parse_packed(
        data: Tensor,
        batch_sizes: Tensor,
        hx: Any,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
    ) -> RecurrentLayers:
        sizes = batch_sizes.tolist()  # which PyTorch keeps on the CPU
        parts = _parts(params, has_biases, num_layers * (1 + bidirectional))
        return RecurrentLayers(
            step, data, sizes, _state(hx), parts, dropout if train else 0.0, 1 + bidirectional
        )

    def parse(*args: Any, **kwargs: Any) -> RecurrentLayers:
        is_packed = "batch_sizes" in kwargs or (len(args) > 3 and not isinstance(args[3], bool))
        return (parse_packed if is_packed else parse_padded)(*args, **kwargs)

    return parse


def _state(hx: Any) -> State:
    return (hx,) if isinstance(hx, Tensor) else tuple(hx)


def _parts(params: Sequence[Tensor], has_biases: bool, count: int) -> list[Weights]:
    """The weights of ``count`` layers and directions, from the flat list that PyTorch's functions take."""
    each = len(params) // count
    parts = [params[start : start + each] for start in range(0, len(params), each)]
    return [Weights(*part) if has_biases else Weights(*part[:2], hr=(*part, None)[2]) for part in parts]
