"""Decoders: mirrored from every kind of block, or made by a user, and tried before they are kept."""

from typing import Any

import pytest
import torch
from torch import nn

from biograd.credit import blocks
from biograd.credit.back.decoders import Site, make_decoders, sites
from biograd.credit.back.mirror import mirror
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers import (
    FirstUnits,
    InvertibleConv2d,
    LocallyConnected1d,
    LocallyConnected2d,
    LocallyConnected3d,
    LocallyConnectedTranspose2d,
)


def last_site(net: nn.Module, sample: torch.Tensor) -> Site:
    return sites(blocks(net), sample)[-1]


def made(net: nn.Module, sample: torch.Tensor, decoder: Any = "mirror", seed: int = 0) -> Any:
    """The decoder of a net's last block."""
    return make_decoders([last_site(net, sample)], decoder, seed)[0]


def below(shape: tuple[int, ...]) -> tuple[nn.Module, torch.Tensor]:
    """A block that gives ``shape``, and its sample: a layer with one weight a channel, or a linear one."""
    if len(shape) == 1:
        return nn.Linear(3, shape[0]), torch.randn(1, 3)
    kinds: list[Any] = [nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d]
    return kinds[len(shape) - 1](2, shape[0], 1), torch.randn(1, 2, *shape[1:])


LINEAR_MAPS = {
    "linear": ((5,), lambda: [nn.Linear(5, 4, bias=False)]),
    "conv1d, stride 2 leaves one over": ((2, 8), lambda: [nn.Conv1d(2, 3, 3, stride=2, bias=False)]),
    "conv2d, padded": ((2, 5, 5), lambda: [nn.Conv2d(2, 3, 3, padding=1, bias=False)]),
    "conv2d, two sizes": (
        (2, 7, 10),
        lambda: [nn.Conv2d(2, 3, (3, 2), stride=(2, 3), padding=(1, 0), bias=False)],
    ),
    "conv2d, stride above kernel": ((2, 9, 8), lambda: [nn.Conv2d(2, 3, 2, stride=3, bias=False)]),
    "conv2d, dilated": (
        (2, 9, 8),
        lambda: [nn.Conv2d(2, 3, 3, stride=2, padding=1, dilation=2, bias=False)],
    ),
    "conv2d, groups": ((4, 6, 6), lambda: [nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False)]),
    "conv2d, valid": ((2, 5, 5), lambda: [nn.Conv2d(2, 3, 3, padding="valid", bias=False)]),
    "conv2d, same": ((2, 5, 6), lambda: [nn.Conv2d(2, 3, 3, padding="same", bias=False)]),
    "conv2d, same with an even kernel": (
        (2, 5, 6),
        lambda: [nn.Conv2d(2, 3, (4, 2), padding="same", dilation=(1, 3), bias=False)],
    ),
    "conv3d": ((2, 4, 5, 3), lambda: [nn.Conv3d(2, 3, 2, stride=(1, 2, 1), bias=False)]),
    "transposed conv2d": (
        (3, 4, 4),
        lambda: [nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1, bias=False)],
    ),
    "transposed conv1d, more output padding than stride": (
        (3, 4),
        lambda: [nn.ConvTranspose1d(3, 2, 2, stride=2, output_padding=2, dilation=3, bias=False)],
    ),
    "transposed conv3d, groups": ((4, 2, 3, 2), lambda: [nn.ConvTranspose3d(4, 2, 2, groups=2, bias=False)]),
    "locally connected": (
        (2, 7, 6),
        lambda: [LocallyConnected2d(2, 3, 3, (7, 6), stride=2, padding=1, bias=False)],
    ),
    "locally connected, same and groups": (
        (4, 5, 6),
        lambda: [LocallyConnected2d(4, 2, (2, 3), (5, 6), padding="same", groups=2, bias=False)],
    ),
    "locally connected 1d": (
        (2, 8),
        lambda: [LocallyConnected1d(2, 3, 3, 8, stride=2, padding=1, dilation=2, bias=False)],
    ),
    "locally connected 3d": (
        (2, 3, 4, 2),
        lambda: [LocallyConnected3d(2, 3, 2, (3, 4, 2), stride=(1, 2, 1), bias=False)],
    ),
    "invertible convolution": ((2, 6, 6), lambda: [InvertibleConv2d(2, 2, stride=2, bias=False)]),
    "flattened": ((2, 3, 3), lambda: [nn.Flatten(), nn.Linear(18, 4, bias=False)]),
    "unflattened": ((18,), lambda: [nn.Unflatten(1, (2, 3, 3)), nn.Conv2d(2, 3, 2, bias=False)]),
    "zeros around": ((2, 5, 4), lambda: [nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(2, 3, 3, bias=False)]),
    "cut off": ((2, 5, 4), lambda: [nn.ConstantPad2d((-1, 0, 0, -2), 0.0), nn.Conv2d(2, 3, 2, bias=False)]),
    "unflattened, then zeros around": (
        (18,),
        lambda: [nn.Unflatten(1, (2, 3, 3)), nn.ZeroPad2d((0, 1, 2, 0)), nn.Conv2d(2, 3, 2, bias=False)],
    ),
    "conv2d, same with one even side": (
        (2, 5, 6),
        lambda: [nn.Conv2d(2, 3, (2, 3), padding="same", bias=False)],
    ),
    "sequences": ((3, 5), lambda: [nn.Linear(5, 4, bias=False)]),
}
"""Blocks that are linear maps: the shape of an input and the layers."""


