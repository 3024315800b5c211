"""A Hugging Face Trainer whose gradients a rule fills, on a small vision transformer.

pip install transformers accelerate
python examples/hugging_face_trainer.py
"""

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

import biograd


class CreditTrainer(Trainer):
    """A Trainer that lets a rule fill the gradients.

    Args:
        rule: made for the model.
        loss_fn: of the model's output, a `ModelOutput`, and the labels; a mean over the batch.
    """

    def __init__(self, *args, rule: biograd.Rule, loss_fn, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.rule, self.loss_fn = rule.to(self.args.device), loss_fn
        # A Trainer clips and empties the gradients of the model alone: the callback does both for model and rule.
        self.max_grad_norm, self.args.max_grad_norm = self.args.max_grad_norm, 0.0
        self.add_callback(KeepsTheRule(self))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        own = [p for p in self.rule.parameters() if p.requires_grad]
        if own and not any(p is own[0] for group in optimizer.param_groups for p in group["params"]):
            optimizer.add_param_group({"params": own, "weight_decay": self.args.weight_decay})
        return optimizer

    def training_step(self, model: nn.Module, inputs: dict, num_items_in_batch=None) -> Tensor:
        """In place of the model's own loss and `accelerator.backward`."""
        del num_items_in_batch  # the batches of a step count alike
        model.train()
        inputs = dict(self._prepare_inputs(inputs))
        labels = inputs.pop("labels")
        share = 1 / self.current_gradient_accumulation_steps
        scaler = self.accelerator.scaler
        weight = share if scaler is None else scaler.scale(torch.tensor(share, device=labels.device))
        with self.compute_loss_context_manager():
            credit = self.rule.assign_credit(
                model, biograd.Inputs(**inputs), labels, self.loss_fn, weight=weight
            )
        return credit.loss * share


class KeepsTheRule(TrainerCallback):
    """What a Trainer does for its model, for the rule: epochs, gradients, checkpoints."""

    def __init__(self, trainer: CreditTrainer) -> None:
        self.trainer, self.rule = trainer, trainer.rule

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.rule.begin_epoch(int(state.epoch or 0))

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        if self.trainer.max_grad_norm:
            parameters = [*self.trainer.model.parameters(), *self.rule.parameters()]
            self.trainer.accelerator.clip_grad_norm_(parameters, self.trainer.max_grad_norm)

    def on_optimizer_step(self, args, state, control, **kwargs) -> None:
        self.rule.zero_grad()

    def on_save(self, args, state, control, **kwargs) -> None:
        if state.is_world_process_zero:
            save_file(self.rule.state_dict(), self._file(args, state))

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step:  # it goes on from a checkpoint
            self.rule.load_state_dict(load_file(self._file(args, state)))

    def _file(self, args, state) -> Path:
        return Path(args.output_dir) / f"checkpoint-{state.global_step}" / "rule.safetensors"


def cross_entropy(output, labels: Tensor) -> Tensor:
    return F.cross_entropy(output.logits, labels)


def examples(part) -> list[dict[str, Tensor]]:
    """As a Trainer takes them; the columns of a data set of Hugging Face's do as well."""
    images = part.inputs.view(-1, 1, 8, 8)
    return [{"pixel_values": x, "labels": y} for x, y in zip(images, part.targets, strict=True)]


def vision_transformer() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    images = {"image_size": 8, "patch_size": 2, "num_channels": 1}
    return ViTForImageClassification(ViTConfig(**sizes, **images, num_labels=10))


def main(folder: str | None = None, **settings) -> float:
    """Train by uniform sign-concordant feedback; print and return the accuracy on the test part."""
    digits, model = biograd.data.load("digits"), vision_transformer()
    with tempfile.TemporaryDirectory() as place:
        chosen = {"num_train_epochs": 10, "per_device_train_batch_size": 16, "learning_rate": 2e-3} | settings
        kept = {"lr_scheduler_type": "constant", "save_strategy": "epoch", "save_total_limit": 1}
        quiet = {"report_to": "none", "disable_tqdm": True, "logging_strategy": "no"}
        trainer = CreditTrainer(
            model,
            TrainingArguments(folder or place, **quiet, **kept, **chosen),
            train_dataset=examples(digits.train),
            rule=biograd.rules.create("usf", model),
            loss_fn=cross_entropy,
        )
        trainer.train(resume_from_checkpoint=folder is not None and any(Path(folder).glob("checkpoint-*")))
        found = trainer.predict(examples(digits.test))
    accuracy = float((found.predictions.argmax(1) == found.label_ids).mean())
    print(f"test accuracy {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
