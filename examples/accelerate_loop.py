"""Hugging Face Accelerate: one loop for any device, precision, number of processes and accumulation of gradients.

pip install accelerate
python examples/accelerate_loop.py
"""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import biograd


def weight(accelerator: Accelerator) -> float | Tensor:
    """What `accelerator.backward` would multiply the loss by: the share of a batch, and the scale for float16."""
    share = 1 / accelerator.gradient_accumulation_steps
    if accelerator.scaler is None:
        return share
    return accelerator.scaler.scale(torch.tensor(share, device=accelerator.device))


def train(name: str, epochs: int = 10, **settings) -> float:
    """Train a net on the embedded digits with one rule; its accuracy on the test part."""
    torch.manual_seed(0)
    accelerator = Accelerator(**settings)
    digits = biograd.data.load("digits")
    loader = DataLoader(TensorDataset(digits.train.inputs, digits.train.targets), 32, shuffle=True)
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 10)
    )
    rule = biograd.rules.create(name, net).to(accelerator.device)
    optimizer = torch.optim.Adam([*net.parameters(), *rule.parameters()], lr=1e-3)
    for warning in rule.check_optimizer(optimizer, epochs * len(loader)):
        accelerator.print(warning)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    accelerator.register_for_checkpointing(rule)  # prepare() is for nets; a rule is state that is saved
    for epoch in range(epochs):
        rule.begin_epoch(epoch)
        for x, y in loader:
            with accelerator.accumulate(net):
                with accelerator.autocast():
                    # was: accelerator.backward(F.cross_entropy(net(x), y))
                    rule.assign_credit(net, x, y, F.cross_entropy, weight=weight(accelerator))
                optimizer.step()
                optimizer.zero_grad()
    x, y = (tensor.to(accelerator.device) for tensor in (digits.test.inputs, digits.test.targets))
    with torch.no_grad(), accelerator.autocast():
        return (rule.predict(net, x).argmax(1) == y).float().mean().item()


def main() -> dict[str, float]:
    """Print and return the test accuracy of each rule."""
    accuracy = {name: train(name, gradient_accumulation_steps=2) for name in ("fa", "kp")}
    for name, value in accuracy.items():
        print(f"{name:4} {value:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
