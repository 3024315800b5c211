"""Nothing is silently exact: a use of a weight is taught, or named exact by the user, or refused by name."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import biograd
from biograd import UnsupportedNet
from biograd.credit import feedback_path, taught_weights
from tests.credit.taught import same_as_weights

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
SEQUENCE = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
TOKENS = torch.tensor([[1, 2, 0], [3, 3, 1]])


class Uses(nn.Module):
    """A linear layer, then a use of the weight W, then another layer."""

    def __init__(self, use: Callable[[Any, torch.Tensor], torch.Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(4, 4), nn.Linear(4, 4)
        self.W, self.w = nn.Parameter(torch.randn(4, 4)), nn.Parameter(torch.randn(1, 4))
        self.register_buffer("mask", torch.ones(4, 4))
        self.use = use
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.above(self.use(self, torch.tanh(self.below(x))))


class First(nn.Module):
    """The first of what a module returns."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.below, self.module = nn.Linear(4, 4), module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.module(self.below(x))
        return result[0] if isinstance(result, tuple) else result


def product(x: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    return torch.addmm(torch.zeros(4), x, W)


def product_with_a_sum(x: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    return x @ (W + 1.0)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # scripting is, nets that are scripted live on
    scripted_product: Any = torch.jit.script(product)
    scripted_product_with_a_sum: Any = torch.jit.script(product_with_a_sum)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W):
        ctx.save_for_backward(x, W)
        return x @ W

    @staticmethod
    def backward(ctx, *grads):
        x, W = ctx.saved_tensors
        return grads[0] @ W.T, x.T @ grads[0]


class AddedProduct(Product):
    """Named as if it were a sum."""


class KeepsOnContext(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W):
        ctx.W = W.detach()
        return x @ W

    @staticmethod
    def backward(ctx, *grads):
        return grads[0] @ ctx.W.T, None


def untouched(net: nn.Module, rule: nn.Module) -> None:
    """Set every ``.grad`` to something, so that a touch would show."""
    for parameter in (*net.parameters(), *rule.parameters()):
        parameter.grad = torch.full_like(parameter, 7.0)


def assert_refused(net: nn.Module, x: torch.Tensor, match: str, exact: tuple[str, ...] = ()) -> None:
    """`assign_credit` raises, naming what stands in the way, and touches no gradient."""
    rule = biograd.rules.create("fa", net, exact=exact)
    untouched(net, rule)
    with pytest.raises(UnsupportedNet, match=match) as caught:
        rule.assign_credit(net, x, torch.zeros(net(x).shape), F.mse_loss)
    assert "\n" not in str(caught.value)
    assert all(
        bool((parameter.grad == 7).all()) for parameter in net.parameters() if parameter.grad is not None
    )


def assert_exact(net: nn.Module, x: torch.Tensor, exact: tuple[str, ...]) -> None:
    """Named exact it is taught: with B = W elsewhere, as backpropagation."""
    net.zero_grad()
    output = net(x)
    output.square().sum().backward()
    expected = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    with feedback_path(net, same_as_weights(net, exact), exact=exact) as path:
        output = net(x)
    path.check(output)
    output.square().sum().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


def assert_taught(net: nn.Module, x: torch.Tensor, exact: tuple[str, ...] = ()) -> None:
    """A rule takes it, at its first call, which looks more closely, and at its next."""
    rule = biograd.FeedbackAlignment(net, exact=exact)
    for _ in range(2):
        rule.assign_credit(net, x, torch.zeros(net(x).shape), F.mse_loss)


PARTS: dict[str, Callable[[], nn.Module]] = {
    "Bilinear": lambda: nn.Bilinear(4, 4, 4),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_composite_module_is_refused_by_name_when_the_rule_is_made_and_taught_around_when_named_exact(name):
    torch.manual_seed(0)
    net = First(PARTS[name]())
    with pytest.raises(UnsupportedNet, match=rf"'module' \({name}\)") as caught:
        biograd.FeedbackAlignment(net)
    assert "exact=('module',)" in str(caught.value)
    if name != "Bilinear":
        assert_exact(net, SEQUENCE, ("module",))
        assert set(taught_weights(net, ("module",))) == {"below.weight"}


def test_rules_refuse_a_net_that_is_itself_a_composite_module_or_a_data_parallel_copy():
    with pytest.raises(UnsupportedNet, match=r"DataParallel.*DistributedDataParallel"):
        biograd.FeedbackAlignment(nn.DataParallel(nn.Linear(4, 4)))
    with pytest.raises(UnsupportedNet, match=r"Bilinear.*use the rule bp"):
        biograd.FeedbackAlignment(nn.Bilinear(4, 4, 4))


USES: dict[str, tuple[Callable[[Any, torch.Tensor], torch.Tensor], str]] = {
    "einsum": (lambda net, x: torch.einsum("ni,ij->nj", x, net.W), "einsum"),
    "inner": (lambda net, x: torch.inner(x, net.W), "inner"),
    "addmm that scales": (lambda net, x: torch.addmm(x, x, net.W, alpha=2), "addmm"),
    "a row as a readout": (lambda net, x: x + (x @ net.W[0])[:, None], "'W' is used by TensorBase.matmul"),
    "a row as a gain": (lambda net, x: x * net.W[0], "'W' is used by TensorBase.mul"),
    "a matrix as a gain": (lambda net, x: (x[:, None] * net.W).sum(-1), "'W' is used by TensorBase.mul"),
    "a column spread and summed": (
        lambda net, x: x * net.w + x[:, :1] * net.w,
        "'w' is used by TensorBase.mul",
    ),
    "bilinear": (lambda net, x: F.bilinear(x, x, net.W.view(4, 2, 2).repeat(1, 2, 2)), "bilinear"),
    "x @ W Wᵀ": (lambda net, x: x @ (net.W @ net.W.T), "'W' is used by TensorBase.matmul"),
    "x @ a normed W": (lambda net, x: x @ F.normalize(net.W), "'W' is used by TensorBase.matmul"),
    "x @ two halves": (lambda net, x: x @ torch.cat(net.W.chunk(2)), "'W' is used by TensorBase.matmul"),
    "a product in a list": (lambda net, x: torch.linalg.multi_dot([x, net.W]), "multi_dot"),
    "a masked weight": (lambda net, x: F.linear(x, net.W * net.mask), "mul"),
    "a noisy weight": (lambda net, x: F.linear(x, net.W + 0.1 * net.mask), "'W' is used by linear"),
    "x @ noisy W": (lambda net, x: x @ (net.W + 0.1), "'W' is used by TensorBase.matmul"),
    "x @ sum in place": (lambda net, x: x @ net.mask.clone().add_(net.W), "'W' is used by TensorBase.matmul"),
    "x @ a copy": (lambda net, x: x @ (net.W.detach() * net.mask).t(), "'W' is used by TensorBase.matmul"),
    "an operator": (lambda net, x: torch.ops.aten.mm(x, net.W), "'W' is used by"),
    "a custom autograd function": (lambda net, x: Product.apply(x, net.W), "ProductBackward"),  # pyright: ignore
    "one called like a sum": (lambda net, x: AddedProduct.apply(x, net.W), "AddedProductBackward"),  # pyright: ignore
    "a vectorised product": (lambda net, x: torch.vmap(lambda v: torch.inner(net.W, v))(x), "'W' is used by"),
    "embedding as a layer": (lambda net, x: x @ net.table.weight.T, "'table.weight' is used by"),
    "embedding in linear": (lambda net, x: F.linear(x, net.table.weight), "'table.weight' is used by linear"),
}


def using(name: str) -> Uses:
    torch.manual_seed(0)
    return Uses(USES[name][0], table=nn.Embedding(4, 4))


@pytest.mark.parametrize("name", USES)
def test_a_use_that_cannot_be_taught_is_refused_by_name_and_leaves_gradients_alone(name):
    assert_refused(using(name), X, USES[name][1])


@pytest.mark.parametrize("name", USES)
def test_a_use_named_exact_keeps_its_exact_derivative(name):
    assert_exact(using(name), X, ("W", "w", "table"))
    assert_taught(using(name), X, ("W", "w", "table"))


HIDDEN_WHEN_FROZEN = {
    "what a custom function keeps": lambda net, x: KeepsOnContext.apply(x, net.W),
    "a scripted function": lambda net, x: scripted_product(x, net.W),
}


@pytest.mark.parametrize("name", [*USES, *HIDDEN_WHEN_FROZEN])
def test_a_frozen_weight_is_refused_as_a_free_one(name):
    torch.manual_seed(0)
    use = HIDDEN_WHEN_FROZEN[name] if name in HIDDEN_WHEN_FROZEN else USES[name][0]
    net = Uses(use, table=nn.Embedding(4, 4))
    net.W.requires_grad_(False)
    net.w.requires_grad_(False)
    net.table.requires_grad_(False)
    for _ in range(3):  # PyTorch optimises a scripted function from its third call on
        assert_refused(net, X, "used by|scripted function")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_function_of_a_weight_is_refused_and_one_of_activations_is_not():
    torch.manual_seed(0)
    net = Uses(lambda net, x: scripted_product(x, net.W))
    for _ in range(3):
        assert_refused(net, X, "'W' is used by")
    assert_exact(net, X, ("W",))
    fine = Uses(lambda net, x: scripted_product(x, x[:1].t() @ x[:1]))
    for _ in range(3):
        assert_exact(fine, X, ())


def test_a_scripted_sum_with_a_weight_is_no_offset_when_it_is_first_called():
    torch.manual_seed(0)
    net = Uses(lambda net, x: scripted_product_with_a_sum(x, net.W))
    with pytest.raises(UnsupportedNet, match="'W' is used by AddBackward"):  # later calls are optimised
        biograd.FeedbackAlignment(net).assign_credit(net, X, torch.zeros(3, 4), F.mse_loss)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_scripted_module_is_refused_when_the_rule_is_made_and_taught_around_when_named_exact(how):
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    scripted = torch.jit.script(layer) if how == "script" else torch.jit.trace(layer, X)
    net = nn.Sequential(nn.Linear(4, 4), scripted)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnsupportedNet, match=r"'1'.*scripted"):
        biograd.FeedbackAlignment(net)
    assert_exact(net, X, ("1",))


def test_a_hypernetworks_weight_is_refused_and_allowed_when_all_it_is_made_of_is_exact():
    torch.manual_seed(0)
    net = Uses(lambda net, x: F.linear(x, net.maker(net.seed).view(4, 4)), maker=nn.Linear(2, 16))
    net.seed = torch.ones(2)
    assert_refused(net, X, r"linear uses a weight of shape \(4, 4\) that is no taught parameter")
    net.seed = nn.Parameter(torch.ones(2))
    assert_refused(net, X, r"linear uses a weight of shape \(4, 4\)", exact=("seed",))
    assert_exact(net, X, ("seed", "maker"))


def test_a_buffer_as_weight_is_refused_where_an_error_would_pass_and_allowed_when_named_exact():
    torch.manual_seed(0)
    net = Uses(lambda net, x: F.linear(x, net.mask))
    assert_refused(net, X, r"linear uses a weight of shape \(4, 4\) that is no taught parameter.*a buffer")
    assert_exact(net, X, ("mask",))
    first = nn.Sequential(nn.Linear(4, 4))
    first.register_buffer("fixed", torch.eye(4))
    rule = biograd.FeedbackAlignment(first)
    first.forward = lambda x: nn.Sequential.forward(first, F.linear(x, first.fixed))  # pyright: ignore
    rule.assign_credit(first, X, torch.zeros(3, 4), F.mse_loss)  # no error reaches the buffer


CHECKPOINTED = {
    "without reentry": lambda net, x: checkpoint(net.middle, x, use_reentrant=False),
    "reentrant": lambda net, x: checkpoint(net.middle, x, use_reentrant=True),
    "sequential": lambda net, x: checkpoint_sequential(net.middle, 2, x, use_reentrant=False),
    "sequential reentrant": lambda net, x: checkpoint_sequential(net.middle, 2, x, use_reentrant=True),
}


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_activation_checkpointing_is_refused(name):
    torch.manual_seed(0)
    net = Uses(CHECKPOINTED[name], middle=nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)))
    with pytest.raises(UnsupportedNet) as caught:  # held, as a notebook holds the last error
        biograd.FeedbackAlignment(net).assign_credit(net, X, torch.zeros(3, 4), F.mse_loss)
    assert_refused(net, X, "activation checkpointing")
    other = nn.Linear(4, 4)
    biograd.FeedbackAlignment(other).assign_credit(other, X, torch.zeros(3, 4), F.mse_loss)
    assert caught.value is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["inner", "x @ noisy W", "a custom autograd function", "x @ W Wᵀ"])
