"""GAIT-prop beside backpropagation with and without its penalty, so that rule and penalty are told apart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from biograd.studies.quantities import AtEnd, Diagnostic
from biograd.studies.study import Budget, Claim, Group, Shown, Study, StudyCell

REFERENCE = (
    "Ahmad, van Gerven & Ambrogioni: GAIT-prop. NeurIPS 2020, arXiv 2006.06438; Dalm et al. 2021 and 2023, arXiv "
    "2102.11598. Their settings; their tables could not be had, so that no number stands beside ours. Penalties are in "
    "units of the mean loss, and computed every tenth step; feedback of fa is uniform, not orthogonal."
)

SQUARE = {"name": "orthogonality", "strength": 0.2, "every": 10, "held": True}
"""Of the first paper: 0.1 beside half the gradient of its squared error."""

ADAM_OF_SQUARE = {"name": "adam-uncorrected", "lr": 1e-4, "betas": (0.9, 0.99)}
ADAM_OF_CIFAR = {"name": "adam", "lr": 1.9e-5, "eps": 1e-6}
ADAM_OF_IMAGENET = {"name": "adam", "lr": 4.9e-5, "betas": (0.9, 0.99)}

PENALISED = "bp-penalised"

FIRST_PAPER: Mapping[str, Mapping[str, Any]] = {
    "bp": {"rule": "bp"},
    PENALISED: {"rule": "bp", "penalty": SQUARE},
    "gait-prop": {
        "rule": {"name": "gait-prop", "form": {"name": "linearised", "columns": "all"}},
        "penalty": SQUARE,
    },
    "itp": {"rule": {"name": "itp", "form": {"name": "linearised", "columns": "all"}}, "penalty": SQUARE},
    "tp": {
        "rule": "tp",
        "penalty": {**SQUARE, "strength": 2000.0},
        "optimizer": {**ADAM_OF_SQUARE, "lr": 1e-5},
    },
}
"""By label, what is a rule's own on square nets."""


def _second_paper(strength: float, of_fa: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By label, what is a rule's own on the nets of the second paper.

    Args:
        strength: of the penalty: what the paper adds to gradients summed over 256 examples, beside their mean.
        of_fa: the optimiser of feedback alignment, whose rate is another.
    """
    penalty = {"name": "orthogonality", "strength": strength, "kind": "full", "every": 10}
    linearised = {"name": "gait-prop", "form": {"name": "linearised", "columns": "all"}}
    return {
        "bp": {"rule": "bp"},
        PENALISED: {"rule": "bp", "penalty": penalty},
        "fa": {"rule": "fa", "optimizer": of_fa},
        "gait-prop": {"rule": linearised, "penalty": penalty},
    }


def _with_targets(strength: float, of_fa: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The same, and GAIT-prop as the papers compute it, with targets and in float64."""
    others = _second_paper(strength, of_fa)
    in_float64 = {"penalty": others["gait-prop"]["penalty"], "precision": "float64"}
    return {
        **others,
        "gait-adaptive": {"rule": {"name": "gait-prop", "form": "adaptive"}, **in_float64},
        "gait-constant": {"rule": {"name": "gait-prop", "form": "constant"}, **in_float64},
    }


@dataclass(frozen=True)
class Task:
    """A data set and a net, under one budget.

    Attributes:
        name: what the names of its cells begin with.
        title: what tables call it.
        shared: the configuration of all cells.
        own: by label, what is a cell's own.
        full: the budget of results.
        quick: of a first look, None for none.
        paper: the paper's own.
    """

    name: str
    title: str
    shared: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]
    full: Budget | None
    quick: Budget | None
    paper: Budget


_ON_SQUARE_NETS = {
    "net": "square",
    "loss": "squared-error",
    "batch_size": 60,
    "schedule": "none",
    "diagnostics_every": 450,
    "optimizer": ADAM_OF_SQUARE,
}
_ON_CIFAR = {
    "data": {"name": "cifar10", "augment": False, "normalize": False},
    "batch_size": 256,
    "schedule": "none",
    "diagnostics_every": 88,
    "optimizer": ADAM_OF_CIFAR,
}
_ON_IMAGENET = {
    "data": {"name": "folder:imagenet", "size": 224},
    "net": "gait-imagenet",
    "batch_size": 256,
    "schedule": "none",
    "optimizer": ADAM_OF_IMAGENET,
}


