"""The function as PyTorch's machinery meets it: modes, transforms, autocast, compilation, other weights behind."""

import pytest
import torch
from torch.func import functional_call, grad, jacrev, vmap
from torch.overrides import TorchFunctionMode

from biograd import layers
from biograd.layers import (
    Geometry,
    LocallyConnected2d,
    locally_connected2d,
    locally_connected_backward,
)
from tests.layers.plain import CASES

KINDS = ["LocallyConnected", "LocallyConnectedTranspose"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def backward_of(name, *tensors, **needs):
    grad, x, weight = tensors
    geometry = Geometry.of(weight, **CASES[name].options)
    return locally_connected_backward(
        grad, x, weight, geometry, needs.get("need_input", True), needs.get("need_weight", True)
    )


@pytest.mark.parametrize("name", CASES)
def test_errors_travel_back_through_the_weight_that_is_handed_over(name):
    x, weight, _ = CASES[name].draw()
    B = torch.randn_like(weight)
    y = CASES[name].function(x.requires_grad_(), weight.requires_grad_(), **CASES[name].options)
    gradient = torch.randn_like(y)
    through_B = torch.autograd.grad(CASES[name].function(x, B, **CASES[name].options), x, gradient)[0]
    by_weight = torch.autograd.grad(y, weight, gradient)[0]
    found = backward_of(name, gradient, x.detach(), B)
    torch.testing.assert_close(found, (through_B, by_weight))


@pytest.mark.parametrize("name", ["strided", "same", "depthwise"])
def test_the_backward_pass_is_itself_differentiable(name):
    x, weight, _ = CASES[name].draw()
    gradient = torch.randn_like(CASES[name].function(x, weight, **CASES[name].options))
    inputs = [tensor.requires_grad_() for tensor in (gradient, x, weight)]
    assert torch.autograd.gradcheck(lambda *tensors: backward_of(name, *tensors), inputs)


def test_only_what_is_needed_is_computed():
    x, weight, _ = CASES["plain"].draw()
    gradient = torch.randn_like(locally_connected2d(x, weight))
    nothing = torch.full_like(x, torch.nan), torch.full_like(weight, torch.nan)
    by_input, none = backward_of("plain", gradient, nothing[0], weight, need_weight=False)
    assert none is None
    assert by_input.isfinite().all()
    none, by_weight = backward_of("plain", gradient, x, nothing[1], need_input=False)
    assert none is None
    assert by_weight.isfinite().all()


def test_the_backward_pass_takes_a_single_example():
    x, weight, _ = CASES["padded"].draw()
    gradient = torch.randn_like(locally_connected2d(x, weight, **CASES["padded"].options))
    single = backward_of("padded", gradient[0], x[0], weight)
    batch = backward_of("padded", gradient[:1], x[:1], weight)
    torch.testing.assert_close(single, (batch[0][0], batch[1]))


class Seen(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is locally_connected2d:
            self.calls.append((args, kwargs))
        return function(*args, **(kwargs or {}))


def test_a_mode_sees_the_call_of_a_layer_with_its_arguments():
    layer = LocallyConnected2d(4, 6, 3, (7, 7), stride=2, padding=1, dilation=2, groups=2)
    x = torch.randn(1, 4, 7, 7)
    with Seen() as seen:
        y = layer(x)
    ((args, kwargs),) = seen.calls
    assert [id(arg) for arg in args] == [id(x), id(layer.weight), id(layer.bias)]
    assert kwargs == {"stride": (2, 2), "padding": (1, 1), "dilation": (2, 2), "groups": 2}
    torch.testing.assert_close(y, layer(x), rtol=0, atol=0)


class Tagged(torch.Tensor):
    """A tensor that counts the calls of the function that it meets."""

    calls = 0

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        Tagged.calls += function is locally_connected2d
        return super().__torch_function__(function, types, args, kwargs)


def test_a_tensor_subclass_sees_the_call():
    x, weight, bias = CASES["plain"].draw()
    y = locally_connected2d(x.as_subclass(Tagged), weight, bias)
    assert isinstance(y, Tagged)
    assert Tagged.calls == 1


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_single_examples_are_those_of_each_alone(name):
    x, weight, bias = CASES[name].draw()
    x = torch.stack([x[0], x[1]])

    def loss(weight, bias, x):
        return CASES[name].function(x, weight, bias, **CASES[name].options).square().sum()

    found = vmap(grad(loss, argnums=(0, 1, 2)), (None, None, 0))(weight, bias, x)
    for i, example in enumerate(x):
        alone = grad(loss, argnums=(0, 1, 2))(weight, bias, example)
        torch.testing.assert_close(tuple(part[i] for part in found), alone)


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (None, 0, None), (1, None, None), (None, None, 2), (2, 4, 1)])
def test_any_argument_may_be_mapped_along_any_dimension(in_dims):
    many = [CASES["plain"].draw() for _ in range(3)]
    stacked = [
        first if dim is None else torch.stack([case[k] for case in many], dim)
        for k, (dim, first) in enumerate(zip(in_dims, many[0], strict=True))
    ]
    found = vmap(locally_connected2d, in_dims)(*stacked)
    for i, case in enumerate(many):
        alone = [many[0][k] if dim is None else case[k] for k, dim in enumerate(in_dims)]
        torch.testing.assert_close(found[i], locally_connected2d(*alone))


