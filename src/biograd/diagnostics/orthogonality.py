"""How far a weight matrix is from one whose inverse is its transpose."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from biograd.credit import unwrap
from biograd.credit.isolation import isolated
from biograd.layers.weight_layout import OUTPUTS_FIRST, WeightLayout
from biograd.rules.base import Rule

_MOST = 5  # axes of a weight, or of the filter of one position: those of a kernel, channels in and out


def orthogonality(weight: Tensor, layout: WeightLayout = OUTPUTS_FIRST) -> float:
    r"""How far the rows of a weight, or its columns if they are fewer, are from orthonormal; 0 where they are.

    .. math:: \frac{\lVert W W^\top - I_n\rVert_F}{\sqrt n}
        = \Bigl(\frac1n \sum_i (\sigma_i^2 - 1)^2\Bigr)^{1/2}

    in float64, with n the smaller side of W, and :math:`W^\top W` in place of :math:`W W^\top` where that is smaller.
    It is the root-mean-square of :math:`\sigma^2 - 1` over the singular values, so that widths can be compared. A
    zero matrix has 1; a large square one with entries drawn from N(0, 1/n) has about 1; :math:`cQ` with orthogonal Q
    has :math:`|c^2 - 1|`. There is no upper bound.

    Cost: one product of :math:`n^2` times the longer side in float64.

    Args:
        weight: as its layer holds it: a matrix either way round; the kernel of a convolution of one to three
            dimensions, seen as a matrix with a row for each output channel (one without groups); or the filters of
            a locally connected layer, whose value is the mean over its positions.
        layout: of the weight, where its layer is locally connected: ``orthogonality(layer.weight, layer.layout)``.

    Returns:
        nan for a weight without elements; not finite where the weight is not.

    Raises:
        ValueError: fewer than two dimensions, or more than five, beside those that count positions.

    Example:
        >>> orthogonality(torch.eye(3)[:2]), orthogonality(torch.zeros(4, 4)), orthogonality(2 * torch.eye(5))
        (0.0, 1.0, 3.0)
    """
    if not 2 <= weight.dim() - layout.positions <= _MOST:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} is no matrix; give one of 2 to 5 dimensions, and the layout of a "
            "locally connected layer with its weight"
        )
    return _mean_deviation(layout.filters(weight.detach()))


def orthogonalities(net: nn.Module, rule: Rule) -> dict[str, float]:
    """`orthogonality` of each matrix whose inverse the rule uses, as `Rule.inverse_weights` shows it.

    Where it is 0 the inverse of W (the pseudo-inverse if W is not square) is its transpose, and what is carried back
    through it is what backpropagation carries. Net and rule are left as they were. Cost: that of `orthogonality` for
    each matrix, and a copy of the rule's state.

    Args:
        net: the net the rule was made for.
        rule: any rule.

    Returns:
        Parameter name to value, averaged where the rule inverts several matrices of one parameter (a locally
        connected layer has one a position). Empty for rules that invert no weight.
    """
    if rule.inverse_weights is None:
        return {}
    net, rule = unwrap(net), copy.deepcopy(rule)
    assert rule.inverse_weights is not None
    with isolated(net), torch.no_grad():
        matrices = rule.inverse_weights(net)
        return {
            name: _mean_deviation(W.flatten(0, -3) if W.dim() > 2 else [W]) for name, W in matrices.items()
        }


def _mean_deviation(matrices: Iterable[Tensor]) -> float:
    """Mean over matrices; one at a time, since all of them in float64 may be large."""
    values = [_deviation(W.double()) for W in matrices]
    return sum(values) / len(values) if values else math.nan


def _deviation(W: Tensor) -> float:
    n = min(W.shape)
    gram = W @ W.t() if len(W) == n else W.t() @ W
    gram.diagonal().sub_(1)
    return gram.norm().item() / math.sqrt(n) if n else math.nan
