"""A block that is run by the faster of PyTorch's ways gives what it always gives, to rounding."""

import pytest
import torch
from torch import nn

from biograd.credit import blocks
from biograd.credit.fused import run_fused


def chain(*layers: nn.Module):
    (block,) = blocks(nn.Sequential(*layers))
    return block


BLOCKS = {
    "linear and tanh": lambda: chain(nn.Linear(128, 120), nn.Tanh()),
    "linear alone": lambda: chain(nn.Linear(128, 120)),
    "a norm between": lambda: chain(nn.Linear(128, 120), nn.BatchNorm1d(120), nn.Tanh(), nn.Tanh()),
    "leading layers": lambda: chain(nn.Flatten(), nn.Linear(128, 120), nn.ReLU()),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_run_quickly_gives_what_the_block_gives(name):
    torch.manual_seed(0)
    block, x = BLOCKS[name](), torch.randn(160, 128)
    with torch.no_grad():
        torch.testing.assert_close(run_fused(block, x), block(x), rtol=0, atol=5e-6)


@pytest.mark.parametrize("place", [0, 1])
def test_layers_with_hooks_are_called(place):
    seen = []
    layers = [nn.Linear(128, 120), nn.Tanh()]
    layers[place].register_forward_hook(lambda *_: seen.append(place))
    block = chain(*layers)
    x = torch.randn(160, 128)
    with torch.no_grad():
        torch.testing.assert_close(run_fused(block, x), block(x), rtol=0, atol=5e-6)
    assert seen == [place, place]
