"""A weight that is computed from other parameters is taught, or refused by name when the rule is made."""

import copy
import re
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from biograd import UnsupportedNet, rules
from biograd.credit import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.layers import FirstUnits, LabelPlaces, LengthNorm


class Doubled(nn.Module):
    def forward(self, tensor):
        return 2 * tensor


def doubled_bias(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "bias", Doubled())
    return layer


COMPUTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "spectral_norm": parametrizations.spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "orthogonal": parametrizations.orthogonal,
    "the older weight_norm": nn.utils.weight_norm,
    "the older spectral_norm": nn.utils.spectral_norm,
    "pruning": lambda layer: prune.random_unstructured(layer, "weight", 0.3),
    "a doubled bias": doubled_bias,
}
READS_WEIGHTS = {"tp", "itp", "softhebb"}
"""Rules that invert a hidden weight, or learn it by an equation for weights."""
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def net_for(rule: str, kind: str) -> nn.Module:
    """Two hidden layers, the second of which is computed."""
    torch.manual_seed(0)
    bias = rule != "softhebb" or kind == "a doubled bias"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older weight_norm, in many nets still
        second = COMPUTED[kind](nn.Linear(8, 8, bias=bias))
    labelled = rule == "forward-forward"
    first = [LabelPlaces(3), nn.Linear(11, 8)] if labelled else [nn.Linear(8, 8, bias=bias)]
    last = [nn.Linear(8, 8), FirstUnits(3)] if rule == "tp" else [nn.Linear(8, 3)]
    between = [nn.LeakyReLU(0.1), *([LengthNorm()] if labelled else [])]
    return nn.Sequential(*first, *between, second, nn.LeakyReLU(0.1), *last).double()


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("rule", rules.REGISTRY.built_in())
def test_it_is_taught_or_refused_by_name_when_the_rule_is_made(rule, kind):
    net = net_for(rule, kind)
    is_refused = rule in READS_WEIGHTS and (kind != "a doubled bias" or rule == "softhebb")
    if is_refused:
        with pytest.raises(UnsupportedNet, match=r"'[02]'") as caught:
            rules.create(rule, net, sample=X[:1])
        said = "computed from other parameters|computes its own from other parameters|learn weights alone"
        assert re.search(said, str(caught.value))
        return
    made = rules.create(rule, net, sample=X[:1])
    for _ in range(2):
        made.assign_credit(net, X, Y, F.cross_entropy)
    if rule != "shallow":
        untaught = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
        assert untaught == (set() if made.untaught is None else made.untaught(net, X))
        assert {name.partition(".")[0] for name in untaught} == ({"2"} if rule == "frozen" else set())


@pytest.mark.parametrize("kind", ["spectral_norm", "the older spectral_norm"])
@pytest.mark.parametrize("rule", [name for name in rules.REGISTRY.built_in() if name not in READS_WEIGHTS])
def test_vectors_that_spectral_norm_keeps_end_as_a_forward_leaves_them(rule, kind):
    net = net_for(rule, kind)
    other, before = copy.deepcopy(net), copy.deepcopy(dict(net.named_buffers()))
    made = rules.create(rule, net, sample=X[:1])
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    made.assign_credit(net, X, Y, F.cross_entropy)
    other(X)
    for (name, buffer), same in zip(net.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, same), name


def test_asking_for_shapes_computes_no_weight():
    net = nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 4)))
    before = copy.deepcopy(list(net.buffers()))
    assert output_shapes(blocks(net), None) == [(4,)]
    assert all(map(torch.equal, net.buffers(), before))
