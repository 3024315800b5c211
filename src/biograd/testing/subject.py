"""A rule under test, and one trial of it: a fresh net, a rule made for it, a batch."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.weighting import Weight
from biograd.rules import REGISTRY
from biograd.rules.base import Credit, Rule
from biograd.rules.examples import CHAINS, Examples, Task

Factory = Callable[..., Rule]
"""``factory(net, sample, **settings)`` makes the rule; a class derived from `Rule` is one."""


@dataclass(frozen=True)
class Subject:
    """A rule with all that a check needs to know of it.

    Attributes:
        factory: what makes the rule, or the name it is registered under, or ``path/to/file.py:Name``.
        settings: the rule's settings, by name.
        own_examples: nets that the rule teaches, None for those that it declares.
        kind: which of them it is checked on.
        steps: how many steps of Adam the rule gets to learn in.
    """

    factory: Factory | str
    settings: Mapping[str, Any] = field(default_factory=dict)
    own_examples: Examples | None = None
    kind: str = "mlp"
    steps: int = 150

    @property
    def examples(self) -> Examples:
        """Nets that the rule teaches, and what it is to reach on them."""
        if self.own_examples is not None:
            return self.own_examples
        made_by_a_rule = inspect.isclass(self.constructor) and issubclass(self.constructor, Rule)
        return self.constructor.examples if made_by_a_rule else CHAINS

    @property
    def task(self) -> Task:
        """The net that it is checked on, the same for the same weights."""
        return self.examples.tasks[self.kind]

    @property
    def noisy_task(self) -> Task:
        """A net with dropout, to see that random numbers and buffers end as a forward would have left them."""
        return self.examples.tasks["noisy"]

    @property
    def falls_to(self) -> float:
        """The share of its first value that the loss has to fall below."""
        return self.examples.falls_to.get(self.kind, 0.6)

    @property
    def constructor(self) -> Factory:
        """What makes the rule, looked up if it was given by name."""
        return REGISTRY.find(self.factory) if isinstance(self.factory, str) else self.factory

    @property
    def has_seed(self) -> bool:
        """Whether the rule takes the setting ``seed``, as one that draws random numbers does."""
        return "seed" in inspect.signature(self.constructor).parameters

    def trial(
        self, task: Task | None = None, *, dtype: torch.dtype = torch.float32, seed: int | None = None
    ) -> "Trial":
        """A fresh net of ``task`` (that of the subject if None), always with the same weights, and a rule.

        Args:
            task: the net and what it is shown.
            dtype: of the net and its inputs.
            seed: another one for the rule, if it takes one.
        """
        task = task or self.task
        x, y = task.batch(32, 0)
        x = x.to(dtype)
        net = make_net(task, dtype)
        settings = {"seed": seed} if seed is not None and self.has_seed else {}
        return Trial(net, self.make_rule(net, x[:1], **settings), x, y, task)

    def make_rule(self, net: nn.Module, sample: Tensor, **settings: Any) -> Rule:
        """The rule for a net, with the subject's settings and those given here."""
        constructor = self.constructor
        if inspect.isclass(constructor):
            require(issubclass(constructor, Rule), f"expected a biograd.Rule, got {constructor.__name__}")
            missing = ", ".join(sorted(getattr(constructor, "__abstractmethods__", ())))
            require(not missing, f"{constructor.__name__} must define {missing}(self, net, x, y, loss_fn)")
        rule = constructor(net, sample, **{**self.settings, **settings})
        require(isinstance(rule, Rule), f"expected a biograd.Rule, got {type(rule).__name__}")
        return rule


@dataclass
class Trial:
    """A net, a rule made for it, and a batch."""

    net: nn.Module
    rule: Rule
    x: Tensor
    y: Tensor
    task: Task

    def teach(self, x: Tensor | None = None, y: Tensor | None = None, **weight: Weight) -> Credit:
        """Assign credit once, for the trial's batch if no other is given, with a ``weight`` if there is one."""
        x, y = (self.x, self.y) if x is None or y is None else (x, y)
        credit = self.rule.assign_credit(self.net, x, y, self.task.loss_fn, **weight)
        require(
            isinstance(credit, Credit) and all(isinstance(value, Tensor) for value in credit),
            f"expected a Credit(loss, output), two tensors, from assign_credit; got {type(credit).__name__}",
        )
        return credit

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """Adam with the parameters of the net and of the rule."""
        return torch.optim.Adam([*self.net.parameters(), *self.rule.parameters()], learning_rate)

    def train(self, steps: int, learning_rate: float = 0.01) -> list[float]:
        """Take steps on four batches in turn; the loss of each."""
        optimizer = self.optimizer(learning_rate)
        losses = []
        for step in range(steps):
            optimizer.zero_grad()
            x, y = self.task.batch(len(self.x), step % 4)
            losses.append(self.teach(x.to(self.x), y.to(self.y.device)).loss.item())
            optimizer.step()
        return losses

    def untaught(self) -> set[str]:
        """Names of the net's parameters that the rule says it leaves as they are."""
        return set() if self.rule.untaught is None else self.rule.untaught(self.net, self.x)

    def forget_gradients(self) -> None:
        """Set every ``.grad`` of net and rule to None."""
        self.net.zero_grad()
        self.rule.zero_grad()

    def layers(self) -> list[nn.Module]:
        """The modules that hold parameters themselves, in the order they were registered in."""
        return [
            module for module in self.net.modules() if any(True for _ in module.parameters(recurse=False))
        ]


def make_net(task: Task, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The net of a task, always with the same weights; the global generator is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return task.net().to(dtype)


def contract_check(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
    """Make a check leave the global random number generator alone, and have its name in what it raises."""

    @functools.wraps(check)
    def checked(subject: Subject) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            try:
                check(subject)
            except Exception as error:
                failed = _as_assertion(error)
                failed.add_note(f"in {check.__name__}: {inspect.getdoc(check)}")
                raise failed from (None if failed is error else error)

    return checked


def _as_assertion(error: Exception) -> AssertionError:
    if isinstance(error, AssertionError):
        return error
    return AssertionError(f"expected no error, and {type(error).__name__} was raised: {error}")


def require(holds: bool, message: str) -> None:
    """Raise an AssertionError with the message unless the claim holds (``assert`` is gone under ``-O``)."""
    if not holds:
        raise AssertionError(message)
