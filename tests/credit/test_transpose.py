"""Decoders that can be a block's transposed Jacobian."""

from typing import Any

import pytest
import torch
from torch import nn

from biograd.credit import blocks
from biograd.credit.back.decoders import make_decoders, sites
from biograd.layers import LocallyConnected2d


def made(net: nn.Module, sample: torch.Tensor) -> Any:
    """The decoder of a net's last block."""
    return make_decoders([sites(blocks(net), sample)[-1]], "transpose", 0)[0]


NETS = {
    "linear": ((5,), lambda: [nn.Linear(5, 4)]),
    "linear behind a map": ((2, 3, 3), lambda: [nn.Flatten(), nn.Linear(18, 4)]),
    "convolution, stride 2 leaves one over": ((2, 6, 6), lambda: [nn.Conv2d(2, 4, 3, stride=2, padding=1)]),
    "convolution, grouped": ((2, 5, 5), lambda: [nn.Conv2d(2, 4, 3, groups=2)]),
    "locally connected": ((2, 5, 5), lambda: [LocallyConnected2d(2, 3, 3, (5, 5), stride=2)]),
}


@pytest.mark.parametrize("name", NETS)
def test_with_the_weights_of_its_block_it_is_the_blocks_transpose(name):
    torch.manual_seed(0)
    shape, layers = NETS[name]
    below = nn.Linear(3, shape[0]) if len(shape) == 1 else nn.Conv2d(2, shape[0], 1)
    sample = torch.randn(1, 3) if len(shape) == 1 else torch.randn(1, 2, *shape[1:])
    block = nn.Sequential(*layers())
    decoder = made(nn.Sequential(below, nn.Tanh(), block).double(), sample.double())
    own, theirs = _weight(decoder), _weight(block)
    with torch.no_grad():
        own.copy_(theirs.t() if own.dim() == 2 else theirs)
    x = torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)
    y = block(x)
    told = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, told)
    torch.testing.assert_close(decoder(told), expected)


def _weight(module: nn.Module) -> torch.Tensor:
    return next(p for n, p in module.named_parameters() if n.endswith("weight"))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.ELU])
def test_its_derivative_is_its_weights_behind_that_of_the_blocks_nonlinearity(activation):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), activation()).double()
    decoder = made(net, torch.zeros(1, 3).double())
    h = torch.randn(4, dtype=torch.float64)
    J: Any = torch.autograd.functional.jacobian(lambda z: decoder(z[None])[0], h)
    slope: Any = torch.autograd.functional.jacobian(activation(), h).diagonal()
    torch.testing.assert_close(J, _weight(decoder) * slope)


def test_it_has_no_biases():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AvgPool2d(2))
    decoder = made(net, torch.randn(1, 2, 8, 8))
    assert [tuple(p.shape) for p in decoder.parameters()] == [(4, 3, 3, 3)]
    assert decoder(torch.zeros(2, 4, 2, 2)).shape == (2, 3, 6, 6)
