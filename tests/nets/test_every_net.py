"""What holds for every registered net."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd import nets, rules
from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.insides import weight_layers
from biograd.credit.chain.taught_chain import TaughtCuts
from biograd.errors import UserMistake
from biograd.settings import describe

SMALL, LARGE = (3, 32, 32), (3, 224, 224)
INPUTS = {
    "mlp": (20,),
    "ff-mlp": (20,),
    "square": (20,),
    "tower": (1, 28, 28),
    "lenet": (1, 28, 28),
    "convnet": SMALL,
    "vgg11": SMALL,
    "resnet20": SMALL,
    "resnet56": SMALL,
    "resnet18": (3, 64, 64),
    "vit": SMALL,
    "gpt": (9,),
    "bartunov-mnist-fc": (1, 28, 28),
    "bartunov-mnist-lc": (1, 28, 28),
    "bartunov-mnist-conv": (1, 28, 28),
    "bartunov-cifar-fc": SMALL,
    "bartunov-cifar-lc": SMALL,
    "bartunov-cifar-conv": SMALL,
    "bartunov-imagenet-lc": LARGE,
    "bartunov-imagenet-conv": LARGE,
    "two-layer": (20,),
    "softhebb-mlp": (1, 28, 28),
    "softhebb-cnn": SMALL,
    "gait-cifar-deep": SMALL,
    "gait-cifar-shallow": SMALL,
    "gait-imagenet": LARGE,
}
BUILT_IN = list(INPUTS)
TOO_LARGE = {"bartunov-imagenet-lc"}  # a gigabyte: tried without memory alone
NESTED = {"vit", "gpt"}  # their layers are a Sequential of their own, to be named together
AFFORDABLE = [name for name in BUILT_IN if name not in TOO_LARGE]


@functools.cache
def made(name):
    """One net of each name, whose weights no test changes."""
    return nets.create(name, INPUTS[name], 5, seed=0)


def batch(name):
    generator = torch.Generator().manual_seed(0)
    if name == "gpt":
        tokens = torch.randint(5, (2, *INPUTS[name]), generator=generator)
        return tokens, tokens.roll(-1, 1)
    return torch.randn(2, *INPUTS[name], generator=generator), torch.tensor([1, 3])


def loss(output, y):
    """Of classes, a class an example or a token."""
    return F.cross_entropy(output.flatten(0, -2), y.flatten())


def test_the_table_holds_every_net():
    assert set(nets.names()) >= set(BUILT_IN)
    assert set(nets.REGISTRY._built_in) == set(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_maps_a_batch_to_as_many_outputs_as_asked_for(name):
    with torch.device("meta"):
        net = nets.create(name, INPUTS[name], 5)
        x = torch.zeros(2, *INPUTS[name], dtype=batch(name)[0].dtype)
        assert net(x).shape == ((2, 9, 5) if name == "gpt" else (2, 5))


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_is_a_chain_that_is_cut_into_all_its_parameters(name):
    with torch.device("meta"):
        net = nets.create(name, INPUTS[name], 5)
    assert type(net) is nn.Sequential
    assert any(isinstance(child, nn.Sequential) for child in net) == (name in NESTED)
    in_blocks = [p for block in blocks(net) for p in block.parameters()]
    assert [id(p) for p in in_blocks] == [id(p) for p in net.parameters()]


@pytest.mark.parametrize("name", sorted(NESTED))
def test_at_its_own_cut_points_each_block_has_one_matrix(name):
    net = made(name)
    chain = TaughtCuts(net, nets.cut_points(name), batch(name)[0], "freely").of(net)
    matrices = [weights for block in chain for weights in [weight_layers(block)]]
    assert [len(weights) for weights in matrices] == [1] * (2 + 4 * 4)


@pytest.mark.parametrize("name", ["mlp", "lenet", "convnet", "resnet20", "bartunov-mnist-lc", "square"])
def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    first, again, other = (nets.create(name, INPUTS[name], 5, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(first.parameters(), again.parameters(), other.parameters(), strict=True)
    differing = 0
    for one, same, different in pairs:
        assert torch.equal(one, same)
        differing += not torch.equal(one, different)
    assert differing > 0


def test_without_a_seed_the_global_generator_decides():
    torch.manual_seed(7)
    first = nets.create("lenet", (1, 28, 28), 5)
    torch.manual_seed(7)
    again = nets.create("lenet", (1, 28, 28), 5)
    other = nets.create("lenet", (1, 28, 28), 5)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


@pytest.mark.parametrize("name", AFFORDABLE)
@pytest.mark.parametrize("rule_name", ["bp", "fa", "dfa"])
def test_one_step_moves_every_weight(name, rule_name):
    net, (x, y) = made(name), batch(name)
    has_large_blocks = "resnet" in name or name in NESTED
    settings = {"inside": "exact"} if rule_name == "dfa" and has_large_blocks else {}
    rule = rules.create(rule_name, net, sample=x[:1], **settings)
    net.zero_grad()
    value, output = rule.assign_credit(net, x, y, loss)
    assert output.shape[-1] == 5
    assert torch.isfinite(value)
    unmoved = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    broken = [n for n, p in net.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    assert (unmoved, broken) == ([], [])


@pytest.mark.parametrize("name", BUILT_IN)
def test_its_first_line_fits_a_list_and_the_natural_input_is_said(name):
    doc = nets.REGISTRY.find(name).__doc__ or ""
    first = doc.partition("\n")[0]
    assert first.endswith(".")
    assert len(first) <= 110
    assert "input_shape: (" in doc or "input_shape: shape" in doc


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("shape", [(), (0,), (3, -32, 32), (3, 2, 2, 2, 2)])
def test_impossible_inputs_are_refused(name, shape):
    if name in ("mlp", "ff-mlp", "square", "softhebb-mlp", "two-layer") and len(shape) == 5:
        shape = (3, 0, 2)
    with pytest.raises(UserMistake):
        nets.create(name, shape, 5)


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_outputs_are_refused(name):
    with pytest.raises(UserMistake, match="outputs must be a whole number of at least 1, got 0"):
        nets.create(name, INPUTS[name], 0)


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_unknown_setting_is_refused_with_those_there_are(name):
    known = ", ".join(setting.name for setting in describe(nets.REGISTRY.find(name))) or "none"
    with pytest.raises(UserMistake, match=f"has no setting 'depths'; its settings: {known}"):
        nets.create(name, INPUTS[name], 5, depths=3)
