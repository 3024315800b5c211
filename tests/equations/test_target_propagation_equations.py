"""Target propagation with decoders against its equations, worked out in NumPy for every kind of net."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.layers import LocallyConnected2d, LocallyConnectedTranspose2d
from tests.equations import chains
from tests.equations.chains import Chain
from tests.equations.joins import bias_gradient, joins_of, with_bias
from tests.equations.plain import cross_entropy_error, forward, taught_by_signals

JOINED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, LocallyConnected2d, LocallyConnectedTranspose2d)


def deep() -> Any:
    net = nn.Sequential(
        *(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 5), nn.Tanh()),
        *(nn.Linear(5, 4), nn.Linear(4, 3)),
    )
    return net, (7, 5), (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 7), slice(7, 8))


def pooled() -> Any:
    net = nn.Sequential(
        *(nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 4, 3, stride=1, padding=1), nn.Tanh()),
        *(nn.AvgPool2d(2), nn.Conv2d(4, 2, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3)),
    )
    return net, (4, 2, 4, 4), (slice(0, 2), slice(2, 5), slice(5, 7), slice(7, 9))


CHAINS = {**chains.CHAINS, "deep": deep, "pooled": pooled}
every_chain = pytest.mark.parametrize("name", CHAINS)


def make(name: str) -> Chain:
    torch.manual_seed(11)
    net, shape, blocks = CHAINS[name]()
    return Chain(net.double(), torch.randn(shape, dtype=torch.float64), torch.randint(3, shape[:1]), blocks)


# --- layers forward and back ---


def output(layer: Any, x: np.ndarray) -> np.ndarray:
    if isinstance(layer, JOINED):
        return with_bias(layer, joins_of(layer, x.shape[1:]).forward(x, layer.weight.detach().numpy()))
    if isinstance(layer, nn.Tanh):
        return np.tanh(x)
    if isinstance(layer, nn.ReLU):
        return np.maximum(x, 0)
    if isinstance(layer, nn.Unflatten):
        return x.reshape(len(x), *layer.unflattened_size)
    if isinstance(layer, nn.Upsample):
        return x.repeat(2, 2).repeat(2, 3)
    if isinstance(layer, nn.AvgPool2d):
        return x.reshape(len(x), x.shape[1], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(3).mean(4)
    assert isinstance(layer, nn.Flatten)
    return x.reshape(len(x), -1)


def through(layers: Sequence[Any], x: np.ndarray) -> np.ndarray:
    for layer in layers:
        x = output(layer, x)
    return x


def g(decoder: Any, z: np.ndarray) -> np.ndarray:
    return through([layer for _, layer in decoder.named_children()], z)


def decoder_gradients(decoder: Any, z: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """Derivative of ‖wanted − g(z)‖², the mean over the batch, by the decoder's parameters."""
    steps = []
    for name, layer in decoder.named_children():
        steps.append((name, layer, z))
        z = output(layer, z)
    e = 2 * (z - wanted) / len(z)
    for name, layer, x in reversed(steps):
        y = output(layer, x)
        if isinstance(layer, JOINED):
            W = layer.weight.detach().numpy()
            joins = joins_of(layer, x.shape[1:])
            return {
                f"{name}.weight": joins.weight_gradient(e, x, W),
                f"{name}.bias": bias_gradient(layer, e),
            }
        e = e * (1 - y**2) if isinstance(layer, nn.Tanh) else e * (y > 0) if isinstance(layer, nn.ReLU) else e
        e = e.reshape(x.shape)
    raise AssertionError("a decoder without weights")


def error_at_input(steps: Sequence[Any], e: np.ndarray) -> np.ndarray:
    """The output error at the input of the last block, which is linear behind a flattening or none."""
    for step in reversed(steps):
        if isinstance(step.layer, nn.Linear):
            e = e @ step.layer.weight.detach().numpy()
        else:
            e = e.reshape(step.x.shape)
    return e


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


