"""What becomes of a net under a rule: taught, in a short run of an ordinary loop, or refused in a line."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from biograd import UserMistake, rules
from biograd.credit.feedback.path import TaughtCall
from biograd.rules.base import Rule
from biograd.rules.block_rule import BlockRule
from biograd.rules.blockwise import Blockwise
from biograd.rules.feedback_rule import FeedbackRule
from tests.zoo.animals import Animal

STEPS = 15
LEARNING_RATE = 0.03
FALLS_TO = {"shallow": 0.99, "drtp": 0.98}
"""The part of its first value that a loss falls below in so few steps; 0.92 unless it is said here."""


@dataclass(frozen=True)
class Outcome:
    """What a rule did with a net.

    Attributes:
        kind: ``taught``, every matrix by the rule itself; ``by block``, exact between the several of a block; or
            ``refused``.
        line: what a refusal says.
        exact: parameters of two dimensions or more that a feedback rule teaches no product with: tables and tokens.
        still: parameters that kept their start.
        untaught: parameters that the rule says it leaves as they are.
        fell_to: the part of its first value to which the loss fell.
    """

    kind: Literal["taught", "by block", "refused"]
    line: str = ""
    exact: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    untaught: tuple[str, ...] = ()
    fell_to: float = 1.0


def outcome(animal: Animal, name: str) -> Outcome:
    """Teach a net by a rule, as a user's loop does.

    Raises:
        AssertionError: a refusal came too late, when something was filled.
    """
    net, (x, y) = _made(animal)
    try:
        rule = made_for(animal, name, net, x)
        rule.assign_credit(net, x, y, animal.loss_fn)
    except UserMistake as refusal:
        filled = [key for key, p in net.named_parameters() if p.grad is not None]
        assert not filled, f"refused, but filled .grad of {filled}"
        return Outcome("refused", str(refusal))
    untaught = tuple(_untaught(rule, net, x))
    start = {key: p.detach().clone() for key, p in net.named_parameters()}
    fell_to = _trained(animal, net, rule, x, y)
    still = tuple(key for key, p in net.named_parameters() if torch.equal(p, start[key]))
    kind = "by block" if _has_several_in_a_block(rule, net, x) else "taught"
    return Outcome(kind, "", _exact(rule, net, x), still, untaught, fell_to)


def made_for(animal: Animal, name: str, net: nn.Module, x: Any) -> Rule:
    """A rule with its defaults, at the cut points of the net where it teaches block by block."""
    sample = {key: part[:1] for key, part in x.items()} if isinstance(x, dict) else x[:1]
    cuts = {} if rules.REGISTRY.find(name).nets == "any" else {"blocks": animal.blocks}
    return rules.create(name, net, sample=sample, **cuts)


def _made(animal: Animal) -> tuple[nn.Module, tuple[Any, Any]]:
    x, y = animal.data(0).tensors("train", validation_fraction=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return animal.net(), animal.taken(x, y)


def _trained(animal: Animal, net: nn.Module, rule: Rule, x: Any, y: Any) -> float:
    """The part of its first value to which the loss falls."""
    optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()], LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses.append(float(rule.assign_credit(net, x, y, animal.loss_fn).loss))
        optimizer.step()
    return losses[-1] / losses[0]


def _has_several_in_a_block(rule: Rule, net: nn.Module, x: Tensor) -> bool:
    if not isinstance(rule, BlockRule | Blockwise):
        return False
    *hidden, _ = rule.chain(net, x)
    return any(sum(p.dim() >= 2 for p in block.parameters()) > 1 for block in hidden)


def _untaught(rule: Rule, net: nn.Module, x: Any) -> set[str]:
    if rule.untaught is not None:
        return rule.untaught(net, x)
    if rule.teaches_hidden_layers:
        return set()
    assert isinstance(rule, BlockRule)
    last = set(rule.chain(net, x)[-1].parameters())
    return {key for key, p in net.named_parameters() if p not in last}


def _exact(rule: Rule, net: nn.Module, x: Any) -> tuple[str, ...]:
    if not isinstance(rule, FeedbackRule):
        return ()
    calls: list[TaughtCall] = []
    with rule.path(net, calls.append):
        net(x)
    taught = {call.name for call in calls}
    return tuple(key for key, p in net.named_parameters() if p.dim() >= 2 and key not in taught)
