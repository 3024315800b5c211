import pytest
import torch
from torch import nn

from biograd.layers import LocallyConnected2d
from biograd.layers.weight_layout import BY_POSITION, OUTPUTS_FIRST, WeightLayout, layout_of

WEIGHTS = {
    "linear": (OUTPUTS_FIRST, nn.Linear(5, 3).weight),
    "convolution": (OUTPUTS_FIRST, nn.Conv2d(3, 4, (5, 2)).weight),
    "locally connected": (BY_POSITION, LocallyConnected2d(3, 4, (5, 2), (8, 8)).weight),
    "inputs first": (WeightLayout(positions=0, outputs=-1), nn.Parameter(torch.randn(5, 3))),
}
FANS = {"linear": (5, 3), "convolution": (30, 40), "locally connected": (30, 40), "inputs first": (5, 3)}


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
    BY_POSITION.filters(weight)[4].fill_(1)
    assert weight[1, 1].sum() == weight.sum() == 48


def test_a_weight_without_its_layer_is_read_by_its_axes():
    assert layout_of(torch.empty(4, 3, 5, 5)) is layout_of(torch.empty(4, 3)) is OUTPUTS_FIRST
    assert layout_of(torch.empty(2, 2, 5, 5, 3, 4)) is BY_POSITION
