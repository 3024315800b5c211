"""Nets for these tests, named to the configuration as path/to/small_nets.py:name."""

import itertools
import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn
from torch.utils.checkpoint import checkpoint


def chain(input_shape, outputs, *, width: Annotated[int, Gt(0)] = 8, bias: bool = True):
    """A chain whose dropout draws from the global generator, and whose normalisation has buffers."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), width, bias=bias),
        nn.BatchNorm1d(width),
        nn.Tanh(),
        nn.Dropout(0.2),
        nn.Linear(width, outputs, bias=bias),
    )


def plain(input_shape, outputs, *, widths: tuple[Annotated[int, Gt(0)], ...] = (8,), bias: bool = True):
    """Every example is treated on its own, so that a batch may be taken apart."""
    sizes = [math.prod(input_shape), *widths]
    layers = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after, bias=bias), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs, bias=bias))


def masked(input_shape, outputs):
    """A chain that holds a mask of −∞, as attention does."""
    net = plain(input_shape, outputs)
    net[1].register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
    return net


class Tied(nn.Module):
    """One layer used twice and held under two names."""

    def __init__(self, input_shape, outputs):
        super().__init__()
        self.first = nn.Linear(math.prod(input_shape), 8)
        self.shared = nn.Linear(8, 8)
        self.again = self.shared
        self.last = nn.Linear(8, outputs)

    def forward(self, x):
        h = self.shared(self.first(x.flatten(1)).tanh()).tanh()
        return self.last(self.again(h).tanh())


class Bilinear(nn.Module):
    """What feedback rules cannot teach."""

    def __init__(self, input_shape, outputs):
        super().__init__()
        self.cell = nn.Bilinear(math.prod(input_shape), math.prod(input_shape), outputs)

    def forward(self, x):
        return self.cell(x.flatten(1), x.flatten(1))


class Checkpointed(nn.Module):
    """What feedback rules cannot teach, as shows only when it runs."""

    def __init__(self, input_shape, outputs):
        super().__init__()
        self.body = nn.Linear(math.prod(input_shape), outputs)

    def forward(self, x):
        return checkpoint(self.body, x.flatten(1), use_reentrant=False)


class InADict(nn.Module):
    """What `plain` gives, within a dict of dicts, beside the number of another head."""

    def __init__(self, input_shape, outputs):
        super().__init__()
        self.net = plain(input_shape, outputs)
        self.value = nn.Linear(outputs, 1)

    def forward(self, x):
        policy = self.net(x)
        return {"heads": {"policy": policy}, "value": self.value(policy)}


in_a_dict = InADict


class OfTwoParts(nn.Sequential):
    """`plain`, which takes an example whole or as two arguments."""

    def forward(self, left, right=None):
        return super().forward(left if right is None else torch.cat([left, right], 1))


def of_two_parts(input_shape, outputs):
    return OfTwoParts(*plain(input_shape, outputs))


class Branches(nn.Sequential):
    """Looks at numbers to know what to do."""

    def forward(self, x):
        h = super().forward(x)
        return h if h.sum() > 0 else -h


def branches(input_shape, outputs):
    return Branches(*plain(input_shape, outputs))


def hooked(input_shape, outputs):
    net = plain(input_shape, outputs)
    net[1].weight.register_post_accumulate_grad_hook(lambda parameter: None)
    return net
