import math

import pytest
import torch

from biograd.robustness.scores import accuracy, balanced_accuracy, is_right, margins, standard_errors


def test_a_margin_is_the_right_logit_less_the_largest_other():
    logits, y = torch.tensor([[1.0, 4.0, 2.5], [1.0, 4.0, 2.5], [3.0, 3.0, 0.0]]), torch.tensor([1, 0, 0])
    assert margins(logits, y).tolist() == [1.5, -3.0, 0.0]
    assert is_right(logits, y).tolist() == [True, False, True]


def test_balanced_accuracy_gives_every_class_the_same_weight():
    y = torch.tensor([0] * 8 + [1] * 2)
    right = torch.tensor([True] * 8 + [True, False])
    assert accuracy(right) == 0.9
    assert balanced_accuracy(right, y) == 0.75
    assert balanced_accuracy(right[:8], y[:8]) == 1.0  # a class without an example counts for nothing


def test_standard_errors_are_those_of_the_paired_difference():
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.rand(400, generator=draw) < share for share in (0.6, 0.5))
    difference = (a.double() - b.double()).numpy()
    expected = difference.mean() / (difference.std() / math.sqrt(400))
    assert standard_errors(a, b) == pytest.approx(expected)
    assert standard_errors(b, a) == pytest.approx(-expected)


def test_differences_that_do_not_vary():
    same, other = torch.ones(5).bool(), torch.zeros(5).bool()
    assert (standard_errors(same, same), standard_errors(same, other)) == (0.0, math.inf)
    assert standard_errors(other, same) == -math.inf
