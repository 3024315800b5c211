"""Normalisation that hides how long a vector is and shows where it points."""

from torch import Tensor, nn


class LengthNorm(nn.Module):
    r"""Scale every example to a root mean square of 1: :math:`h \sqrt{n} / \lVert h \rVert`; it has no parameters.

    In forward-forward learning the length of a layer's activity says how good it is. The layer above must not
    read that off, or it has nothing left to learn (Hinton 2022). The mean is not taken away. It belongs to the block
    after it (see `biograd.credit.chain.blocks`), so that the block before it keeps its length.

    Args:
        epsilon: added to the mean square; an example without activity stays zero.

    Example:
        >>> import torch
        >>> LengthNorm()(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        tensor([[1.2000, 1.6000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000, 0.0000]])
    """

    def __init__(self, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(batch, …)`` to the same shape; the mean square is over all of an example."""
        wide = input if input.dtype.itemsize >= 4 else input.float()  # squares overflow half precision
        mean_square = wide.square().mean(tuple(range(1, input.dim())), keepdim=True)
        return input * (mean_square + self.epsilon).rsqrt().to(input.dtype)

    def extra_repr(self) -> str:
        """The epsilon."""
        return f"epsilon={self.epsilon:g}"
