"""A fixed factor within a net."""

from torch import Tensor, nn


class Scale(nn.Module):
    """Multiply by a fixed factor; it has no parameters.

    For nets in the parametrisation of theory, where a sum over p units is divided by √p and weights have variance 1.

    Args:
        factor: any number but 0.

    Example:
        >>> import torch
        >>> Scale(0.5)(torch.tensor([2.0, -4.0]))
        tensor([ 1., -2.])
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, input: Tensor) -> Tensor:
        """The input times the factor."""
        return input * self.factor

    def extra_repr(self) -> str:
        """The factor."""
        return f"{self.factor:g}"
