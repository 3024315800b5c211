"""SoftHebb: what its layers read, whose turn it is, and what it refuses."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import nets, rules
from biograd.credit.chain.blocks import blocks
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers import LocallyConnected2d
from biograd.records import read_lines
from biograd.training import RunConfig, resume, train


def chain():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.Tanh()),
        *(nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)),
    )


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(10, 6, generator=generator), torch.arange(10) % 3


def taught(net, rule, x=None, y=None, loss_fn=F.cross_entropy):
    """Names of all parameters to the gradient that one call leaves."""
    x, y = (batch()[0] if x is None else x), (batch()[1] if y is None else y)
    net.zero_grad()
    rule.assign_credit(net, x, y, loss_fn)
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def same(a, b, names):
    return all(torch.equal(a[name], b[name]) for name in names)


# --- locality ---


HIDDEN = ["0.weight", "2.weight", "4.weight"]


def test_no_hidden_layer_reads_targets_or_loss():
    net = chain()
    rule = biograd.SoftHebb(net)
    first = taught(net, rule)
    other = taught(net, rule, y=batch()[1].roll(1), loss_fn=lambda out, y: 7 * F.cross_entropy(out, y))
    assert same(first, other, HIDDEN)
    assert not torch.equal(first["6.weight"], other["6.weight"])


def test_no_hidden_layer_reads_the_weights_above_it():
    net = chain()
    rule = biograd.SoftHebb(net)
    first = taught(net, rule)
    with torch.no_grad():
        net[4].weight.neg_()
        net[6].weight.mul_(3)
    other = taught(net, rule)
    assert same(first, other, HIDDEN[:2])
    assert not torch.equal(first["4.weight"], other["4.weight"])


def test_a_synapse_without_input_decays_and_learns_nothing_of_it():
    net = chain()
    x = batch()[0]
    x[:, 2] = 0
    plain = {
        "temperature": (1.0,),
        "hidden_rate": (1.0,),
        "rate_power": 0,
        "normalize": False,
        "anti_hebbian": False,
    }
    gradient = taught(net, biograd.SoftHebb(net, **plain), x=x)
    u = x @ net[0].weight.detach().t()
    decay = (torch.softmax(u, 1) * u).mean(0)  # of each neuron
    torch.testing.assert_close(gradient["0.weight"][:, 2], decay * net[0].weight.detach()[:, 2])


def test_the_largest_step_of_each_layer_is_the_rate_at_norm_two():
    net = chain()
    with torch.no_grad():
        for layer in net[:-1:2]:
            layer.weight.copy_(2 * F.normalize(layer.weight, dim=1))
    found = taught(net, biograd.SoftHebb(net, hidden_rate=(0.1, 0.2, 0.3)))
    largest = [found[name].abs().max().item() for name in HIDDEN]
    assert largest == pytest.approx([0.1, 0.2, 0.3], rel=1e-5)


def test_no_feedback_reaches_the_input_but_through_a_last_block_that_is_alone():
    net, (x, y) = chain(), batch()
    with pytest.raises(UnsupportedNet, match="SoftHebb has no feedback path to the input"):
        biograd.SoftHebb(net).input_gradient(net, x, y, F.cross_entropy)
    readout = nn.Sequential(nn.Linear(6, 3))
    leaf = x.clone().requires_grad_()
    F.cross_entropy(readout(leaf), y).backward()
    found = biograd.SoftHebb(readout).input_gradient(readout, x, y, F.cross_entropy)
    assert torch.equal(found, leaf.grad)


# --- turns ---


def test_epochs_before_the_readout_s_turn_teach_hidden_layers_alone():
    net = chain()
    rule = biograd.SoftHebb(net, unsupervised_epochs=2)
    everything = taught(net, biograd.SoftHebb(net))
    for epoch, expected in enumerate([HIDDEN, HIDDEN, ["6.weight", "6.bias"], ["6.weight", "6.bias"]]):
        rule.begin_epoch(epoch)
        found = taught(net, rule)
        assert list(found) == expected
        assert same(found, everything, expected)


def test_the_turn_is_a_function_of_the_epoch_alone():
    net = chain()
    rule = biograd.SoftHebb(net, unsupervised_epochs=1)
    for epoch, first in [(3, "6.weight"), (0, "0.weight"), (1, "6.weight"), (0, "0.weight"), (0, "0.weight")]:
        rule.begin_epoch(epoch)
        assert first in taught(net, rule)


def test_without_turns_all_learn_in_every_epoch():
    net = chain()
    rule = biograd.SoftHebb(net)
    for epoch in (0, 5):
        rule.begin_epoch(epoch)
        assert list(taught(net, rule)) == [*HIDDEN, "6.weight", "6.bias"]


def test_the_epoch_is_saved_and_copied():
    net = chain()
    rule, other = (biograd.SoftHebb(net, unsupervised_epochs=1) for _ in range(2))
    rule.begin_epoch(1)
    other.load_state_dict(rule.state_dict())
    assert not other.turns.hidden
    assert other.turns.output
    assert not copy.deepcopy(rule).turns.hidden


@pytest.mark.parametrize("epoch", [0, 1])
def test_loss_and_output_are_the_net_s_whosever_turn_it_is(epoch):
    net, (x, y) = chain(), batch()
    rule = biograd.SoftHebb(net, unsupervised_epochs=1)
    rule.begin_epoch(epoch)
    credit = rule.assign_credit(net, x, y, F.cross_entropy)
    assert torch.equal(credit.output, net(x))
    assert torch.equal(credit.loss, F.cross_entropy(net(x), y))


def config(**more):
    flags = {
        "rule": {"name": "softhebb", "unsupervised_epochs": 1, "hidden_rate": "0.1"},
        "data": "iris",
        "net": {"name": "softhebb-mlp", "widths": "8,6"},
        "epochs": 3,
        "batch_size": 16,
    }
    return RunConfig.from_sources({**flags, **more})


def test_a_run_teaches_hidden_layers_first_and_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    whole = train(config(checkpoint_every=3), tmp_path / "whole", progress=False)
    stopping = rules.REGISTRY.find("softhebb")
    calls, plain = [], stopping.assign_credit

    def until_stopped(self, *args):
        calls.append(self.turns.epoch.number)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return plain(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(stopping, "assign_credit", until_stopped)
        with pytest.raises(KeyboardInterrupt):
            train(config(checkpoint_every=3), tmp_path / "cut", progress=False)
    again = resume(tmp_path / "cut", progress=False)
    assert again["test_loss"] == whole["test_loss"]
    rows, repeated = (
        [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in read_lines(tmp_path / run / "metrics.jsonl")
        ]
        for run in ("whole", "cut")
    )
    assert rows == repeated
    assert len(set(calls)) > 1


# --- optimisers ---


def advice(optimizer, **settings):
    net = chain()
    rule = biograd.SoftHebb(net)
    return rule.check_optimizer(optimizer(net.parameters(), lr=0.1, **settings), 100)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_optimizers_that_rescale_are_warned_of(optimizer):
    (line,) = advice(optimizer)
    assert line == (
        f"softhebb: {optimizer.__name__} rescales every gradient, which undoes hidden_rate and the rate that falls as "
        "a neuron's norm nears 1; use SGD"
    )


def test_gradient_descent_is_fine_and_decay_is_warned_of():
    assert advice(torch.optim.SGD, momentum=0.9) == []
    (line,) = advice(torch.optim.SGD, weight_decay=1e-3)
    assert "weight decay pulls the norms" in line


def test_adam_indeed_undoes_the_hidden_rate():
    ends = []
    for rate in (0.1, 10.0):
        net, (x, y) = chain(), batch()
        rule = biograd.SoftHebb(net, hidden_rate=(rate,))
        optimizer = torch.optim.Adam(net.parameters(), 1e-3, eps=0)
        rule.assign_credit(net, x, y, F.cross_entropy)
        optimizer.step()
        ends.append(net[0].weight.detach().clone())
    torch.testing.assert_close(*ends)


def test_its_default_training_is_plain_gradient_descent():
    built = config()
    assert (built.optimizer.name, built.optimizer.settings["momentum"]) == ("sgd", 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert advice(torch.optim.SGD, momentum=0.9) == []


# --- what it refuses ---


def refused(*layers):
    with pytest.raises(UnsupportedNet) as caught:
        biograd.SoftHebb(nn.Sequential(*layers, nn.ReLU(), nn.Linear(4, 2)))
    return str(caught.value)


def test_hidden_parameters_other_than_weights_are_refused():
    for layers in (
        [nn.Linear(3, 4)],
        [nn.BatchNorm1d(3), nn.Linear(3, 4, bias=False)],
        [nn.Linear(3, 4, bias=False), nn.PReLU()],
        [nn.Linear(3, 4, bias=False), nn.ReLU(), nn.BatchNorm1d(4)],
        [nn.utils.parametrizations.weight_norm(nn.Linear(3, 4, bias=False))],
    ):
        assert "learn weights alone, and block" in refused(*layers)


def test_a_normalisation_between_weights_and_nonlinearity_is_refused():
    line = refused(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, affine=False))
    assert "compete by their weighted inputs, which a normalisation right behind '0' would rescale" in line


def test_layers_it_has_no_equation_for_are_refused():
    assert "'0' is ConvTranspose2d" in refused(nn.ConvTranspose2d(3, 4, 2, bias=False))
    assert "'0' is Embedding" in refused(nn.Embedding(3, 4))


def test_the_last_block_may_be_anything():
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 5), nn.BatchNorm1d(5))
    x, y = torch.randn(6, 3), torch.arange(6) % 5
    assert len(taught(net, biograd.SoftHebb(net), x, y)) == 5


@pytest.mark.parametrize("name", ["temperature", "hidden_rate"])
def test_numbers_for_other_than_one_or_all_hidden_blocks_are_refused(name):
    with pytest.raises(
        UserMistake, match=f"{name} needs one number, or one for each of the 3 hidden blocks; got 2"
    ):
        biograd.SoftHebb(chain(), **{name: (1.0, 2.0)})


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", (0.0,)), ("temperature", ()), ("hidden_rate", (-1.0,)), ("rate_power", -0.5)],
)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(UserMistake, match=name):
        biograd.SoftHebb(chain(), **{name: value})


@pytest.mark.parametrize("name", ["softhebb-mlp", "softhebb-cnn"])
def test_it_teaches_its_nets(name):
    shape = {"widths": (9, 7)} if name == "softhebb-mlp" else {"channels": (4, 6, 5)}
    net = nets.create(name, (1, 12, 12), 3, seed=0, **shape)
    x = torch.randn(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    found = taught(net, biograd.SoftHebb(net), x, torch.arange(5) % 3)
    assert list(found) == [parameter for parameter, _ in net.named_parameters()]
    assert len(blocks(net)) == len(found) - 1


def test_frozen_hidden_layers_are_left_out_and_others_taught_alike():
    net = chain()
    rule = biograd.SoftHebb(net)
    everything = taught(net, rule)
    net[2].weight.requires_grad_(False)
    found = taught(net, rule)
    assert list(found) == ["0.weight", "4.weight", "6.weight", "6.bias"]
    assert same(found, everything, found)


def test_layers_of_its_own_position_have_norms_of_their_own():
    torch.manual_seed(0)
    net = nn.Sequential(
        *(
            LocallyConnected2d(1, 3, 2, (4, 4), stride=2, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(12, 2),
        ),
    )
    with torch.no_grad():
        net[0].weight[0, 1] = F.normalize(net[0].weight[0, 1].flatten(0, 2), dim=0).view(2, 2, 1, 3)
    gradient = taught(net, biograd.SoftHebb(net), torch.randn(5, 1, 4, 4), torch.arange(5) % 2)["0.weight"]
    assert gradient[0, 1].abs().max() < 1e-3 * gradient.abs().max()  # those at norm 1 rest
    assert gradient[0, 0].abs().max() > 0


def test_a_linear_layer_on_several_places_learns_from_all_of_them():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Flatten(), nn.Linear(20, 3)).double()
    alone = nn.Sequential(net[0], nn.Linear(5, 3).double())
    x = torch.randn(7, 4, 6, dtype=torch.float64)
    found = taught(net, biograd.SoftHebb(net), x, torch.arange(7) % 3)["0.weight"].clone()
    expected = taught(alone, biograd.SoftHebb(alone), x.flatten(0, 1), torch.arange(28) % 3)["0.weight"]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
