import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import nets
from biograd.bench.by_hand import UPDATES, by_hand, inverses
from biograd.credit.back.pseudo_inverse import pseudo_inverse
from biograd.layers import FirstUnits

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


def taught(net, rule, teach, lr=0.05):
    """Losses and gradients of three batches, between which weights and feedback move."""
    parameters = [*net.named_parameters(), *rule.named_parameters()]
    optimizer = torch.optim.SGD([parameter for _, parameter in parameters], lr=lr)
    found = []
    for x, y in batches(3):
        optimizer.zero_grad()
        loss = teach(x.view(BATCH, 2, 3) if isinstance(net[0], nn.Flatten) else x, y)
        found.append([loss, *(parameter.grad.clone() for _, parameter in parameters)])
        optimizer.step()
    return found


def compared(name, net, **moves):
    """The updates of a rule and of its copy by hand, which must be equal; the update by hand."""
    sample = torch.zeros(1, 2, 3) if isinstance(net[0], nn.Flatten) else torch.zeros(1, 6)
    rule = biograd.rules.create(name, net, sample=sample.double())
    copied_net, copied_rule = copy.deepcopy((net, rule))
    update = by_hand(name, copied_rule, copied_net, BATCH)
    wanted = taught(net, rule, lambda x, y: rule.assign_credit(net, x, y, F.cross_entropy).loss, **moves)
    for own, theirs in zip(taught(copied_net, copied_rule, update, **moves), wanted, strict=True):
        for one, other in zip(own, theirs, strict=True):
            assert other.any()
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * other.abs().max().item())
    return update


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
@pytest.mark.parametrize("name", UPDATES)
def test_the_update_by_hand_is_that_of_the_rule(name, make):
    compared(name, make().double())


def test_inverses_are_kept_by_hand_too_and_corrected_as_the_rule_corrects_them(monkeypatch):
    made = []
    monkeypatch.setattr(inverses, "pseudo_inverse", lambda W, name: made.append(W) or pseudo_inverse(W, name))
    compared("gait-prop", NETS["tanh"]().double(), lr=1e-3)
    assert len(made) == 2  # one a square layer, of the first of three batches


def test_a_net_that_has_no_formula_here_has_no_update():
    others = [
        nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, CLASSES)),
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.1), nn.Linear(5, CLASSES)),
        nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, CLASSES)),
        nn.Sequential(nn.Linear(6, 8), FirstUnits(5), nn.Tanh(), nn.Linear(5, CLASSES)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, CLASSES)),
        nn.Linear(6, CLASSES),
    ]
    frozen = NETS["relu"]()
    frozen[0].weight.requires_grad_(False)
    for net in (*others, frozen):
        assert by_hand("bp", biograd.rules.create("bp", net), net, BATCH) is None
    net = NETS["relu"]()
    assert by_hand("frozen", biograd.rules.create("frozen", net), net, BATCH) is None
    tiled = biograd.rules.create("dfa", net, form="low-rank")
    assert by_hand("dfa", tiled, net, BATCH) is None
    wider = nets.create("mlp", (6,), CLASSES, widths=(8, 9))
    assert by_hand("gait-prop", biograd.rules.create("gait-prop", wider), wider, BATCH) is None
    shallow = nets.create("mlp", (6,), CLASSES, widths=(8,))
    assert by_hand("dtp", biograd.rules.create("dtp", shallow), shallow, BATCH) is None
