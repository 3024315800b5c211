import numpy as np
import pytest
import torch

from biograd.data.tasks import Classes, Labels, Regression, Tokens
from biograd.errors import UserMistake
from biograd.tasks import KINDS, LOSSES
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
    loss = losses.squared_distance_to_label(output, y)
    loss.backward()
    assert loss.item() == pytest.approx(by_hand(output.tolist(), y.tolist()), rel=1e-14)
    expected = 2 * (output.detach() - torch.eye(4, dtype=torch.float64)[y]) / 7
    torch.testing.assert_close(output.grad, expected, rtol=1e-14, atol=1e-15)


def test_it_is_zero_at_the_label_and_nowhere_else():
    y = torch.tensor([2, 0])
    assert losses.squared_distance_to_label(torch.eye(3)[y], y) == 0
    assert losses.squared_distance_to_label(torch.eye(3)[[1, 0]], y) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single(dtype):
    output = torch.full((1, 1000), 0.125, dtype=dtype)
    loss = losses.squared_distance_to_label(output, torch.tensor([0]))
    assert loss.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    assert loss.item() == 999 / 64 + (7 / 8) ** 2


@pytest.mark.parametrize("name", ["cross-entropy", "squared-error"])
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
    monkeypatch.setattr(diagnostics, "measure", lambda *given, **_: measured.append(given[-1]) or [])
    train(config, tmp_path)
    setup = build(config)
    ((x, y),) = setup.training.epoch(0)
    output = setup.net(x.double())
    torch.autograd.backward(output, 2 * (output.detach() - torch.eye(3, dtype=torch.float64)[y]) / len(y))
    state, _ = checkpoint.load(tmp_path / "checkpoint.safetensors")
    for key, p in setup.net.named_parameters():
        torch.testing.assert_close(state["net"][key], (p - 0.5 * p.grad).detach(), rtol=1e-12, atol=1e-14)
    assert measured == [losses.squared_distance_to_label]


@pytest.mark.parametrize("rule", ["fa", "dfa", "drtp"])
@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_every_kind_of_rule_and_precision_takes_it(rule, precision, make_config, tmp_path):
    result = train(make_config(loss="squared-error", rule=rule, precision=precision), tmp_path)
    assert result["status"] == "done"
    assert result["loss"] == "squared-error"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool])
def test_squared_error_takes_labels_of_any_whole_type(dtype):
    output, y = torch.randn(3, 2), torch.tensor([0, 1, 1])
    assert torch.equal(
        losses.squared_distance_to_label(output, y.to(dtype)), losses.squared_distance_to_label(output, y)
    )


def test_the_usual_loss_changes_no_fingerprint_when_it_is_named(make_config):
    config = make_config()
    assert config.digest() == make_config(loss="cross-entropy").digest()
    assert config.digest() != make_config(loss="squared-error").digest()


THREE = ("a", "b", "c")
TASKS = {
    "classes": Classes(THREE),
    "regression": Regression(THREE, (0.0,) * 3, (1.0,) * 3),
    "labels": Labels(THREE),
    "tokens": Tokens(THREE),
}
OUTPUTS = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1)).double()
LABELS_OF_TOKENS = torch.tensor([[0, 1], [2, 2], [1, 0], [0, 0]])


def answers(kind):
    """Outputs and targets, and the targets as numbers in the shape of the outputs."""
    if kind == "tokens":
        return OUTPUTS, LABELS_OF_TOKENS, torch.eye(3, dtype=torch.float64)[LABELS_OF_TOKENS]
    if kind == "classes":
        return (
            OUTPUTS[:, 0],
            LABELS_OF_TOKENS[:, 0],
            torch.eye(3, dtype=torch.float64)[LABELS_OF_TOKENS[:, 0]],
        )
    y = OUTPUTS[:, 1] if kind == "regression" else (OUTPUTS[:, 1] > 0).double()
    return OUTPUTS[:, 0], y, y


