"""Loss and accuracy of a net on data that teaches it nothing."""

import torch

from biograd.data import Batches
from biograd.rules.base import Credit
from biograd.training.distributed import Ranks
from biograd.training.run_setup import RunSetup
from biograd.training.tally import ClassTally, Scores, Tally, scores


@torch.no_grad()
def evaluate(setup: RunSetup, batches: Batches, ranks: Ranks) -> Scores:
    """Scores over all examples, in evaluation mode, each process taking a part of every batch.

    The modes of the net's modules are afterwards as they were.
    """
    modes = {module: module.training for module in setup.net.modules()}
    tally, of_classes = Tally(setup.device), ClassTally(batches.classes, setup.device)
    setup.net.eval()
    try:
        for x, y in batches.epoch(0, rank=ranks.rank, size=ranks.size):
            if len(y):
                judged = _judge(setup, setup.inputs(x), y)
                tally.add(judged, y)
                of_classes.add(judged.output, y)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return scores(ranks.sum(tally.sums()), ranks.sum(of_classes.counts))


def _judge(setup: RunSetup, x: torch.Tensor, y: torch.Tensor) -> Credit:
    with setup.autocast():
        output = setup.rule.predict(setup.net, x)
        return Credit(setup.loss_fn(output, y), output)
