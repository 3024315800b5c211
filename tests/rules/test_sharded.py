"""Parameters that FSDP2 splits over processes: bp teaches them, every other rule refuses them by name."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from biograd import UnsupportedNet, rules
from biograd.rules.backpropagation import Backpropagation
from biograd.testing.subject import make_net

OTHERS = [name for name in rules.REGISTRY.built_in() if name != "bp"]


@pytest.fixture(autouse=True, scope="module")
def _one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def sharded(net, *, as_a_whole):
    mesh = init_device_mesh("cpu", (1,))
    for layer in net.children():
        if next(layer.parameters(recurse=False), None) is not None:
            fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh) if as_a_whole else net


@pytest.mark.parametrize("name", OTHERS)
def test_a_rule_that_would_not_see_the_weights_says_so(name):
    task = rules.REGISTRY.find(name).examples.tasks["mlp"]
    x, y = task.batch(6, 0)
    for as_a_whole in (True, False):
        net = make_net(task)
        before = rules.create(name, net, sample=x[:1])
        sharded(net, as_a_whole=as_a_whole)
        with pytest.raises(UnsupportedNet, match=r"split over processes \(DTensors, as FSDP2's fully_shard"):
            before.assign_credit(net, x, y, F.cross_entropy)
        with pytest.raises(UnsupportedNet, match=r"or the rule bp"):
            rules.create(name, net, sample=x[:1])
        assert all(p.grad is None for p in (*net.parameters(), *before.parameters()))


def test_cut_points_do_not_hide_the_split():
    task = rules.REGISTRY.find("dfa").examples.tasks["mlp"]
    net, (x, y) = make_net(task), task.batch(6, 0)
    rule = rules.create("dfa", net, sample=x[:1], blocks=["0", "2", "4"])
    sharded(net, as_a_whole=True)
    with pytest.raises(UnsupportedNet, match="fully_shard"):
        rule.assign_credit(net, x, y, F.cross_entropy)
    with pytest.raises(UnsupportedNet, match="fully_shard"):
        rules.create("dfa", net, sample=x[:1], blocks=["0", "2", "4"])


def test_backpropagation_teaches_them():
    task = Backpropagation.examples.tasks["mlp"]
    plain, net, (x, y) = make_net(task), make_net(task), task.batch(6, 0)
    for one in (plain, sharded(net, as_a_whole=True)):
        rules.create("bp", one).assign_credit(one, x, y, F.cross_entropy, weight=torch.ones(6))
    for a, b in zip(plain.parameters(), net.parameters(), strict=True):
        assert isinstance(b, nn.Parameter)
        assert torch.equal(a.grad, b.grad.full_tensor())
