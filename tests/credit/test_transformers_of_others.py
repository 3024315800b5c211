"""Transformers as others write them: GPT-2 in the words of Hugging Face's, and our own `vit` with a class token."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd.credit import feedback_path
from tests.credit.taught import assert_same, plain_pass, random_feedback, same_as_weights, taught_pass

VOCABULARY, WIDTH, HEADS = 7, 8, 2


class Conv1D(nn.Module):
    """A linear layer whose weight is ``(in, out)``."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) / 2), nn.Parameter(torch.randn(nf) / 2)

    def forward(self, x: Tensor) -> Tensor:
        size_out = (*x.size()[:-1], self.nf)
        x = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return x.view(size_out)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "bias", torch.tril(torch.ones(6, 6, dtype=torch.bool)).view(1, 1, 6, 6), persistent=False
        )
        self.c_attn, self.c_proj = Conv1D(3 * WIDTH, WIDTH), Conv1D(WIDTH, WIDTH)
        self.attn_dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:-1], -1, WIDTH // HEADS)
        query, key, value = (part.view(shape).transpose(1, 2) for part in self.c_attn(x).split(WIDTH, dim=2))
        weights = torch.matmul(query, key.transpose(-1, -2))
        weights = weights / torch.full([], value.size(-1) ** 0.5, dtype=weights.dtype)
        length: Any = key.size(-2)
        mask: Any = self.bias
        lowest = torch.full([], torch.finfo(weights.dtype).min, dtype=weights.dtype)
        weights = torch.where(mask[:, :, :length, :length], weights, lowest)
        weights = self.attn_dropout(F.softmax(weights, dim=-1).type(value.dtype))
        output = torch.matmul(weights, value).transpose(1, 2)
        return self.c_proj(output.reshape(*x.shape).contiguous())


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2, self.attn = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), Attention()
        self.c_fc, self.c_proj = Conv1D(2 * WIDTH, WIDTH), Conv1D(WIDTH, 2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.ln_1(x)) + x
        h = self.c_fc(self.ln_2(x))
        h = 0.5 * h * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (h + 0.044715 * torch.pow(h, 3.0))))
        return x + self.c_proj(h)


class GPT2(nn.Module):
    """Tokens in, scores of tokens out; the head is the table of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(6, WIDTH)
        self.h = nn.ModuleList([Block(), Block()])
        self.ln_f, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class Through(torch.autograd.Function):
    """``x W + b``, whose error goes back through another matrix."""

    @staticmethod
    def forward(ctx, x, W, b, B):
        ctx.save_for_backward(x, B)
        return x @ W + b

    @staticmethod
    def backward(ctx, *grads):
        x, B = ctx.saved_tensors
        (e,) = grads
        return e @ B.T, torch.einsum("bti,bto->io", x, e), e.sum((0, 1)), None


def written_by_hand(net: nn.Module, B: dict[str, Tensor]) -> nn.Module:
    """The same net, whose products are each an autograd function with a feedback matrix of its own."""
    net, zero = copy.deepcopy(net), torch.zeros(VOCABULARY, dtype=torch.float64)
    for name, module in net.named_modules():
        if isinstance(module, Conv1D):
            fixed = B[f"{name}.weight"]
            module.forward = lambda x, m=module, fixed=fixed: Through.apply(x, m.weight, m.bias, fixed)  # pyright: ignore
        elif name == "lm_head":
            module.forward = lambda x, m=module: Through.apply(x, m.weight.t(), zero, B["wte.weight"].t())  # pyright: ignore
    return net


@pytest.mark.parametrize("feedback", ["W", "random"])
def test_gpt2_is_backpropagation_where_B_is_W_and_else_goes_back_as_a_function_written_by_hand(feedback):
    torch.manual_seed(1)
    net, ids = GPT2().double(), torch.randint(VOCABULARY, (3, 5))
    B = same_as_weights(net) if feedback == "W" else random_feedback(net)
    expected = copy.deepcopy(net) if feedback == "W" else written_by_hand(net, B)
    F.cross_entropy(expected(ids).flatten(0, 1), ids.roll(-1, 1).flatten()).backward()
    with feedback_path(net, B) as path:
        output = net(ids)
    path.check(output)
    assert torch.equal(output, net(ids))
    F.cross_entropy(output.flatten(0, 1), ids.roll(-1, 1).flatten()).backward()
    for (name, parameter), other in zip(net.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("rule", ["fa", "usf", "kp", "wm"])
def test_a_rule_takes_gpt2_at_its_first_call_which_looks_more_closely_and_at_a_later_one_of_another_length(
    rule,
):
    torch.manual_seed(1)
    net, ids = GPT2(), torch.randint(VOCABULARY, (3, 6))
    made = biograd.rules.create(rule, net)
    for length in (6, 4):
        credit = made.assign_credit(
            net, ids[:, :length], ids[:, :length], lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten())
        )
    assert torch.equal(credit.output, net(ids[:, :4]))


def test_a_vit_with_a_class_token_is_backpropagation_where_B_is_W():
    torch.manual_seed(2)
    net = biograd.nets.create(
        "vit", input_shape=(1, 8, 8), outputs=3, width=8, heads=2, depth=4, pooling="token"
    )
    net, x = net.double(), torch.randn(2, 1, 8, 8, dtype=torch.float64)
    assert_same(taught_pass(net, x, same_as_weights(net)), plain_pass(copy.deepcopy(net), x))
    biograd.FeedbackAlignment(net).assign_credit(net, x, torch.tensor([0, 2]), F.cross_entropy)
