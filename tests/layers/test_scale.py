import torch

from biograd.layers import Scale


def test_it_multiplies_forward_and_backward():
    x = torch.randn(3, 2, requires_grad=True)
    y = Scale(0.25)(x)
    y.sum().backward()
    assert torch.equal(y, x * 0.25)
    assert torch.equal(x.grad, torch.full((3, 2), 0.25))
