"""What the processes of test_distributed.py do, started by torchrun; the first one leaves the records."""

import dataclasses
import json
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

from biograd.data import cut
from biograd.training import GradientSum, RunConfig, build, joined, resume, train
from biograd.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent))
from mapped import MappedBatches


def averages(ranks):
    """What becomes of gradients that processes fill differently; see the test for what is expected."""
    torch.manual_seed(0)
    shared, late, apart, never = (nn.Linear(2, 2, bias=False, dtype=torch.float64) for _ in range(4))
    x = torch.arange(12.0, dtype=torch.float64).view(6, 2)
    part = cut(len(x), ranks.rank, ranks.size)
    mine, share = x[part], len(x[part]) / len(x)
    found = {}
    with GradientSum([shared, late, apart, never], ranks) as gradients:
        if ranks.first:  # alone: outside of a step nothing is exchanged
            shared(mine).sum().backward()
            found["outside"] = shared.weight.grad.tolist()
        for step in range(2):
            for layer in (shared, late, apart, never):
                layer.zero_grad()
            with gradients.over_processes():
                (share * shared(shared(mine).tanh()).square().mean()).backward()
                (share * late(mine).square().mean()).backward()
                late.weight.grad.mul_(3)  # after its reduction may have started
                if ranks.first:
                    apart.weight.grad = torch.full(
                        (2, 2), share * 2.0, dtype=torch.float64
                    )  # without autograd
            found[step] = {
                "shared": shared.weight.grad.tolist(),
                "late": late.weight.grad.tolist(),
                "apart": apart.weight.grad.tolist(),
                "never": never.weight.grad,
            }
    assert not any(layer.weight._post_accumulate_grad_hooks for layer in (shared, late, apart, never))
    return found


def stopped_and_resumed(config, folder, step):
    after_step = Trainer._after_step

    def interrupt(trainer):
        after_step(trainer)
        if trainer.position.step == step:
            raise KeyboardInterrupt

    Trainer._after_step = interrupt
    try:
        train(config, folder)
    except KeyboardInterrupt:
        pass
    finally:
        Trainer._after_step = after_step


def train_from_file(config, folder, ranks):
    """Train on rows of a file, and leave the weights, and which rows each process has read."""
    setup = build(config)
    mapped = MappedBatches(folder, config.batch_size)
    setup = dataclasses.replace(setup, training=mapped, validation=None)
    Trainer(setup, ranks, folder).run()
    torch.save(setup.net.state_dict(), folder / f"mapped-{ranks.rank}.pt")
    (folder / f"mapped-{ranks.rank}.json").write_text(json.dumps(mapped.loaded))


def main(folder):
    plan = json.loads((folder / "plan.json").read_text())
    warnings.simplefilter("ignore", UserWarning)
    with joined(torch.device("cpu")) as ranks:
        found = averages(ranks)
        if ranks.first:
            (folder / "averages.json").write_text(json.dumps(found))
        for name, config in plan["train"].items():
            train(RunConfig(**config), folder / "two" / name)
        train_from_file(RunConfig(**plan["mapped"]), folder, ranks)
        for name in ("resumed", "left"):
            stopped_and_resumed(RunConfig(**plan["stop"]), folder / "two" / name, 8)
            ranks.wait()
        resume(folder / "two" / "resumed")
        train(RunConfig(**plan["stop"]), folder / "two" / "whole")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
