"""Forward-forward learning against its equations, worked out in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.layers import LabelPlaces, LengthNorm
from tests.equations import plain


def mlp():
    net = nn.Sequential(
        *(LabelPlaces(3, strength=1.7), LengthNorm(), nn.Linear(8, 6), nn.ReLU()),
        *(LengthNorm(), nn.Linear(6, 5), nn.Tanh(), LengthNorm(), nn.Linear(5, 4), nn.ReLU()),
        *(LengthNorm(), nn.Linear(4, 3)),
    )
    return net, (7, 5), (slice(0, 4), slice(4, 7), slice(7, 10), slice(10, 12))


def convolutional():
    net = nn.Sequential(
        *(LabelPlaces(3, overwrite=True), nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)),
        *(LengthNorm(), nn.Conv2d(4, 2, 2, groups=2, bias=False), nn.ReLU(), nn.Flatten()),
        *(LengthNorm(), nn.Linear(8, 3)),
    )
    return net, (4, 2, 6, 6), (slice(0, 4), slice(4, 7), slice(7, 10))


NETS = {"mlp": mlp, "convolutional": convolutional}
every_net = pytest.mark.parametrize("name", NETS)


def make(name):
    torch.manual_seed(11)
    net, shape, blocks = NETS[name]()
    return net.double(), torch.randn(shape, dtype=torch.float64), torch.randint(3, shape[:1]), blocks


def labels_of(classes):
    return np.eye(3)[np.asarray(classes)]


NEUTRAL = np.full((1, 3), 1 / 3)


def steps_of(net, x, labels):
    """Every layer, with these labels in the places for them."""
    h, steps = x.numpy(), []
    for name, layer in net.named_children():
        y = output(layer, h, labels)
        steps.append(plain.Step(name, layer, h, y))
        h = y
    return steps


def output(layer, h, labels):
    if isinstance(layer, LengthNorm):
        mean_square = (h**2).reshape(len(h), -1).mean(1)
        return h / np.sqrt(mean_square + 1e-8).reshape(-1, *(1,) * (h.ndim - 1))
    if isinstance(layer, LabelPlaces):
        flat, label = h.reshape(len(h), -1), layer.strength * np.broadcast_to(labels, (len(h), 3))
        if layer.overwrite:
            return np.concatenate([label, flat[:, 3:]], 1).reshape(h.shape)
        return np.concatenate([label, flat], 1)
    return plain._output(layer, h)


def goodness(h, kind):
    squares = (h**2).reshape(len(h), -1)
    return squares.sum(1) if kind == "sum" else squares.mean(1)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def hidden_gradients(steps, blocks, kind, threshold, sign):
    """What examples with right labels (sign −1) or wrong ones (+1) teach hidden blocks."""
    signals = []
    for block in blocks[:-1]:
        h = steps[block][-1].y
        if isinstance(steps[block][-1].layer, nn.Flatten):
            h = steps[block][-2].y
        units = h[0].size
        theta, per_square = (threshold * units, 1.0) if kind == "sum" else (threshold, 1 / units)
        slope = sign * sigmoid(sign * (goodness(h, kind) - theta))  # of the loss by the goodness
        signals.append(slope.reshape(-1, *(1,) * (h.ndim - 1)) * 2 * h * per_square / len(h))
    return plain.taught_by_signals([steps[block] for block in blocks], [*signals, None])


def recorded(rule):
    """The wrong labels that a rule draws, as it draws them."""
    drawn, draw = [], rule.wrong_labels

    def record(y, output):
        drawn.append(draw(y, output))
        return drawn[-1]

    rule.wrong_labels = record
    return drawn


@every_net
@pytest.mark.parametrize("kind", ["sum", "mean"])
@pytest.mark.parametrize("negatives", ["hard", "uniform"])
def test_hidden_blocks_follow_the_logistic_loss_of_their_goodness_and_the_readout_that_of_the_output(
    name, kind, negatives
):
    net, x, y, blocks = make(name)
    rule = biograd.ForwardForward(net, x[:1], goodness=kind, threshold=0.7, negatives=negatives, seed=5)
    wrong = recorded(rule)
    credit = rule.assign_credit(net, x, y, F.cross_entropy)
    right = hidden_gradients(steps_of(net, x, labels_of(y)), blocks, kind, 0.7, -1)
    other = hidden_gradients(steps_of(net, x, labels_of(wrong[0])), blocks, kind, 0.7, +1)
    neutral = steps_of(net, x, NEUTRAL)
    error = plain.cross_entropy_error(neutral[-1].y, y)
    readout = plain.taught_by_signals([neutral[blocks[-1]]], [error])
    np.testing.assert_allclose(credit.output.numpy(), neutral[-1].y, rtol=1e-12, atol=1e-13)
    assert right.keys() == other.keys()
    expected = {**{key: right[key] + other[key] for key in right}, **readout}
    assert expected.keys() == dict(net.named_parameters()).keys()
    for key, parameter in net.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), expected[key], rtol=1e-11, atol=1e-13, err_msg=key)


@every_net
@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_a_prediction_is_the_goodness_of_each_label_over_all_hidden_blocks_but_the_first(name, kind):
    net, x, _, blocks = make(name)
    rule = biograd.ForwardForward(net, x[:1], goodness=kind)
    expected = np.zeros((len(x), 3))
    for label in range(3):
        steps = steps_of(net, x, labels_of([label]))
        for block in blocks[1:-1]:
            expected[:, label] += goodness(steps[block][-1].y, kind)
    np.testing.assert_allclose(rule.predict(net, x).detach().numpy(), expected, rtol=1e-12)


def test_a_net_with_one_hidden_block_predicts_by_that_one():
    torch.manual_seed(0)
    net = nn.Sequential(LabelPlaces(3), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    expected = [goodness(steps_of(net, x, labels_of([label]))[2].y, "sum") for label in range(3)]
    predicted = biograd.ForwardForward(net).predict(net, x).detach().numpy()
    np.testing.assert_allclose(predicted, np.stack(expected, 1), rtol=1e-12)


@every_net
def test_predictions_are_differentiable_in_the_input(name):
    net, x, _, _ = make(name)
    rule = biograd.ForwardForward(net, x[:1])
    assert torch.autograd.gradcheck(lambda x: rule.predict(net, x), x[:2].requires_grad_())


def test_hard_wrong_labels_come_as_often_as_the_readout_takes_them_for_right():
    rule = biograd.ForwardForward(make("mlp")[0], seed=1)
    logits = torch.tensor([[2.0, 0.5, -0.5]]).expand(20000, -1)
    drawn = rule.wrong_labels(torch.zeros(20000, dtype=torch.int64), logits)
    share = np.exp(0.5) / (np.exp(0.5) + np.exp(-0.5))
    assert (drawn == 1).double().mean().item() == pytest.approx(share, abs=0.01)
    assert (drawn == 0).sum() == 0


def test_uniform_wrong_labels_are_as_often_each_of_the_others():
    rule = biograd.ForwardForward(make("mlp")[0], negatives="uniform", seed=1)
    y = torch.arange(3).repeat(10000)
    drawn = rule.wrong_labels(y, torch.randn(30000, 3) * 100)
    assert (drawn == y).sum() == 0
    shares = torch.stack([((drawn - y) % 3 == step).double().mean() for step in (1, 2)])
    np.testing.assert_allclose(shares.numpy(), 0.5, atol=0.01)


def test_of_two_classes_the_wrong_one_is_the_other():
    net = nn.Sequential(LabelPlaces(2), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    y = torch.tensor([0, 1, 1])
    assert biograd.ForwardForward(net).wrong_labels(y, torch.randn(3, 2)).tolist() == [1, 0, 0]
