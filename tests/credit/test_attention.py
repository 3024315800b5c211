"""PyTorch's own attention: its projections go back through B, softmax and products between activations are exact."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd.credit import feedback_path
from tests.credit.taught import assert_same, plain_pass, random_feedback, same_as_weights, taught_pass

CAUSAL = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
PADDED = torch.tensor([[False] * 5, [False, False, False, True, True]])


class Attends(nn.Module):
    """A layer below, attention in one of its ways, a layer above.

    Args:
        call: of the attention and its input.
        settings: of the attention.
    """

    def __init__(self, call: Callable[..., Any], **settings: Any) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(4, 4), nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(4, 2, **{"batch_first": True, **settings})
        self.memory, self.call = nn.Linear(4, settings.get("kdim", 4)), call

    def forward(self, x: Tensor) -> Tensor:
        output, pattern = self.call(self.attention, self.below(x), self.memory(x.flip(1)[:, :3]))
        shown = 0.0 if pattern is None else pattern.square().sum()  # what is returned may be learned from
        return self.above(output) + shown


def itself(attention: Any, x: Tensor, memory: Tensor, **settings: Any) -> Any:
    return attention(x, x, x, **settings)


def across(attention: Any, x: Tensor, memory: Tensor, **settings: Any) -> Any:
    return attention(x, memory, memory, **settings)


WAYS: dict[str, Callable[[], nn.Module]] = {
    "self": lambda: Attends(lambda a, x, m: itself(a, x, m, need_weights=False)),
    "self, with weights": lambda: Attends(itself),
    "self, weights of each head": lambda: Attends(
        lambda a, x, m: itself(a, x, m, average_attn_weights=False)
    ),
    "self, without bias": lambda: Attends(lambda a, x, m: itself(a, x, m, need_weights=False), bias=False),
    "self, causal": lambda: Attends(
        lambda a, x, m: itself(a, x, m, attn_mask=CAUSAL, is_causal=True, need_weights=False)
    ),
    "self, masked and padded": lambda: Attends(
        lambda a, x, m: itself(a, x, m, attn_mask=CAUSAL != 0, key_padding_mask=PADDED)
    ),
    "cross": lambda: Attends(lambda a, x, m: across(a, x, m, need_weights=False)),
    "cross, with weights": lambda: Attends(across),
    "three inputs": lambda: Attends(lambda a, x, m: a(x, m, m.tanh())),
    "other widths": lambda: Attends(across, kdim=6, vdim=6),
    "other widths without bias": lambda: Attends(across, kdim=6, vdim=6, bias=False),
    "a key and a value more": lambda: Attends(itself, add_bias_kv=True),
    "a key and a value more, across": lambda: Attends(across, add_bias_kv=True, add_zero_attn=True),
    "sequence first": lambda: Attends(
        lambda a, x, m: tuple(t.transpose(0, 1) for t in a(*[x.transpose(0, 1)] * 3)), batch_first=False
    ),
    "one sequence": lambda: Attends(lambda a, x, m: itself(a, x[0], m)),
}


def attending(name: str) -> tuple[Any, Tensor]:
    torch.manual_seed(4)
    net = WAYS[name]().double()
    for parameter in net.parameters():  # biases of attention begin at 0
        nn.init.normal_(parameter, std=0.5)
    return net, torch.randn(2, 5, 4, dtype=torch.float64)


@pytest.mark.parametrize("name", WAYS)
def test_with_B_equal_to_W_attention_is_backpropagation_and_its_forward_bit_for_bit_its_own(name):
    net, x = attending(name)
    plain = plain_pass(copy.deepcopy(net), x)
    assert_same(taught_pass(net, x, same_as_weights(net)), plain)
    assert torch.equal(taught_pass(net, x, random_feedback(net)).output, plain.output)


def by_hand(B: dict[str, Tensor]) -> Callable[..., Tensor]:
    """Linear layers whose errors go back through B."""

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, W, b, feedback):
            ctx.save_for_backward(x, feedback)
            return x @ W.T + b

        @staticmethod
        def backward(ctx, *grads):
            x, feedback = ctx.saved_tensors
            (e,) = grads
            return e @ feedback, torch.einsum("bto,bti->oi", e, x), e.sum((0, 1)), None

    return lambda x, W, b, name, rows=slice(None): Through.apply(x, W, b, B[name][rows])  # pyright: ignore


def reference(net: Any, x: Tensor, B: dict[str, Tensor], *, pattern: bool = False) -> Tensor:
    """Cross-attention of two heads, written out."""
    a, linear = net.attention, by_hand(B)
    h = linear(x, net.below.weight, net.below.bias, "below.weight")
    m = linear(x.flip(1)[:, :3], net.memory.weight, net.memory.bias, "memory.weight")
    q, k, v = (
        linear(source, a.in_proj_weight[rows], a.in_proj_bias[rows], "attention.in_proj_weight", rows)
        for source, rows in ((h, slice(0, 4)), (m, slice(4, 8)), (m, slice(8, 12)))
    )
    heads = []
    for part in (slice(0, 2), slice(2, 4)):
        weights = (q[..., part] @ k[..., part].mT / 2**0.5).softmax(-1)
        heads.append((weights.detach() if pattern else weights) @ v[..., part])
    output = linear(torch.cat(heads, -1), a.out_proj.weight, a.out_proj.bias, "attention.out_proj.weight")
    return linear(output, net.above.weight, net.above.bias, "above.weight")


def test_with_any_other_B_errors_go_back_through_the_part_of_B_that_stands_beside_each_projection():
    net, x = attending("cross")
    B = random_feedback(net)
    taught = taught_pass(net, x, B)
    expected = copy.deepcopy(net)
    leaf = x.clone().requires_grad_()
    reference(expected, leaf, B).square().sum().backward()
    torch.testing.assert_close(taught.input_gradient, leaf.grad, rtol=1e-12, atol=1e-12)
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(taught.gradients[name], parameter.grad, rtol=1e-12, atol=1e-12)


class Stack(nn.Module):
    """A transformer of PyTorch's, whose first input is the batch."""

    def __init__(self, transformer: nn.Module, call: Callable[..., Tensor] = lambda t, x: t(x)) -> None:
        super().__init__()
        self.transformer, self.call = transformer, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.transformer, x)


