"""Which of a net's own weights carry errors to hidden layers: what each rule declares is what it does.

Weights above a hidden layer are changed by what no input of the batch can see, so that every activity and the loss stay
as they were. The updates of the layers below move where the rule reads these weights, and nowhere else.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from biograd import rules
from biograd.credit import blocks
from biograd.credit.chain.passages import run_detached

NAMES = rules.REGISTRY.built_in()
BATCH = 8


class Subject:
    """A rule with the net of three blocks that it declares, before and after weights were changed."""

    def __init__(self, rule: str) -> None:
        self.task = rules.REGISTRY.find(rule).examples.tasks["mlp"]
        torch.manual_seed(0)
        self.net = self.task.net().double()
        x, self.y = self.task.batch(BATCH, 0)
        self.x = x.double()
        self.rule = rules.create(rule, self.net, sample=self.x[:1])

    def updates(self, net: nn.Module) -> tuple[Tensor, list[Tensor]]:
        """The loss, and the gradient of every block, one vector each."""
        net.zero_grad()
        loss = copy.deepcopy(self.rule).assign_credit(net, self.x, self.y, self.task.loss_fn).loss
        found = [
            torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in ps])
            for ps in (list(block.parameters()) for block in blocks(net))
        ]
        return loss, found

    def changed(self, place: int, size: float) -> nn.Module:
        """A copy of the net with other weights in one block, that give this batch what they gave it."""
        net = copy.deepcopy(self.net)
        chain = blocks(net)
        inputs = [self.x, *run_detached(chain, self.x, lambda _: False)]
        block = chain[place]
        h = inputs[place]
        for layer in block.leading:
            h = layer(h)
        weight = block.opening.get_parameter("weight")
        W = weight.detach()
        unseen = torch.eye(W.shape[1], dtype=W.dtype) - torch.linalg.pinv(h) @ h
        direction = torch.randn(W.shape, generator=torch.Generator().manual_seed(1), dtype=W.dtype) @ unseen
        with torch.no_grad():
            weight.add_(size * W.std() * direction / direction.std())
        return net


def moves(subject: Subject, place: int, size: float = 1.0) -> bool:
    """Whether the updates below a block move when weights of that block are changed unseen."""
    loss, before = subject.updates(subject.net)
    changed, after = subject.updates(subject.changed(place, size))
    torch.testing.assert_close(changed, loss, rtol=1e-10, atol=1e-10)
    apart = [
        float((a - b).norm() / (a.norm() + b.norm()).clamp_min(1e-300))
        for a, b in zip(before[:place], after, strict=False)
    ]
    return max(apart) > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_what_a_rule_declares_of_the_weights_that_carry_errors_is_what_it_reads(name):
    subject = Subject(name)
    reads_middle, reads_last = moves(subject, 1), moves(subject, 2)
    expected = {
        "none": (False, False),
        "learned": (False, False),
        "last layer": (False, True),
        "signs": (True, True),
        "all": (True, True),
    }
    assert (reads_middle, reads_last) == expected[rules.declared(name)["error_weights"]]


@pytest.mark.parametrize("name", [name for name in NAMES if rules.declared(name)["error_weights"] == "signs"])
def test_of_signs_alone_nothing_moves_while_they_stay(name):
    subject = Subject(name)
    size = 1e-3
    weights = [block.opening.get_parameter("weight") for block in blocks(subject.changed(2, size))]
    kept = [torch.equal(w.sign(), p.sign()) for w, p in zip(weights, _weights(subject.net), strict=True)]
    assert all(kept)
    assert not moves(subject, 2, size)
    assert moves(Subject("bp"), 2, size)  # which reads them whole


def _weights(net: nn.Module) -> list[Tensor]:
    return [block.opening.get_parameter("weight") for block in blocks(net)]
