"""Carving a part from a set of examples by seed, class by class where there are any."""

import torch
from torch import Tensor

from biograd.data.dataset import Split
from biograd.data.seeded import seeded
from biograd.data.tasks import Task
from biograd.errors import UserMistake


def carve_validation(train: Split, task: Task, fraction: float, seed: int) -> tuple[Split, Split]:
    """Split a training part into one to train on and one to select on.

    Every class gives its share, to within one example; under other tasks examples are drawn alike. Both parts keep
    the order of the examples. The result is a pure function of the targets, the fraction and the seed.

    Args:
        train: the examples to divide.
        task: what their targets are.
        fraction: of the examples that goes to the validation part, in [0, 1); 0 gives an empty one.
        seed: which examples go.

    Raises:
        UserMistake: the fraction is out of range, or so small or large that one part would be empty.
    """
    if not 0 <= fraction < 1:
        raise UserMistake(f"a validation fraction is at least 0 and less than 1, got {fraction}")
    strata = task.strata(train.targets)
    quotas = _quotas(strata, fraction)
    held_out = torch.zeros(len(train), dtype=torch.bool)
    for stratum, quota in enumerate(quotas.tolist()):
        members = (strata == stratum).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=seeded(seed, stratum))
        held_out[members[order[:quota]]] = True
    taken = int(held_out.sum())
    if taken == len(train) or (fraction > 0 and taken == 0):
        raise UserMistake(
            f"a fraction of {fraction}, to validate or test on, takes {taken} of {len(train)} examples; "
            "each part needs at least one (0 means no validation part)"
        )
    return train.at(~held_out), train.at(held_out)


def _quotas(strata: Tensor, fraction: float) -> Tensor:
    """How many of each stratum go, adding up to the rounded share of all (largest remainders first)."""
    shares = torch.bincount(strata).double() * fraction
    quotas = shares.floor().long()
    left = round(len(strata) * fraction) - int(quotas.sum())
    largest = (quotas - shares).argsort(stable=True)[:left]
    quotas[largest] += 1
    return quotas