# --- the rules ---


class Plain:
    """A rule's equations on a chain."""

    def __init__(self, rule: Any, chain: Chain) -> None:
        steps = forward(chain.net, chain.x)
        self.rule, self.chain = rule, chain
        self.blocks = [steps[part] for part in chain.blocks]
        self.h = [block[-1].y for block in self.blocks]
        self.e = cross_entropy_error(self.h[-1], chain.y)
        self.decoders = list(rule.decoders)

    def seen(self, index: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What decoder ``index`` reads where its block made y of x."""
        return y

    def top_target(self) -> np.ndarray:
        raise NotImplementedError

    def targets(self) -> list[np.ndarray]:
        """ĥ of every hidden block: h − g(h above) + g(ĥ above) but for the last."""
        targets = [self.top_target()]
        for index in reversed(range(1, len(self.h) - 1)):
            decoder = self.decoders[index - 1]
            targets.insert(0, self.h[index - 1] - g(decoder, self.h[index]) + g(decoder, targets[0]))
        return targets

    def net_gradients(self) -> dict[str, np.ndarray]:
        signals = [2 * (h - t) / len(h) for h, t in zip(self.h, self.targets(), strict=False)]
        return taught_by_signals(self.blocks, [*signals, self.e])

    def inverse_gradients(self, noisy: Sequence[np.ndarray], keeps: bool) -> list[dict[str, np.ndarray]]:
        found = []
        for index, (decoder, h_noisy) in enumerate(zip(self.decoders, noisy, strict=True), start=1):
            y = through([step.layer for step in self.blocks[index]], h_noisy)
            wanted = h_noisy if keeps else self.h[index - 1]
            found.append(decoder_gradients(decoder, self.seen(index, y, h_noisy), wanted))
        return found


class PlainDTP(Plain):
    alpha = 0.15  # the default

    def top_target(self) -> np.ndarray:
        return self.h[-2] - self.alpha * len(self.e) * error_at_input(self.blocks[-1], self.e)


class PlainSDTP(Plain):
    def z(self, x: np.ndarray) -> np.ndarray:
        return np.zeros((len(x), 0))

    def seen(self, index: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.hstack([softmax(y), self.z(x)]) if index == len(self.h) - 1 else y

    def top_target(self) -> np.ndarray:
        z, t = self.z(self.h[-2]), np.eye(3)[self.chain.y.numpy()]
        at = lambda distribution: g(self.decoders[-1], np.hstack([distribution, z]))  # noqa: E731
        return self.h[-2] - at(softmax(self.h[-1])) + at(t)


class PlainAO(PlainSDTP):
    def z(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x.reshape(len(x), -1) @ self.rule.A.numpy().T)


class PlainLinearAO(PlainSDTP):
    def z(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1) @ self.rule.A.numpy().T


PRESERVING, DENOISING = {"inverse_loss": "noise-preserving"}, {"inverse_loss": "de-noising"}
RULES: dict[str, tuple[str, dict[str, Any], Any, bool]] = {
    "dtp": ("dtp", {}, PlainDTP, True),
    "dtp, de-noising": ("dtp", DENOISING, PlainDTP, False),
    "dtp, mean": ("dtp", {"step": "mean"}, PlainDTP, True),
    "sdtp": ("sdtp", {}, PlainSDTP, False),
    "sdtp, noise-preserving": ("sdtp", PRESERVING, PlainSDTP, True),
    "ao-sdtp": ("ao-sdtp", {"auxiliary": 6}, PlainAO, False),
    "ao-sdtp, linear": ("ao-sdtp", {"auxiliary": 6, "auxiliary_activation": "linear"}, PlainLinearAO, False),
}
every_rule = pytest.mark.parametrize("variant", RULES)


def subject(variant: str, chain: Chain, **more: Any) -> tuple[Any, Plain, bool]:
    """A rule whose decoders' weights and biases are all random, its plain version, and whether noise is kept."""
    name, settings, plain, keeps = RULES[variant]
    if "step" in settings:
        settings = {**settings, "alpha": PlainDTP.alpha * len(chain.x)}  # the same step
    rule: Any = biograd.rules.create(name, chain.net, sample=chain.x[:1], seed=5, **settings, **more)
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return rule, plain(rule, chain), keeps


def assert_same(got: Any, expected: Any, message: str) -> None:
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10, atol=1e-13, err_msg=message)


