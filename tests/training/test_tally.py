"""Scores are those of all examples together, whatever the batches and the processes."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from biograd.data.tasks import Classes, Labels, Regression, Tokens
from biograd.rules.base import Credit
from biograd.training.distributed import Ranks
from biograd.training.measures import AveragePrecision, OfEachClass
from biograd.training.tally import Tally

CPU = torch.device("cpu")
THREE = Classes(("a", "b", "c"))
TWO_NUMBERS = Regression(("litres", "grams"), mean=(5.0, 0.0), std=(2.0, 10.0))
PARTS = (slice(0, 5), slice(5, 7))


def tallied(task, output, y, loss=0.5):
    tally = Tally(task, CPU)
    for part in PARTS:
        tally.add(Credit(torch.tensor(loss), output[part]), y[part])
    return tally


def metrics_of(task, output, y):
    tally = tallied(task, output, y)
    return tally.scores(tally.sums()).metrics


def test_means_are_per_example_whatever_the_batches():
    torch.manual_seed(0)
    output, y = torch.randn(7, 3), torch.randint(0, 3, (7,))
    tally = Tally(THREE, CPU)
    for part in PARTS:
        loss = torch.nn.functional.cross_entropy(output[part], y[part])
        tally.add(Credit(loss, output[part]), y[part])
    loss, found = tally.scores(tally.sums())
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(output, y).item())
    assert found == {"accuracy": (output.argmax(1) == y).double().mean().item()}


@pytest.mark.parametrize(
    ("task", "output", "y"),
    [
        (THREE, torch.eye(3), torch.tensor([0, 0, 2])),
        (TWO_NUMBERS, torch.rand(3, 2), torch.rand(3, 2)),
        (Labels(("a",)), torch.rand(3, 1), torch.ones(3, 1)),
        (Tokens(("a", "b")), torch.rand(3, 4, 2), torch.ones(3, 4).long()),
    ],
)
def test_sums_go_on_where_they_were(task, output, y):
    tally, other = Tally(task, CPU), Tally(task, CPU)
    tally.add(Credit(torch.tensor(1 / 3), output), y)
    other.restore(tally.sums())
    for one in (tally, other):
        one.add(Credit(torch.tensor(0.1), output[:1]), y[:1])
    assert torch.equal(other.sums(), tally.sums())
    assert other.scores(other.sums()) == tally.scores(tally.sums())


def test_numbers_are_scored_as_scikit_learn_scores_them_and_errors_have_the_units_of_the_targets():
    torch.manual_seed(0)
    output, y = (torch.randn(7, 2, dtype=torch.float64) for _ in "oy")
    found = metrics_of(TWO_NUMBERS, output, y)
    in_units = [(3 + one * torch.tensor([2.0, 10.0])).numpy() for one in (y, output)]
    assert found["r2"] == pytest.approx(metrics.r2_score(*in_units), rel=1e-12)
    assert found["mean_absolute_error"] == pytest.approx(metrics.mean_absolute_error(*in_units), rel=1e-12)


def test_where_the_targets_are_all_alike_there_is_nothing_to_explain():
    output = torch.rand(7, 2)
    one_varies = torch.stack([torch.full((7,), 1e3), torch.arange(7.0)], 1)
    found = metrics_of(TWO_NUMBERS, output, one_varies)
    assert found["r2"] == pytest.approx(
        metrics.r2_score(one_varies[:, 1].numpy(), output[:, 1].numpy()), rel=1e-6
    )
    assert metrics_of(TWO_NUMBERS, output, torch.full((7, 2), 0.1))["r2"] is None


def test_tokens_are_scored_one_by_one():
    torch.manual_seed(0)
    output, y = torch.randn(7, 5, 3, dtype=torch.float64), torch.randint(0, 3, (7, 5))
    p = output.softmax(-1)
    bits = [-math.log2(p[b, t, y[b, t]]) for b in range(7) for t in range(5)]
    found = metrics_of(Tokens(("a", "b", "c")), output, y)
    assert found["bits_per_token"] == pytest.approx(np.mean(bits), rel=1e-12)
    assert found["token_accuracy"] == (output.argmax(-1) == y).double().mean().item()


def test_labels_are_scored_by_the_likeliest_of_the_examples_that_have_one():
    y = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]])
    output = torch.tensor([[0.0, 1, 2], [3, 1, 2], [1, 2, 3], [-3, -1, -2], [-5, -7, -6]])
    three = Labels(tuple("abc"))
    assert metrics_of(three, output, y) == {"precision_at_1": 3 / 4}
    assert metrics_of(three, output, torch.zeros_like(y)) == {"precision_at_1": None}
    assert metrics_of(Labels(("a",)), output[:, :1], y[:, :1]) == {"precision_at_1": None}


def test_balanced_accuracy_is_the_mean_over_classes_whatever_the_batches():
    y = torch.tensor(
        [0, 0, 0, 0, 0, 0, 0, 0, 3, 3]
    )  # no example of 1 and 2, which others of the set may name
    said = torch.tensor([0, 0, 0, 0, 0, 0, 0, 3, 3, 0])
    of_classes = OfEachClass(Classes(tuple("abcd")), CPU)
    for part in (slice(0, 7), slice(7, 10)):
        of_classes.add(torch.nn.functional.one_hot(said[part], 4).double(), y[part])
    assert of_classes.values(Ranks(CPU)) == {"balanced_accuracy": (7 / 8 + 1 / 2) / 2}


def precision_by_hand(scores, is_there):
    """The precision at each example that has the label, from the best score down, averaged."""
    in_order = [there for _, there in sorted(zip(scores, is_there, strict=True), reverse=True)]
    return np.mean(
        [sum(in_order[: place + 1]) / (place + 1) for place, there in enumerate(in_order) if there]
    )


def test_mean_average_precision_is_the_mean_over_labels_that_are_there():
    torch.manual_seed(0)
    output, y = torch.randn(7, 3), torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]).repeat(3, 1)[:7]
    whole = AveragePrecision(Labels(tuple("abc")), CPU)
    for part in PARTS:
        whole.add(output[part], y[part])
    expected = np.mean([precision_by_hand(output[:, k].tolist(), y[:, k].tolist()) for k in (0, 1)])
    assert whole.values(Ranks(CPU)) == {"mean_average_precision": pytest.approx(expected, rel=1e-12)}


@pytest.mark.parametrize(("answer", "target"), [(1.0, 0.0), (math.nan, 1.0)])
def test_without_a_label_or_with_an_answer_that_is_no_number_it_is_not_defined(answer, target):
    whole = AveragePrecision(Labels(("a",)), CPU)
    whole.add(torch.full((2, 1), answer), torch.full((2, 1), target))
    assert whole.values(Ranks(CPU)) == {"mean_average_precision": None}
