"""Step time and memory of every rule beside plain backpropagation and beside the same update by hand, in one run."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from biograd import rules
from biograd.bench.by_hand import by_hand
from biograd.bench.inverse_watch import Inverses, InverseWatch
from biograd.bench.limits import LIMITS
from biograd.bench.nets import BenchNet
from biograd.bench.rows import row
from biograd.bench.thread_bits import ThreadBits, thread_bits
from biograd.bench.timing import Step, Timed, Times, compare
from biograd.bench.where import HERE, Where
from biograd.diagnostics.memory import Memory, memory_of
from biograd.errors import NotFinite, UnsupportedNet
from biograd.progress import shown
from biograd.records import BenchRow, BenchSubject
from biograd.rules.base import Rule
from biograd.training.replayed import NotCaptured

LEARNING_RATE = 1e-4
"""Of Adam, which moves the weights where a rule keeps inverses of them."""


def step_times(
    bench_net: BenchNet, names: Sequence[str], *, repeats: int | None, seed: int, where: Where = HERE
) -> list[BenchRow]:
    """One row a rule; a rule that cannot teach the net has a row with the reason and no figures.

    A step empties the gradients, as an optimiser's ``zero_grad`` does, and assigns credit; beside it,
    emptied gradients and ``loss.backward()``, and the same update by hand where there is one. The optimiser's own step
    is no part of it.
    """
    found = measured(bench_net, names, repeats=repeats, seed=seed, title=bench_net.name, where=where)
    plain = plain_memory(*where.placed(*bench_net.make(seed)))
    return [
        row(
            _about(name, bench_net, one.turns, where),
            one.times,
            limit=LIMITS.get((name, bench_net.name)) if where == HERE else None,
            memory=one.candidate and one.candidate.memory(),
            reference_memory=plain,
            inverses=one.candidate and one.candidate.inverses(),
            bits=_bits(bench_net, name, seed) if one.candidate and where == HERE else None,
            reason=one.reason,
        )
        for name, one in found.items()
    ]


def _bits(bench_net: BenchNet, name: str, seed: int) -> ThreadBits | None:
    """What of a rule's first step, loss, output and each gradient, has other bits than with one thread."""

    def step() -> list[Tensor]:
        net, x, y = bench_net.make(seed)
        rule = rules.create(name, net, sample=x[:1], **bench_net.settings_of(name))
        credit = rule.assign_credit(net, x, y, F.cross_entropy)
        return [*credit, *(gradient for gradient in _gradients(net, rule)() if gradient is not None)]

    return thread_bits(step)


@dataclass(frozen=True)
class Measured:
    """What was measured of a rule.

    Attributes:
        candidate: its step, or None where it cannot teach the net.
        times: of the step.
        turns: how many there were.
        reason: why it cannot teach the net.
    """

    candidate: "Candidate | None"
    times: Times | None
    turns: int
    reason: str | None


def measured(
    bench_net: BenchNet,
    names: Sequence[str],
    *,
    repeats: int | None,
    seed: int,
    title: str,
    where: Where = HERE,
) -> dict[str, Measured]:
    """Time the steps of rules on a net, all in one run.

    Args:
        bench_net: the net.
        names: of the rules.
        repeats: rounds; None for the net's own number.
        seed: of net, data and order.
        title: what the progress bar is called.
        where: it runs.
    """
    repeats = bench_net.repeats if repeats is None else repeats
    net, x, y = where.placed(*bench_net.make(seed))
    candidates: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            rule = rules.create(name, net, sample=x[:1], **bench_net.settings_of(name)).to(where.device)
            candidates[name] = Candidate.of(rule, net, x, y, name, where)
        except (UnsupportedNet, NotFinite, NotCaptured) as reason:
            refused[name] = str(reason)
    timed = {name: each.timed for name, each in candidates.items()}
    with shown(title, 0, repeats, None) as bar:
        times = compare(
            *(timed, where.ready(plain_step(net, x, y))),
            repeats=repeats,
            seed=seed,
            reached=bar.reach,
            device=where.device,
        )
    turns = {name: repeats * each.turns for name, each in timed.items()}
    return {
        name: Measured(candidates.get(name), times.get(name), turns.get(name, repeats), refused.get(name))
        for name in names
    }


@dataclass(frozen=True)
class Candidate:
    """A rule's training step, ready to be timed.

    Attributes:
        rule: the rule.
        net: what it teaches; of its own where weights move.
        step: gradients emptied, credit assigned.
        watch: sees the inverses that the rule keeps.
        timed: the step, with the update by hand where there is one, and the move behind it where inverses are kept.
    """

    rule: Rule
    net: nn.Module
    step: Step
    watch: InverseWatch
    timed: Timed

    @classmethod
    def of(
        cls, rule: Rule, net: nn.Module, x: Tensor, y: Tensor, name: str | None = None, where: Where = HERE
    ) -> "Candidate":
        """A rule on a net and batch, tried once.

        What a kept inverse costs depends on how often it is made anew, hence on how fast the weights move: then a
        copy of the net is taught, and moved by Adam after each turn.

        Args:
            rule: with its defaults where it has a name.
            net: the net.
            x: the batch.
            y: the targets.
            name: of the rule, by which its update by hand is known; None to time none.
            where: it runs.

        Raises:
            NotCaptured: it is to be replayed, and cannot be captured.
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
        update = None if name is None else by_hand(name, rule, net, len(x))
        timed = Timed(
            where.ready(step),
            by_hand=None if update is None else where.ready(lambda: update(x, y)),
            move=_move(watch, parameters) if watch.kept else None,
        )
        return cls(rule, net, step, watch, timed)

    def inverses(self) -> Inverses | None:
        """What kept inverses did while they were timed; None where none are kept."""
        self.watch.end()
        return self.watch.found if self.watch.kept else None

    def memory(self) -> Memory:
        """Of one more step."""
        self.watch.end()
        return memory_of(self.step, _gradients(self.net, self.rule))


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


def _about(rule: str, bench_net: BenchNet, turns: int, where: Where) -> BenchSubject:
    subject: BenchSubject = {
        "benchmark": "step_time",
        "rule": rule,
        "net": bench_net.name,
        "batch": bench_net.batch,
        "threads": torch.get_num_threads(),
        "repeats": turns,
    }
    if inside := bench_net.settings_of(rule).get("inside"):
        subject["inside"] = inside
    if where.device.type != "cpu":
        subject["device"] = str(where.device)
    if where.is_replayed:
        subject["compile"] = "graphs"
    return subject
