import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers import LocallyConnected2d
from biograd.rules import stdp_association
from biograd.rules.stdp_association import draw_codes


def mlp():
    return nn.Sequential(
        *(
            nn.Linear(9, 12),
            nn.ReLU(),
            nn.Linear(12, 12),
            nn.ReLU(),
            nn.Linear(12, 12),
            nn.ReLU(),
            nn.Linear(12, 4),
        )
    )


def convolutional():
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Tanh(), LocallyConnected2d(6, 4, 2, (4, 4))),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(36, 4)),
    )


NETS = {"mlp": (mlp, (9,)), "convolutional": (convolutional, (1, 8, 8))}
every_net = pytest.mark.parametrize("name", NETS)


def trial(name):
    make, shape = NETS[name]
    torch.manual_seed(0)
    net, x, y = make(), torch.randn(16, *shape), torch.randint(4, (16,))
    return net, x, y, biograd.StdpAssociation(net, x[:1], seed=3)


def updates(net, x, y, rule, loss_fn=F.cross_entropy):
    """The gradient of every layer with weights, in order."""
    net = copy.deepcopy(net)
    rule.assign_credit(net, x, y, loss_fn)
    return [[p.grad for p in layer.parameters()] for layer in layers(net)]


def layers(net):
    return [layer for layer in net if hasattr(layer, "weight")]


def flat(gradients):
    return [gradient for layer in gradients for gradient in layer]


def input_of(net, place, *call):
    """What a layer with weights gets in a call."""
    got = []
    net = copy.deepcopy(net)
    layers(net)[place].register_forward_pre_hook(lambda _, args: got.append(args[0]))
    updates(net, *call)
    return got[0]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@every_net
def test_no_update_depends_on_a_weight_downstream(name):
    net, x, y, rule = trial(name)
    for place in range(len(layers(net)) - 1):
        changed = copy.deepcopy(net)
        for layer in layers(changed)[place + 1 :]:
            nn.init.normal_(layer.weight)
        before, after = updates(net, x, y, rule), updates(changed, x, y, rule)
        assert same(flat(before[: place + 1]), flat(after[: place + 1]))
        assert not same(before[-1], after[-1])


@every_net
def test_no_update_depends_on_a_weight_upstream_but_through_the_input(name):
    net, x, y, rule = trial(name)
    for place in range(1, len(layers(net)) - 1):
        h, before = input_of(net, place, x, y, rule), updates(net, x, y, rule)
        changed = copy.deepcopy(net)
        for other in layers(changed)[:place]:
            nn.init.normal_(other.weight)
        layers(changed)[place].register_forward_pre_hook(lambda _, args, h=h: (h.clone(),))
        after = updates(changed, x, y, rule)
        assert same(before[place], after[place])
        assert not same(before[0], after[0])


@every_net
def test_no_hidden_update_depends_on_the_error_of_the_output(name):
    net, x, y, rule = trial(name)
    before = updates(net, x, y, rule)
    after = updates(net, x, y, rule, lambda output, y: -3 * F.cross_entropy(output.sin(), y.flip(0)))
    assert same(flat(before[:-1]), flat(after[:-1]))
    assert not same(before[-1], after[-1])


def test_a_synapse_whose_presynaptic_neuron_is_silent_does_not_change():
    net, x, y, rule = trial("mlp")
    x[:, 4] = 0
    with torch.no_grad():
        net[0].bias[7] = -100.0  # never fires
    first, second, *_ = updates(net, x, y, rule)
    assert not first[0][:, 4].any()
    assert first[0][:, :4].any(0).all()
    assert not second[0][:, 7].any()
    assert second[0][:, :7].any()


def test_the_direction_is_that_of_the_teaching_current():
    net, x, y, rule = trial("mlp")
    x = x.abs()
    (weight, bias), *_ = updates(net, x, y, rule)
    codes = rule.codes(0)
    everyone = torch.zeros_like(y)  # one class: each neuron is asked to fire, or not to, by its code
    (weight, bias), *_ = updates(net, x, everyone, rule)
    wanted = codes[0].repeat(6)[: len(bias)]
    assert torch.equal(bias < 0, wanted == 1)
    assert torch.equal((weight < 0).all(1), wanted == 1)


