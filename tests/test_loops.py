"""Loops of other packages: under bp they come to the weights that they come to by themselves."""

import copy
import importlib

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import biograd
from tests.test_examples import load, run

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # those of packages that are not ours
    *(
        pytest.mark.filterwarnings(f"error:{ours}")
        for ours in ("the gradients of the net", ".*parameters that learn")
    ),
]
X, Y = torch.randn(24, 8, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


def assert_same(net, other):
    torch.testing.assert_close(
        dict(net.named_parameters()), dict(other.named_parameters()), rtol=1e-5, atol=1e-6
    )


@pytest.fixture
def lightning():
    return pytest.importorskip("lightning")


def fit(lightning, module, folder, epochs=2, checkpoint=None):
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, default_root_dir=folder, enable_progress_bar=False
    )
    torch.manual_seed(0)
    trainer.fit(
        module, DataLoader(TensorDataset(X, Y), 8), DataLoader(TensorDataset(X, Y), 8), ckpt_path=checkpoint
    )
    return trainer


def test_lightning_is_taught_by_any_rule(lightning, capsys):
    accuracy = run("lightning_loop.py")
    assert list(accuracy) == ["fa", "dfa"]
    assert min(accuracy.values()) > 0.9


def test_lightning_by_hand_is_lightning_by_itself(lightning, tmp_path):
    class Automatic(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def training_step(self, batch, index):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-3)

    taught = load("lightning_loop.py")["Taught"](net := mlp(), biograd.rules.create("bp", net))
    automatic = Automatic()
    fit(lightning, automatic, tmp_path)
    fit(lightning, taught, tmp_path)
    assert_same(net, automatic.net)


def test_a_rule_is_saved_with_its_lightning_module_and_goes_on(lightning, tmp_path):
    Taught = load("lightning_loop.py")["Taught"]
    whole = Taught(net := mlp(), biograd.rules.create("kp", net))
    file = fit(lightning, copy.deepcopy(whole), tmp_path, epochs=1).checkpoint_callback.best_model_path
    halves = Taught(net := mlp(), biograd.rules.create("kp", net, seed=5))
    fit(lightning, whole, tmp_path)
    fit(lightning, halves, tmp_path, checkpoint=file)
    assert_same(halves, whole)


def test_accelerate_is_taught_by_any_rule(capsys):
    pytest.importorskip("accelerate")
    accuracy = run("accelerate_loop.py")
    assert list(accuracy) == ["fa", "kp"]
    assert min(accuracy.values()) > 0.9


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate_by_a_rule_is_accelerate_by_itself(precision):
    Accelerator = pytest.importorskip("accelerate").Accelerator
    importlib.import_module("accelerate.state").AcceleratorState._reset_state(True)  # one precision a process
    weight, nets = load("accelerate_loop.py")["weight"], []
    for by_rule in (False, True):
        accelerator = Accelerator(cpu=True, mixed_precision=precision, gradient_accumulation_steps=3)
        net = mlp()
        nets.append(net)
        rule, optimizer = biograd.rules.create("bp", net), torch.optim.SGD(net.parameters(), 0.1)
        net, optimizer, loader = accelerator.prepare(net, optimizer, DataLoader(TensorDataset(X, Y), 4))
        for x, y in loader:
            with accelerator.accumulate(net):
                if by_rule:
                    with accelerator.autocast():
                        rule.assign_credit(net, x, y, F.cross_entropy, weight=weight(accelerator))
                else:
                    accelerator.backward(F.cross_entropy(net(x), y))
                optimizer.step()
                optimizer.zero_grad()
    assert_same(*nets)


@pytest.fixture
def transformers():
    pytest.importorskip("accelerate")
    return pytest.importorskip("transformers")


def test_a_hugging_face_trainer_is_taught_by_any_rule(transformers, capsys):
    assert run("hugging_face_trainer.py") > 0.8


class Classifier(nn.Module):
    """A model as a Trainer takes it: named arguments in, a dict out, its loss among them."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x, labels=None):
        logits = self.net(x)
        return (
            {"logits": logits}
            if labels is None
            else {"loss": F.cross_entropy(logits, labels), "logits": logits}
        )


def trained(transformers, folder, model, rule, *, resumed=False, **settings):
    """Train a model by a rule, or by the Trainer itself where there is none."""
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    given = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 3,
    } | settings
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "save_strategy": "epoch"}
    arguments = transformers.TrainingArguments(
        folder, max_grad_norm=0.1, learning_rate=1e-2, **quiet, **given
    )
    kind, more = transformers.Trainer, {}
    if rule is not None:
        kind = load("hugging_face_trainer.py")["CreditTrainer"]
        more = {"rule": rule, "loss_fn": lambda output, y: F.cross_entropy(output["logits"], y)}
    kind(model, arguments, train_dataset=rows, **more).train(resume_from_checkpoint=resumed)
    return model


def test_a_trainer_by_a_rule_is_the_trainer_by_itself(transformers, tmp_path):
    own, start = Classifier(), Classifier()
    other = trained(transformers, tmp_path / "a", Classifier(), None)
    assert_same(trained(transformers, tmp_path / "b", own, biograd.rules.create("bp", own)), other)
    assert not torch.allclose(other.net[0].weight, start.net[0].weight, atol=1e-3)


def test_a_rule_is_saved_beside_its_model_and_goes_on(transformers, tmp_path):
    def by_kp(place, seed, **settings):
        model = Classifier()
        rule = biograd.rules.create("kp", model, seed=seed)
        trained(transformers, tmp_path / place, model, rule, lr_scheduler_type="constant", **settings)
        return nn.ModuleList([model, rule])

    whole = by_kp("whole", 0)
    by_kp("halves", 0, num_train_epochs=1)
    assert_same(by_kp("halves", 5, resumed=True), whole)
