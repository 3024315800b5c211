"""A kind of layer is one entry: what is said of each is true, and a new one is known to everything at once."""

import copy
import math
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

import biograd
from biograd.credit import blocks, feedback_path, kinds, taught_weights
from biograd.credit.back.decoders import make_decoders, sites
from biograd.credit.back.inverses import ExactInverse, KeptInverse
from biograd.credit.back.invertible_blocks import InvertibleBlock, bijection
from biograd.credit.back.mirror import own_nonlinearity
from biograd.credit.back.weight_matrices import (
    as_matrices,
    as_weight,
    require_invertible_kind,
    weight_matrices,
)
from biograd.credit.calls import Call
from biograd.credit.chain.shapes import output_shapes
from biograd.credit.kinds import (
    KINDS,
    Exact,
    LayerKind,
    Matrices,
    Neurons,
    Weight,
    enter,
    has_filters,
    has_neurons,
    incoming_axes,
    input_shape,
    is_silent,
    is_unit_by_unit,
    kind_of,
    nearest_kind,
    neuron_axis,
    neurons,
    positions_sharing,
    shares_weights,
)
from biograd.credit.kinds.bijections import Bijection
from biograd.credit.side_effects import without_side_effects
from biograd.errors import UnsupportedNet
from biograd.layers import FirstUnits, InvertibleConv2d, LocallyConnected, LocallyConnectedTranspose2d
from biograd.layers.weight_layout import WeightLayout
from tests.credit.layers import LAYERS

ITS_OWN = [name for name in LAYERS if "unbatched" not in name and "1-d" not in name]
"""Layers of `LAYERS` that are shown a batch."""


def made(name: str) -> tuple[Any, Tensor]:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    return make().double(), torch.randn(shape, dtype=torch.float64)


def test_no_type_stands_in_two_entries():
    types = [kind for entry in KINDS for kind in entry.types]
    assert len(types) == len(set(types))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", [name for name in ITS_OWN if has_filters(LAYERS[name][0]())])
def test_a_neurons_output_depends_on_its_own_slice_of_the_weight_alone(name):
    layer, x = made(name)
    output = layer(x).movedim(neuron_axis(layer), -1)  # (batch, positions …, neurons)
    assert output.shape[-1] == neurons(layer)
    (gradient,) = torch.autograd.grad(output[..., 1].sum(), layer.weight)
    reached = gradient.abs().sum(incoming_axes(layer)).view(-1, neurons(layer)).sum(0)
    assert reached.nonzero().flatten().tolist() == [1]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", [name for name in ITS_OWN if has_neurons(LAYERS[name][0]())])
def test_weights_are_counted_at_as_many_positions_as_share_them(name):
    layer, x = made(name)
    output = layer(x)
    positions = output[0].numel() // neurons(layer)
    assert positions_sharing(layer, output) == (positions if shares_weights(layer) else 1)
    assert shares_weights(layer) != isinstance(layer, LocallyConnected)


