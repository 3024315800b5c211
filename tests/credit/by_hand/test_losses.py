"""The cross-entropy by hand is autograd's to the bit, and stands aside for whatever else is asked."""

import contextlib
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from biograd.credit.by_hand.losses import cross_entropy
from biograd.credit.chain.lesson import errors_by_tensor


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    return output.to(dtype), torch.randint(4, (7,), generator=generator)


def by_autograd(output, y, loss_fn):
    leaf = output.clone().requires_grad_()
    loss = loss_fn(leaf, y)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


LOSSES = {
    "function": F.cross_entropy,
    "module": nn.CrossEntropyLoss(),
    "other": nn.CrossEntropyLoss(ignore_index=3),
}


@pytest.mark.parametrize("loss_fn", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ignored", [0, 2, 7])
def test_loss_and_derivative_are_those_of_autograd_to_the_bit(dtype, ignored, loss_fn):
    output, y = batch(dtype)
    y[:ignored] = getattr(loss_fn, "ignore_index", -100)
    found = cross_entropy(output, y, loss_fn)
    torch.testing.assert_close(found, by_autograd(output, y, loss_fn), rtol=0, atol=0, equal_nan=True)


def test_the_derivative_is_that_of_the_equation():
    output, y = batch()
    _, error = cross_entropy(output, y, F.cross_entropy)
    torch.testing.assert_close(error, (output.softmax(1) - F.one_hot(y, 4)) / 7, rtol=1e-12, atol=1e-15)


def test_an_output_with_a_graph_is_told_its_derivative_and_keeps_the_graph(monkeypatch):
    (output, y), weight = batch(), nn.Parameter(torch.ones(4, dtype=torch.float64))
    output = output * weight
    monkeypatch.setattr(torch.autograd, "grad", None)  # not asked
    loss, [(tensor, error)], penalty = errors_by_tensor(output, y, F.cross_entropy)
    assert tensor is output
    assert (loss.requires_grad, error.requires_grad, penalty) == (False, False, None)


class Doubled(nn.CrossEntropyLoss):
    def forward(self, input, target):
        return 2 * super().forward(input, target)


def hooked():
    loss_fn = nn.CrossEntropyLoss()
    loss_fn.register_forward_hook(lambda module, given, loss: 2 * loss)
    return loss_fn


OTHERS = {
    "another loss": lambda o, y: (o, y, F.multi_margin_loss),
    "a sum": lambda o, y: (o, y, nn.CrossEntropyLoss(reduction="sum")),
    "a weighted loss": lambda o, y: (o, y, nn.CrossEntropyLoss(torch.ones(4, dtype=o.dtype))),
    "a smoothed loss": lambda o, y: (o, y, nn.CrossEntropyLoss(label_smoothing=0.1)),
    "a loss with a hook": lambda o, y: (o, y, hooked()),
    "a loss of a class of its own": lambda o, y: (o, y, Doubled()),
    "a loss with terms": lambda o, y: (o, y, functools.partial(F.cross_entropy, label_smoothing=0.1)),
    "distributions": lambda o, y: (o, F.one_hot(y, 4).double(), F.cross_entropy),
    "labels of tokens": lambda o, y: (o[..., None].expand(7, 4, 2), y[:, None].expand(7, 2), F.cross_entropy),
    "one example": lambda o, y: (o[0], y[0], F.cross_entropy),
    "labels of another type": lambda o, y: (o, y.to(torch.uint8), F.cross_entropy),
    "fewer labels": lambda o, y: (o, y[:-1], F.cross_entropy),
    "labels in a column": lambda o, y: (o, y[:, None], F.cross_entropy),
    "a structure": lambda o, y: ((o,), y, F.cross_entropy),
    "a tensor of a kind of its own": lambda o, y: (o.as_subclass(nn.Parameter), y, F.cross_entropy),
}


@pytest.mark.parametrize("what", OTHERS)
def test_it_stands_aside_for_anything_else(what):
    assert cross_entropy(*OTHERS[what](*batch())) is None


class Watching(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


AROUND = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "a mode": Watching,
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("what", [None, *AROUND])
def test_it_stands_aside_for_what_is_in_force(what):
    with AROUND[what]() if what else contextlib.nullcontext():
        assert (cross_entropy(*batch(torch.float32), F.cross_entropy) is None) is (what is not None)


def test_it_stands_aside_within_a_transform():
    output, y = batch()
    seen = []
    torch.vmap(lambda o: seen.append(cross_entropy(o, y, F.cross_entropy)) or o)(output[None])
    assert seen == [None]


def test_a_label_that_is_no_class_is_refused_as_by_pytorch():
    output, y = batch()
    y[0] = 4
    with pytest.raises(IndexError, match="out of bounds"):
        cross_entropy(output, y, F.cross_entropy)