def test_a_block_is_let_go_of_before_the_next_but_one_runs():
    net, x, y, rule = trial("mlp")
    alive, counts = [], []

    def note(layer, args, output):
        counts.append(sum(made() is not None for made in alive))
        alive.append(weakref.ref(output))

    for layer in net:
        layer.register_forward_hook(note)
    for layer in (net[1], net[3], net[5]):
        layer.inplace = False
    rule.assign_credit(net, x, y, F.cross_entropy)
    assert len(alive) == 7
    assert max(counts) <= 2


def test_codes_are_random_halves_in_complementary_pairs():
    codes = draw_codes(10, 40, torch.Generator().manual_seed(0))
    assert codes.shape == (10, 40)
    assert torch.equal(codes.sum(0), torch.full((40,), 5.0))
    assert torch.equal(codes[:, 0::2], 1 - codes[:, 1::2])
    assert len({tuple(code.tolist()) for code in codes.t()}) >= 20


def test_of_an_odd_number_of_classes_each_half_is_as_near_as_can_be():
    assert draw_codes(3, 5, torch.Generator()).sum(0).tolist() == [1, 2, 1, 2, 1]


def test_two_classes_have_every_second_group_each():
    net = nn.Sequential(nn.Linear(4, 40), nn.ReLU(), nn.Linear(40, 2))
    assert biograd.StdpAssociation(net).codes(0).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    halves = biograd.StdpAssociation(net, group_size=20)
    assert halves.codes(0).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(("group_size", "groups"), [(10, 10), (20, 5), (1, 100), (90, 2), (1000, 2)])
def test_groups_have_about_the_size_that_is_set(group_size, groups):
    net = nn.Sequential(nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 5))
    assert biograd.StdpAssociation(net, group_size=group_size).codes(0).shape == (5, groups)


def test_a_layer_may_have_fewer_neurons_than_groups_need():
    net = nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 5))
    rule = biograd.StdpAssociation(net)
    rule.assign_credit(net, torch.randn(3, 4), torch.arange(3), F.cross_entropy)
    assert net[0].weight.grad.isfinite().all()


def test_another_seed_ties_neurons_to_other_classes_and_each_layer_has_codes_of_its_own():
    net, x, _, rule = trial("mlp")
    assert not torch.equal(rule.codes(0), biograd.StdpAssociation(net, x[:1], seed=4).codes(0))
    wide = nn.Sequential(nn.Linear(4, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))
    rule = biograd.StdpAssociation(wide)
    assert not torch.equal(rule.codes(0), rule.codes(1))


def test_positions_of_a_sequence_are_neurons_that_share_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).double()
    x, y = torch.randn(5, 3, 4, dtype=torch.float64), torch.randint(3, (5,))
    rule = biograd.StdpAssociation(net, x[:1])
    rule.assign_credit(net, x, y, F.cross_entropy)
    whole = net[0].weight.grad.clone()
    alone = torch.zeros_like(whole)
    flat = nn.Sequential(net[0], nn.ReLU(), nn.Linear(8, 3)).double()
    for position in range(3):
        flat.zero_grad()
        rule_at = biograd.StdpAssociation(flat, x[:1, 0])
        rule_at.load_state_dict(rule.state_dict())
        rule_at.assign_credit(flat, x[:, position], y, F.cross_entropy)
        alone += net[0].weight.grad
    torch.testing.assert_close(whole, alone, rtol=1e-10, atol=1e-12)


def test_what_the_loss_itself_makes_of_weights_keeps_its_derivative():
    net, x, y, rule = trial("mlp")
    plain = updates(net, x, y, rule)
    rule.assign_credit(
        net, x, y, lambda output, y: F.cross_entropy(output, y) + net[0].weight.square().sum() / 2
    )
    torch.testing.assert_close(net[0].weight.grad, plain[0][0] + net[0].weight.detach())


def test_very_large_drives_stay_finite():
    net, x, y, rule = trial("mlp")
    assert all(gradient.isfinite().all() for layer in updates(net, 1e6 * x, y, rule) for gradient in layer)


def test_without_sharpness_groups_of_unequal_size_learn_as_without_competition():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(9, 11), nn.ReLU(), nn.Linear(11, 4))
    x, y = torch.randn(16, 9), torch.randint(4, (16,))
    even, alone = (
        updates(net, x, y, biograd.StdpAssociation(net, group_size=4, **settings))[0]
        for settings in ({"beta": 0.0}, {"competition": False})
    )
    torch.testing.assert_close(even, alone)


