"""How much memory a rule's step needs, against the number of hidden layers."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from biograd import rules as all_rules
from biograd.bench.nets import BenchNet
from biograd.bench.rows import row
from biograd.bench.step_time import Candidate, plain_memory
from biograd.bench.timing import quiet_process
from biograd.errors import NotFinite, UnsupportedNet, UserMistake
from biograd.records import BenchSubject, DepthRow

DEPTHS = (2, 4, 8, 16, 32)
RULES = ("bp", "dfa", "shallow", "stdp-association")


def memory_by_depth(
    *, rules: Sequence[str] = RULES, depths: Sequence[int] = DEPTHS, width: int = 256, seed: int = 0
) -> list[DepthRow]:
    """Measure kept and peak bytes of rules on nets that differ in their number of hidden layers alone.

    The net is ``mlp``, 784-width-…-width-10 with tanh, in float32, batch 128. Its weights are orthogonal, so that
    errors go back through inverses of any number of them; no other rule's memory depends on that. Nothing is timed.

    Args:
        rules: names as `biograd.rules.create` takes them.
        depths: hidden layers, at least 1 each.
        width: of each, at least 1.
        seed: of nets and batches.

    Returns:
        A row a rule and depth, with the columns of `biograd.bench.run`, ``hidden`` and ``width``; there are no times.
        See `biograd.diagnostics.memory.Memory` for what ``kept_bytes`` and ``peak_bytes`` count.

    Raises:
        UserMistake: an unknown rule, or a number that is too small.
    """
    for name, number in (("width", width), *(("depth", depth) for depth in depths)):
        if number < 1:
            raise UserMistake(f"{name} must be at least 1, got {number}")
    for name in rules:
        all_rules.REGISTRY.find(name)
    with quiet_process(threads=1):
        by_depth = [_at(depth, rules, width, seed) for depth in depths]
    return [rows[place] for place in range(len(rules)) for rows in by_depth]


def _at(depth: int, rules: Sequence[str], width: int, seed: int) -> list[DepthRow]:
    settings = {"widths": (width,) * depth, "initialization": "orthogonal"}
    bench_net = BenchNet("mlp", "mlp", (784,), 128, settings)
    net, x, y = bench_net.make(seed)
    plain = plain_memory(net, x, y)
    return [
        {
            "hidden": depth,
            "width": width,
            **row(_about(name, bench_net), None, reference_memory=plain, **_memory(name, net, x, y)),
        }
        for name in rules
    ]


def _about(rule: str, bench_net: BenchNet) -> BenchSubject:
    return {
        "benchmark": "depth",
        "rule": rule,
        "net": bench_net.name,
        "batch": bench_net.batch,
        "threads": 1,
        "repeats": 1,
    }


def _memory(name: str, net: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Of a rule's step, or why it cannot teach the net."""
    try:
        rule = all_rules.create(name, net, sample=x[:1])
        return {"memory": Candidate.of(rule, net, x, y).memory()}
    except (UnsupportedNet, NotFinite) as reason:
        return {"reason": str(reason)}