def _with_weights_of(decoder: Any, layer: Any) -> Any:
    """The decoder with the layer's own weights, transposed by its geometry alone, and no bias."""
    own = next(m for m in decoder.modules() if hasattr(m, "weight"))
    with torch.no_grad():
        own.weight.copy_(layer.weight.t() if isinstance(layer, nn.Linear) else layer.weight)
        own.bias.zero_()
    return decoder


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", LINEAR_MAPS)
def test_a_mirror_with_the_layers_own_weights_is_its_transpose(name):
    torch.manual_seed(0)
    shape, make = LINEAR_MAPS[name]
    first, sample = below(shape)
    layers = make()
    net = nn.Sequential(first, *layers).double()
    layer = next(m for m in layers if hasattr(m, "weight"))
    decoder = _with_weights_of(made(net, sample.double()), layer)
    u = torch.randn(2, *shape, dtype=torch.float64)
    image = nn.Sequential(*layers)(u)
    x = torch.randn_like(image)
    torch.testing.assert_close((image * x).sum(), (u * decoder(x)).sum(), rtol=1e-12, atol=1e-12)


SHAPES = {
    "max pooling": ((2, 7, 7), lambda: [nn.Conv2d(2, 3, 3), nn.Tanh(), nn.MaxPool2d(2)]),
    "pooling twice": ((2, 12), lambda: [nn.Conv1d(2, 3, 3), nn.MaxPool1d(2), nn.Tanh(), nn.AvgPool1d(2)]),
    "global pooling": ((2, 7, 7), lambda: [nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1)]),
    "global pooling, flattened": (
        (2, 7, 7),
        lambda: [nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    ),
    "maps flattened behind": ((2, 4, 4), lambda: [nn.Conv2d(2, 3, 3), nn.Flatten()]),
    "first units": ((5,), lambda: [nn.Linear(5, 5), nn.Tanh(), FirstUnits(2)]),
    "first channels": ((4, 5, 5), lambda: [nn.Conv2d(4, 6, 3, groups=2), FirstUnits(3)]),
    "first local channels": (
        (2, 5, 5),
        lambda: [LocallyConnected2d(2, 6, 3, (5, 5)), FirstUnits(3), nn.AvgPool2d(3)],
    ),
    "reflected around": ((2, 5, 4), lambda: [nn.ReflectionPad2d(1), nn.Conv2d(2, 3, 3)]),
    "circular": ((2, 5, 4), lambda: [nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")]),
    "normalised": ((2, 5, 4), lambda: [nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout2d(0.2)]),
    "dropout in front": ((5,), lambda: [nn.Dropout(0.5), nn.Linear(5, 4), nn.LayerNorm(4)]),
}
"""Blocks that lose something on the way."""


@pytest.mark.parametrize("name", SHAPES)
def test_a_mirror_gives_back_the_size_of_the_input_and_learns_with_all_it_has(name):
    shape, make = SHAPES[name]
    first, sample = below(shape)
    layers = make()
    decoder = made(nn.Sequential(first, *layers), sample)
    with torch.no_grad():
        z = nn.Sequential(*layers)(torch.randn(4, *shape))
    back = decoder(z)
    assert back.shape == (4, *shape)
    back.square().sum().backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_pooling_is_undone_by_repeating_each_value():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.AvgPool2d(2))
    decoder = made(net, torch.zeros(1, 1, 4, 4))
    z = torch.randn(1, 2, 2, 2)
    torch.testing.assert_close(decoder[0](z), z.repeat_interleave(2, 2).repeat_interleave(2, 3))


NONLINEARITIES = {
    "tanh": ([nn.Tanh()], nn.Tanh),
    "relu": ([nn.ReLU(inplace=True)], nn.ReLU),
    "leaky relu behind a norm and before pooling": (
        [nn.BatchNorm2d(3), nn.LeakyReLU(0.2), nn.MaxPool2d(2)],
        nn.LeakyReLU,
    ),
    "none": ([], None),
    "a norm behind it": ([nn.Tanh(), nn.BatchNorm2d(3)], None),
    "the last of two": ([nn.Tanh(), nn.ReLU()], nn.ReLU),
    "one with a random slope": ([nn.RReLU(0.1, 0.3)], nn.LeakyReLU),
    "one that learns": ([nn.PReLU(3)], nn.PReLU),
}


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.PReLU(3)], ids=str)
def test_what_watches_a_nonlinearity_of_the_net_does_not_see_its_decoder(layer):
    seen = []
    layer.register_forward_hook(lambda *_: seen.append("forward"))
    layer.register_forward_pre_hook(lambda *_: seen.append("before"))
    layer.register_full_backward_hook(lambda *_: seen.append("back"))
    decoder = made(nn.Sequential(nn.Linear(3, 3), layer, nn.Linear(3, 2)), torch.zeros(1, 3))
    seen.clear()
    decoder(torch.ones(1, 2)).sum().backward()
    assert isinstance(decoder[-1], type(layer))
    assert not seen


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_a_mirror_ends_in_the_nonlinearity_that_the_block_below_ends_in(name):
    layers, kind = NONLINEARITIES[name]
    net = nn.Sequential(nn.Conv2d(1, 3, 1), *layers, nn.Conv2d(3, 2, 3), nn.Sigmoid())
    decoder = made(net, torch.zeros(1, 1, 8, 8))
    if kind is None:
        assert isinstance(decoder[-1], nn.ConvTranspose2d)
    else:
        assert type(decoder[-1]) is kind
        assert not getattr(decoder[-1], "inplace", False)
        assert decoder[-1] not in list(net.modules())


