"""The attacks beside those of the Adversarial Robustness Toolbox, on the same net and images."""

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch, SquareAttack
from art.estimators.classification import PyTorchClassifier
from torch import nn

from biograd.robustness import fgsm, pgd, square
from biograd.robustness.scores import accuracy, is_right


@pytest.fixture
def classifier(digits):
    net, _, _ = digits
    return PyTorchClassifier(
        model=net, loss=nn.CrossEntropyLoss(), input_shape=(1, 8, 8), nb_classes=10, clip_values=(0.0, 1.0)
    )


def theirs(attack, x, y):
    return torch.from_numpy(attack.generate(x=x.numpy(), y=y.numpy()))


@pytest.mark.parametrize("epsilon", [0.05, 0.3])
def test_fgsm_is_the_same(digits, classifier, epsilon):
    net, x, y = digits
    expected = theirs(FastGradientMethod(classifier, eps=epsilon, batch_size=256), x, y)
    torch.testing.assert_close(fgsm(net, x, y, epsilon, 0.0, 1.0), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("steps", "step_size"), [(1, 0.1), (10, 0.02), (10, 0.05)])
def test_pgd_from_the_same_start_is_the_same(digits, classifier, steps, step_size):
    net, x, y = digits
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=0.1, eps_step=step_size, max_iter=steps, batch_size=256, verbose=False
    )
    ours = pgd(net, x, y, 0.1, 0.0, 1.0, steps=steps, step_size=step_size, start=x)
    torch.testing.assert_close(ours, theirs(attack, x, y), rtol=0, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.07, 0.12])
def test_square_finds_as_much_with_as_many_queries(digits, classifier, epsilon):
    net, x, y = digits
    x, y = x[:200], y[:200]
    np.random.seed(0)
    attack = SquareAttack(classifier, eps=epsilon, max_iter=100, nb_restarts=1, batch_size=200, verbose=False)
    left, left_by_theirs = (
        accuracy(is_right(net(attacked), y))
        for attacked in (square(net, x, y, epsilon, 0.0, 1.0, queries=100), theirs(attack, x, y))
    )
    assert 0.1 < left < 0.8
    assert abs(left - left_by_theirs) < 0.06
