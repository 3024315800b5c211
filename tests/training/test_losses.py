import numpy as np
import pytest
import torch

from biograd import records
from biograd.errors import UserMistake
from biograd.training import build, checkpoint, losses, train
from biograd.training.observers import diagnostics


def by_hand(output, y):
    """Σ_k (o_k − [y = k])² per example, then the mean over examples, a loop at a time."""
    return float(
        np.mean(
            [
                sum((o - (k == label)) ** 2 for k, o in enumerate(row))
                for row, label in zip(output, y, strict=True)
            ]
        )
    )


def test_squared_error_and_its_gradient_are_those_of_the_equation():
    torch.manual_seed(0)
    output, y = torch.randn(7, 4, dtype=torch.float64, requires_grad=True), torch.randint(0, 4, (7,))
    loss = losses.squared_error(output, y)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand(output.tolist(), y.tolist()), rel=1e-14)
    expected = 2 * (output.detach() - torch.eye(4, dtype=torch.float64)[y]) / 7
    torch.testing.assert_close(output.grad, expected, rtol=1e-14, atol=1e-15)


def test_it_is_zero_at_the_label_and_nowhere_else():
    y = torch.tensor([2, 0])
    assert losses.squared_error(torch.eye(3)[y], y) == 0
    assert losses.squared_error(torch.eye(3)[[1, 0]], y) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype):
    output = torch.full((1, 1000), 0.125, dtype=dtype)
    loss = losses.squared_error(output, torch.tensor([0]))
    assert loss.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    assert loss.item() == 999 / 64 + (7 / 8) ** 2


@pytest.mark.parametrize("name", losses.names())
def test_a_loss_is_the_one_of_training_validation_and_test(name, make_config, net_file, tmp_path):
    config = make_config(
        loss=name, net=net_file("plain"), precision="float64", optimizer="sgd", lr=1e-300, epochs=1
    )
    result = train(config, tmp_path)  # at such a rate the weights stay where they are
    setup = build(config)
    for part, batches in (("train", setup.training), ("validation", setup.validation), ("test", setup.test)):
        x, y = (torch.cat(tensors) for tensors in zip(*batches.epoch(0), strict=True))
        output = setup.net(x.double()).detach()
        cross_entropy = -output.log_softmax(1)[range(len(y)), y].mean().item()
        expected = by_hand(output.tolist(), y.tolist()) if name == "squared-error" else cross_entropy
        assert result[f"{part}_loss"] == pytest.approx(expected, rel=1e-12), part
        assert result[f"{part}_accuracy"] == (output.argmax(1) == y).double().mean().item(), part


def test_it_is_what_the_rule_descends_and_what_is_measured_by(make_config, net_file, tmp_path, monkeypatch):
    config = make_config(
        loss="squared-error",
        net=net_file("plain"),
        precision="float64",
        optimizer="sgd",
        lr=0.5,
        batch_size=58,
    )
    config = config.model_copy(update={"epochs": 1, "diagnostics_every": 1})
    measured = []
    monkeypatch.setattr(diagnostics, "measure", lambda *given: measured.append(given[-1]) or [])
    train(config, tmp_path)
    setup = build(config)
    ((x, y),) = setup.training.epoch(0)
    output = setup.net(x.double())
    torch.autograd.backward(output, 2 * (output.detach() - torch.eye(3, dtype=torch.float64)[y]) / len(y))
    state, _ = checkpoint.load(tmp_path / "checkpoint.safetensors")
    for key, p in setup.net.named_parameters():
        torch.testing.assert_close(state["net"][key], (p - 0.5 * p.grad).detach(), rtol=1e-12, atol=1e-14)
    assert measured == [losses.squared_error]


@pytest.mark.parametrize("rule", ["fa", "dfa", "drtp"])
@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_every_kind_of_rule_and_precision_takes_it(rule, precision, make_config, tmp_path):
    result = train(make_config(loss="squared-error", rule=rule, precision=precision), tmp_path)
    assert result["status"] == "done"
    assert records.read_json(tmp_path / "config.json")["loss"] == "squared-error"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool])
def test_squared_error_takes_labels_of_any_whole_type(dtype):
    output, y = torch.randn(3, 2), torch.tensor([0, 1, 1])
    assert torch.equal(losses.squared_error(output, y.to(dtype)), losses.squared_error(output, y))


def test_the_default_is_recorded_and_changes_no_fingerprint(make_config):
    config = make_config()
    assert config.to_json()["loss"] == "cross-entropy"
    assert config.digest() == make_config(loss="cross-entropy").digest()
    assert config.digest() != make_config(loss="squared-error").digest()


def test_one_that_there_is_not_is_one_line(make_config):
    with pytest.raises(UserMistake, match="loss got 'mse': expected 'cross-entropy' or 'squared-error'"):
        make_config(loss="mse")
