"""Your own net, data and rule in one file, as the page “Your own net, loop, data and rule” uses them.

python examples/your_own.py
biograd train --net examples/your_own.py:Net --data examples/your_own.py:rings --rule fa
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import nn

import biograd
from biograd.credit.chain.blocks import layers_of
from biograd.credit.noise import normal_like
from biograd.credit.side_effects import random_state, without_side_effects
from biograd.rules.block_rule import BlockRule
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.random_stream import RandomStream
from biograd.settings import checked_settings


class Residual(nn.Module):
    """A unit with a skip, which belongs to its output."""

    def __init__(self, width):
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, h):
        return h + self.down(torch.tanh(self.up(h)))


class Net(nn.Module):
    """Two residual units between an embedding and a readout: no chain.

    Args:
        input_shape: of one example, one number.
        outputs: number of output units.
        width: units of each layer.
    """

    def __init__(self, input_shape, outputs, *, width: Annotated[int, Gt(0)] = 32):
        super().__init__()
        self.embed = nn.Linear(*input_shape, width)
        self.layers = nn.ModuleList(Residual(width) for _ in range(2))
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        h = torch.tanh(self.embed(x))
        for layer in self.layers:
            h = layer(h)
        return self.head(h)


def rings(*, seed, examples: Annotated[int, Gt(9)] = 600):
    """Points on three noisy rings, and which ring each is on: inputs (n, 2), classes (n,).

    Args:
        seed: draws them.
        examples: how many.
    """
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(examples) % 3
    angle = 2 * torch.pi * torch.rand(examples, generator=draw)
    radius = 1 + y + 0.2 * torch.randn(examples, generator=draw)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1), y


class NodePerturbation(BlockRule):
    r"""Each block learns from what noise at its output does to the loss.

    .. math:: s_l = \frac{\epsilon_l}{\sigma^2}\, e^\top (h_L' - h_L), \qquad h_L' = f(h_l + \epsilon_l)

    The mean over the noise is backpropagation's signal as σ goes to 0.

    Args:
        net: a chain, or any net at cut points.
        sample: one input, where there are cut points.
        inside: see `biograd.rules.parts.chains.Inside`.
        blocks: see `biograd.rules.parts.chains.CutPoints`.
        noise: σ.
        seed: of the noise.
    """

    error_weights = "none"  # of the net's own: it runs forward alone
    forward_passes = "depth"
    takes_differences = True  # in float32 under bfloat16

    @checked_settings
    def __init__(
        self,
        net,
        sample=None,
        *,
        inside: Inside = None,
        blocks: CutPoints = (),
        noise: Annotated[float, Gt(0)] = 0.01,
        seed: int = 0,
    ):
        super().__init__(net, sample, inside=inside, blocks=blocks)
        self.noise, self.stream = noise, RandomStream(seed)

    def teaching_signals(self, lesson):
        noises = normal_like(lesson.hidden, self.noise, self.stream.next(lesson.x.device))
        return [self._signal(lesson, place, noise) for place, noise in enumerate(noises)]

    def _signal(self, lesson, place, noise):
        h, above, start = lesson.hidden[place], lesson.chain[place + 1 :], random_state(lesson.x.device)

        def output(h):
            with without_side_effects(layers_of(above), lesson.x.device, start):
                for block in above:
                    h = block(h)
            return h

        change = (lesson.error * (output(h + noise) - output(h))).flatten(1).sum(1)  # (batch,)
        return change.view(-1, *[1] * (h.dim() - 1)) * noise / self.noise**2


def train(rule: str | type, epochs: int = 20, **settings) -> float:
    """Train the net by a rule in an ordinary loop; its accuracy on the test part."""
    rings_of_seed = biograd.data.load(rings, seed=0)
    batches = rings_of_seed.batches("train", 32, seed=0)
    torch.manual_seed(0)
    net = Net((2,), 3)
    rule = biograd.rules.create(rule, net, sample=torch.zeros(1, 2), **settings)
    optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()], lr=3e-3)
    for warning in rule.check_optimizer(optimizer, steps=epochs * len(batches)):
        print(warning)
    for epoch in range(epochs):
        rule.begin_epoch(epoch)
        for x, y in batches.epoch(epoch):
            optimizer.zero_grad()
            rule.assign_credit(net, x, y, F.cross_entropy)
            optimizer.step()
    x, y = rings_of_seed.tensors("test")
    return (rule.predict(net, x).argmax(1) == y).float().mean().item()


def main() -> dict[str, float]:
    """Print and return the accuracy of a feedback rule, of one at cut points, and of the rule above."""
    cuts = ["embed", "layers.*", "head"]
    accuracy = {
        "fa": train("fa"),
        "dfa": train("dfa", blocks=cuts),
        "node perturbation": train(NodePerturbation, blocks=cuts),
    }
    for name, value in accuracy.items():
        print(f"{name:18} {value:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