def test_a_compiled_net_hides_nothing(name):
    torch._dynamo.reset()
    net = using(name)
    compiled = torch.compile(net, backend="aot_eager")
    rule = biograd.FeedbackAlignment(net)
    with pytest.raises(UnsupportedNet, match="'W' is used by"):
        rule.assign_credit(compiled, X, torch.zeros(3, 4), F.mse_loss)
    checkpointed = Uses(CHECKPOINTED["without reentry"], middle=nn.Linear(4, 4))
    compiled = torch.compile(checkpointed, backend="aot_eager")
    with pytest.raises(UnsupportedNet, match="checkpointing"):
        biograd.FeedbackAlignment(checkpointed).assign_credit(compiled, X, torch.zeros(3, 4), F.mse_loss)


def test_a_net_that_differentiates_within_its_forward_is_refused():
    def use(net, x):
        (slope,) = torch.autograd.grad(net.below(x).square().sum(), x, create_graph=True)
        return slope

    assert_refused(Uses(use), X, "differentiates within its forward")


@pytest.mark.parametrize("rule", ["fa", "dfa", "shallow", "drtp"])
def test_a_lazy_layer_is_refused_in_one_line(rule):
    with pytest.raises(UnsupportedNet, match=r"'0.*has no shape yet.*pass one batch"):
        biograd.rules.create(rule, nn.Sequential(nn.LazyLinear(3)), sample=X[:1])


