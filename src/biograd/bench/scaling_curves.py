"""What a step costs beside backpropagation and beside the update by hand, against width, depth and batch size."""

from collections.abc import Mapping, Sequence

import torch

from biograd import rules as all_rules
from biograd.bench.nets import BenchNet
from biograd.bench.rows import row
from biograd.bench.step_time import measured
from biograd.bench.timing import quiet_process
from biograd.errors import UserMistake
from biograd.records import BenchSubject, ScalingRow

WIDTHS = (64, 128, 256, 512, 1024, 2048)
DEPTHS = (2, 4, 8, 16, 32, 64)
BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)
RULES = ("bp", "fa", "dfa", "kp", "stdp-association", "dtp", "gait-prop")
MIDDLE = {"width": 256, "depth": 4, "batch": 128}
"""What two of the sizes are while the third varies."""

LONG = 1e9
"""Multiplications in a step of backpropagation from which turns are halved, and at four times as many once more."""


def scaling(
    *,
    rules: Sequence[str] = RULES,
    widths: Sequence[int] = WIDTHS,
    depths: Sequence[int] = DEPTHS,
    batches: Sequence[int] = BATCHES,
    repeats: int = 20,
    threads: int = 1,
    seed: int = 0,
) -> list[ScalingRow]:
    """Time steps of rules on nets that differ in one size alone: their width, their depth, or the batch.

    The net is ``mlp``, 784-256-256-256-256-10 with tanh in the middle of all three, in float32, batch 128. Its weights
    are orthogonal, so that kept inverses are for weights as they should be; no other rule's time depends on that.

    Args:
        rules: names as `biograd.rules.create` takes them.
        widths: neurons of each hidden layer, at least 1 each; none leaves that curve out.
        depths: hidden layers, the same.
        batches: examples in a step, the same.
        repeats: turns a rule and size, at least 1; four times as many where a rule keeps inverses, and fewer where
            steps are long.
        threads: PyTorch's, at least 1.
        seed: of nets, data and order.

    Returns:
        A row a rule, size and curve, with the columns of `biograd.bench.run`, ``along``, ``width`` and ``depth``;
        there are no bytes.

    Raises:
        UserMistake: an unknown rule, or a number that is too small.
    """
    curves = {"width": widths, "depth": depths, "batch": batches}
    for name, number in (
        *(("repeats", repeats), ("threads", threads)),
        *((name, size) for name, sizes in curves.items() for size in sizes),
    ):
        if number < 1:
            raise UserMistake(f"{name} must be at least 1, got {number}")
    for name in rules:
        all_rules.REGISTRY.find(name)
    with quiet_process(threads):
        return [
            found
            for along, sizes in curves.items()
            for size in sizes
            for found in _at(along, {**MIDDLE, along: size}, rules, repeats, seed)
        ]


def _at(
    along: str, sizes: Mapping[str, int], names: Sequence[str], repeats: int, seed: int
) -> list[ScalingRow]:
    """The rows of one size of a curve."""
    found = measured(
        _net(sizes), names, repeats=_fitting(repeats, sizes), seed=seed, title=f"{along} {sizes[along]}"
    )
    return [
        {
            "along": along,
            "width": sizes["width"],
            "depth": sizes["depth"],
            **row(
                _about(name, sizes["batch"], one.turns),
                one.times,
                inverses=one.candidate and one.candidate.inverses(),
                reason=one.reason,
            ),
        }
        for name, one in found.items()
    ]


def _net(sizes: Mapping[str, int]) -> BenchNet:
    widths = (sizes["width"],) * sizes["depth"]
    return BenchNet("mlp", "mlp", (784,), sizes["batch"], {"widths": widths, "initialization": "orthogonal"})


def _fitting(repeats: int, sizes: Mapping[str, int]) -> int:
    """Fewer turns where steps are long, and noise a smaller part of them."""
    width = sizes["width"]
    products = 3 * sizes["batch"] * width * (784 + width * (sizes["depth"] - 1))
    return max(1, repeats // (4 if products > 4 * LONG else 2 if products > LONG else 1))


def _about(rule: str, batch: int, turns: int) -> BenchSubject:
    return {
        "benchmark": "scaling",
        "rule": rule,
        "net": "mlp",
        "batch": batch,
        "threads": torch.get_num_threads(),
        "repeats": turns,
    }