@pytest.mark.parametrize(
    ("layer", "filters"),
    [
        (nn.Linear(2, 3), True),
        (nn.ConvTranspose1d(2, 3, 2), False),
        (InvertibleConv2d(2, 3), True),
        (LocallyConnectedTranspose2d(2, 3, 2, (3, 3)), None),
        (nn.Bilinear(2, 2, 2), None),
        (nn.Embedding(2, 2), None),
        (nn.Tanh(), None),
        (nn.Sequential(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_have_neurons_and_these_filters_of_their_own_or_not(layer, filters):
    assert has_neurons(layer) == (filters is not None)
    assert has_filters(layer) == bool(filters)


def test_a_layer_that_tells_its_input_tells_it():
    assert input_shape(nn.Linear(5, 2)) == (5,)
    assert input_shape(nn.Conv1d(5, 2, 1)) is None
    assert input_shape(nn.Tanh()) is None


SMALL: list[nn.Module] = [
    *(nn.Linear(2, 2), nn.Conv1d(2, 2, 1), nn.ConvTranspose1d(2, 2, 1), nn.Identity(), nn.Flatten()),
    *(nn.Tanh(), nn.ReLU(), nn.LeakyReLU(), nn.RReLU(), nn.PReLU(), nn.Softmax(1), nn.Hardtanh(), nn.SELU()),
    *(nn.LayerNorm(2), nn.RMSNorm(2), nn.GroupNorm(1, 2), nn.BatchNorm1d(2), nn.InstanceNorm1d(2)),
    *(nn.Dropout(), nn.AlphaDropout(), nn.Dropout1d(), nn.ConstantPad1d(1, 0.0), nn.ReflectionPad1d(1)),
    *(nn.MaxPool1d(2), nn.AvgPool1d(2), nn.AdaptiveMaxPool1d(1), nn.AdaptiveAvgPool1d(1), FirstUnits(1)),
]


@pytest.mark.parametrize("layer", SMALL, ids=str)
def test_what_is_called_silent_has_no_buffers_and_draws_nothing(layer):
    before = torch.get_rng_state()
    layer(torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)))
    is_quiet = not list(layer.buffers()) and torch.equal(torch.get_rng_state(), before)
    assert is_silent(layer) <= is_quiet
    assert is_silent(layer) == (
        not isinstance(layer, nn.RReLU | nn.modules.dropout._DropoutNd | nn.modules.batchnorm._NormBase)
    )


@pytest.mark.parametrize("layer", SMALL, ids=str)
def test_what_is_called_unit_by_unit_mixes_no_units(layer):
    if isinstance(layer, nn.Flatten):
        return  # it has no units of its own
    x = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    output = layer.eval()(x)
    if output.shape != x.shape:
        assert not is_unit_by_unit(layer)
        return
    (gradient,) = torch.autograd.grad(output[:, 0].square().sum(), x)
    assert not (is_unit_by_unit(layer) and gradient[:, 1].any())


def test_a_subclass_is_of_its_nearest_kind_and_exactly_so_with_the_forward_of_it():
    class Named(nn.Linear):
        pass

    class Scaled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    linear = kind_of(nn.Linear(2, 2))
    assert linear is not None
    assert kind_of(Named(2, 2)) is nearest_kind(Named(2, 2)) is nearest_kind(Scaled(2, 2)) is linear
    assert kind_of(Scaled(2, 2)) is None
    assert is_silent(nn.Linear(2, 2))
    assert not is_silent(Named(2, 2))
    assert nearest_kind(nn.Sequential()) is None


class Shared(nn.Module):
    """A matrix that a linear layer multiplies by, and another layer uses as its own parameter."""

    def __init__(self, other, x):
        super().__init__()
        self.linear, self.other, self.x = nn.Linear(4, 3), other, x
        self.other.weight = self.linear.weight

    def forward(self, input):
        return self.linear(input).sum() + self.other(self.x).sum()


SHARING = {
    "layer norm": lambda: Shared(nn.LayerNorm((3, 4)), torch.randn(2, 3, 4)),
    "embedding": lambda: Shared(nn.Embedding(3, 4), torch.tensor([0, 2])),
    "embedding bag": lambda: Shared(nn.EmbeddingBag(3, 4), torch.tensor([[0, 2]])),
}


@pytest.mark.parametrize("name", SHARING)
def test_a_taught_weight_may_be_used_where_no_error_travels_through_it(name):
    net = SHARING[name]()
    with feedback_path(net, {"linear.weight": torch.zeros(3, 4)}) as path:
        output = path.forward(net, torch.ones(2, 4))
    path.check(output)
    path.backward(output)
    assert net.linear.weight.grad.any()


@pytest.mark.parametrize(
    "behind", [nn.Flatten(), nn.Dropout(), nn.MaxPool1d(1), nn.AdaptiveAvgPool1d(1), nn.Identity()]
)
def test_a_nonlinearity_is_found_behind_what_keeps_its_range_and_nothing_else(behind):
    layers = (nn.Conv1d(1, 1, 1), nn.Sigmoid())
    (block,) = blocks(nn.Sequential(*layers, behind))
    assert isinstance(own_nonlinearity(block), nn.Sigmoid)
    (block,) = blocks(nn.Sequential(*layers, nn.BatchNorm1d(1), behind))
    assert own_nonlinearity(block) is None


def test_a_weight_that_is_computed_from_others_is_read_as_it_is():
    layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    assert torch.equal(weight_matrices(layer), layer.weight.t())
    assert incoming_axes(layer) == (1,)
    assert output_shapes(blocks(nn.Sequential(layer)), None) == [(2,)]


# A kind that nothing knows: a linear layer whose weight lies the other way round, by a function of its own.


class RowProduct:
    """``x W + b``, W ``(in, out)``."""

    needs_input: ClassVar[bool] = False

    def forward(self, x, weight, bias):
        return x @ weight if bias is None else x @ weight + bias

    def backward(self, grad, x, feedback, needs, magnitude=None):
        rows, inputs = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1]) if needs[1] else None
        B = feedback if magnitude is None else torch.copysign(magnitude, feedback)
        return (
            grad @ B.t() if needs[0] else None,
            inputs.t() @ rows if inputs is not None else None,
            rows.sum(0) if needs[2] else None,
        )


