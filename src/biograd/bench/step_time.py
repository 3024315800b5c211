"""Step time and memory of every rule beside plain backpropagation, same net, same batch, same run."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd import rules
from biograd.bench.inverse_watch import InverseWatch
from biograd.bench.limits import LIMITS
from biograd.bench.memory import Memory, memory_of
from biograd.bench.nets import BenchNet
from biograd.bench.rows import row
from biograd.bench.timing import Moving, Step, compare
from biograd.errors import UnsupportedNet
from biograd.records import BenchRow, BenchSubject
from biograd.rules.base import Rule

LEARNING_RATE = 1e-4
"""Of Adam, which moves the weights where a rule keeps inverses of them."""


def step_times(bench_net: BenchNet, names: Sequence[str], *, repeats: int, seed: int) -> list[BenchRow]:
    """One row a rule; a rule that cannot teach the net has a row with the reason and no figures.

    A step empties the gradients, as an optimiser's ``zero_grad`` does, and assigns credit; beside it,
    emptied gradients and ``loss.backward()``. The optimiser's own step is no part of it.
    """
    net, x, y = bench_net.make(seed)
    candidates: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            rule = rules.create(name, net, sample=x[:1], **bench_net.settings_of(name))
            candidates[name] = Candidate.of(rule, net, x, y)
        except UnsupportedNet as reason:
            refused[name] = str(reason)
    reference = plain_step(net, x, y)
    times = compare(
        {name: each.timed for name, each in candidates.items()}, reference, repeats=repeats, seed=seed
    )
    plain = plain_memory(net, x, y)
    return [
        row(
            _about(name, bench_net, repeats, candidates.get(name)),
            times.get(name),
            limit=LIMITS.get((name, bench_net.name)),
            reference_memory=plain,
            reason=refused.get(name),
            **(candidates[name].findings() if name in candidates else {}),
        )
        for name in names
    ]


@dataclass(frozen=True)
class Candidate:
    """A rule's training step, ready to be timed.

    Attributes:
        rule: the rule.
        net: what it teaches; of its own where weights move.
        step: gradients emptied, credit assigned.
        watch: sees the inverses that the rule keeps.
        timed: the step, with the move behind it where there are such inverses.
    """

    rule: Rule
    net: nn.Module
    step: Step
    watch: InverseWatch
    timed: Step | Moving

    @classmethod
    def of(cls, rule: Rule, net: nn.Module, x: Tensor, y: Tensor) -> "Candidate":
        """A rule on a net and batch, tried once.

        What a kept inverse costs depends on how often it is made anew, hence on how fast the weights move: then a
        copy of the net is taught, and moved by Adam after each step.
        """
        watch = InverseWatch(rule)
        if watch.kept:
            net = copy.deepcopy(net)
        parameters = [*net.parameters(), *rule.parameters()]

        def step() -> None:
            watch.forget()
            _empty_gradients(parameters)
            rule.assign_credit(net, x, y, F.cross_entropy)

        step()
        timed = Moving(step, _move(watch, parameters)) if watch.kept else step
        return cls(rule, net, step, watch, timed)

    @property
    def pairs(self) -> int:
        """How many a round."""
        return self.timed.pairs if isinstance(self.timed, Moving) else 1

    def findings(self) -> dict[str, Any]:
        """What kept inverses did while they were timed, and the memory of one more step."""
        self.watch.end()
        memory = memory_of(self.step, _gradients(self.net, self.rule))
        return {"inverses": self.watch.found if self.watch.kept else None, "memory": memory}


def _move(watch: InverseWatch, parameters: list[nn.Parameter]) -> Step:
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)

    def move() -> None:
        watch.look()
        optimizer.step()

    return move


def plain_step(net: nn.Module, x: Tensor, y: Tensor) -> Step:
    """Gradients emptied, and plain backpropagation."""
    parameters = list(net.parameters())

    def step() -> None:
        _empty_gradients(parameters)
        F.cross_entropy(net(x), y).backward()

    return step


def plain_memory(net: nn.Module, x: Tensor, y: Tensor) -> Memory:
    """What a step of plain backpropagation needs."""
    return memory_of(plain_step(net, x, y), _gradients(net))


def _empty_gradients(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _gradients(*modules: nn.Module) -> Callable[[], list[Tensor | None]]:
    return lambda: [parameter.grad for module in modules for parameter in module.parameters()]


def _about(rule: str, bench_net: BenchNet, repeats: int, candidate: Candidate | None) -> BenchSubject:
    subject: BenchSubject = {
        "benchmark": "step_time",
        "rule": rule,
        "net": bench_net.name,
        "batch": bench_net.batch,
        "threads": torch.get_num_threads(),
        "repeats": repeats * (candidate.pairs if candidate else 1),
    }
    if inside := bench_net.settings_of(rule).get("inside"):
        subject["inside"] = inside
    return subject
