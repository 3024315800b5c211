"""Loss and accuracy of a net on data that teaches it nothing."""

import torch

from biograd.data import Batches
from biograd.rules.base import Credit
from biograd.training.distributed import Ranks
from biograd.training.parts import Parts
from biograd.training.tally import ClassTally, Scores, Tally, scores


@torch.no_grad()
def evaluate(parts: Parts, batches: Batches, ranks: Ranks) -> Scores:
    """Scores over all examples, in evaluation mode, each process taking a part of every batch.

    The modes of the net's modules are afterwards as they were.
    """
    modes = {module: module.training for module in parts.net.modules()}
    tally, of_classes = Tally(parts.device), ClassTally(batches.classes, parts.device)
    parts.net.eval()
    try:
        for x, y in batches.epoch(0):
            mine, targets, share = ranks.part(parts.inputs(x), y)
            if share:
                judged = _judge(parts, mine, targets)
                tally.add(judged, targets)
                of_classes.add(judged.output, targets)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return scores(ranks.sum(tally.sums()), ranks.sum(of_classes.counts))


def _judge(parts: Parts, x: torch.Tensor, y: torch.Tensor) -> Credit:
    with parts.autocast():
        output = parts.rule.predict(parts.net, x)
        return Credit(parts.loss_fn(output, y), output)
