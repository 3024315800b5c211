"""TensorBoard in a loop of one's own: the loss, and how far the rule's update points from backpropagation's.

python examples/tensorboard_loop.py
tensorboard --logdir runs/tensorboard
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter

import biograd


def main(folder: str = "runs/tensorboard", epochs: int = 5) -> float:
    """Train by feedback alignment; write scalars and return the last angle of the first layer, in degrees."""
    torch.manual_seed(0)
    digits = biograd.data.load("digits")
    loader = DataLoader(TensorDataset(digits.train.inputs, digits.train.targets), 64, shuffle=True)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 10))
    rule = biograd.rules.create("fa", net)
    optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()], lr=1e-3)
    angle, step = float("nan"), 0
    with SummaryWriter(folder) as writer:
        for _ in range(epochs):
            for x, y in loader:
                if (
                    step % 20 == 0
                ):  # before the rule learns from the batch; net, rule and gradients stay as they are
                    for row in biograd.diagnostics.measure(net, rule, x, y, F.cross_entropy):
                        layer = row["layer"] or "all"
                        writer.add_scalar(f"{row['quantity']}/{layer}", row["value"], step)
                        angle = (
                            row["value"]
                            if (row["quantity"], layer) == ("gradient_angle", "1.weight")
                            else angle
                        )
                optimizer.zero_grad()
                loss, _ = rule.assign_credit(net, x, y, F.cross_entropy)
                optimizer.step()
                writer.add_scalar("loss", loss, step)
                step += 1
    print(
        f"angle to backpropagation in the first layer: {angle:.0f}°; look with tensorboard --logdir {folder}"
    )
    return angle


if __name__ == "__main__":
    main()