def test_a_random_slope_is_mirrored_by_its_mean():
    net = nn.Sequential(nn.Linear(2, 3), nn.RReLU(0.1, 0.3), nn.Linear(3, 2))
    assert made(net, torch.zeros(1, 2))[-1].negative_slope == pytest.approx(0.2)


def test_a_linear_mirror_takes_its_tanh_with_the_product():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()
    decoder = made(net, torch.zeros(1, 1, 2, 2, dtype=torch.float64))
    z = torch.randn(4, 3, dtype=torch.float64)
    expected = torch.tanh(z @ decoder[0].weight.t() + decoder[0].bias).view(4, 2, 2, 2)
    torch.testing.assert_close(decoder(z), expected, rtol=1e-14, atol=1e-14)


def glorot_bound(net: nn.Module, sample: torch.Tensor) -> tuple[Any, float]:
    layer = next(m for m in made(net, sample).modules() if hasattr(m, "weight"))
    return layer, float(layer.weight.detach().abs().max())


def test_weights_start_as_glorots_and_biases_at_zero():
    cases = [
        (nn.Sequential(nn.Linear(2, 300), nn.Linear(300, 200)), torch.zeros(1, 2), 500),
        (nn.Sequential(nn.Conv2d(1, 20, 1), nn.Conv2d(20, 30, 3)), torch.zeros(1, 1, 5, 5), 50 * 9),
        (
            nn.Sequential(nn.Conv2d(1, 20, 1), LocallyConnected2d(20, 30, 3, (5, 5))),
            torch.zeros(1, 1, 5, 5),
            50 * 9,
        ),
    ]
    for net, sample, fans in cases:
        layer, largest = glorot_bound(net, sample)
        bound = (6 / fans) ** 0.5
        assert 0.99 * bound < largest <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert not layer.bias.any()


def test_decoders_are_a_function_of_the_seed_alone_and_leave_the_global_generator():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    places = sites(blocks(net), None)

    def drawn(seed: int, global_seed: int) -> torch.Tensor:
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        decoders = make_decoders(places, "mirror", seed)
        assert torch.equal(torch.get_rng_state(), state)
        return torch.cat([p.detach().flatten() for p in decoders.parameters()])

    assert torch.equal(drawn(3, 0), drawn(3, 1))
    assert not torch.equal(drawn(3, 0), drawn(4, 0))
    assert not torch.equal(drawn(3, 0)[:16], drawn(3, 0)[20:36])  # of two decoders
    double = make_decoders(sites(blocks(net.double()), None), "mirror", 3)
    assert torch.equal(next(double.parameters()).float().flatten(), drawn(3, 0)[:16])