def test_an_ensemble_of_layers_maps_over_its_parameters():
    layers = [LocallyConnected2d(2, 3, 3, (5, 4), dtype=torch.float64) for _ in range(2)]
    x = torch.randn(4, 2, 5, 4, dtype=torch.float64)
    parameters, _ = torch.func.stack_module_state(layers)
    found = vmap(lambda p: functional_call(layers[0], p, (x,)))(parameters)
    torch.testing.assert_close(found, torch.stack([layer(x) for layer in layers]))


def test_a_jacobian_maps_over_the_backward_pass():
    arguments = CASES["strided"].draw()

    def function(*arguments):
        return locally_connected2d(*arguments, **CASES["strided"].options)

    found = jacrev(function, argnums=(0, 1, 2))(*arguments)
    torch.testing.assert_close(found, torch.autograd.functional.jacobian(function, arguments))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_low_precision_and_returns_gradients_in_the_parameters_own(dtype):
    layer = LocallyConnected2d(4, 6, 3, (6, 6), padding=1)
    x = torch.randn(5, 4, 6, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), layer(x), rtol=0.02, atol=0.05)
    y.float().sum().backward()
    assert {x.grad.dtype, layer.weight.grad.dtype, layer.bias.grad.dtype} == {torch.float32}


def test_autocast_leaves_float64_alone():
    layer = LocallyConnected2d(2, 3, 3, (5, 5), dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(2, 2, 5, 5, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's compiler uses what PyTorch deprecates
@pytest.mark.parametrize(("dynamic", "size"), [(False, (7, 6)), (True, (7,)), (True, (4, 3, 5))])
def test_compilation_takes_the_layer_whole(dynamic, size):
    kind = getattr(layers, f"LocallyConnected{len(size)}d")
    layer = kind(4, 6, 3, size, stride=2, padding=1)
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for batch in (3, 5):
        x, twin = (torch.randn(batch, 4, *size).requires_grad_() for _ in range(2))
        twin.data.copy_(x.data)
        y = compiled(x)
        torch.testing.assert_close(y, layer(twin), rtol=0, atol=0)
        found = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
        expected = torch.autograd.grad(layer(twin).square().sum(), [twin, *layer.parameters()])
        torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_an_exported_net_gives_and_learns_what_the_net_does(dimensions):
    size, kinds = (6, 5, 4)[:dimensions], [getattr(layers, f"{kind}{dimensions}d") for kind in KINDS]
    net = torch.nn.Sequential(
        kinds[0](2, 3, 3, size, padding=1), kinds[1](3, 2, 2, tuple(n + 1 for n in size))
    )
    x = torch.randn(4, 2, *size)
    exported = torch.export.export(net, (x,)).module()
    assert torch.is_grad_enabled()
    assert torch.equal(exported(x), net(x))
    found, expected = (
        torch.autograd.grad(made(x).square().sum(), list(made.parameters())) for made in (exported, net)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("is_batch_last", [False, True])
@pytest.mark.parametrize("name", ["dilated", "one dimension", "three dimensions"])
def test_operators_keep_the_promises_that_compilation_relies_on(name, is_batch_last):
    x, weight, bias = CASES[name].draw()
    geometry = Geometry.of(weight, **CASES[name].options).pack()
    y = CASES[name].function(x, weight, bias, **CASES[name].options)
    operators, checks = torch.ops.biograd, ("test_schema", "test_faketensor")
    calls = [
        (operators.locally_connected_product, (x, weight, bias, geometry)),
        (operators.locally_connected_input_gradient, (y, weight, geometry, list(x.shape[2:]), is_batch_last)),
        (operators.locally_connected_weight_gradient, (y, x, geometry)),
    ]
    for operator, arguments in calls:
        torch.library.opcheck(operator.default, arguments, test_utils=checks)