def _square(data: str, title: str, quick: Budget | None) -> Task:
    shared = {"data": data, **_ON_SQUARE_NETS}
    full, paper = Budget(seeds=3, epochs=30), Budget(seeds=3, epochs=100)
    return Task(f"{data}-square", title, shared, FIRST_PAPER, full, quick, paper)


def _cifar(depth: str, quick: Budget | None) -> Task:
    """On the deep net a constant γ of 1e-3 is less than float64 can tell, and is refused."""
    shared = {**_ON_CIFAR, "net": f"gait-cifar-{depth}"}
    own = _with_targets(0.39, {**ADAM_OF_CIFAR, "lr": 2.5e-5})
    if depth == "deep":
        del own["gait-constant"]
    full, paper = Budget(seeds=1, epochs=10), Budget(seeds=1, epochs=200)
    return Task(f"cifar-{depth}", f"CIFAR-10 {depth}", shared, own, full, quick, paper)


TASKS = (
    _square("mnist", "MNIST square", Budget(seeds=1, epochs=1)),
    _square("kmnist", "KMNIST square", None),
    _square("fashion-mnist", "Fashion-MNIST square", None),
    _cifar("shallow", Budget(seeds=1, epochs=1)),
    _cifar("deep", None),
    Task(
        "imagenet",
        "ImageNet",
        _ON_IMAGENET,
        _second_paper(0.0039, {**ADAM_OF_IMAGENET, "lr": 4.3e-5}),
        None,
        None,
        Budget(seeds=1, epochs=100),
    ),
)
"""On ImageNet the number of epochs is ours."""

ACCURACY, FIRST_ANGLE = AtEnd("test_accuracy"), Diagnostic("gradient_angle", "1.weight")
"""The angle is that of the first layer's update to backpropagation's, on the same net and batch."""


def gait_prop() -> Study:
    """Square nets of the first paper on three sets; dense nets on CIFAR-10 and a convolutional one of the second."""
    return Study(
        name="gait-prop",
        title="GAIT-prop, and what its penalty does",
        reference=REFERENCE,
        cells=tuple(cell for task in TASKS for cell in _cells(task)),
        groups=tuple(group for task in TASKS for group in _groups(task)),
        claims=tuple(claim for task in TASKS if task.full for claim in _claims(task)),
    )


def _cells(task: Task) -> Iterable[StudyCell]:
    for label, own in task.own.items():
        name = f"{task.name}/{label}"
        yield StudyCell(name, {**task.shared, **own}, full=task.full, quick=task.quick, paper=task.paper)


def _groups(task: Task) -> Iterable[Group]:
    is_measured = "diagnostics_every" in task.shared
    shown = (Shown(ACCURACY), Shown(FIRST_ANGLE)) if is_measured else (Shown(ACCURACY),)
    for label in task.own:
        yield Group(_name(task, label), f"{task.name}/{label}", shown)


def _claims(task: Task) -> Iterable[Claim]:
    """What is the rule's and what the penalty's; and what the papers say of its rivals."""
    ours = _name(task, "gait-prop")
    for beside, least in ((PENALISED, -0.005), ("bp", -0.01)):
        yield Claim(
            f"{task.title}: gait-prop within {-100 * least:g} points of {beside}",
            ours,
            ACCURACY,
            at_least=least,
            beside=_name(task, beside),
        )
    for rival in ("itp", "tp", "fa", "gait-constant"):
        if rival in task.own:
            yield Claim(
                f"{task.title}: gait-prop is no worse than {rival}",
                ours,
                ACCURACY,
                at_least=0.0,
                beside=_name(task, rival),
            )


def _name(task: Task, label: str) -> str:
    return f"{task.title}, {label}"
