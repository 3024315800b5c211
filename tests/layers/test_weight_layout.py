import pytest
import torch
from torch import nn

from biograd.layers import LocallyConnected1d, LocallyConnected2d, LocallyConnectedTranspose3d
from biograd.layers.local.own_filters import layout_of
from biograd.layers.weight_layout import OUTPUTS_FIRST, WeightLayout, by_position

WEIGHTS = {
    "linear": (OUTPUTS_FIRST, nn.Linear(5, 3).weight),
    "convolution": (OUTPUTS_FIRST, nn.Conv2d(3, 4, (5, 2)).weight),
    "locally connected": (by_position(2), LocallyConnected2d(3, 4, (5, 2), (8, 8)).weight),
    "in one dimension": (by_position(1), LocallyConnected1d(3, 4, 10, 12).weight),
    "inputs first": (WeightLayout(positions=0, outputs=-1), nn.Parameter(torch.randn(5, 3))),
}
FANS = {
    "linear": (5, 3),
    "convolution": (30, 40),
    "locally connected": (30, 40),
    "in one dimension": (30, 40),
    "inputs first": (5, 3),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_fans_are_those_of_one_position_and_matrices_have_a_column_for_each_output(name):
    layout, weight = WEIGHTS[name]
    matrices = layout.as_matrices(weight)
    assert layout.fans(weight) == FANS[name]
    assert matrices.shape[-2:] == (layout.fan_in(weight), weight.shape[layout.outputs])
    assert torch.equal(layout.as_weight(matrices, weight), weight)
    assert layout.filters(weight).numel() == weight.numel()
    assert torch.equal(layout.as_matrices(layout.narrow(weight, 2)), matrices[..., :2])


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_in_groups_there_is_a_matrix_for_each(memory):
    weight = nn.Conv2d(4, 6, 3, groups=2).to(memory_format=memory).weight
    matrices = OUTPUTS_FIRST.as_matrices(weight, 2)
    assert matrices.shape == (2, 18, 3)
    assert torch.equal(matrices[1], weight[3:].flatten(1).t())
    assert torch.equal(OUTPUTS_FIRST.as_weight(matrices, weight), weight)


def test_filters_are_views_into_the_weight():
    weight = torch.zeros(2, 3, 2, 2, 3, 4)
    by_position(2).filters(weight)[4].fill_(1)
    assert weight[1, 1].sum() == weight.sum() == 48


@pytest.mark.parametrize("kind", [LocallyConnected1d, LocallyConnectedTranspose3d])
def test_a_locally_connected_layer_says_its_layout_and_any_other_has_outputs_first(kind):
    layer = kind(2, 3, 2, 4)
    assert layout_of(layer) == by_position(layer.dimensions)
    assert layout_of(nn.Conv2d(4, 3, 5)) is layout_of(nn.Linear(4, 3)) is OUTPUTS_FIRST