def test_complex_weights_are_refused():
    with pytest.raises(UnsupportedNet, match=r"'0.weight' is complex"):
        biograd.FeedbackAlignment(nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("", "'0', '0.bias', '0.weight'"),
        ("nothing", "'0', '0.bias', '0.weight'"),
        ("0.weigh", "'0.weight'"),
        ("0.weight.x", "'0.weight'"),
        ("1.*", "'0"),
    ],
)
def test_a_name_in_exact_that_the_net_does_not_have_is_refused_with_the_nearest(name, nearest):
    with pytest.raises(UnsupportedNet, match=r"exact names .*no parameter, buffer or module") as caught:
        biograd.FeedbackAlignment(nn.Sequential(nn.Linear(4, 4)), exact=(name,))
    assert nearest in str(caught.value)


def test_a_long_list_of_names_is_cut():
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(20)))
    with pytest.raises(UnsupportedNet, match=r"'0', '0.bias', .* and 52 more; \* stands for any text"):
        biograd.FeedbackAlignment(net, exact=("zzz",))


def test_patterns_in_exact_take_all_that_they_fit():
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    assert set(taught_weights(net, ("[01]", "2.w*"))) == {"3.weight"}
    assert set(taught_weights(net, ("*.bias",))) == {f"{place}.weight" for place in range(4)}
    deep = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))))
    assert set(taught_weights(deep, ("1.*",))) == {"0.weight"}
    assert set(taught_weights(deep, ("1.1",))) == {"0.weight", "1.0.weight"}


