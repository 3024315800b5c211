"""What it costs to go back through the inverses of square layers, against their width and by strategy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from biograd import rules
from biograd.bench.nets import BENCH_NETS
from biograd.bench.rows import row
from biograd.bench.step_time import Candidate, plain_step
from biograd.bench.timing import compare, quiet_process
from biograd.credit.back.inverses import Inverse
from biograd.credit.back.weight_matrices import weight_matrices
from biograd.errors import UserMistake
from biograd.progress import shown
from biograd.records import BenchSubject, InverseRow
from biograd.rules.gait_prop import GaitProp

WIDTHS = (256, 512, 1024, 2048)
NAIVE = "torch.linalg.inv"

STRATEGIES: dict[str, dict[str, str]] = {
    NAIVE: {"inverse": "exact", "form.columns": "all"},
    "exact": {"inverse": "exact", "form.columns": "all"},
    "exact, used columns": {"inverse": "exact", "form.columns": "used"},
    "learned": {"inverse": "learned", "form.columns": "all"},
    "kept": {"inverse": "kept", "form.columns": "all"},
    "kept, used columns": {"inverse": "kept", "form.columns": "used"},
}
"""Settings of ``gait-prop``; the first one has every layer inverted anew at every step, as its papers' programs do."""


class NewInverse(Inverse):
    """The inverse of a square linear layer, made anew at every call: what the strategies are there to avoid."""

    def forward(self, layer: nn.Module, delta: Tensor, x: Tensor) -> Tensor:
        """See `Inverse.forward`."""
        return delta @ self.matrices(weight_matrices(layer), delta)

    def matrices(self, W: Tensor, weight: Tensor) -> Tensor:
        """See `Inverse.matrices`."""
        return torch.linalg.inv(W)


def inverse_costs(
    *, widths: Sequence[int] = WIDTHS, repeats: int = 30, threads: int = 1, seed: int = 0
) -> list[InverseRow]:
    """Time a step of ``gait-prop`` by each strategy beside one of backpropagation, on the net ``square``.

    Four hidden layers and the output's, each of the same width; float32, batch 128, all strategies of a width in
    random order. Weights move where inverses are kept; see `biograd.bench.step_time.Candidate`.

    Args:
        widths: of the layers, at least 10 each.
        repeats: pairs of steps a strategy and width, at least 1; four times as many for kept inverses.
        threads: PyTorch's, at least 1.
        seed: of nets, data and order.

    Returns:
        A row a strategy and width, with the columns of `biograd.bench.run`, ``strategy`` and ``width``; there are
        no bytes.

    Raises:
        UserMistake: a number that is too small.
    """
    for name, number, least in (
        ("repeats", repeats, 1),
        ("threads", threads, 1),
        *(("width", width, 10) for width in widths),
    ):
        if number < least:
            raise UserMistake(f"{name} must be at least {least}, got {number}")
    with quiet_process(threads):
        return [one for width in widths for one in _at(width, repeats, seed)]


def _at(width: int, repeats: int, seed: int) -> list[InverseRow]:
    bench_net = replace(BENCH_NETS["square"], input_shape=(width,), settings={"hidden": 4, "width": width})
    net, x, y = bench_net.make(seed)
    candidates = {name: Candidate.of(_rule(name, net), net, x, y) for name in STRATEGIES}
    timed = {name: each.timed for name, each in candidates.items()}
    with shown(f"width {width}", 0, repeats, None) as bar:
        times = compare(timed, plain_step(net, x, y), repeats=repeats, seed=seed, reached=bar.reach)
    return [
        {
            "strategy": name,
            "width": width,
            **row(
                _about(width, bench_net.batch, repeats * each.timed.turns),
                times[name],
                inverses=each.watch.found if each.watch.kept else None,
            ),
        }
        for name, each in candidates.items()
    ]


def _rule(strategy: str, net: nn.Module) -> GaitProp:
    settings: dict[str, Any] = dict(STRATEGIES[strategy])
    rule: Any = rules.create("gait-prop", net, **settings)
    if strategy == NAIVE:
        rule.way_back.of = nn.ModuleList(NewInverse("", None) for _ in rule.way_back.of)
    return rule


def _about(width: int, batch: int, turns: int) -> BenchSubject:
    return {
        "benchmark": "inverses",
        "rule": "gait-prop",
        "net": f"square {width}",
        "batch": batch,
        "threads": torch.get_num_threads(),
        "repeats": turns,
    }