NUMBERS_BY_HAND = {
    "mse": lambda o, t: np.mean((o - t) ** 2),
    "l1": lambda o, t: np.mean(abs(o - t)),
    "smooth-l1": lambda o, t: np.mean(np.where(abs(o - t) < 1, (o - t) ** 2 / 2, abs(o - t) - 0.5)),
    "huber": lambda o, t: np.mean(np.where(abs(o - t) < 1, (o - t) ** 2 / 2, abs(o - t) - 0.5)),
    "bce-with-logits": lambda o, t: -np.mean(t * np.log(sigmoid(o)) + (1 - t) * np.log(1 - sigmoid(o))),
    "squared-error": lambda o, t: np.mean(((o - t) ** 2).sum(-1)),
    "cross-entropy": lambda o, t: -np.mean((t * (o - np.log(np.exp(o).sum(-1, keepdims=True)))).sum(-1)),
    "nll": lambda o, t: -np.mean((t * o).sum(-1)),
    "multi-margin": lambda o, t: np.mean(
        (np.maximum(0, 1 - (t * o).sum(-1, keepdims=True) + o) * (1 - t)).sum(-1) / 3
    ),
}


def sigmoid(o):
    return 1 / (1 + np.exp(-o))


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in LOSSES.items() for kind in kinds])
def test_every_loss_is_its_equation_for_every_task_that_it_is_for(name, kind):
    output, y, numbers = answers(kind)
    loss = losses.create(name, TASKS[kind])(output, y)
    assert loss.item() == pytest.approx(NUMBERS_BY_HAND[name](output.numpy(), numbers.numpy()), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_every_task_has_a_usual_loss_that_is_for_it(kind):
    assert kind in LOSSES[losses.resolved("auto", TASKS[kind])]
    assert (kind in LOSSES["cross-entropy"]) == (losses.resolved("auto", TASKS[kind]) == "cross-entropy")


def test_settings_are_those_of_the_loss(make_config):
    o, t = torch.tensor([[3.0]]), torch.tensor([[0.0]])
    task = Regression(("a",), (0.0,), (1.0,))
    assert losses.create("huber", task, delta=2.0)(o, t).item() == 2.0 * (3.0 - 1.0)
    assert losses.create("smooth-l1", task, beta=2.0)(o, t).item() == 3.0 - 1.0
    config = make_config(loss={"name": "cross-entropy", "label_smoothing": "0.25"})
    assert config.loss.settings == {"label_smoothing": 0.25}
    assert config.digest() != make_config().digest()


def test_label_smoothing_reaches_examples_and_tokens():
    for kind in ("classes", "tokens"):
        output, y, numbers = answers(kind)
        smooth = losses.create("cross-entropy", TASKS[kind], label_smoothing=0.3)(output, y)
        by_hand = NUMBERS_BY_HAND["cross-entropy"](output.numpy(), 0.7 * numbers.numpy() + 0.1)
        assert smooth.item() == pytest.approx(by_hand, rel=1e-12)


def test_one_that_there_is_not_is_one_line(make_config):
    with pytest.raises(
        UserMistake, match=r"unknown loss 'msee': did you mean 'mse'. Known: cross-entropy, nll"
    ):
        make_config(loss="msee")
    with pytest.raises(
        UserMistake, match=r"loss.delta needs a loss that it is of: name one of cross-entropy"
    ):
        make_config(loss={"delta": 1})
    with pytest.raises(UserMistake, match="loss 'huber': setting 'delta' got -1"):
        make_config(loss={"name": "huber", "delta": -1})


@pytest.mark.parametrize(
    ("name", "kind", "fitting"),
    [
        ("cross-entropy", "regression", "squared-error, mse, l1, smooth-l1, huber$"),
        ("bce-with-logits", "regression", "squared-error"),
        ("multi-margin", "tokens", "cross-entropy, nll"),
        ("nll", "labels", "squared-error, mse, l1, smooth-l1, huber, bce-with-logits$"),
    ],
)
def test_one_that_is_not_for_the_task_says_which_are(name, kind, fitting):
    with pytest.raises(
        UserMistake, match=rf"loss '{name}' is for .*, and the task of the data is {kind}: use .*{fitting}"
    ):
        losses.create(name, TASKS[kind])
