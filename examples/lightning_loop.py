"""PyTorch Lightning: any net and any rule in a LightningModule, by manual optimisation.

pip install lightning
python examples/lightning_loop.py
"""

import warnings

import lightning
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import biograd
from biograd.training import GradientSum, Ranks


class Taught(lightning.LightningModule):
    """A net and the rule that teaches it: both are parts of the module, and move and are saved with it."""

    def __init__(self, net: nn.Module, rule: biograd.Rule, lr: float = 1e-3) -> None:
        super().__init__()
        self.automatic_optimization = False  # a rule fills .grad; there is no loss to call backward on
        self.net, self.rule, self.lr = net, rule, lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = torch.optim.Adam([*self.net.parameters(), *self.rule.parameters()], self.lr)
        for warning in self.rule.check_optimizer(optimizer, self.trainer.estimated_stepping_batches):
            warnings.warn(warning, stacklevel=2)
        return optimizer

    def on_train_epoch_start(self) -> None:
        self.rule.begin_epoch(self.current_epoch)

    def training_step(self, batch, index: int) -> None:
        x, y = batch
        optimizer, size = self.optimizers(), self.trainer.world_size
        optimizer.zero_grad()
        # Lightning averages over processes in manual_backward, which no rule calls; in one process this does nothing.
        ranks = Ranks(self.device, self.global_rank, size)
        with GradientSum([self.net, self.rule], ranks) as gradients, gradients.over_processes():
            loss, _ = self.rule.assign_credit(self.net, x, y, F.cross_entropy, weight=1 / size)
        optimizer.step()
        self.log("train_loss", loss, sync_dist=size > 1)

    def validation_step(self, batch, index: int) -> None:
        x, y = batch
        answers = self.rule.predict(self.net, x).argmax(1)
        self.log("accuracy", (answers == y).float().mean(), sync_dist=True)


def train(name: str, epochs: int = 10, **settings) -> float:
    """Train a net on the embedded digits with one rule; its accuracy on the test part."""
    lightning.seed_everything(0, verbose=False)
    digits = biograd.data.load("digits")
    training, test = (TensorDataset(part.inputs, part.targets) for part in (digits.train, digits.test))
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 10)
    )
    module = Taught(net, biograd.rules.create(name, net))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=epochs, **{"accelerator": "cpu", **quiet, **settings})
    trainer.fit(module, DataLoader(training, 64, shuffle=True), DataLoader(test, 256))
    return trainer.callback_metrics["accuracy"].item()


def main() -> dict[str, float]:
    """Print and return the test accuracy of each rule."""
    accuracy = {name: train(name) for name in ("fa", "dfa")}
    for name, value in accuracy.items():
        print(f"{name:4} {value:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
