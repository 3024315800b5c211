"""The layers of transformers: residual sublayers of attention and of a small perceptron, normalised before."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from biograd.errors import UserMistake
from biograd.nets.activations import Activation, make_activation


class Attention(nn.Module):
    r"""``x + out(attention(q, k, v))`` with ``q, k, v = qkv(norm(x))``: attention of all heads, the skip included.

    Args:
        width: units of a token, ``(batch, tokens, width)``.
        heads: of attention; they share the units evenly.
        is_causal: whether a token sees those before it and itself alone.
        dropout: share of the sublayer's units that are left out before the sum, in training.
    """

    def __init__(self, width: int, heads: int, *, is_causal: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.is_causal = heads, is_causal
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The stream and what attention adds to it."""
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))  # (batch, tokens, 3, heads, units)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, units)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        return x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))

    def extra_repr(self) -> str:
        """What its children do not say."""
        return f"heads={self.heads}, is_causal={self.is_causal}"


class Perceptron(nn.Module):
    """``x + down(φ(up(norm(x))))``: a hidden layer for each token by itself, the skip included.

    Args:
        width: units of a token, ``(batch, tokens, width)``.
        hidden: units of the hidden layer.
        activation: its nonlinearity φ.
        dropout: share of the sublayer's units that are left out before the sum, in training.
    """

    def __init__(self, width: int, hidden: int, *, activation: Activation, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.activation = make_activation(activation)
        self.down = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The stream and what the hidden layer adds to it."""
        return x + self.dropout(self.down(self.activation(self.up(self.norm(x)))))


class TransformerLayer(nn.Module):
    """An attention and then a perceptron, each with its skip; see `Attention` and `Perceptron`.

    Args:
        width: units of a token.
        heads: of attention.
        expansion: hidden units of the perceptron, in widths.
        is_causal: whether a token sees those before it and itself alone.
        activation: of the perceptron.
        dropout: in both.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        expansion: int,
        is_causal: bool,
        activation: Activation,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, is_causal=is_causal, dropout=dropout)
        self.mlp = Perceptron(width, expansion * width, activation=activation, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The stream behind both, ``(batch, tokens, width)``."""
        return self.mlp(self.attention(x))


def in_order(embed: nn.Module, layers: list[TransformerLayer], head: nn.Module) -> nn.Sequential:
    """The parts by the names ``embed``, ``layers.0``, ``layers.1``, … and ``head``."""
    return nn.Sequential(OrderedDict(embed=embed, layers=nn.Sequential(*layers), head=head))


def check_heads(net: str, width: int, heads: int) -> None:
    """Refuse a width that heads cannot share evenly.

    Raises:
        UserMistake: they cannot.
    """
    if width % heads:
        raise UserMistake(
            f"{net}: heads share the units of a token evenly; {heads} heads cannot share a width of {width}"
        )
