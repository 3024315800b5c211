"""A run that is attacked, the examples on which it is, and what it makes of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from biograd.data.seeded import seeded
from biograd.records.robustness import Scores
from biograd.robustness.domain import domain_of, held_out_examples, to_net
from biograd.robustness.gradient_sources import Gradient, Predict, rule_gradient, true_gradient
from biograd.robustness.scores import accuracy, balanced_accuracy, is_right, margins
from biograd.training.restored import Restored

BATCH = 500
"""Examples that are attacked at once."""

Attack = Callable[[Tensor, Tensor, float, torch.Generator], Tensor]
"""Inputs, classes, ε and a generator to attacked inputs."""


class Victim:
    """A finished run and the first of its test examples after a shuffle.

    Args:
        run: the run; its net is in evaluation mode.
        examples: how many of the test set, None for all.
        seed: of the shuffle, and of whatever attacks draw.

    Attributes:
        run: the run.
        domain: the units of ``x`` and of ε.
        x: the examples, ``(examples, …)``, in the units of the domain.
        y: their classes, ``(examples,)``.
        predict: ``x`` to logits.
        logits: of the examples as they are, ``(examples, classes)``.
        clean: which of them are right, ``(examples,)``.
    """

    def __init__(self, run: Restored, examples: int | None, seed: int) -> None:
        self.run, self.domain, self._seed = run, domain_of(run.dataset), seed
        x, y = held_out_examples(run.dataset, examples, seed)
        self.x, self.y = x.to(run.device), y.to(run.device)
        self.predict = in_domain(run)
        with torch.no_grad():
            self.logits = torch.cat([self.predict(part) for part in self.x.split(BATCH)])
        self.clean = is_right(self.logits, self.y)

    def gradient(self, name: str) -> Gradient:
        """The true gradient, or that of the rule's own feedback, which may raise `UnsupportedNet`."""
        if name == "true":
            return true_gradient(self.predict)
        run, prepare = self.run, to_net(self.run.dataset)
        follow = rule_gradient(run.rule, run.net, lambda x: run.inputs(prepare(x)))

        def in_precision(x: Tensor, y: Tensor) -> Tensor:
            with run.autocast():
                return follow(x, y)

        return in_precision

    def right_under(self, attack: Attack, epsilon: float) -> Tensor:
        """Which examples are right before and after; those that are wrong anyway are not attacked."""
        right = self.clean.clone()
        if epsilon == 0 or not right.any():
            return right
        for number, chosen in enumerate(self.clean.nonzero().squeeze(1).split(BATCH)):
            x, y = self.x[chosen], self.y[chosen]
            attacked = attack(x, y, epsilon, seeded(self._seed, number))
            with torch.no_grad():
                right[chosen] = is_right(self.predict(attacked), y)
        return right

    def without_gradient(self, name: str) -> Tensor:
        """Which of the examples as they are have a gradient that is exactly zero, ``(examples,)``."""
        gradient = self.gradient(name)
        parts = zip(self.x.split(BATCH), self.y.split(BATCH), strict=True)
        return torch.cat([gradient(x, y).flatten(1).count_nonzero(1) == 0 for x, y in parts])

    def scores(self, right: Tensor) -> Scores:
        """Accuracy and balanced accuracy, as fractions."""
        return {"accuracy": accuracy(right), "balanced_accuracy": balanced_accuracy(right, self.y)}

    def logit_scale(self) -> float:
        """Mean magnitude of the margin between the right logit and the largest other."""
        return margins(self.logits, self.y).abs().mean().item()


def in_domain(run: Restored) -> Predict:
    """What a run says of inputs in the units of the domain."""
    prepare = to_net(run.dataset)
    return lambda x: run.predict(prepare(x))