def encoder_layer(**settings: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(4, 2, 6, **{"dropout": 0.0, "batch_first": True, **settings})


def decoder_layer(**settings: Any) -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(4, 2, 6, **{"dropout": 0.0, "batch_first": True, **settings})


STACKS: dict[str, Callable[[], nn.Module]] = {
    "encoder": lambda: Stack(nn.TransformerEncoder(encoder_layer(), 2, enable_nested_tensor=False)),
    "encoder, norm first, padded": lambda: Stack(
        nn.TransformerEncoder(encoder_layer(norm_first=True, activation="gelu"), 2, nn.LayerNorm(4), False),
        lambda t, x: t(x, src_key_padding_mask=PADDED),
    ),
    "decoder": lambda: Stack(
        nn.TransformerDecoder(decoder_layer(), 2),
        lambda t, x: t(x, x.flip(1)[:, :3].tanh(), tgt_mask=CAUSAL, tgt_is_causal=True),
    ),
    "transformer": lambda: Stack(
        nn.Transformer(4, 2, 1, 1, 6, 0.0, batch_first=True), lambda t, x: t(x[:, :3], x)
    ),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", STACKS)
def test_with_B_equal_to_W_transformers_are_backpropagation_in_training_and_in_evaluation(name, training):
    torch.manual_seed(5)
    net, x = STACKS[name]().double().train(training), torch.randn(2, 5, 4, dtype=torch.float64)
    assert_same(taught_pass(net, x, same_as_weights(net)), plain_pass(copy.deepcopy(net), x))


def test_dropout_within_attention_draws_what_the_net_draws():
    torch.manual_seed(0)
    net, x = Stack(encoder_layer(dropout=0.3)).double(), torch.randn(2, 5, 4, dtype=torch.float64)
    torch.manual_seed(1)
    plain, after = plain_pass(copy.deepcopy(net), x), torch.get_rng_state()
    torch.manual_seed(1)
    assert_same(taught_pass(net, x, same_as_weights(net)), plain)
    assert torch.equal(torch.get_rng_state(), after)


def with_constant_patterns(net: Any, x: Tensor, B: dict[str, Tensor]) -> Any:
    leaf = x.clone().requires_grad_()
    with feedback_path(net, B, attention="pattern"):
        output = net(leaf)
    output.square().sum().backward()
    return output.detach(), leaf.grad


@pytest.mark.parametrize("name", ["cross", "cross, with weights"])
def test_where_patterns_are_constants_errors_reach_values_alone_and_the_output_is_the_same(name):
    net, x = attending(name)
    B = random_feedback(net)
    if name == "cross, with weights":
        net.call = lambda a, x, m: (across(a, x, m)[0], None)
    output, input_gradient = with_constant_patterns(net, x, B)
    assert torch.equal(output, net(x))
    expected = copy.deepcopy(net)
    expected.zero_grad()
    leaf = x.clone().requires_grad_()
    reference(expected, leaf, B, pattern=True).square().sum().backward()
    torch.testing.assert_close(input_gradient, leaf.grad, rtol=1e-12, atol=1e-12)
    for one, other in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-12)
    assert not net.attention.in_proj_weight.grad[:8].any()
    assert net.attention.in_proj_weight.grad[8:].all()


class ByHand(nn.Module):
    """A softmax in a hidden layer, attention written out, and a softmax in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.gate = (nn.Linear(4, 4) for _ in range(4))
        self.W = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor, *, cut: Callable[[Tensor], Tensor] = lambda pattern: pattern) -> Tensor:
        x = self.gate(x.softmax(-1)).softmax(-1) @ self.W.T
        pattern = (self.query(x) @ self.key(x).mT).softmax(-1)
        pattern = cut(F.dropout(pattern.float().to(x), 0.0) * (CAUSAL == 0))
        return (torch.einsum("bij,bjk->bik", pattern, self.value(x)) + x).softmax(-1)


def test_the_patterns_of_attention_by_hand_are_constants_and_other_softmaxes_are_not():
    torch.manual_seed(0)
    net, x = ByHand().double(), torch.randn(2, 5, 4, dtype=torch.float64)
    output, input_gradient = with_constant_patterns(net, x, same_as_weights(net))
    leaf = x.clone().requires_grad_()
    expected = net(leaf, cut=Tensor.detach)
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    got = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    expected.square().sum().backward()
    torch.testing.assert_close(input_gradient, leaf.grad, rtol=1e-12, atol=1e-12)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad, rtol=1e-12, atol=1e-12)
    assert net.query.weight.grad is None


@pytest.mark.parametrize("rule", ["fa", "usf", "brsf", "frsf", "kp", "wm"])
def test_every_feedback_rule_takes_attention_either_way_at_its_first_call_and_later(rule):
    net, x = attending("cross")
    for attention, learns in (("exact", True), ("pattern", False)):
        made = biograd.rules.create(rule, net, attention=attention)
        for _ in range(2):
            net.zero_grad()
            made.assign_credit(net, x, torch.zeros(2, 5, 3, dtype=x.dtype), F.mse_loss)
            assert bool(net.attention.in_proj_weight.grad[:8].any()) == learns


def test_constant_patterns_are_refused_where_there_is_no_attention():
    net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1), nn.Linear(3, 3), nn.Softmax(-1))
    rule = biograd.FeedbackAlignment(net, attention="pattern")
    with pytest.raises(biograd.UnsupportedNet, match=r'attention="pattern" cuts .* leave the setting out'):
        rule.assign_credit(net, torch.randn(2, 4), torch.zeros(2, 3), F.mse_loss)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_mirror_turns_each_projections_part_of_B_towards_its_own_part_of_W():
    net, x = attending("cross")
    rule = biograd.WeightMirror(net, phases=300, anneal_to=0.01)
    rule.assign_credit(net, x, torch.zeros(2, 5, 3, dtype=x.dtype), F.mse_loss)
    B, W = rule.B["attention.in_proj_weight"], net.attention.in_proj_weight
    for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
        assert F.cosine_similarity(B[part].flatten(), W[part].flatten(), dim=0) > 0.98
    out = rule.B["attention.out_proj.weight"], net.attention.out_proj.weight
    assert F.cosine_similarity(*(matrix.flatten() for matrix in out), dim=0) > 0.98


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)
def test_a_compiled_net_with_attention_tokens_and_products_is_taught_as_the_plain_one_in_one_graph():
    class Net(Attends):
        token: Tensor
        W: Tensor

        def forward(self, x):
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) @ self.W.t()
            return super().forward(x)

    torch._dynamo.reset()
    torch.manual_seed(0)
    net = Net(lambda a, x, m: across(a, x, m, need_weights=False))
    net.token, net.W = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(4, 4))
    x, y, twin = torch.randn(2, 5, 4), torch.randn(2, 6, 3), copy.deepcopy(net)
    rules = [biograd.WeightMirror(net), biograd.WeightMirror(twin)]
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for _ in range(2):  # as written, compiled
        rules[0].assign_credit(compiled, x, y, F.mse_loss)
        rules[1].assign_credit(twin, x, y, F.mse_loss)
    for one, other in zip((net, rules[0]), (twin, rules[1]), strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)
        for a, b in zip(one.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    torch._dynamo.reset()
