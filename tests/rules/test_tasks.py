"""A rule teaches every kind of task that it declares, and no hidden layer learns from anything else by mistake."""

import pytest
import torch
from torch import nn

from biograd import rules
from biograd.data.tasks import Classes, Labels, Regression, Tokens
from biograd.layers import FirstUnits
from biograd.tasks import KINDS
from biograd.training import losses

NAMES = ("a", "b", "c", "d")
TASKS = {
    "classes": Classes(NAMES),
    "regression": Regression(NAMES, (0.0,) * 4, (1.0,) * 4),
    "labels": Labels(NAMES),
    "tokens": Tokens(NAMES),
}
TAUGHT = [(name, kind) for name in rules.REGISTRY.built_in() for kind in rules.declared(name)["tasks"]]


def net_for(rule, kind):
    """The rule's own example; of nets that leave units out, which stand on one axis, those that take tokens."""
    net = rule.examples.tasks["mlp"].net()
    if kind == "tokens" and any(isinstance(layer, FirstUnits) for layer in net.modules()):
        return nn.Sequential(nn.Linear(12, 12), nn.LeakyReLU(0.5), nn.Linear(12, 12))
    return net


def batch_for(kind, outputs):
    """Inputs of twelve features and what a linear map of them says."""
    x = torch.randn(16, *((3,) if kind == "tokens" else ()), 12)
    o = x @ torch.randn(12, outputs)
    return x, {"regression": o / 3, "labels": (o > 0).float()}.get(kind, o.argmax(-1))


@pytest.mark.parametrize(("name", "kind"), TAUGHT)
def test_a_rule_teaches_every_layer_what_it_declares(name, kind):
    torch.manual_seed(0)
    rule = rules.REGISTRY.find(name)
    net = net_for(rule, kind)
    outputs = [p for p in net.parameters() if p.dim() == 1][-1].numel()
    x, y = batch_for(kind, 12 if kind == "tokens" and outputs == 12 else 4)
    rule = rule(net, x[:1])
    loss_fn = losses.create("auto", TASKS[kind])
    optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()], 0.01)
    first = rule.assign_credit(net, x, y, loss_fn).loss
    if rule.family != "baseline":
        assert all(p.grad is not None and p.grad.any() for p in net.parameters() if p.dim() > 1)
    for _ in range(20):
        optimizer.step()
        optimizer.zero_grad()
        last = rule.assign_credit(net, x, y, loss_fn).loss
    assert last < first


def test_rules_that_aim_at_labels_alone_say_so_and_no_other_does():
    partial = {
        name: kinds for name in rules.REGISTRY.built_in() if (kinds := rules.declared(name)["tasks"]) != KINDS
    }
    assert partial == {
        "sdtp": ("classes", "tokens"),
        "ao-sdtp": ("classes",),
        "stdp-association": ("classes",),
        "forward-forward": ("classes",),
    }
