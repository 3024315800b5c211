import pytest
from torch import nn

from biograd import rules
from biograd.layers import FirstUnits, InvertibleConv2d, LabelPlaces, LengthNorm, LocallyConnected2d
from biograd.nets.initialization import initialize
from biograd.testing import CONVOLUTIONAL, LOCALLY_CONNECTED, MLP, NOISY, Subject, Task, all_checks, teacher

TASKS = {"mlp": MLP, "convolutional": CONVOLUTIONAL, "locally-connected": LOCALLY_CONNECTED}

# Rules that see no error below the output, or teach nothing there, fall less far on nets with fewer readouts.
FALLS_TO = {
    ("forward-forward", "convolutional"): 0.75,
    ("forward-forward", "locally-connected"): 0.95,
    ("pepita", "convolutional"): 0.92,
    ("drtp", "convolutional"): 0.8,
    ("stdp-association", "convolutional"): 0.85,
    ("stdp-association", "locally-connected"): 0.85,
    ("softhebb", "mlp"): 0.85,  # inputs without clusters
    ("softhebb", "locally-connected"): 0.92,
    ("shallow", "convolutional"): 0.7,
    ("shallow", "locally-connected"): 0.9,
}


def _unit_by_unit():
    """A convolutional net whose nonlinearities can be undone unit by unit."""
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(6, 8, 3, padding="same", groups=2)),
        *(nn.Tanh(), nn.Flatten(), nn.Linear(8 * 16, 4)),
    )


def _with_dropout():
    return nn.Sequential(
        *(nn.Linear(12, 24), nn.LeakyReLU(0.1, inplace=True), nn.Dropout(0.3), nn.Linear(24, 24), nn.Tanh()),
        *(nn.Dropout(0.3), nn.Linear(24, 4)),
    )


INVERTIBLE = {
    **TASKS,
    "convolutional": Task(_unit_by_unit, teacher((2, 8, 8), 4)),
    "noisy": Task(_with_dropout, teacher((12,), 4)),
}


def _square(*layers):
    """A chain with orthogonal weights, through whose inverses whole targets can go down."""
    net = nn.Sequential(*layers)
    initialize(net, "orthogonal", "linear")
    return net


SQUARE = {
    "mlp": Task(
        lambda: _square(
            *(nn.Linear(12, 24), nn.LeakyReLU(0.5), nn.Linear(24, 24), nn.LeakyReLU(0.5)),
            *(nn.Linear(24, 24), FirstUnits(4)),
        ),
        teacher((12,), 4),
    ),
    "convolutional": Task(
        lambda: _square(
            *(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.LeakyReLU(0.5), InvertibleConv2d(3, 2, stride=2)),
            *(nn.LeakyReLU(0.5), FirstUnits(6), nn.Flatten(), nn.Linear(24, 24), FirstUnits(4)),
        ),
        teacher((2, 8, 8), 4),
    ),
    "locally-connected": Task(
        lambda: _square(
            *(LocallyConnected2d(2, 3, 3, (8, 8), stride=2, padding=1), nn.LeakyReLU(0.5)),
            *(LocallyConnected2d(3, 12, 2, (4, 4), stride=2), nn.LeakyReLU(0.5), FirstUnits(6), nn.Flatten()),
            *(nn.Linear(24, 24), FirstUnits(4)),
        ),
        teacher((2, 8, 8), 4),
    ),
}
SQUARE["noisy"] = SQUARE["mlp"]


def _weights_alone_with_noise():
    return nn.Sequential(
        *(nn.BatchNorm1d(12, affine=False), nn.Linear(12, 24, bias=False), nn.ReLU(inplace=True)),
        *(nn.BatchNorm1d(24, affine=False), nn.Dropout(0.3), nn.Linear(24, 24, bias=False), nn.Tanh()),
        *(nn.Dropout(0.3), nn.Linear(24, 4)),
    )


