"""Whether a rule learns in bfloat16 what it learns in float32: every rule on small digits, from the same seeds."""

from collections.abc import Iterable
from typing import Any

from biograd import rules
from biograd.studies.quantities import AtEnd
from biograd.studies.study import Budget, Claim, Group, Shown, Study, StudyCell

REFERENCE = (
    "scikit-learn's digits, eight epochs of each rule's default training (stdp-association at a rate of 1e-3), the "
    "same seeds in both precisions; bfloat16 is autocast over float32 weights. Nothing is published to stand beside it."
)

PRECISIONS = ("float32", "bfloat16")
ACCURACY = AtEnd("test_accuracy")

BAND = 0.02
"""How much less accurate a rule may be in bfloat16: some seven of the 359 test examples, or two of its spreads."""

NETS = {"tp": "square", "softhebb": "softhebb-mlp", "forward-forward": "ff-mlp"}
"""Those of rules that teach no plain ``mlp``."""

RATES = {"stdp-association": 1e-3}
"""Of rules that are not trained at their default rate: the one under which they were recorded."""

SMALL_STEPS = ("dtp", "drl", "l-drl", "ddtp-linear")
"""Rules that are also trained with ``step`` = ``mean``, where differences are smaller by the batch size."""


def low_precision() -> Study:
    """Test accuracy of every rule of this package in bfloat16 beside float32."""
    return Study(
        name="low-precision",
        title="bfloat16 beside float32",
        reference=REFERENCE,
        cells=tuple(_cells()),
        groups=tuple(_groups()),
        claims=tuple(_claims()),
    )


def configurations() -> dict[str, dict[str, Any]]:
    """What is trained in both precisions, by label."""
    plain = {name: {"name": name} for name in rules.REGISTRY.built_in()}
    small = {f"{name}-mean": {"name": name, "step": "mean"} for name in SMALL_STEPS}
    return {
        label: {"rule": rule, "data": "digits", "net": NETS.get(rule["name"], "mlp"), **_rate(rule["name"])}
        for label, rule in (plain | small).items()
    }


def _rate(name: str) -> dict[str, float]:
    return {"lr": RATES[name]} if name in RATES else {}


def _cells() -> Iterable[StudyCell]:
    for label, configuration in configurations().items():
        for precision in PRECISIONS:
            yield StudyCell(
                f"{precision}/{label}",
                {**configuration, "precision": precision},
                full=Budget(seeds=3, epochs=8),
                quick=Budget(seeds=1, epochs=2),
            )


def _groups() -> Iterable[Group]:
    for label in configurations():
        for precision in PRECISIONS:
            yield Group(_name(label, precision), f"{precision}/{label}", (Shown(ACCURACY),))


def _claims() -> Iterable[Claim]:
    for label in configurations():
        yield Claim(
            f"{label}: within {100 * BAND:g} points of float32",
            _name(label, "bfloat16"),
            ACCURACY,
            at_least=-BAND,
            beside=_name(label, "float32"),
        )


def _name(label: str, precision: str) -> str:
    return f"{label}, {precision}"
