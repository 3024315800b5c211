"""The derivative of every cross-entropy is v (p − t) / B, with the importance and the target that are read off it."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.credit.loss_terms import (
    FEW,
    Terms,
    by_example,
    counted,
    importance,
    is_ignored,
    require_honoured,
    rows_of,
    soft_targets,
    targets,
    terms_of,
)
from biograd.credit.weighting import Weighting
from biograd.errors import UserMistake

WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)


def labels(kind, shape=(6,)):
    torch.manual_seed(1)
    y = torch.randint(4, shape)
    if kind == "ignored":
        y.view(-1)[1::3] = -100
    return torch.randn(shape[0], 4, *shape[1:], dtype=torch.float64).softmax(1) if kind == "soft" else y


@pytest.mark.parametrize("shape", [(6,), (6, 3)], ids=["one label an example", "three"])
@pytest.mark.parametrize("kind", ["hard", "ignored", "soft"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_importance_and_target_make_the_derivative_of_a_cross_entropy(smoothing, weights, kind, shape):
    y = labels(kind, shape)
    loss_fn = nn.CrossEntropyLoss(weights, label_smoothing=smoothing)
    output = torch.randn(shape[0], 4, *shape[1:], dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(loss_fn(output, y), output)
    terms = terms_of(loss_fn)
    t = soft_targets(y, terms) if kind == "soft" else targets(y, 4, torch.float64, terms)
    v = importance(y, len(output), torch.float64, loss_fn)
    count = output.numel() / 4
    expected = (1 if v is None else v.unsqueeze(1)) * (output.softmax(1) - t) / count
    torch.testing.assert_close(derivative, expected, rtol=1e-12, atol=1e-15)
    assert (v is None) == (weights is None and kind != "ignored")


def test_terms_are_read_from_the_losses_of_pytorch_and_from_partial_calls():
    assert terms_of(nn.CrossEntropyLoss(ignore_index=3, label_smoothing=0.1)) == Terms(None, 3, 0.1)
    assert terms_of(nn.NLLLoss(WEIGHTS)).class_weights is not None
    assert terms_of(functools.partial(F.cross_entropy, ignore_index=7)) == Terms(None, 7, 0.0)
    assert terms_of(lambda output, y: F.cross_entropy(output, y)) == Terms()


def test_examples_of_which_no_label_counts_are_not_counted():
    y = torch.tensor([[0, -100], [-100, -100], [1, 2]])
    v = importance(y, 3, torch.float64, F.cross_entropy)
    assert counted(v).tolist() == [1.5, 0.0, 1.5]
    assert counted(None) is None
    nothing = importance(torch.full((3,), -100), 3, torch.float64, F.cross_entropy)
    assert nothing.tolist() == [0.0, 0.0, 0.0]


def test_of_several_labels_an_example_each_that_counts_counts_alike():
    v = importance(torch.tensor([[0, -100], [1, 2]]), 2, torch.float64, F.cross_entropy)
    torch.testing.assert_close(v, torch.tensor([[4 / 3, 0], [4 / 3, 4 / 3]], dtype=torch.float64))
    torch.testing.assert_close(by_example(v, F.cross_entropy), torch.full((2,), 4 / 3, dtype=torch.float64))
    assert by_example(v, nn.CrossEntropyLoss(WEIGHTS)) is None


def test_a_weight_of_each_example_goes_with_it_through_copies_of_the_batch():
    weighting = Weighting(torch.tensor([1.0, 0.0]), 2)
    copies = torch.arange(1.0, 5.0).view(4, 1)  # of both examples, one behind the other
    assert weighting.of(copies).tolist() == [[1.0], [0.0], [3.0], [0.0]]


@pytest.mark.parametrize(
    ("loss_fn", "y"),
    [
        (nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)), torch.ones(2, 3)),
        (nn.MultiMarginLoss(weight=torch.ones(3)), torch.tensor([0, 1])),
        (nn.CrossEntropyLoss(torch.ones(3)), torch.zeros(2, 5, dtype=torch.long)),
    ],
    ids=["pos_weight", "another loss", "several labels an example"],
)
def test_weights_that_cannot_be_honoured_are_named(loss_fn, y):
    with pytest.raises(biograd.UserMistake, match=r"cannot honour '(pos_)?weight' of .*weight="):
        require_honoured(y, loss_fn)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int32])
def test_labels_of_any_whole_type_are_labels(dtype):
    y = torch.tensor([0, 1, 1]).to(dtype)
    assert targets(y, 2, torch.float64, Terms()).tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]


def test_labels_that_are_no_classes_are_one_line():
    with pytest.raises(biograd.UserMistake, match=r"labels must be classes from 0 to 2, or .*ignore_index"):
        targets(torch.tensor([0, 255]), 3, torch.float64, Terms())
    assert targets(torch.tensor([0, 255]), 3, torch.float64, Terms(ignore_index=255))[0].tolist() == [
        1.0,
        0.0,
        0.0,
    ]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_rows_of_a_table_are_what_plain_targets_take_out_of_it(dtype):
    y, table = labels("hard").to(dtype), torch.randn(4, 7, dtype=torch.float64)
    assert torch.equal(rows_of(table, y), targets(y, 4, torch.float64, Terms()) @ table)


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_that_no_class_has_are_refused_alike_in_rows_and_in_targets(label):
    y = torch.tensor([0, label])
    for take in (lambda: rows_of(torch.ones(4, 2), y), lambda: targets(y, 4, torch.float64, Terms())):
        with pytest.raises(UserMistake, match="labels must be classes from 0 to 3"):
            take()


@pytest.mark.parametrize("count", [3, FEW, FEW + 1])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("label", [-100, 2])
def test_ignored_labels_are_seen_in_batches_of_any_size(count, dtype, label):
    y = torch.zeros(count, dtype=dtype)
    assert is_ignored(y, Terms(ignore_index=label)) is None
    if label < 0 and dtype is torch.uint8:
        return
    y[-1] = label
    assert is_ignored(y, Terms(ignore_index=label)).tolist() == [False] * (count - 1) + [True]