WEIGHTS_ALONE = {
    "mlp": Task(
        lambda: nn.Sequential(
            *(nn.Linear(12, 24, bias=False), nn.Tanh(), nn.Linear(24, 24, bias=False), nn.Tanh()),
            nn.Linear(24, 4),
        ),
        teacher((12,), 4),
    ),
    "convolutional": Task(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.Tanh(), nn.MaxPool2d(2)),
            *(nn.BatchNorm2d(6, affine=False), nn.Conv2d(6, 8, 3, padding="same", groups=2, bias=False)),
            *(nn.Tanh(), nn.Flatten(), nn.Linear(8 * 16, 4)),
        ),
        teacher((2, 8, 8), 4),
    ),
    "locally-connected": Task(
        lambda: nn.Sequential(
            *(LocallyConnected2d(2, 4, 3, (8, 8), stride=2, bias=False), nn.Tanh(), nn.Flatten()),
            *(nn.Linear(4 * 9, 16, bias=False), nn.Tanh(), nn.Linear(16, 4)),
        ),
        teacher((2, 8, 8), 4),
    ),
    "noisy": Task(_weights_alone_with_noise, teacher((12,), 4)),
}


def _labelled_with_noise():
    return nn.Sequential(
        *(LabelPlaces(4), nn.Linear(16, 24), nn.BatchNorm1d(24), nn.ReLU(inplace=True), nn.Dropout(0.3)),
        *(LengthNorm(), nn.Linear(24, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(0.3), nn.Linear(24, 4)),
    )


LABELLED = {
    "mlp": Task(
        lambda: nn.Sequential(
            *(LabelPlaces(4), nn.Linear(16, 24), nn.ReLU(), LengthNorm(), nn.Linear(24, 24), nn.ReLU()),
            nn.Linear(24, 4),
        ),
        teacher((12,), 4),
    ),
    "convolutional": Task(
        lambda: nn.Sequential(
            *(LabelPlaces(4, overwrite=True), nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.MaxPool2d(2), LengthNorm(), nn.Conv2d(6, 8, 3, padding="same", groups=2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(8 * 16, 4)),
        ),
        teacher((2, 8, 8), 4),
    ),
    "locally-connected": Task(
        lambda: nn.Sequential(
            *(LabelPlaces(4, overwrite=True), LocallyConnected2d(2, 4, 3, (8, 8), stride=2), nn.ReLU()),
            *(LengthNorm(), nn.Flatten(), nn.Linear(4 * 9, 16), nn.ReLU(), nn.Linear(16, 4)),
        ),
        teacher((2, 8, 8), 4),
    ),
    "noisy": Task(_labelled_with_noise, teacher((12,), 4)),
}
INSTEAD = {"itp": INVERTIBLE, "tp": SQUARE, "softhebb": WEIGHTS_ALONE, "forward-forward": LABELLED}
"""Rules that need nets of their own."""

# Decoders that read many auxiliary outputs are not steady at the rate of the others, nor is pepita on convolutions.
LEARNING_RATES = {"ao-sdtp": 0.003, "pepita": 0.003}

SEEDLESS = {"itp", "gait-prop", "tp"}
"""Rules that draw nothing from their seed under their default settings."""


def subject(rule, task, **settings):
    tasks = INSTEAD.get(rule, TASKS)
    return Subject(
        rule,
        settings,
        tasks[task],
        tasks.get("noisy", NOISY),
        learning_rate=LEARNING_RATES.get(rule, 0.01),
        falls_to=FALLS_TO.get((rule, task), 0.6),
        draws=bool(settings) or rule not in SEEDLESS,
    )


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("rule", rules.names())
def test_every_registered_rule_keeps_the_contract(rule, task, check):
    check(subject(rule, task))


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("rule", ["gait-prop"])
def test_rules_keep_the_contract_with_learned_inverses(rule, task, check):
    check(subject(rule, task, inverse="learned"))