@every_chain
@every_rule
def test_targets_are_sent_down_by_the_difference_rule(name, variant):
    chain = make(name)
    rule, plain, _ = subject(variant, chain)
    got = rule.targets(chain.net, chain.x, chain.y, F.cross_entropy)
    assert len(got) == len(plain.h) - 1
    for (key, (h, target)), expected_h, expected in zip(got.items(), plain.h, plain.targets(), strict=False):
        assert_same(h, expected_h, key)
        assert_same(target, expected, key)


@every_chain
@every_rule
def test_blocks_learn_to_reach_their_targets_and_decoders_to_invert(name, variant, monkeypatch):
    chain = make(name)
    rule, plain, keeps = subject(variant, chain, noise=0.3)
    drawn: list[Any] = []
    draw = rule._reconstruction.noisy
    monkeypatch.setattr(rule._reconstruction, "noisy", lambda inputs: drawn.extend(draw(inputs)) or drawn)
    rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
    for key, gradient in plain.net_gradients().items():
        assert_same(chain.net.get_parameter(key).grad, gradient, key)
    noisy = [h.numpy() for h in drawn]
    assert all(abs((h - own).std() / 0.3 - 1) < 0.4 for h, own in zip(noisy, plain.h, strict=False))
    for index, expected in enumerate(plain.inverse_gradients(noisy, keeps)):
        for key, gradient in expected.items():
            assert_same(rule.decoders[index].get_parameter(key).grad, gradient, f"decoder {index} {key}")


@every_chain
@every_rule
def test_without_noise_decoders_learn_on_the_activities_themselves(name, variant):
    chain = make(name)
    rule, plain, keeps = subject(variant, chain, noise=0)
    rule.assign_credit(chain.net, chain.x, chain.y, F.cross_entropy)
    for index, expected in enumerate(plain.inverse_gradients(plain.h[: len(plain.decoders)], keeps)):
        for key, gradient in expected.items():
            assert_same(rule.decoders[index].get_parameter(key).grad, gradient, f"decoder {index} {key}")


@every_chain
@every_rule
def test_reconstruction_losses_are_relative_and_without_noise(name, variant):
    chain = make(name)
    rule, plain, _ = subject(variant, chain)
    losses = rule.reconstruction_losses(chain.net, chain.x)
    assert len(losses) == len(plain.decoders)
    for index, loss in enumerate(losses.values(), start=1):
        h = plain.h[index - 1]
        back = g(plain.decoders[index - 1], plain.seen(index, plain.h[index], h))
        assert loss == pytest.approx(((h - back) ** 2).sum() / (h**2).sum(), rel=1e-10)


def softened(y: torch.Tensor) -> torch.Tensor:
    return (0.8 * F.one_hot(y, 3) + 0.2 / 3).double()


@pytest.mark.parametrize("variant", ["sdtp", "ao-sdtp"])
def test_a_label_may_be_a_distribution(variant):
    chain = make("mlp")
    rule, plain, _ = subject(variant, chain)
    got = rule.targets(chain.net, chain.x, softened(chain.y), F.cross_entropy)
    assert isinstance(plain, PlainSDTP)
    z = plain.z(plain.h[-2])
    at = lambda d: g(plain.decoders[-1], np.hstack([d, z]))  # noqa: E731
    expected = plain.h[-2] - at(softmax(plain.h[-1])) + at(softened(chain.y).numpy())
    assert_same([*got.values()][-1][1], expected, "penultimate")