def hooked() -> nn.Module:
    """A layer whose weight is computed by a hook that nobody knows."""
    layer = nn.Linear(4, 4)
    layer.weight_raw = nn.Parameter(layer.weight.detach())
    del layer._parameters["weight"]
    layer.register_forward_pre_hook(lambda layer, _: setattr(layer, "weight", 2 * layer.weight_raw))
    return layer


def test_all_layers_that_cannot_be_reached_are_named_at_once():
    net = nn.Sequential(
        nn.Linear(4, 4),
        nn.Bilinear(4, 4, 4),
        hooked(),
        nn.Bilinear(4, 4, 4),
        hooked(),
    )
    with pytest.raises(UnsupportedNet) as caught:
        biograd.FeedbackAlignment(net)
    said = str(caught.value)
    assert "'1' (Bilinear), '3' (Bilinear): a bilinear layer has no single" in said
    assert "'2' (Linear), '4' (Linear): a hook that is not known computes its weight" in said
    assert "exact=('1', '2', '3', '4',)" in said
    biograd.FeedbackAlignment(net, exact=("[1-4]",))


def test_all_weights_that_cannot_be_taught_are_named_at_once():
    torch.manual_seed(0)
    net = Uses(lambda net, x: torch.inner(x, net.W) @ net.table.weight.T, table=nn.Embedding(4, 4))
    assert_refused(
        net, X, r"'W' is used by .*inner, 'table.weight' is used by .*exact=\('W', 'table.weight'\)"
    )
    assert_taught(net, X, ("W", "w", "table"))


