import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.insides import weight_layers
from biograd.errors import UserMistake
from biograd.nets.transformer import Attention, TransformerLayer
from biograd.nets.vit import vit


def test_the_embedding_is_a_convolution_with_a_stride_of_its_kernel():
    torch.manual_seed(0)
    net = vit((3, 4, 6), 5, patch=2, width=8, heads=2, depth=1).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    project = net.embed.project
    kernel = project.weight.unflatten(1, (3, 2, 2))
    patches = F.conv2d(x, kernel, project.bias, stride=2).flatten(2).transpose(1, 2)  # (batch, tokens, width)
    torch.testing.assert_close(net.embed(x), patches + net.embed.positions.offsets)


def attention_by_hand(layer, x):
    """One head at a time, from the equation: softmax(QKᵀ / √d) V."""
    q, k, v = F.linear(layer.norm(x), layer.qkv.weight, layer.qkv.bias).chunk(3, -1)
    heads = []
    for Q, K, V in zip(*(part.chunk(layer.heads, -1) for part in (q, k, v)), strict=True):
        scores = Q @ K.transpose(1, 2) / math.sqrt(Q.shape[-1])
        if layer.is_causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ V)
    return x + layer.out(torch.cat(heads, -1))


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_sublayer_of_attention_is_the_equation_and_its_skip(is_causal):
    torch.manual_seed(0)
    layer = Attention(6, 2, is_causal=is_causal, dropout=0.0).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), attention_by_hand(layer, x))


def test_a_layer_is_attention_and_then_a_perceptron():
    torch.manual_seed(0)
    layer = TransformerLayer(*(6, 2), expansion=3, is_causal=False, activation="relu", dropout=0.0).double()
    x, mlp = torch.randn(2, 5, 6, dtype=torch.float64), layer.mlp
    mixed = attention_by_hand(layer.attention, x)
    torch.testing.assert_close(layer(x), mixed + mlp.down(mlp.up(mlp.norm(mixed)).clamp(min=0)))
    assert mlp.up.out_features == 18


@pytest.mark.parametrize("pooling", ["mean", "token"])
def test_the_readout_reads_the_mean_of_all_tokens_or_the_first(pooling):
    torch.manual_seed(0)
    net = vit((1, 4, 4), 3, width=4, heads=1, depth=1, pooling=pooling).double()
    tokens = torch.randn(2, 5, 4, dtype=torch.float64)
    normalised = F.layer_norm(tokens, (4,))
    read = normalised.mean(1) if pooling == "mean" else normalised[:, 0]
    torch.testing.assert_close(net.head(tokens), net.head.linear(read))
    assert net.embed(torch.zeros(1, 1, 4, 4).double()).shape[1] == (4 if pooling == "mean" else 5)


def test_parts_have_names_that_patterns_take_together():
    net = vit((1, 8, 8), 3, width=4, heads=1, depth=12)
    names = dict(net.named_modules())
    assert [block.name for block in blocks(net)] == ["embed", *(f"layers.{n}" for n in range(12)), "head"]
    sublayers = [name for name, _ in net.layers[3].named_children()]
    assert sublayers == ["attention", "mlp"]
    matrices = [name for name, layer in names.items() if isinstance(layer, nn.Linear) and "layers.3." in name]
    assert [name.removeprefix("layers.3.") for name in matrices] == [
        *("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    ]


def test_offsets_and_tokens_are_no_matrices_that_a_block_is_exact_inside_of():
    embed, layer, head = blocks(vit((1, 8, 8), 3, width=4, heads=1, depth=1, pooling="token"))
    assert weight_layers(embed) == ["embed.project"]
    assert len(weight_layers(layer)) == 4
    assert weight_layers(head) == ["head.linear"]


@pytest.mark.parametrize(("size", "tokens"), [(8, 16), (32, 64)])
def test_patches_suit_the_image(size, tokens):
    assert len(vit((1, size, size), 3, depth=1).embed.positions.offsets) == tokens


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((20,), {}, "vit takes images"),
        ((1, 9, 8), {}, "9 × 8 cannot be cut into patches of 2 × 2"),
        ((3, 32, 32), {"patch": 5}, "choose a patch .* that divides both sides"),
        ((3, 32, 32), {"width": 10}, "4 heads cannot share a width of 10"),
    ],
)
def test_what_does_not_fit_is_refused(shape, settings, words):
    with pytest.raises(UserMistake, match=words):
        vit(shape, 10, **settings)
