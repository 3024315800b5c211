"""The decoder of a block whose layers are not known: an MLP of the shapes."""

import torch
from torch import Tensor, nn

from biograd.credit.back.decoders import Site
from biograd.errors import UnsupportedNet


def mlp(site: Site) -> nn.Sequential:
    r"""One hidden layer between the shapes: :math:`g(h) = V_2 \tanh(V_1 h + c_1) + c_2`.

    All numbers of an example go in at once, tokens and positions mixed. The hidden layer is as wide as the larger of
    the two sides, so that it can be an inverse; V is Glorot's at the start, c zero.

    Args:
        site: where.
    """
    given, wanted = site.given.numel(), site.wanted.numel()
    width = max(given, wanted)
    layers = nn.Linear(given, width), nn.Linear(width, wanted)
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    first, second = layers
    return nn.Sequential(Together(site.given), first, nn.Tanh(), second, nn.Unflatten(1, tuple(site.wanted)))


class Together(nn.Module):
    """All numbers of an example in a row, ``(batch, numbers)``.

    Args:
        shape: of an example.

    Raises:
        UnsupportedNet: when called with examples of another size.
    """

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, h: Tensor) -> Tensor:
        """See the class."""
        if h.shape[1:] != self._shape:
            raise UnsupportedNet(
                f"a decoder was made for an output {tuple(self._shape)} of its block, and here it is "
                f"{tuple(h.shape[1:])}: make the rule with a sample of this size, or cut the net into layers that are "
                "mirrored one by one"
            )
        return h.flatten(1)
