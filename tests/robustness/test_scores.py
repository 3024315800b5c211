import math

import pytest
import torch

from biograd.robustness.scores import (
    accuracy,
    balanced_accuracy,
    chance_of_as_many,
    is_right,
    largest_plausible_share,
    margins,
)


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


@pytest.mark.parametrize(
    ("count", "of", "share"), [(0, 7, 0.3), (3, 7, 0.3), (7, 7, 0.5), (60, 1000, 0.05), (0, 0, 0.5)]
)
def test_the_chance_of_as_many_is_the_tail_of_the_binomial_distribution(count, of, share):
    tail = sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(count, of + 1))
    assert chance_of_as_many(count, of, share) == pytest.approx(tail, rel=1e-9)


@pytest.mark.parametrize(("count", "of"), [(0, 50), (2, 50), (84, 1000)])
def test_at_the_largest_plausible_share_so_few_are_seen_in_one_of_twenty_cases(count, of):
    share = largest_plausible_share(count, of, 0.05)
    assert 1 - chance_of_as_many(count + 1, of, share) == pytest.approx(0.05, rel=1e-6)


def test_where_all_are_seen_all_are_plausible():
    assert largest_plausible_share(7, 7, 0.05) == 1.0
