"""A causal transformer over tokens: at every place of a sequence, scores of what comes next."""

from typing import Annotated

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from biograd.errors import UserMistake, brief
from biograd.layers import Positions
from biograd.nets.activations import Activation
from biograd.nets.initialization import Initialization, initialize
from biograd.nets.shapes import check_sizes
from biograd.nets.transformer import TransformerLayer, check_heads, in_order
from biograd.settings import checked_settings


@checked_settings
def gpt(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: Annotated[int, Gt(0)] = 64,
    depth: Annotated[int, Ge(1)] = 4,
    heads: Annotated[int, Gt(0)] = 4,
    expansion: Annotated[int, Gt(0)] = 2,
    vocabulary: Annotated[int, Gt(0)] | None = None,
    tied: bool = False,
    activation: Activation = "gelu",
    initialization: Initialization = "glorot",
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> nn.Sequential:
    """A small language model: tokens and positions embedded, pre-normalised causal layers, scores of the next token.

    Takes the numbers of tokens, ``(batch, tokens)`` int64, of any length up to that of ``input_shape``, and gives
    ``(batch, tokens, outputs)``. Its parts are named as those of `vit` are.

    Args:
        input_shape: (tokens,), the longest sequence that it takes.
        outputs: how many different tokens there are, or classes that a token can have.
        width: units of a token.
        depth: number of layers.
        heads: of attention; they divide the width.
        expansion: hidden units of each perceptron, in widths.
        vocabulary: how many different tokens it takes; None for as many as its outputs.
        tied: whether the readout's matrix is the table of token embeddings itself.
        activation: of the perceptrons.
        initialization: how weights start; biases start at zero, embeddings normal with deviation 0.02.
        dropout: share of each sublayer's units that are left out before its skip is added, in training.

    Raises:
        UserMistake: examples are no sequences, heads do not divide the width, or a readout is tied to a table of
            another size.

    Reference:
        Radford et al.: Language models are unsupervised multitask learners. 2019.

    Example:
        >>> import torch
        >>> gpt((32,), 50)(torch.zeros(2, 7, dtype=torch.int64)).shape
        torch.Size([2, 7, 50])
    """
    check_sizes("gpt", input_shape, outputs)
    if len(input_shape) != 1:
        raise UserMistake(f"gpt takes sequences of tokens, (tokens,); got {brief(tuple(input_shape))}")
    check_heads("gpt", width, heads)
    tokens = outputs if vocabulary is None else vocabulary
    if tied and tokens != outputs:
        raise UserMistake(
            f"gpt with {outputs} outputs and a vocabulary of {tokens} has a readout and a table of two sizes: leave "
            "tied out"
        )
    embed = TokenEmbedding(tokens, input_shape[0], width)
    layers = [
        TransformerLayer(
            *(width, heads), expansion=expansion, is_causal=True, activation=activation, dropout=dropout
        )
        for _ in range(depth)
    ]
    head = NextToken(width, outputs)
    net = in_order(embed, layers, head)
    initialize(net, initialization, activation)
    if tied:
        head.linear.weight = embed.table.weight
    return net


class TokenEmbedding(nn.Module):
    """A learned vector for each token, and one for its place: ``(batch, tokens, width)``.

    Args:
        vocabulary: how many different tokens there are.
        length: of the longest sequence.
        width: units of a token.
    """

    def __init__(self, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.positions = Positions(length, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """The vectors of tokens ``(batch, tokens)``, int64."""
        return self.positions(self.table(x))


class NextToken(nn.Module):
    """Normalisation and a linear layer without bias for each token: ``(batch, tokens, outputs)``.

    Args:
        width: units of a token.
        outputs: how many scores.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The scores of what comes after each token, for tokens ``(batch, tokens, width)``."""
        return self.linear(self.norm(x))
