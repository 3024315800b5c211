import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import nets
from biograd.bench.by_hand import UPDATES, by_hand

BATCH, CLASSES = 7, 4
NETS = {
    "tanh": lambda: nets.create("mlp", (2, 3), CLASSES, widths=(23, 23, 23), seed=1),
    "relu": lambda: nets.create("mlp", (6,), CLASSES, widths=(8, 8), activation="relu", seed=1),
    "auxiliary units": lambda: nets.create("square", (6,), CLASSES, hidden=3, width=9, seed=1),
}


def batches(count):
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        x = torch.randn(BATCH, 6, generator=generator, dtype=torch.float64)
        yield x, torch.randint(CLASSES, (BATCH,), generator=generator)


def taught(net, rule, teach):
    """Losses and gradients of three batches, between which weights and feedback move."""
    parameters = [*net.named_parameters(), *rule.named_parameters()]
    optimizer = torch.optim.SGD([parameter for _, parameter in parameters], lr=0.05)
    found = []
    for x, y in batches(3):
        optimizer.zero_grad()
        loss = teach(x.view(BATCH, 2, 3) if isinstance(net[0], nn.Flatten) else x, y)
        found.append([loss, *(parameter.grad.clone() for _, parameter in parameters)])
        optimizer.step()
    return found


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("name", UPDATES)
def test_the_update_by_hand_is_that_of_the_rule(name, make):
    net = make().double()
    sample = torch.zeros(1, 2, 3) if isinstance(net[0], nn.Flatten) else torch.zeros(1, 6)
    rule = biograd.rules.create(name, net, sample=sample.double())
    copied_net, copied_rule = copy.deepcopy((net, rule))
    update = by_hand(name, copied_rule, copied_net, BATCH)
    wanted = taught(net, rule, lambda x, y: rule.assign_credit(net, x, y, F.cross_entropy).loss)
    for own, theirs in zip(taught(copied_net, copied_rule, update), wanted, strict=True):
        for one, other in zip(own, theirs, strict=True):
            assert other.any()
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * other.abs().max().item())
