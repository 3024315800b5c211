"""How often the check of masked gradients errs: on plain backpropagation, and on nets that hide their gradients."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from biograd.robustness import AttackSettings
from biograd.studies.attacks import Masking
from biograd.studies.quantities import AtEnd
from biograd.studies.study import Budget, Group, RobustnessPlan, Shown, Study, StudyCell

DEVIATIONS, PIXELS = (0, 0.1, 0.2, 0.5, 1, 2), (0, 0.02, 0.05, 0.1, 0.2, 0.3)


def _attacked(cells: str, sizes: tuple[float, ...]) -> RobustnessPlan:
    return RobustnessPlan(
        cells,
        full=AttackSettings(epsilons=sizes, examples=1000, queries=200),
        quick=AttackSettings(epsilons=(0, sizes[3]), examples=200, queries=20, steps=5),
    )


PLANS = {
    "iris": _attacked("iris/*", DEVIATIONS),
    "digits": _attacked("digits/*", PIXELS),
    "mnist": _attacked("mnist/*", PIXELS),
    "masked": _attacked("masked/digits/[rs]*", PIXELS),
}

IRIS = {"data": "iris", "batch_size": 10, "lr": 1e-2, "validation_fraction": 0.0}
DIGITS = {"data": "digits", "batch_size": 32, "lr": 3e-3}
MNIST = {"data": "mnist", "batch_size": 64, "lr": 2e-3}
WIDTHS = {"narrow": (16,), "deep": (64, 64), "wide": (256, 256)}
EPOCHS = {"briefly": 3, "long": 40}
MASKS = ("rounded", "shattered", "saturated", "steep")


def study() -> Study:
    """Plain backpropagation on three data sets, and nets whose gradients lead nowhere by construction."""
    plain = [Group(f"{data}, bp", f"{data}/*", _shown(PLANS[data])) for data in ("iris", "digits", "mnist")]
    masked = [Group(f"digits, {mask}", f"masked/digits/{mask}", _shown(PLANS["masked"])) for mask in MASKS]
    source = Group("digits, not masked", "masked/digits/plain", (Shown(AtEnd("test_accuracy")),))
    return Study(
        name="masking",
        title="How often the check of masked gradients errs",
        reference="The checks are after Athalye, Carlini & Wagner, ICML 2018.",
        cells=(*_iris(), *_digits(), *_mnist(), *_masked()),
        groups=(*plain, *masked, source),
        robustness=tuple(PLANS.values()),
    )


def _shown(plan: RobustnessPlan) -> tuple[Shown, ...]:
    quantities = (AtEnd("test_accuracy"), Masking(plan, "suspected"), Masking(plan, "not decided"))
    return tuple(Shown(quantity) for quantity in quantities)


def _bp(name: str, common: Mapping[str, Any], net: Mapping[str, Any], epochs: int, seeds: int) -> StudyCell:
    quick = Budget(seeds=1, epochs=1)
    return StudyCell(name, {**common, "net": net, "rule": "bp"}, full=Budget(seeds, epochs), quick=quick)


def _mlp(width: str, activation: str) -> dict[str, Any]:
    return {"name": "mlp", "widths": WIDTHS[width], "activation": activation}


def _iris() -> Iterator[StudyCell]:
    for species in ("setosa", "versicolor", "virginica"):
        for width in ("narrow", "deep"):
            task = {**IRIS, "one_vs_rest": species}
            yield _bp(f"iris/{species}/{width}", task, _mlp(width, "tanh"), epochs=60, seeds=10)


def _digits() -> Iterator[StudyCell]:
    for width in WIDTHS:
        for time, epochs in EPOCHS.items():
            for activation in ("tanh", "relu"):
                name = f"digits/ten/{width}-{time}-{activation}"
                yield _bp(name, DIGITS, _mlp(width, activation), epochs, seeds=5)


def _mnist() -> Iterator[StudyCell]:
    tasks = {"ten": MNIST, "three": {**MNIST, "one_vs_rest": "3"}, "eight": {**MNIST, "one_vs_rest": "8"}}
    for task, common in tasks.items():
        for width in ("deep", "wide"):
            yield _bp(f"mnist/{task}/{width}", common, _mlp(width, "relu"), epochs=2, seeds=3)


def _masked() -> Iterator[StudyCell]:
    for mask in ("plain", *MASKS):
        net = {"name": f"results/masking.py:{mask}"}
        yield _bp(f"masked/digits/{mask}", DIGITS, net, epochs=20, seeds=10)


class _WhenEvaluated(nn.Module):
    """Changes what passes through an evaluated net; training goes on as if it were not there."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else self.changed(x)

    def changed(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class _Rounding(_WhenEvaluated):
    """Eight steps a unit, with a derivative of zero."""

    def changed(self, x: Tensor) -> Tensor:
        return (8 * x).round() / 8


class _Ripples(_WhenEvaluated):
    """Hardly another value, with a derivative between −19 and 21 that changes sign at every step."""

    def changed(self, x: Tensor) -> Tensor:
        return x + 0.02 * torch.sin(1000 * x)


class _Loud(_WhenEvaluated):
    """The same answers, so sure that the loss is flat."""

    def changed(self, x: Tensor) -> Tensor:
        return 1000 * x


class _Gain(_WhenEvaluated):
    """A gain before tanh, which makes steps of it."""

    def changed(self, x: Tensor) -> Tensor:
        return 100 * x


def _net(
    shape: tuple[int, ...], outputs: int, *, first: nn.Module, inner: nn.Module, last: nn.Module
) -> nn.Module:
    inputs = torch.Size(shape).numel()
    hidden = nn.Sequential(nn.Linear(inputs, 64), inner, nn.Tanh())
    return nn.Sequential(first, nn.Flatten(), *hidden, nn.Linear(64, outputs), last)


def plain(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The net without a mask."""
    return _net(shape, outputs, first=nn.Identity(), inner=nn.Identity(), last=nn.Identity())


def rounded(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Inputs are rounded."""
    return _net(shape, outputs, first=_Rounding(), inner=nn.Identity(), last=nn.Identity())


def shattered(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Inputs ripple."""
    return _net(shape, outputs, first=_Ripples(), inner=nn.Identity(), last=nn.Identity())


def saturated(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Logits are large."""
    return _net(shape, outputs, first=nn.Identity(), inner=nn.Identity(), last=_Loud())


def steep(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Hidden units are steps."""
    return _net(shape, outputs, first=nn.Identity(), inner=_Gain(), last=nn.Identity())
