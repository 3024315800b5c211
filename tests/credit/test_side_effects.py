"""A second run leaves buffers and random numbers as the first one left them."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from biograd.credit.side_effects import without_side_effects


class Counter(nn.Module):
    """Replaces its buffer at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls = self.calls + 1
        return x + torch.rand(1)


NETS = {
    "batch norm and dropout": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)),
    "one of its own": lambda: nn.Sequential(nn.Linear(3, 4), Counter()),
    "within a unit": lambda: nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("fails", [False, True])
def test_buffers_and_the_generator_end_as_they_were(name, fails):
    net, x = NETS[name](), torch.randn(5, 3)
    net(x)
    held = dict(net.named_buffers())
    values, state = {k: b.clone() for k, b in held.items()}, torch.get_rng_state()
    try:
        with without_side_effects(net.children(), x.device):
            net(x)
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert torch.equal(torch.get_rng_state(), state)
    for key, buffer in net.named_buffers():
        assert buffer is held[key]
        assert torch.equal(buffer, values[key])


def test_inside_it_layers_run_as_they_always_do():
    net, x = nn.BatchNorm1d(3), torch.randn(5, 3)
    with without_side_effects([net], x.device):
        assert torch.equal(net(x), nn.BatchNorm1d(3)(x))
        assert net.running_mean is not None
        assert net.running_mean.any()


def test_nothing_is_saved_where_there_is_nothing_to_save(monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(torch.random, "fork_rng", fail)
    layers = [nn.Flatten(), nn.Linear(3, 4), nn.Tanh(), nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())]
    with without_side_effects(layers, torch.device("cpu")):
        pass
    with pytest.raises(AssertionError), without_side_effects([nn.Dropout()], torch.device("cpu")):
        pass


class Casts(TorchDispatchMode):
    """Counts how often something is brought to another precision."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._to_copy.default
        return func(*args, **(kwargs or {}))


def test_under_autocast_weights_are_cast_anew():
    """Before 2.10 PyTorch keeps a cast that was made without gradients, and weights used after it get none."""
    net, x = nn.Linear(3, 2, bias=False), torch.ones(1, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16), Casts() as casts:
        with torch.no_grad():
            net(x)
        assert casts.count == 1
        with without_side_effects([net], x.device):
            output = net(x)
        assert casts.count == 2
    assert output.requires_grad
