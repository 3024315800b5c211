"""The transpose of a locally connected layer: values, gradients, transforms, arguments, and rules that teach it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.overrides import TorchFunctionMode

from biograd import rules
from biograd.errors import UserMistake
from biograd.layers import (
    Geometry,
    LocallyConnected2d,
    LocallyConnectedTranspose2d,
    locally_connected_transpose2d,
    locally_connected_transpose_backward,
)
from tests.layers.plain import CASES


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def draw(name, batch=2, dtype=torch.float64):
    """Input, weight, bias and output size of the transpose of one of the cases, with its options."""
    case = CASES[name]
    _, weight, _ = case.draw(dtype)
    x = torch.randn(batch, case.outputs, *weight.shape[: len(case.size)], dtype=dtype)
    bias = torch.randn(case.channels, *case.size, dtype=dtype)
    return (x, weight, bias), {"output_size": case.size, **case.options}


def of(name, arguments, options):
    return CASES[name].transpose(*arguments, **options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_it_is_the_vector_jacobian_product_of_the_layer_of_the_same_geometry(name, batch):
    (x, weight, bias), options = draw(name, batch)
    u = torch.zeros(batch, *bias.shape, dtype=torch.float64, requires_grad=True)
    image = CASES[name].function(u, weight, None, **CASES[name].options)
    (expected,) = torch.autograd.grad(image, u, x)
    torch.testing.assert_close(of(name, (x, weight, None), options), expected)
    torch.testing.assert_close(of(name, (x, weight, bias), options), expected + bias)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name):
    arguments, options = draw(name)
    inputs = [tensor.requires_grad_() for tensor in arguments]
    assert torch.autograd.gradcheck(lambda *a: of(name, a, options), inputs)


@pytest.mark.parametrize(("name", "batch"), [("strided", 2), ("same", 2), ("grouped", 2), ("padded", 1)])
def test_gradients_of_gradients_are_those_of_finite_differences(name, batch):
    arguments, options = draw(name, batch)
    inputs = [tensor.requires_grad_() for tensor in arguments]
    assert torch.autograd.gradgradcheck(lambda *a: of(name, a, options), inputs)


def test_complex_numbers_are_not_conjugated_forward_and_are_as_autograd_wants_backward():
    (x, weight, _), options = draw("strided", dtype=torch.complex128)
    assert torch.autograd.gradcheck(
        lambda *a: of("strided", (*a, None), options), (x.requires_grad_(), weight.requires_grad_())
    )
    torch.testing.assert_close(
        of("strided", (1j * x, weight, None), options), 1j * of("strided", (x, weight, None), options)
    )
    torch.testing.assert_close(
        of("strided", (x, 1j * weight, None), options), 1j * of("strided", (x, weight, None), options)
    )


sides = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(
    kernel=sides,
    stride=sides,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.integers(1, 3),
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    batch=st.integers(0, 3),
    has_bias=st.booleans(),
)
def test_one_filter_at_all_positions_is_a_transposed_convolution(
    kernel, stride, padding, dilation, groups, size, batch, has_bias
):
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    room = [s + 2 * p - k for s, p, k in zip(size, padding, span, strict=True)]
    assume(min(room) >= 0)
    torch.manual_seed(1)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": has_bias}
    rest = tuple(r % s for r, s in zip(room, stride, strict=True))
    channels = (4 * groups, 2 * groups, kernel)
    shared = nn.ConvTranspose2d(*channels, **options, output_padding=rest, dtype=torch.float64)
    local = LocallyConnectedTranspose2d(*channels, size, **options, dtype=torch.float64)
    share(shared, local)
    assert_same_step(local, shared, torch.randn(batch, 4 * groups, *local.input_size, dtype=torch.float64))


def share(shared, local):
    """Give every position the filter, and every output the bias, of the transposed convolution."""
    with torch.no_grad():
        per_group = shared.weight.unflatten(0, (shared.groups, -1))  # (groups, in / groups, out / groups, …)
        local.weight.copy_(per_group.flatten(0, 1).permute(2, 3, 1, 0))
        if local.bias is not None:
            local.bias.copy_(shared.bias[:, None, None])


def assert_same_step(local, shared, x):
    x, twin = x.requires_grad_(), x.detach().clone().requires_grad_()
    y, expected = local(x), shared(twin)
    torch.testing.assert_close(y, expected)
    gradient = torch.randn_like(expected)
    y.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(local.weight.grad.sum((0, 1)).permute(3, 2, 0, 1), shared.weight.grad)
    if local.bias is not None:
        torch.testing.assert_close(local.bias.grad.sum((1, 2)), shared.bias.grad)


def test_transposing_twice_is_the_layer_itself():
    layer = LocallyConnected2d(2, 3, 3, (6, 5), 2, 1, bias=False, dtype=torch.float64)
    back = LocallyConnectedTranspose2d(3, 2, 3, (6, 5), 2, 1, bias=False, dtype=torch.float64)
    back.load_state_dict(layer.state_dict())
    x, u = (torch.randn(2, *shape, dtype=torch.float64) for shape in ((3, 3, 3), (2, 6, 5)))
    (again,) = torch.func.vjp(back, x)[1](u)
    torch.testing.assert_close(again, layer(u))


def test_every_input_position_has_a_filter_of_its_own():
    layer = LocallyConnectedTranspose2d(3, 2, 2, (6, 6), stride=2, bias=False)
    x = torch.randn(2, 3, 3, 3)
    before = layer(x)
    with torch.no_grad():
        layer.weight[1, 2] += 1
    changed = (layer(x) != before).any(0).any(0)
    assert changed.nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


@pytest.mark.parametrize("size", [(4, 2, 3), (1, 2, 3)])
def test_an_input_without_batch_is_one_example(size):
    layer = LocallyConnectedTranspose2d(size[0], 2, 3, (4, 5), stride=2, padding=1)
    x = torch.randn(size, requires_grad=True)
    y = layer(x)
    torch.testing.assert_close(y, layer(x[None])[0])
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("name", CASES)
def test_errors_travel_back_through_the_weight_that_is_handed_over(name):
    (x, weight, _), options = draw(name)
    B = torch.randn_like(weight)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    y = of(name, (x, weight, None), options)
    gradient = torch.randn_like(y)
    (through_B,) = torch.autograd.grad(of(name, (x, B, None), options), x, gradient)
    (by_weight,) = torch.autograd.grad(y, weight, gradient)
    geometry = Geometry.of(weight, **CASES[name].options)

    def backward(need_input, need_weight):
        return locally_connected_transpose_backward(
            gradient, x.detach(), B, geometry, need_input, need_weight
        )

    torch.testing.assert_close(backward(True, True), (through_B, by_weight))
    assert backward(False, True)[0] is None
    assert backward(True, False)[1] is None


class Seen(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is locally_connected_transpose2d:
            self.calls.append((args, kwargs))
        return function(*args, **(kwargs or {}))


def test_a_mode_sees_the_call_of_a_layer_with_its_arguments():
    layer = LocallyConnectedTranspose2d(4, 6, 3, (7, 7), stride=2, padding=1, dilation=2, groups=2)
    x = torch.randn(1, 4, 3, 3)
    with Seen() as seen:
        y = layer(x)
    ((args, kwargs),) = seen.calls
    assert [id(arg) for arg in args[:3]] == [id(x), id(layer.weight), id(layer.bias)]
    assert args[3:] == ((7, 7),)
    assert kwargs == {"stride": (2, 2), "padding": (1, 1), "dilation": (2, 2), "groups": 2}
    torch.testing.assert_close(y, layer(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_single_examples_are_those_of_each_alone(name):
    (x, weight, bias), options = draw(name)

    def loss(weight, bias, x):
        return of(name, (x, weight, bias), options).square().sum()

    found = vmap(grad(loss, argnums=(0, 1, 2)), (None, None, 0))(weight, bias, x)
    for i, example in enumerate(x):
        alone = grad(loss, argnums=(0, 1, 2))(weight, bias, example)
        torch.testing.assert_close(tuple(part[i] for part in found), alone)


def test_an_ensemble_of_layers_maps_over_its_parameters():
    layers = [LocallyConnectedTranspose2d(2, 3, 3, (5, 4), dtype=torch.float64) for _ in range(2)]
    x = torch.randn(4, 2, 3, 2, dtype=torch.float64)
    parameters, _ = torch.func.stack_module_state(layers)
    found = vmap(lambda p: functional_call(layers[0], p, (x,)))(parameters)
    torch.testing.assert_close(found, torch.stack([layer(x) for layer in layers]))


def test_a_jacobian_maps_over_the_backward_pass():
    arguments, options = draw("strided")
    found = jacrev(lambda *a: of("strided", a, options), argnums=(0, 1, 2))(*arguments)
    expected = torch.autograd.functional.jacobian(lambda *a: of("strided", a, options), arguments)
    torch.testing.assert_close(found, expected)


def test_autocast_computes_in_low_precision_and_returns_gradients_in_the_parameters_own():
    layer = LocallyConnectedTranspose2d(4, 6, 3, (6, 6), padding=1)
    x = torch.randn(5, 4, 6, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.02, atol=0.05)
    y.float().sum().backward()
    assert {x.grad.dtype, layer.weight.grad.dtype, layer.bias.grad.dtype} == {torch.float32}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's compiler uses what PyTorch deprecates
def test_compilation_takes_the_layer_whole():
    layer = LocallyConnectedTranspose2d(4, 6, 3, (7, 7), stride=2, padding=1)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 4, 4, 4)
    torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=0)
    found = torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters()))
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(found, expected)


def test_on_the_meta_device_nothing_is_computed():
    layer = LocallyConnectedTranspose2d(48, 3, 9, (224, 224), stride=4, padding=4, device="meta")
    y = layer(torch.empty(2, 48, 56, 56, device="meta"))
    assert (y.shape, y.device.type) == ((2, 3, 224, 224), "meta")


def test_weights_start_as_those_of_a_transposed_convolution():
    layer, shared = LocallyConnectedTranspose2d(16, 8, 5, (16, 16)), nn.ConvTranspose2d(16, 8, 5)
    bound = 1 / (8 * 25) ** 0.5
    for own, reference in zip(layer.parameters(), shared.parameters(), strict=True):
        assert own.abs().max().item() == pytest.approx(bound, rel=1e-2)
        assert reference.abs().max() <= bound
    before = [parameter.clone() for parameter in layer.parameters()]
    layer.reset_parameters()
    assert all((old != new).any() for old, new in zip(before, layer.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, ""),
        ({"padding": "same"}, ", padding='same'"),
        ({"padding": (1, 0), "groups": 2, "bias": False}, ", padding=(1, 0), groups=2, bias=False"),
        ({"dilation": 2}, ", dilation=(2, 2)"),
    ],
)
def test_repr_shows_what_is_not_the_default(options, shown):
    layer = LocallyConnectedTranspose2d(2, 4, 3, (5, 5), **options)
    expected = "LocallyConnectedTranspose2d(2, 4, kernel_size=(3, 3), output_size=(5, 5), stride=(1, 1)"
    assert repr(layer) == f"{expected}{shown})"


def test_a_layer_saves_and_loads_and_its_copy_is_independent():
    layer, other = (LocallyConnectedTranspose2d(2, 3, 3, (5, 5)) for _ in range(2))
    other.load_state_dict(load(save(layer.state_dict())))
    x = torch.randn(2, 2, 3, 3)
    torch.testing.assert_close(other(x), layer(x), rtol=0, atol=0)
    with torch.no_grad():
        copy.deepcopy(layer).weight.zero_()
    assert layer.weight.abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"groups": 2}, "groups must divide in_channels and out_channels"),
        ({"in_channels": 0}, "must be at least 1"),
        ({"kernel_size": (3, 0)}, "must be at least 1"),
        ({"output_size": (0, 5)}, "must be at least 1"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1"),
        ({"kernel_size": 7}, "does not fit into output_size (5, 5)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, part):
    good = {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "output_size": (5, 5)}
    with pytest.raises(UserMistake) as raised:
        LocallyConnectedTranspose2d(**{**good, **arguments})
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (2, 4, 3, 3), (3, 3), (1, 2, 3, 3, 3)])
def test_an_input_of_another_size_is_refused(shape):
    layer = LocallyConnectedTranspose2d(3, 4, 3, (5, 5))
    with pytest.raises(UserMistake, match=r"made for inputs \(3, 3, 3\) \(channels, height, width\)"):
        layer(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"weight": torch.zeros(3, 3, 3, 3, 2)}, "weight must be .in_height"),
        ({"input": torch.zeros(3, 3)}, "input must be"),
        ({"output_size": (6, 5)}, r"is for inputs \(4, 4, 3\)"),
        ({"input": torch.zeros(1, 3, 3, 3)}, r"is for inputs \(4, 3, 3\) .* got input \(1, 3, 3, 3\)"),
        ({"weight": torch.zeros(3, 2, 3, 3, 2, 4)}, "as many filters"),
        ({"bias": torch.zeros(4)}, r"bias must be \(2, 5, 5\)"),
        ({"weight": torch.zeros(3, 3, 3, 3, 2, 4, dtype=torch.float64)}, "weight is torch.float64"),
    ],
)
def test_the_function_refuses_tensors_that_do_not_fit(change, part):
    good = {
        "input": torch.zeros(1, 4, 3, 3),
        "weight": torch.zeros(3, 3, 3, 3, 2, 4),
        "bias": torch.zeros(2, 5, 5),
        "output_size": 5,
    }
    with pytest.raises(UserMistake, match=f"locally_connected_transpose2d.*{part}"):
        locally_connected_transpose2d(**{**good, **change})


@pytest.mark.parametrize("name", ["bp", "fa", "usf", "brsf", "frsf", "kp", "wm", "dfa", "shallow"])
def test_every_kind_of_rule_teaches_it(name):
    layers = [
        nn.Conv2d(1, 3, 3, stride=2, padding=1),
        nn.Tanh(),
        LocallyConnectedTranspose2d(3, 2, 3, (6, 6), stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(72, 3),
    ]
    net, x, y = nn.Sequential(*layers), torch.randn(8, 1, 6, 6), torch.randint(3, (8,))
    rule = rules.create(name, net, sample=x[:1])
    output = net(x)
    _, taught = rule.assign_credit(net, x, y, F.cross_entropy)
    torch.testing.assert_close(taught, output)
    weight = net[2].weight.grad
    if name == "shallow":
        assert weight is None or not weight.any()
    else:
        exact = torch.autograd.grad(F.cross_entropy(net(x), y), net[2].weight)[0]
        assert weight.any()
        assert (name == "bp") == torch.allclose(weight, exact, rtol=1e-4, atol=1e-6)
