"""What each rule costs: step time beside plain backpropagation and the update by hand, and memory, in one run."""

from collections.abc import Sequence

from biograd import rules as all_rules
from biograd.bench import locally_connected
from biograd.bench.depth import memory_by_depth
from biograd.bench.inverse_cost import inverse_costs
from biograd.bench.nets import BENCH_NETS, BenchNet, find
from biograd.bench.scaling_curves import scaling
from biograd.bench.step_time import step_times
from biograd.bench.timing import quiet_process
from biograd.bench.where import HERE, Where
from biograd.errors import UserMistake
from biograd.records import BenchRow
from biograd.training.graphs import graphs_on
from biograd.training.run_setup import device_named

__all__ = ["BENCH_NETS", "BenchNet", "inverse_costs", "memory_by_depth", "run", "scaling"]


def run(
    *,
    rules: Sequence[str] | None = None,
    nets: Sequence[str] | None = None,
    repeats: int | None = None,
    threads: int = 1,
    seed: int = 0,
    device: str = "cpu",
    by_graphs: bool = False,
) -> list[BenchRow]:
    """Measure rules on benchmark nets, each step beside plain backpropagation and beside the update by hand.

    Thread count, garbage collection and random numbers are afterwards as they were.

    Args:
        rules: names as `biograd.rules.create` takes them; None for every registered rule, or those that the net
            was chosen for (`BenchNet`).
        nets: names in `BENCH_NETS`, or ``locally-connected``, the layer beside the convolution on a CPU, which no rule
            has a part in; None for all nets, and for that layer too when ``rules`` is None.
        repeats: turns a rule and net, at least 1; four times as many where a rule keeps inverses; None for those of
            each net (`BenchNet`).
        threads: PyTorch's threads during the measurement, at least 1; the limits speak of one.
        seed: of nets, data and the order of steps.
        device: where steps run, ``cpu``, ``cuda`` or ``cuda:N``.
        by_graphs: whether steps, the references too, are captured as CUDA graphs and replayed.

    Returns:
        A row a rule and net; there are no bytes of ``locally-connected``, and no figures where a rule cannot teach
        the net.

    Raises:
        UserMistake: an unknown rule or net, a number below 1, or a device that is not there or captures no steps.
    """
    where = Where(device_named(device), by_graphs)
    if by_graphs:
        graphs_on(where.device)
    for name, number in (("repeats", repeats), ("threads", threads)):
        if number is not None and number < 1:
            raise UserMistake(f"{name} must be at least 1, got {number}")
    wanted = (
        list(nets)
        if nets is not None
        else [*BENCH_NETS, *([locally_connected.NAME] if rules is None and where == HERE else [])]
    )
    if locally_connected.NAME in wanted and where != HERE:
        raise UserMistake(f"{locally_connected.NAME} is timed on the CPU: leave --device and --compile out")
    chosen = [find(name) for name in wanted if name != locally_connected.NAME]
    for name in rules or ():
        all_rules.REGISTRY.find(name)
    with quiet_process(threads):
        rows = [
            row
            for net in chosen
            for row in step_times(net, _names(rules, net), repeats=repeats, seed=seed, where=where)
        ]
    if locally_connected.NAME in wanted:
        rows += locally_connected.measure(repeats or locally_connected.REPEATS, seed, threads)
    return rows


def _names(rules: Sequence[str] | None, net: BenchNet) -> list[str]:
    """The rules to measure on a net."""
    return list(rules if rules is not None else net.rules or all_rules.names())