def test_a_layer_shared_by_two_blocks_gets_the_sum():
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    net = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(5, 6, dtype=torch.float64), torch.randint(3, (5,))
    rule = biograd.StdpAssociation(net)
    apart = copy.deepcopy(nn.ModuleList([net[0]]))[0], copy.deepcopy(nn.ModuleList([net[0]]))[0]
    unshared = nn.Sequential(apart[0], nn.Tanh(), apart[1], nn.Tanh(), copy.deepcopy(net[4]))
    rule.assign_credit(net, x, y, F.cross_entropy)
    biograd.StdpAssociation(unshared).assign_credit(unshared, x, y, F.cross_entropy)
    torch.testing.assert_close(shared.weight.grad, apart[0].weight.grad + apart[1].weight.grad)


class Unit(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.inner(x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 4), Unit(), nn.Linear(4, 3)), "Unit"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)), "two at least"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3)), "one output a class"),
        (
            lambda: nn.Sequential(nn.ConvTranspose2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)),
            "ConvTranspose2d",
        ),
    ],
)
def test_nets_that_it_cannot_teach_are_refused_by_name(net, message):
    made = net()
    sample = torch.randn(1, 1, 4, 4) if "Conv" in type(made[0]).__name__ else torch.randn(1, 4)
    if message == "one output a class":
        sample = torch.randn(1, 1, 8, 8)
    with pytest.raises(UnsupportedNet, match=message):
        biograd.StdpAssociation(made, sample)


def test_what_lies_behind_the_drive_of_a_hidden_layer_is_said_to_stay_as_it_is():
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3))
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    rule = biograd.StdpAssociation(net)
    rule.assign_credit(net, x, y, nn.functional.cross_entropy)
    assert rule.untaught(net, x) == {"3.weight", "3.bias"}
    assert {name for name, p in net.named_parameters() if p.grad is None} == {"3.weight", "3.bias"}


@pytest.mark.parametrize(
    "y", [torch.randn(16), torch.randn(16, 3), torch.randn(16, 4), torch.zeros(16, 4, dtype=torch.int64)]
)
def test_targets_that_are_no_classes_are_refused_and_nothing_is_taught(y):
    net, x, _, rule = trial("mlp")
    with pytest.raises(UserMistake, match="needs classes"):
        rule.assign_credit(net, x, y, lambda output, y: output.square().mean())
    assert all(p.grad is None for p in net.parameters())


def test_negative_sharpness_is_refused():
    with pytest.raises(UserMistake, match="beta"):
        biograd.StdpAssociation(mlp(), beta=-1.0)


@pytest.mark.parametrize("behind", [nn.Identity, lambda: nn.BatchNorm1d(8)], ids=["by hand", "by autograd"])
def test_nothing_of_a_block_is_kept_while_the_next_one_runs(behind, monkeypatch):
    drives = []

    def watched(self, moment, parameters):
        # by hand the drive's memory took what the block passes on
        assert all(drive() is None or drive() is moment.input for drive in drives)
        drives.append(weakref.ref(moment.drive))
        return block_gradients(self, moment, parameters)

    block_gradients = biograd.StdpAssociation.block_gradients
    monkeypatch.setattr(biograd.StdpAssociation, "block_gradients", watched)
    hidden = [nn.Linear(4, 8), behind(), nn.Tanh(), nn.Linear(8, 8), behind(), nn.Tanh()]
    net = nn.Sequential(*hidden, nn.Linear(8, 2))
    rule = biograd.rules.create("stdp-association", net)
    rule.assign_credit(net, torch.ones(3, 4), torch.tensor([0, 1, 1]), F.cross_entropy)
    assert len(drives) == 2


@pytest.mark.parametrize("competition", [True, False])
def test_maps_are_taught_in_parts_of_the_batch_to_the_same_bits(competition, monkeypatch):
    found = []
    for at_once in (2**17, 64 * 3):
        monkeypatch.setattr(stdp_association, "AT_ONCE", at_once)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))
        x, y = torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 2, 1, 0])
        rule = biograd.StdpAssociation(net, x[:1], competition=competition)
        rule.assign_credit(net, x, y, F.cross_entropy)
        found.append(net[0].weight.grad)
    assert found[0].any()
    assert torch.equal(*found)


@every_net
def test_plain_labels_teach_the_bits_that_they_teach_as_distributions(name):
    net, x, y, rule = trial(name)
    plain, mixed = (updates(net, x, t, rule) for t in (y, F.one_hot(y, 4).to(x.dtype)))
    assert same(flat(plain[:-1]), flat(mixed[:-1]))
