import math

import pytest
import torch
from torch import nn

from biograd import nets
from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.errors import UserMistake
from biograd.layers import LocallyConnected2d

INPUTS = {
    "mnist": ((1, 28, 28), 10),
    "cifar": ((3, 32, 32), 10),
    "imagenet": ((3, 224, 224), 1000),
}
MAPS = {
    "mnist": [(32, 14, 14), (64, 7, 7), (1024,), (10,)],
    "cifar": [(64, 16, 16), (128, 8, 8), (256, 8, 8), (1024,), (10,)],
    "imagenet": [
        (48, 56, 56),
        (48, 28, 28),
        (96, 28, 28),
        (96, 14, 14),
        (192, 14, 14),
        (192, 7, 7),
        (384, 7, 7),
        (1000,),
    ],
}
KERNELS_AND_STRIDES = {
    "mnist": [(3, 2), (3, 2)],
    "cifar": [(5, 2), (5, 2), (3, 1)],
    "imagenet": [(9, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 2), (3, 1)],
}
SPATIAL = [(data, kind) for data in INPUTS for kind in ("lc", "conv")]


def on_meta(data, kind):
    """The net without memory for its weights."""
    with torch.device("meta"):
        return nets.create(f"bartunov-{data}-{kind}", *INPUTS[data])


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("data", "kind"), SPATIAL)
def test_maps_are_those_of_the_paper(data, kind):
    with torch.device("meta"):
        shapes = output_shapes(blocks(on_meta(data, kind)), torch.zeros(1, *INPUTS[data][0]))
    assert [tuple(shape) for shape in shapes] == MAPS[data]


@pytest.mark.parametrize(("data", "kind"), SPATIAL)
def test_kernels_and_strides_are_those_of_the_paper(data, kind):
    layers = [layer for layer in on_meta(data, kind) if isinstance(layer, LocallyConnected2d | nn.Conv2d)]
    assert [type(layer) for layer in layers] == [LocallyConnected2d if kind == "lc" else nn.Conv2d] * len(
        layers
    )
    found = [(layer.kernel_size[0], layer.stride[0]) for layer in layers]
    assert found == KERNELS_AND_STRIDES[data]


@pytest.mark.parametrize(("data", "width", "depth"), [("mnist", 256, 5), ("cifar", 1024, 3)])
def test_fully_connected_nets_have_equal_hidden_layers(data, width, depth):
    chain = blocks(on_meta(data, "fc"))
    assert [block.opening.out_features for block in chain] == [width] * depth + [10]


@pytest.mark.parametrize("name", [f"{d}-{k}" for d, k in (*SPATIAL, ("mnist", "fc"), ("cifar", "fc"))])
def test_every_hidden_layer_ends_in_tanh_and_nothing_else_stands_between(name):
    data, kind = name.split("-")
    for block in blocks(on_meta(data, kind))[:-1]:
        kinds = [type(layer).__name__ for layer in block.layers if not isinstance(layer, nn.Flatten)]
        assert kinds == [type(block.opening).__name__, "Tanh"]


def test_numbers_of_parameters():
    counted = {f"{data}-{kind}": count(on_meta(data, kind)) for data, kind in SPATIAL}
    counted |= {f"{data}-fc": count(on_meta(data, "fc")) for data in ("mnist", "cifar")}
    assert counted == {
        "mnist-fc": 466_698,
        "mnist-lc": 4_191_562,
        "mnist-conv": 3_241_354,
        "cifar-fc": 5_256_202,
        "cifar-lc": 50_039_818,  # the paper: about 50 M
        "cifar-conv": 17_293_450,
        "imagenet-lc": 259_859_368,  # the paper: about 260 M
        "imagenet-conv": 20_209_816,
    }


@pytest.mark.parametrize(("data", "kind"), SPATIAL)
def test_output_sizes_are_those_of_same_padding(data, kind):
    size = INPUTS[data][0][1]
    for kernel, stride in KERNELS_AND_STRIDES[data]:
        padded = size + 2 * (kernel // 2)
        assert (padded - kernel) // stride + 1 == math.ceil(size / stride)
        last_seen = ((padded - kernel) // stride) * stride - kernel // 2 + kernel - 1
        assert last_seen >= size - 1  # no pixel at the right or bottom is left out
        size = math.ceil(size / stride)


def test_a_locally_connected_net_with_equal_filters_is_its_shared_twin():
    shared = nets.create("bartunov-mnist-conv", (1, 28, 28), 10, seed=0).double()
    local = nets.create("bartunov-mnist-lc", (1, 28, 28), 10, seed=0).double()
    with torch.no_grad():
        for own, twin in zip(local, shared, strict=True):
            if isinstance(own, LocallyConnected2d):
                own.weight.copy_(twin.weight.permute(2, 3, 1, 0).expand(own.weight.shape))
            elif isinstance(own, nn.Linear):
                own.load_state_dict(twin.state_dict())
    x = torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(local(x), shared(x))


@pytest.mark.parametrize("kind", ["fc", "lc", "conv"])
def test_weights_start_within_glorot_s_bound_of_a_position_and_biases_at_zero(kind):
    net = nets.create(f"bartunov-mnist-{kind}", (1, 28, 28), 10, seed=0)
    opening = blocks(net)[1].opening  # 32 to 64 channels of 3×3, or 256 to 256 units
    fans = 256 + 256 if kind == "fc" else 9 * 32 + 9 * 64
    bound = math.sqrt(6 / fans)
    assert 0.999 * bound < opening.weight.abs().max().item() <= bound
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("name", [name for name in nets.names() if name.startswith("bartunov")])
def test_other_inputs_are_refused(name):
    data = name.split("-")[1]
    with pytest.raises(UserMistake) as caught:
        nets.create(name, (2, 30, 30), 10)
    assert str(caught.value) == (
        f"{name} takes inputs {INPUTS[data][0]} (channels, height, width); got (2, 30, 30)"
    )
