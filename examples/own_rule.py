"""Your own rule in one file: feedback alignment in which most feedback connections are missing.

python examples/own_rule.py
biograd train --rule examples/own_rule.py:SparseFeedback --rule.kept 0.2 --data digits --net mlp --epochs 5
biograd assess examples/own_rule.py:SparseFeedback --rungs iris,digits
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt, Le

from biograd import data, testing
from biograd.credit import taught_weights
from biograd.rules.feedback_rule import FeedbackRule
from biograd.rules.parts.feedback_weights import WeightTable
from biograd.searched import LogUniform
from biograd.settings import checked_settings


class SparseFeedback(FeedbackRule):
    """Sparse feedback alignment, δ_l = ((m ∘ B) δ_{l+1}) ∘ φ', with fixed B and fixed mask m.

    Args:
        net: any net.
        sample: not needed.
        kept: the share of feedback connections that exist.
        seed: of B and m.
    """

    error_weights = "none"  # of the net's own

    @checked_settings
    def __init__(
        self,
        net,
        sample=None,
        *,
        kept: Annotated[
            float, Gt(0), Le(1), LogUniform(0.02, 1.0)
        ] = 0.2,  # what is allowed, what is searched
        seed: int = 0,
    ):
        super().__init__(net)
        generator = torch.Generator().manual_seed(seed)

        def draw(W):
            m = torch.rand(W.shape, generator=generator) < kept
            B = torch.randn(W.shape, generator=generator) * m * W.detach().cpu().std() / kept**0.5
            return B.to(W)

        self.B = WeightTable({name: draw(W) for name, W in taught_weights(net).items()})

    def feedback(self, weights):
        return self.B.by_name()


def main() -> float:
    testing.check_rule(SparseFeedback)
    torch.manual_seed(0)
    digits = data.load("digits")
    x, y = digits.train.inputs.flatten(1), digits.train.targets
    net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.Tanh(), torch.nn.Linear(128, 10))
    rule = SparseFeedback(net)
    optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()], lr=3e-3)
    for _ in range(20):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            rule.assign_credit(net, x[batch], y[batch], F.cross_entropy)
            optimizer.step()
    answers = net(digits.test.inputs.flatten(1)).argmax(1)
    accuracy = (answers == digits.test.targets).float().mean().item()
    print(f"keeps the contract of a rule; test accuracy {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
