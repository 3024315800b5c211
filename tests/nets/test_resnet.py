import pytest
import torch
import torch.nn.functional as F
from torch import nn

from biograd.credit.chain.blocks import blocks
from biograd.credit.chain.shapes import output_shapes
from biograd.errors import UserMistake
from biograd.nets.resnet import ResidualUnit, SubsampledShortcut, resnet18, resnet20, resnet56


def count(net):
    return sum(p.numel() for p in net.parameters())


def convolutions_and_linear_layers(net):
    return sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in net.modules())


@pytest.mark.parametrize(
    ("make", "depth", "parameters"),
    [
        (resnet20, 20, 269_722),  # 272,474 where option B's projections are counted
        (resnet56, 56, 853_018),  # 855,770 with option B
    ],
)
def test_cifar_nets_have_the_paper_s_depth_and_number_of_parameters(make, depth, parameters):
    with torch.device("meta"):
        net = make((3, 32, 32), 10)
    assert convolutions_and_linear_layers(net) == depth
    assert count(net) == parameters


def test_resnet18_has_the_usual_number_of_parameters():
    with torch.device("meta"):
        net = resnet18((3, 224, 224), 1000)
    assert convolutions_and_linear_layers(net) == 18 + 3  # three projections
    assert count(net) == 11_689_512


def test_the_small_stem_makes_the_resnet18_used_on_cifar():
    with torch.device("meta"):
        net = resnet18((3, 32, 32), 10, stem="small")
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert count(net) == 11_173_962


def test_a_shortcut_takes_every_second_position_and_adds_channels_of_zeros():
    x = torch.arange(2 * 1 * 3 * 4.0).reshape(2, 1, 3, 4)
    taken = SubsampledShortcut(new_channels=2, stride=2)(x)
    assert taken.shape == (2, 3, 2, 2)
    assert taken[1, 0].tolist() == [[12, 14], [20, 22]]
    assert not taken[:, 1:].any()


def normalised(norm, x):
    """Batch normalisation in evaluation mode, written out."""
    mean, variance, weight, bias = (
        value.reshape(1, -1, 1, 1) for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (variance + norm.eps).sqrt() * weight + bias


@pytest.mark.parametrize(("into", "out", "stride"), [(4, 4, 1), (4, 6, 2)])
def test_a_unit_adds_its_shortcut_before_the_last_nonlinearity(into, out, stride):
    torch.manual_seed(0)
    unit = ResidualUnit(into, out, stride=stride, option="A").double()
    for norm in (unit.norm1, unit.norm2):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(2, into, 6, 6, dtype=torch.float64)
    hidden = normalised(unit.norm1, F.conv2d(x, unit.conv1.weight, stride=stride, padding=1)).clamp(min=0)
    inner = normalised(unit.norm2, F.conv2d(hidden, unit.conv2.weight, padding=1))
    inner[:, :into] += x[:, :, ::stride, ::stride]
    torch.testing.assert_close(unit.eval()(x), inner.clamp(min=0))


def test_option_b_projects():
    torch.manual_seed(0)
    unit = ResidualUnit(4, 6, stride=2, option="B").eval()
    projection, norm = unit.shortcut
    x = torch.randn(2, 4, 7, 7)
    expected = F.conv2d(x, projection.weight, stride=2) / (1 + norm.eps) ** 0.5
    torch.testing.assert_close(unit.shortcut(x), expected)
    assert unit(x).shape == (2, 6, 4, 4)


def test_every_residual_unit_is_a_block():
    net = resnet20((3, 32, 32), 10)
    chain = blocks(net)
    kinds = [type(block.opening).__name__ for block in chain]
    assert kinds == ["Conv2d", *["ResidualUnit"] * 9, "Linear"]
    shapes = [tuple(shape) for shape in output_shapes(chain, torch.zeros(1, 3, 32, 32))]
    assert shapes == [
        *[(16, 32, 32)] * 4,
        *[(32, 16, 16)] * 3,
        *[(64, 8, 8)] * 2,
        (64, 1, 1),  # the average closes the last unit
        (10,),
    ]


def test_resnet18_is_cut_likewise():
    with torch.device("meta"):
        chain = blocks(resnet18((3, 224, 224), 1000))
        shapes = output_shapes(chain, torch.zeros(1, 3, 224, 224))
    assert [type(block.opening).__name__ for block in chain] == ["Conv2d", *["ResidualUnit"] * 8, "Linear"]
    assert tuple(shapes[0]) == (64, 56, 56)
    assert [shape[0] for shape in shapes] == [64, 64, 64, 128, 128, 256, 256, 512, 512, 1000]


def test_weights_start_as_in_he_2015_and_normalisation_as_the_identity():
    torch.manual_seed(0)
    net = resnet20((3, 32, 32), 10)
    last = [layer for layer in net if isinstance(layer, ResidualUnit)][-1]
    assert last.conv2.weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.03)
    assert torch.equal(last.norm2.weight, torch.ones(64))


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (resnet20, (3, 7, 8), "resnet20 takes images .* at least 8 × 8"),
        (resnet56, (784,), "resnet56 takes images .* at least 8 × 8"),
        (resnet18, (3, 32, 32), 'choose stem "small".* at least 64 × 64'),
    ],
)
def test_images_too_small_are_refused(make, shape, words):
    with pytest.raises(UserMistake, match=words):
        make(shape, 10)


def test_an_unknown_stem_is_refused():
    with pytest.raises(UserMistake, match="stem"):
        resnet18((3, 224, 224), 10, stem="tiny")
