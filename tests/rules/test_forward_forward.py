"""What forward-forward learning asks of nets and targets, and what it leaves alone."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import nets, records
from biograd.errors import UnsupportedNet, UserMistake
from biograd.layers import LabelPlaces, LengthNorm


def task(**settings):
    torch.manual_seed(0)
    net: Any = nets.create("ff-mlp", (4,), 3, seed=0, widths=(8, 8, 8))
    x, y = torch.randn(12, 4), torch.randint(3, (12,))
    return net, x, y, biograd.ForwardForward(net, x[:1], **settings)


def taught(net, x, y, rule, loss_fn=F.cross_entropy):
    net.zero_grad()
    rule.assign_credit(net, x, y, loss_fn)
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


def names_that_differ(a, b):
    return {name.partition(".")[0] for name in a if not torch.equal(a[name], b[name])}


@pytest.mark.filterwarnings("ignore:hidden layers of .* aim at the label")
def test_hidden_blocks_do_not_see_the_loss_or_what_is_above_them():
    net, x, y, _ = task()
    first = taught(net, x, y, biograd.ForwardForward(net, negatives="uniform", seed=2))
    other = taught(
        net, x, y, biograd.ForwardForward(net, negatives="uniform", seed=2), lambda o, y: (o**4).mean()
    )
    assert names_that_differ(first, other) == {"11"}
    with torch.no_grad():
        net[8].weight.normal_()
        net[11].weight.normal_()
    other = taught(net, x, y, biograd.ForwardForward(net, negatives="uniform", seed=2))
    assert names_that_differ(first, other) == {"8", "11"}


def test_goodness_of_right_labels_rises_above_that_of_wrong_ones():
    torch.manual_seed(0)
    net = nets.create("ff-mlp", (4,), 3, seed=0, widths=(32, 32), label_strength=1.0)
    x = torch.randn(64, 4)
    y, rule = x[:, :3].argmax(1), biograd.ForwardForward(net, x[:1])
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        rule.assign_credit(net, x, y, F.cross_entropy)
        optimizer.step()
    assert (rule.predict(net, x).argmax(1) == y).all()


def test_a_prediction_leaves_no_trace():
    torch.manual_seed(0)
    net = nn.Sequential(
        *(LabelPlaces(3), nn.Linear(7, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        *(LengthNorm(), nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)),
    )
    rule, x = biograd.ForwardForward(net), torch.randn(6, 4)
    for training in (True, False):
        net.train(training)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        drawn, start, kept = rule.state_dict(), torch.get_rng_state(), x.clone()
        predicted = rule.predict(net, x)
        assert torch.equal(predicted, rule.predict(net, x))
        assert torch.equal(torch.get_rng_state(), start)
        assert torch.equal(x, kept)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert all(torch.equal(value, drawn[name]) for name, value in rule.state_dict().items())
        assert all(module.training == training for module in net.modules())


def test_the_gradient_for_the_input_is_that_of_the_first_block_s_own_loss():
    net, x, y, rule = task(negatives="uniform", seed=4)
    told = rule.input_gradient(net, x, y, F.cross_entropy)
    wrong = rule.wrong_labels(y, net(x))
    leaf = x.clone().requires_grad_()
    loss = 0.0
    for labels, sign in ((y, 1), (wrong, -1)):
        shown = net[0].write(leaf, F.one_hot(labels, 3))
        loss = loss - F.logsigmoid(sign * (net[1:4](shown).square().sum(1) - 8)).mean()
    torch.testing.assert_close(told, torch.autograd.grad(loss, leaf)[0])


REFUSED = {
    "no places for labels": (
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)),
        "needs one biograd.layers.LabelPlaces before '0'; the net has 0: take the net ff-mlp",
    ),
    "places twice": (
        nn.Sequential(LabelPlaces(3), LabelPlaces(3), nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 3)),
        "the net has 2",
    ),
    "no normalisation": (
        nn.Sequential(
            LabelPlaces(3), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)
        ),
        "'3' would read the goodness of the block below it off the length",
    ),
    "no length": (
        nn.Sequential(LabelPlaces(3), nn.Linear(7, 5), nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 3)),
        "normalisation behind '1' makes all examples equally good",
    ),
    "no hidden block": (nn.Sequential(LabelPlaces(3), nn.Linear(7, 3)), "the net has none"),
    "other outputs": (
        nn.Sequential(LabelPlaces(3), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2)),
        r"gives \(2,\) for an example and has places for 3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_it_cannot_teach_is_refused_in_one_line(name):
    net, message = REFUSED[name]
    with pytest.raises(UnsupportedNet, match=message) as caught:
        biograd.ForwardForward(net, torch.randn(1, 4))
    assert "\n" not in str(caught.value)


def test_outputs_are_counted_at_the_first_batch_where_there_was_no_sample():
    net, _ = REFUSED["other outputs"]
    rule = biograd.ForwardForward(net)
    with pytest.raises(UnsupportedNet, match="has places for 3"):
        rule.assign_credit(net, torch.randn(2, 4), torch.tensor([0, 1]), F.cross_entropy)


def test_hard_wrong_labels_are_drawn_by_the_probabilities_of_the_readout():
    _, _, _, rule = task()
    y, output = torch.zeros(30_000, dtype=torch.int64), torch.tensor([9.0, 0.0, 1.0]).expand(30_000, 3)
    share = (rule.wrong_labels(y, output) == 2).double().mean()
    assert share == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.01)
    assert (rule.wrong_labels(y, output) != 0).all()


def test_a_run_that_diverges_is_recorded_as_one(tmp_path, biograd):
    ended = biograd(
        "train", "--rule", "forward-forward", "--data", "iris", "--net", "ff-mlp", "--net.widths", "8,8",
        "--epochs", 3, "--batch-size", 20, "--lr", 1e30, "--out", tmp_path / "run",
    )  # fmt: skip
    assert ended.code == 1
    assert records.read_json(tmp_path / "run" / "result.json")["status"] == "diverged"


def test_targets_must_be_classes():
    net, x, _, rule = task()
    with pytest.raises(UserMistake, match=r"needs class indices \(12,\) below 3, and got \(12, 3\)"):
        rule.assign_credit(net, x, torch.rand(12, 3), F.cross_entropy)


@pytest.mark.parametrize(
    "settings", [{"goodness": "max"}, {"threshold": 0.0}, {"negatives": "easy"}, {"seed": -1}], ids=str
)
def test_bad_settings_are_refused(settings):
    (setting,) = settings
    with pytest.raises(UserMistake, match=f"setting '{setting}' got"):
        task(**settings)


def test_it_learns_iris_and_its_run_is_judged_by_goodness(tmp_path, biograd):
    ended = biograd(
        "train", "--rule", "forward-forward", "--data", "iris", "--net", "ff-mlp", "--net.widths", "32,32",
        "--epochs", 60, "--batch-size", 20, "--lr", 0.01, "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert ended.row["test_accuracy"] >= 0.9


def test_a_penalty_on_weights_keeps_its_derivative():
    net, x, y, _ = task()
    plain = taught(net, x, y, biograd.ForwardForward(net, seed=1))
    found = taught(
        net,
        x,
        y,
        biograd.ForwardForward(net, seed=1),
        lambda o, y: F.cross_entropy(o, y) + net[2].weight.square().sum(),
    )
    torch.testing.assert_close(found["2.weight"], plain["2.weight"] + 2 * net[2].weight)
    torch.testing.assert_close(found["11.weight"], plain["11.weight"])