def row_product(x, weight, bias=None):
    if has_torch_function((x, weight, bias)):
        return handle_torch_function(row_product, (x, weight, bias), x, weight, bias)
    return RowProduct().forward(x, weight, bias)


class ProductOfRows(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, out_features) / in_features**0.5)
        self.register_parameter("bias", nn.Parameter(torch.randn(out_features)) if bias else None)

    def forward(self, input):
        return row_product(input, self.weight, self.bias)


class InputsFirst(ProductOfRows):
    """The layer with an entry."""


class NotEntered(ProductOfRows):
    """The same layer, of which nobody says what it is."""


class Table(nn.Module):
    """A normalisation with a scale in two dimensions."""

    def __init__(self, units):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1, units))

    def forward(self, input):
        return scaled(input, self.scale)


def scaled(input, scale):
    if has_torch_function((input, scale)):
        return handle_torch_function(scaled, (input, scale), input, scale)
    return input * scale


class Softened(nn.Module):
    def forward(self, input):
        return input.sinh()


class Reversed(nn.Module):
    """Leads a block, and puts a dimension behind."""

    def forward(self, input):
        return input.flip(1)[..., None]


@pytest.fixture(scope="module", autouse=True)
def _entries():
    """All that is said of the four, nowhere else; afterwards they are unknown again, as refusals list what is known."""
    registries = (kinds.KINDS, kinds._BY_TYPE, kinds.PARSERS, kinds.EXACT_FUNCTIONS, kinds.EXACT_NODES)
    before = [copy.copy(registry) for registry in registries]
    _enter_all()
    yield
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        (registry.extend if isinstance(registry, list) else registry.update)(content)
    kinds._NEAREST.clear()


def _enter_all():
    enter(
        LayerKind(
            types=(InputsFirst,),
            place="opens",
            is_silent=True,
            weight=Weight(
                function=row_product,
                parse=lambda x, weight, bias=None: Call(x, weight, bias, RowProduct()),
                neurons=Neurons(axis=-1, count=lambda layer: layer.weight.shape[1]),
                matrices=Matrices(layout=WeightLayout(positions=0, outputs=-1), multiplies_rows=True),
                mirror=lambda layer, channels, into, out: [InputsFirst(channels, into[-1])],
                input_shape=lambda layer: (layer.weight.shape[0],),
            ),
        )
    )
    enter(LayerKind(types=(Table,), place="closes", is_silent=True, feedback=Exact(functions=(scaled,))))
    enter(
        LayerKind(
            types=(Softened,),
            is_silent=True,
            is_unit_by_unit=True,
            nonlinearity=lambda layer: Softened(),
            bijection=lambda layer, margin: Bijection(torch.sinh, torch.asinh, lambda y: (1 + y * y).sqrt()),
        )
    )
    enter(
        LayerKind(
            types=(Reversed,),
            place="leads",
            undo=lambda layer, before, after: [nn.Flatten()],
        )
    )


def net_of_new_kinds(kind: Any = InputsFirst) -> Any:
    torch.manual_seed(0)
    layers = [kind(5, 4), Table(4), Softened(), kind(4, 4), Softened(), kind(4, 3)]
    return nn.Sequential(*layers).double()


def test_blocks_are_cut_at_a_new_kind():
    chain = blocks(net_of_new_kinds())
    assert [(block.name, len(block.layers)) for block in chain] == [("0", 3), ("3", 2), ("5", 1)]
    assert [type(layer) for layer in chain[0].driving] == [InputsFirst, Table]
    led = blocks(nn.Sequential(nn.Linear(2, 2), Reversed(), nn.Conv1d(2, 2, 1)))[1]
    assert [type(layer) for layer in led.leading] == [Reversed]


def test_its_neurons_are_counted_and_its_fan_in_is_known():
    layer = net_of_new_kinds()[0]
    assert (neurons(layer), neuron_axis(layer), incoming_axes(layer)) == (4, -1, (0,))
    assert has_filters(layer)
    assert input_shape(layer) == (5,)
    kind = kind_of(layer)
    assert kind is not None
    assert kind.weight is not None
    assert kind.weight.matrices is not None
    assert kind.weight.matrices.layout.fans(layer.weight) == (5, 4)