def test_for_a_table_as_a_layers_matrix_the_way_to_have_it_taught_is_told_and_is_one():
    torch.manual_seed(0)
    net = Uses(lambda net, x: torch.tanh(x @ net.W) @ net.table.weight.T, table=nn.Embedding(4, 4))
    assert_refused(
        net,
        X,
        r"'table.weight' is used by TensorBase.matmul \(as the weight of a layer it is taught: head = "
        r"nn.Linear\(4, 4, bias=False\), head.weight = table.weight\)",
    )
    net.head = nn.Linear(4, 4, bias=False)
    net.head.weight = net.table.weight
    assert_taught(net, X)
    summed = Uses(lambda net, x: (x @ net.W) * net.table.weight.sum(), table=nn.Embedding(4, 4))
    assert_refused(summed, X, "^'table.weight' is used by TensorBase.mul, through")  # no layer would do this


def test_a_parametrised_bias_is_only_added_and_its_layer_taught():
    class Doubled(nn.Module):
        def forward(self, b):
            return 2 * b

    torch.manual_seed(0)
    for layer, x in (
        (nn.Linear(4, 4), X),
        (biograd.layers.LocallyConnected2d(1, 1, 2, (3, 3)), torch.randn(2, 1, 3, 3)),
    ):
        torch.nn.utils.parametrize.register_parametrization(layer, "bias", Doubled())
        net = nn.Sequential(layer)
        assert len(taught_weights(net)) == 1
        assert_exact(net, x, ())
        assert_taught(net, x)


def test_a_net_without_weights_is_refused():
    with pytest.raises(UnsupportedNet, match="no weight matrix"):
        biograd.FeedbackAlignment(nn.Sequential(nn.BatchNorm1d(4), nn.Embedding(3, 2)))


def test_a_shared_weight_is_exact_by_any_of_its_names():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    for name in ("0.weight", "2.weight", "0", "2"):
        assert set(taught_weights(net, (name,))) == {"3.weight"}
        assert_exact(net, X, (name,))


def test_biases_of_a_locally_connected_layer_and_weights_of_norms_and_embeddings_are_no_matrices():
    net = nn.Sequential(
        biograd.layers.LocallyConnected2d(1, 2, 2, (3, 3)),
        nn.LayerNorm([2, 2, 2]),
        nn.Embedding(3, 2),
        nn.RMSNorm([2, 2]),
        biograd.layers.LocallyConnectedTranspose2d(2, 1, 2, (3, 3)),
    )
    assert set(taught_weights(net)) == {"0.weight", "4.weight"}


class Fine(NamedTuple):
    """A use of weights that must not be refused."""

    use: Callable[[Any, torch.Tensor], torch.Tensor]


FINE = {
    "dtype and shape of a weight": Fine(lambda net, x: x.to(net.W.dtype).expand(net.W.shape[0], 3, 4)[0]),
    "form of a weight": Fine(lambda net, x: x.type_as(net.W).to(net.W) + torch.zeros_like(net.W)[0]),
    "a learned offset": Fine(lambda net, x: x[:, None, :] + net.W),
    "a learned offset of one example": Fine(lambda net, x: F.layer_norm(x[:1].expand(4, 4) + net.W, (4,))),
    "an offset in place": Fine(lambda net, x: (x[:, None, :].repeat(1, 4, 1)).add_(net.W)),
    "the norm of a weight, for a record": Fine(lambda net, x: _recorded(net, x)),
    "a product of activations": Fine(lambda net, x: (x @ x.T) @ x),
    "a gain": Fine(lambda net, x: x * net.above.bias),
}


def _recorded(net: Any, x: torch.Tensor) -> torch.Tensor:
    net.record = net.W.detach().norm().item()
    return x


@pytest.mark.parametrize("name", FINE)
def test_what_lets_no_error_through_a_weight_is_not_refused(name):
    torch.manual_seed(0)
    net = Uses(FINE[name].use)
    output, _ = net(X), net.zero_grad()
    with feedback_path(net, same_as_weights(net)) as path:
        output = net(X)
    path.check(output)
    output.sum().backward()


def test_feedback_that_is_missing_or_does_not_fit_is_refused():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    good = same_as_weights(net)
    for bad, message in (
        ({"0.weight": good["0.weight"]}, "no feedback weight for '1.weight'"),
        ({**good, "0.weight": good["0.weight"].T}, r"'0.weight' has shape \(4, 3\), expected \(3, 4\)"),
        ({**good, "0.weight": good["0.weight"].double()}, "rule.to"),
    ):
        with pytest.raises(UnsupportedNet, match=message), feedback_path(net, bad):
            pass