def test_a_frozen_net_has_decoders_that_learn():
    net = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2))
    net.requires_grad_(False)
    own = [p for p in made(net, torch.zeros(1, 3)).parameters() if p.requires_grad]
    assert len(own) == 2  # the nonlinearity stays as it is


class Unit(nn.Module):
    """A residual unit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        return x + torch.tanh(self.inner(x))


class Mean(nn.Module):
    """The mean over sequences."""

    def forward(self, x):
        return x.mean(1)


REFUSED = {
    "a residual unit": (nn.Sequential(nn.Linear(3, 4), Unit(4)), torch.zeros(1, 3), "opens with a Unit"),
    "a mean over sequences": (
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), Mean()),
        torch.zeros(1, 5, 3),
        "its Mean makes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_mirror_is_refused_in_one_line_with_what_to_do(name):
    net, sample, reason = REFUSED[name]
    with pytest.raises(UnsupportedNet, match=reason) as caught:
        made(net, sample)
    assert "decoder=" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auxiliary_outputs_find_no_place_behind_flattened_maps():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 3, 3), nn.Flatten())
    site = last_site(net, torch.zeros(1, 1, 4, 4))
    assert mirror(site)(torch.zeros(1, 12)).shape == (1, 2, 4, 4)
    with pytest.raises(UnsupportedNet, match="its Flatten makes"):
        mirror(Site(site.block, site.below, site.shapes, auxiliary=3))


@pytest.mark.parametrize("pooled", [False, True])
def test_auxiliary_outputs_widen_the_mirror(pooled):
    conv = [nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    first, shape = (nn.Conv2d(1, 2, 1), (1, 4, 4)) if pooled else (nn.Linear(4, 4), (4,))
    net = nn.Sequential(first, *(conv if pooled else [nn.Linear(4, 3)]))
    site = last_site(net, torch.zeros(1, *shape))
    wider = Site(site.block, site.below, site.shapes, auxiliary=7)
    assert wider.given == (10,)
    assert mirror(wider)(torch.zeros(2, 10)).shape == (2, *wider.wanted)


NET = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_a_decoder_of_ones_own_is_given_its_site_and_taken_as_it_is():
    seen: list[Site] = []

    def exact(site: Site) -> nn.Module:
        seen.append(site)
        return nn.Linear(site.given[0], site.wanted[0])

    decoder = made(NET, torch.zeros(1, 3), exact)
    assert isinstance(decoder, nn.Linear)
    assert (seen[0].block.name, seen[0].below.name, seen[0].given, seen[0].wanted) == ("2", "0", (2,), (4,))


def test_a_decoder_of_ones_own_can_be_named_by_its_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n\ndef Mine(site):\n    return torch.nn.Linear(site.given[0], site.wanted[0], bias=False)\n"
    )
    decoder = made(NET, torch.zeros(1, 3), f"{file}:Mine")
    assert isinstance(decoder, nn.Linear)
    assert decoder.bias is None


def test_a_decoder_of_ones_own_is_tried_without_touching_its_statistics():
    def normalised(site: Site) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5).eval())

    decoder = made(NET, torch.zeros(1, 3), normalised)
    assert [m.training for m in decoder.modules()] == [True, True, True, False]
    assert decoder[1].num_batches_tracked == 0


WRONG = {
    "no module": (lambda site: torch.tanh, "made a .*, expected an nn.Module"),
    "another output": (lambda site: nn.Linear(2, 5), r"gives \(2, 5\) for \(2, 2\), expected .* \(2, 4\)"),
    "another input": (lambda site: nn.Linear(3, 4), r"does not take \(2, 2\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_decoder_that_does_not_fit_is_a_mistake_told_in_one_line(name):
    decoder, message = WRONG[name]
    with pytest.raises(UserMistake, match=message) as caught:
        made(NET, torch.zeros(1, 3), decoder)
    assert "block '2'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_a_mistake_that_says_which_there_are():
    with pytest.raises(UserMistake, match="unknown decoder 'miror': did you mean 'mirror'"):
        made(NET, torch.zeros(1, 3), "miror")


def test_linear_decoders_of_a_local_net_keep_its_sparsity():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), LocallyConnected2d(2, 3, 3, (5, 5)), nn.Tanh())
    decoder = made(net, torch.zeros(1, 1, 5, 5))
    assert isinstance(decoder[0], LocallyConnectedTranspose2d)
    z = torch.zeros(1, 3, 3, 3)
    z[0, 0, 0, 0] = 1
    reached = (decoder(z) != 0).any(1)[0]
    assert reached[:3, :3].all()
    assert int(reached.sum()) == 9
