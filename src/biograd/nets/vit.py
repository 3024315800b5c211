"""The vision transformer: an image as a sequence of patches."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from biograd.errors import UserMistake
from biograd.layers import ClassToken, Positions
from biograd.nets.activations import Activation
from biograd.nets.initialization import Initialization, initialize
from biograd.nets.shapes import check_smallest_image
from biograd.nets.transformer import TransformerLayer, check_heads, in_order
from biograd.settings import checked_settings


@checked_settings
def vit(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    patch: Annotated[int, Gt(0)] | None = None,
    width: Annotated[int, Gt(0)] = 64,
    depth: Annotated[int, Ge(1)] = 4,
    heads: Annotated[int, Gt(0)] = 4,
    expansion: Annotated[int, Gt(0)] = 2,
    pooling: Literal["mean", "token"] = "mean",
    activation: Activation = "gelu",
    initialization: Initialization = "glorot",
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
) -> nn.Sequential:
    """A vision transformer for small images: patches, pre-normalised layers of attention, a linear readout.

    Its parts are ``embed``, ``layers.0``, ``layers.1``, … and ``head``. A layer has two sublayers, ``attention`` (its
    matrices are ``qkv`` and ``out``) and ``mlp`` (``up`` and ``down``), and the output of each includes its skip; so a
    rule that teaches block by block can be told to cut at layers, at sublayers or at every matrix. A chain's own blocks
    are the layers.

    Args:
        input_shape: (channels, height, width) of one example.
        outputs: number of output units.
        patch: side of a patch, which divides both sides of the image; by default 4, or 2 for images below 16×16.
        width: units of a token.
        depth: number of layers.
        heads: of attention; they divide the width.
        expansion: hidden units of each perceptron, in widths.
        pooling: what the readout reads: the mean over tokens, or a class token that goes before them.
        activation: of the perceptrons.
        initialization: how weights start; biases start at zero.
        dropout: share of each sublayer's units that are left out before its skip is added, in training.

    Raises:
        UserMistake: no image, one that cannot be cut into patches of this size, or heads that do not divide the width.

    Reference:
        Dosovitskiy et al.: An image is worth 16×16 words. ICLR 2021.

    Example:
        >>> net = vit((1, 8, 8), 10)
        >>> [name for name, _ in net.named_children()], len(net.layers)
        (['embed', 'layers', 'head'], 4)
    """
    check_smallest_image("vit", input_shape, outputs, smallest=2)
    side = patch or (4 if min(input_shape[1:]) >= 16 else 2)
    _check_patch(input_shape, side)
    check_heads("vit", width, heads)
    embed = PatchEmbedding(input_shape, side, width, has_class_token=pooling == "token")
    layers = [
        TransformerLayer(
            *(width, heads), expansion=expansion, is_causal=False, activation=activation, dropout=dropout
        )
        for _ in range(depth)
    ]
    net = in_order(embed, layers, Readout(width, outputs, pooling))
    initialize(net, initialization, activation)
    return net


class PatchEmbedding(nn.Module):
    """A linear map of every patch of an image, with positions: ``(batch, tokens, width)``.

    Args:
        input_shape: (channels, height, width) of one example.
        side: of a patch.
        width: units of a token.
        has_class_token: whether a class token goes before the patches.
    """

    def __init__(self, input_shape: tuple[int, ...], side: int, width: int, *, has_class_token: bool) -> None:
        super().__init__()
        channels, image_height, image_width = input_shape
        tokens = (image_height // side) * (image_width // side) + has_class_token
        self.side = side
        self.project = nn.Linear(channels * side * side, width)
        self.token = ClassToken(width) if has_class_token else nn.Identity()
        self.positions = Positions(tokens, width)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens of a batch of images, ``(batch, channels, height, width)``."""
        tiles = x.unflatten(3, (-1, self.side)).unflatten(
            2, (-1, self.side)
        )  # (batch, c, rows, s, columns, s)
        patches = tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (batch, tokens, c · s · s)
        return self.positions(self.token(self.project(patches)))

    def extra_repr(self) -> str:
        """The side of a patch."""
        return f"side={self.side}"


class Readout(nn.Module):
    """Normalisation, pooling over tokens and a linear layer: ``(batch, outputs)``.

    Args:
        width: units of a token.
        outputs: number of output units.
        pooling: the mean over tokens, or the first token.
    """

    def __init__(self, width: int, outputs: int, pooling: Literal["mean", "token"]) -> None:
        super().__init__()
        self.pooling = pooling
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs for tokens ``(batch, tokens, width)``."""
        tokens = self.norm(x)
        return self.linear(tokens.mean(1) if self.pooling == "mean" else tokens[:, 0])

    def extra_repr(self) -> str:
        """The pooling."""
        return f"pooling={self.pooling}"


def _check_patch(input_shape: tuple[int, ...], side: int) -> None:
    height, width = input_shape[1:]
    if height % side or width % side:
        raise UserMistake(
            f"vit: an image of {height} × {width} cannot be cut into patches of {side} × {side}; choose a patch "
            "(--net.patch) that divides both sides"
        )