@pytest.mark.parametrize(
    "make",
    [lambda layer: ExactInverse("3", None), lambda layer: KeptInverse("3", weight_matrices(layer), 1e-9)],
)
def test_signals_go_back_through_its_inverse(make):
    layer = net_of_new_kinds()[3]
    require_invertible_kind(layer, "3")
    W = layer.weight.detach()
    assert torch.equal(weight_matrices(layer), W)
    assert torch.equal(as_weight(layer, as_matrices(layer, W), W), W)
    delta, x = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    e = make(layer)(layer, delta, x)
    torch.testing.assert_close(e, delta @ W.inverse(), rtol=1e-9, atol=1e-9)


def test_signals_go_back_through_the_pseudo_inverse_of_a_part_of_it():
    layer = net_of_new_kinds()[3]
    W, delta = layer.weight.detach()[:, :2], torch.randn(6, 4, dtype=torch.float64)
    e = ExactInverse("3", 2)(layer, delta, torch.randn(6, 4, dtype=torch.float64))
    torch.testing.assert_close(e, delta[:, :2] @ torch.linalg.pinv(W), rtol=1e-9, atol=1e-9)


def test_a_block_of_it_and_of_a_new_nonlinearity_is_undone():
    block = blocks(net_of_new_kinds())[1]
    found = InvertibleBlock.of(block, 1e-6, is_first=False)
    x = torch.randn(6, 4, dtype=torch.float64)
    torch.testing.assert_close(found.invert(block(x).detach(), torch.zeros_like(x)), x, rtol=1e-9, atol=1e-9)
    assert bijection(Softened(), 1e-6, "3").forward is torch.sinh


def test_its_decoder_is_mirrored_and_ends_in_the_new_nonlinearity():
    net = net_of_new_kinds()
    decoders: Any = make_decoders(sites(blocks(net), None), "mirror", 0)
    assert [[type(layer) for layer in decoder] for decoder in decoders] == [[InputsFirst, Softened]] * 2
    assert decoders[1](torch.zeros(2, 3, dtype=torch.float64)).shape == (2, 4)
    bound = math.sqrt(6 / 7)
    assert 0 < decoders[1][0].weight.abs().max() <= bound
    assert not decoders[1][0].bias.any()
    led = nn.Sequential(nn.Linear(2, 2), Reversed(), nn.Conv1d(2, 3, 1))
    mirrored: Any = make_decoders(sites(blocks(led), None), "mirror", 0)[0]
    assert [type(layer) for layer in mirrored] == [nn.ConvTranspose1d, nn.Flatten]


def test_errors_travel_back_through_feedback_weights_in_its_place():
    net = net_of_new_kinds()
    assert list(taught_weights(net)) == ["0.weight", "3.weight", "5.weight"]
    B = {name: torch.randn_like(weight) for name, weight in taught_weights(net).items()}
    x = torch.randn(6, 5, dtype=torch.float64)
    with feedback_path(net, B) as path:
        output = net(x)
    path.check(output)
    path.backward(output.square().sum())
    h0 = net[1](net[0](x)).detach()
    z1 = net[3](h0.sinh()).detach()
    told = (
        2 * output @ B["5.weight"].t() * z1.cosh() @ B["3.weight"].t() * h0.cosh() * net[1].scale
    ).detach()
    torch.testing.assert_close(net[0].weight.grad, x.t() @ told)
    torch.testing.assert_close(net[0].bias.grad, told.sum(0))


@pytest.mark.parametrize("rule", ["fa", "usf", "dfa", "dtp", "gait-prop"])
def test_rules_teach_it(rule):
    net = net_of_new_kinds()
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randint(3, (6,))
    biograd.rules.create(rule, net, sample=x[:1]).assign_credit(net, x, y, F.cross_entropy)
    assert all(net[place].weight.grad.any() for place in (0, 3, 5))


@pytest.mark.parametrize("rule", ["pepita", "dfa", "stdp-association"])
def test_no_sample_is_needed_where_it_tells_its_input(rule):
    biograd.rules.create(rule, net_of_new_kinds())


def test_it_runs_again_without_anything_being_put_back(monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr(torch.random, "fork_rng", fail)
    with without_side_effects(net_of_new_kinds(), torch.device("cpu")):
        pass


def test_without_its_entry_nothing_of_this_is_known():
    net, x = net_of_new_kinds(NotEntered), torch.randn(1, 5, dtype=torch.float64)
    assert not is_silent(net[3])
    assert not has_neurons(net[3])
    with pytest.raises(UnsupportedNet, match="NotEntered, whose inverse is not known"):
        require_invertible_kind(net[3], "3")
    with pytest.raises(UnsupportedNet, match="NotEntered depend on the input"):
        sites(blocks(net), None)
    with pytest.raises(UnsupportedNet, match="it opens with a NotEntered"):
        make_decoders(sites(blocks(net), x), "mirror", 0)
