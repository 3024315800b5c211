"""What may stand for a weight when errors travel back, and whether it fits the weight."""

from collections.abc import Callable, Mapping

from torch import Tensor

from biograd.credit.operations import Signed
from biograd.errors import UnsupportedNet

Feedback = Tensor | Signed | Callable[[], Tensor | Signed]
"""A feedback weight, magnitudes for the weight's signs, or a function that makes either: called at most once, and only
where an error travels further."""

READY = (Tensor, Signed)  # a tuple: PyTorch 2.6 compiles no union of types


def fitting(name: str, weight: Tensor, feedback: Mapping[str, Feedback]) -> Feedback:
    """The feedback of a weight, detached; what is made later is checked when it is.

    Args:
        name: of the weight.
        weight: whose shape, dtype and device the feedback must have.
        feedback: by the names of weights.

    Raises:
        UnsupportedNet: there is none, or it does not fit.
    """
    B = feedback.get(name)
    if B is None:
        raise UnsupportedNet(f"no feedback weight for {name!r}; there are: {', '.join(feedback)}")
    if isinstance(B, READY):
        return _ready(name, weight, B)
    return lambda: _ready(name, weight, B())


def _ready(name: str, weight: Tensor, B: Tensor | Signed) -> Tensor | Signed:
    if isinstance(B, Signed):
        return Signed(_checked(name, weight, B.magnitude, scalar=True))
    return _checked(name, weight, B)


def _checked(name: str, weight: Tensor, B: Tensor, *, scalar: bool = False) -> Tensor:
    if B.shape != weight.shape and not (scalar and B.dim() == 0):
        raise UnsupportedNet(
            f"feedback weight of {name!r} has shape {tuple(B.shape)}, expected {tuple(weight.shape)}"
        )
    if B.device != weight.device or B.dtype != weight.dtype:
        raise UnsupportedNet(
            f"feedback weight of {name!r} is {B.dtype} on {B.device}, the net's is {weight.dtype} on "
            f"{weight.device}: move the rule as the net, rule.to(…)"
        )
    return B.detach()  # otherwise the graph of a learned feedback weight would outlive the step
