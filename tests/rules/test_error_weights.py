"""Whose weights carry errors, as a rule declares it: weights are changed so that no activity changes.

Where inputs of a layer span fewer dimensions than it has, its weights can be changed in the others: the net gives the
same at every layer, and what a layer below learns is another only if the rule reads these weights.
"""

import copy

import pytest
import torch
from torch import nn

from biograd import rules
from biograd.testing import Subject

SMALL, LARGE = 1e-6, 1.0  # the one leaves signs as they are


def taught_below(rule, net, x, y, loss_fn, layers, index):
    """What the layers below one learn from a batch; the rule is left as it was."""
    net.zero_grad()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        credit = copy.deepcopy(rule).assign_credit(net, x, y, loss_fn)
    below = [p.grad for layer in layers[:index] for p in layer.parameters()]
    return credit.output, [torch.zeros(()) if grad is None else grad.clone() for grad in below]


def inputs_of(net, layers, x):
    """What each layer gets of a batch."""
    seen = {}

    def note(layer, given, _):
        seen[layer] = given[0]

    handles = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    return [seen[layer].flatten(1) for layer in layers]


def reads(name, size):
    """For each layer of weights above the first, whether what is learned below depends on it beyond its activity."""
    trial = Subject(name).trial(dtype=torch.float64)
    x, y = trial.x[:2], trial.y[:2]
    net, found = trial.net.eval(), []
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    inputs = inputs_of(net, layers, x)
    for index in range(1, len(layers)):
        changed = copy.deepcopy(net)
        weight = [module for module in changed.modules() if isinstance(module, nn.Linear)][index].weight
        basis = torch.linalg.qr(inputs[index].T).Q  # (in, 2)
        change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=weight.dtype)
        with torch.no_grad():
            weight += size * (change - change @ basis @ basis.T)
        outputs, below = [], []
        for one in (net, changed):
            parts = [module for module in one.modules() if isinstance(module, nn.Linear)]
            output, taught = taught_below(trial.rule, one, x, y, trial.task.loss_fn, parts, index)
            outputs.append(output)
            below.append(taught)
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-10, atol=1e-12)
        tolerance = {"rtol": 1e-9, "atol": 1e-12}
        found.append(not all(torch.allclose(a, b, **tolerance) for a, b in zip(*below, strict=True)))
    return found


@pytest.mark.parametrize("name", rules.names())
def test_errors_come_through_the_weights_that_a_rule_declares_and_no_others(name):
    small, large = reads(name, SMALL), reads(name, LARGE)
    none, every = [False] * len(small), [True] * len(small)
    expected = {
        "none": (none, none),
        "learned": (none, none),
        "signs": (none, every),
        "last layer": ([*none[1:], True], [*none[1:], True]),
        "all": (every, every),
    }
    assert (small, large) == expected[rules.declared(name)["error_weights"]]
