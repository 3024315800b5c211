"""Loss and accuracy of a net on data that teaches it nothing."""

import torch

from biograd.data import Batches
from biograd.rules.base import Credit
from biograd.training.distributed import Ranks
from biograd.training.parts import Parts
from biograd.training.tally import Means, Tally, means


@torch.no_grad()
def evaluate(parts: Parts, batches: Batches, ranks: Ranks) -> Means:
    """Means over all examples, in evaluation mode, each process taking a part of every batch.

    The modes of the net's modules are afterwards as they were.
    """
    modes = {module: module.training for module in parts.net.modules()}
    tally = Tally(parts.device)
    parts.net.eval()
    try:
        for x, y in batches.epoch(0):
            mine, targets, share = ranks.part(parts.inputs(x), y)
            if share:
                tally.add(_judge(parts, mine, targets), targets)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return means(ranks.sum(tally.sums()))


def _judge(parts: Parts, x: torch.Tensor, y: torch.Tensor) -> Credit:
    with parts.autocast():
        output = parts.rule.predict(parts.net, x)
        return Credit(parts.loss_fn(output, y), output)
