"""No step of a rule waits for a device: on a GPU the host runs ahead, and PyTorch could capture the step."""

import functools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from biograd import rules
from biograd.data.tasks import Classes
from biograd.testing import Subject
from biograd.training.device_waits import DeviceWaits
from biograd.training.tally import Tally

KINDS = ["mlp", "convolutional", "locally-connected", "noisy"]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("gait-prop", {"inverse": "exact"}),
    ("gait-prop", {"inverse": "learned"}),
    ("itp", {"inverse": "exact"}),
    ("dtp", {"schedule": "alternating"}),
    ("sdtp", {"schedule": "alternating"}),
    ("wm", {"every": 2, "phases": 2}),
    ("forward-forward", {"negatives": "uniform", "goodness": "mean"}),
    ("pepita", {"readout_error": "standard"}),
]
LOSSES = {
    "some labels ignored": nn.CrossEntropyLoss(ignore_index=1),
    "classes weighted": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0])),
    "labels smoothed": functools.partial(F.cross_entropy, label_smoothing=0.1),
}


@pytest.fixture(autouse=True)
def device_that_runs_ahead(monkeypatch):
    """The CPU is taken for a device whose numbers are read one call late, and has what it alone would look at."""
    monkeypatch.setattr("biograd.credit.late.is_read_at_once", lambda device: False)
    monkeypatch.setattr("biograd.credit.late.Late.read", _of_an_earlier_call)
    monkeypatch.setattr(F, "one_hot", _one_hot)


def _of_an_earlier_call(late: Any) -> float:
    """The host has the number already."""
    with _disable_current_modes(), torch._C.DisableTorchFunction():
        return late.copy.item()


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """PyTorch's own, which looks at the labels on a CPU and leaves that to the scatter elsewhere."""
    return labels.new_zeros(*labels.shape, classes).scatter(-1, labels.unsqueeze(-1), 1)


def waits(subject: Subject, loss_fn: Any = None) -> list[str]:
    """What the second and the third step wait for, the net and the rule having moved between them."""
    trial, found = subject.trial(), []
    optimizer, tally = trial.optimizer(0.001), Tally(Classes(tuple("abcd")), torch.device("cpu"))
    for step in range(3):
        optimizer.zero_grad()
        trial.rule.begin_epoch(step)
        with DeviceWaits(found.append if step else lambda wait: None):
            credit = trial.rule.assign_credit(trial.net, trial.x, trial.y, loss_fn or trial.task.loss_fn)
            tally.add(credit, trial.y)
        optimizer.step()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", rules.names())
def test_no_rule_waits_after_its_first_call(name, kind):
    assert waits(Subject(name, kind=kind)) == []


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_no_setting_makes_a_rule_wait(name, settings):
    assert waits(Subject(name, settings)) == []


@pytest.mark.parametrize("what", LOSSES)
@pytest.mark.parametrize("name", ["dfa", "drtp", "sdtp", "stdp-association", "softhebb"])
def test_no_term_of_a_loss_makes_a_rule_wait(name, what):
    assert waits(Subject(name), LOSSES[what]) == []


WAITING = {
    "a branch": lambda x: x if x.sum() > 0 else -x,
    "a number": lambda x: x * x.sum().item(),
    "a list": lambda x: x * x.sum(1, keepdim=True).tolist()[0][0],
    "a copy": lambda x: x * x.detach().cpu().sum(),
    "a mask": lambda x: x[x > 0].sum() + x,
    "truth": lambda x: x * len(x.nonzero()),
    "new numbers": lambda x: x * torch.tensor([2.0]),
    "equality": lambda x: x * torch.equal(x, x),
}


@pytest.mark.parametrize("what", WAITING)
def test_what_waits_is_seen(what):
    x, found = torch.ones(2, 3, requires_grad=True), []
    with DeviceWaits(found.append):
        WAITING[what](x)
    assert len(found) == 1


def test_what_waits_in_a_backward_is_seen():
    class Branch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g if g.sum() > 0 else -g

    x, found = torch.ones(2, requires_grad=True), []
    with DeviceWaits(found.append):
        Branch.apply(x).sum().backward()
    assert found == ["_local_scalar_dense"]
