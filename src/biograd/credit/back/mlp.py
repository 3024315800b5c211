"""The decoder of a block whose layers are not known: an MLP of the shapes."""

from torch import nn

from biograd.credit.back.decoders import Site


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
    return nn.Sequential(nn.Flatten(), first, nn.Tanh(), second, nn.Unflatten(1, tuple(site.wanted)))
