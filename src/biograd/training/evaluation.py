"""Loss and metrics of a net on data that teaches it nothing."""

from typing import Any

import torch

from biograd.data import Batches
from biograd.rules.base import Credit
from biograd.training.distributed import Ranks
from biograd.training.measures import WHOLE
from biograd.training.run_setup import RunSetup
from biograd.training.tally import Scores, Tally


@torch.no_grad()
def evaluate(setup: RunSetup, batches: Batches, ranks: Ranks) -> Scores:
    """Scores over all examples, in evaluation mode, each process taking a part of every batch.

    The modes of the net's modules are afterwards as they were.
    """
    modes = {module: module.training for module in setup.net.modules()}
    task, device = setup.task, setup.device
    tally, whole = Tally(task, device), [WHOLE[task.kind](task, device)] if task.kind in WHOLE else []
    setup.net.eval()
    try:
        for x, y in batches.epoch(0, rank=ranks.rank, size=ranks.size):
            if len(y):
                y = setup.targets(y)
                judged = _judge(setup, setup.inputs(x), y)
                tally.add(judged, y)
                for one in whole:
                    one.add(judged.output, y)
    finally:
        for module, mode in modes.items():
            module.training = mode
    loss, metrics = tally.scores(ranks.sum(tally.sums()))
    return Scores(loss, metrics | {name: value for one in whole for name, value in one.values(ranks).items()})


def _judge(setup: RunSetup, x: Any, y: torch.Tensor) -> Credit:
    with setup.autocast():
        output = setup.rule.predict(setup.net, x)
        return Credit(setup.loss_fn(output, y), setup.answer(output))
