"""What the layer-wise rules keep, draw and share, and what they refuse."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from tests.rules.small import (
    ALL_RULES,
    FEEDBACK_RULES,
    Task,
    assert_same,
    convolutional,
    create,
    gradients,
    mlp,
)

RANDOM = ["fa", "brsf", "frsf", "kp", "wm"]


def matrices(rule, task):
    return {name: matrix.clone() for name, matrix in rule.feedback_matrices(task.net).items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_the_feedback_matrices_are_those_of_every_weight_in_its_shape_and_are_detached(name):
    task = convolutional()
    weights = {key: p for key, p in task.net.named_parameters() if p.dim() > 1}
    for B_name, B in create(name, task).feedback_matrices(task.net).items():
        assert B.shape == weights.pop(B_name).shape
        assert not B.requires_grad
    assert weights == {}


@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_asking_for_the_matrices_changes_nothing(name):
    task, other = mlp(), mlp()
    rule, same_rule = create(name, task), create(name, other)
    for _ in range(3):
        assert same(matrices(rule, task), matrices(rule, task))
        assert_same(gradients(rule, task), gradients(same_rule, other))


@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_the_matrices_are_those_that_the_next_error_went_back_through(name):
    task = mlp()
    rule = create(name, task)
    got = gradients(rule, task)
    if name == "wm":  # mirrors after it has taught
        rule = create(name, task)
    exact = biograd.FeedbackAlignment(task.net)
    for parameter, B in matrices(rule, task).items():
        exact.B[parameter].copy_(B)
    assert_same(got, gradients(exact, task), tolerance=1e-13)


@pytest.mark.parametrize("name", RANDOM)
def test_the_same_seed_gives_the_same_feedback_and_another_seed_another(name):
    task = mlp()
    one, two, other = (create(name, task, seed=seed) for seed in (4, 4, 5))
    assert same(matrices(one, task), matrices(two, task))
    assert not any(
        torch.equal(a, b) for a, b in zip(*(matrices(r, task).values() for r in (one, other)), strict=True)
    )


@pytest.mark.parametrize("name", ALL_RULES)
def test_the_global_random_state_ends_as_the_net_leaves_it(name):
    task, other = convolutional(), convolutional()  # with dropout
    torch.manual_seed(1)
    rule = create(name, task)
    torch.manual_seed(2)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    other.net(other.x)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    create(name, task)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["fa", "frsf"])
def test_fixed_feedback_stays_while_the_weights_move(name):
    task = mlp()
    rule = create(name, task)
    before = copy.deepcopy(rule.state_dict())
    for _ in range(3):
        gradients(rule, task)
    assert all(torch.equal(value, before[key]) for key, value in rule.state_dict().items())


def test_the_signs_of_sign_concordant_feedback_follow_the_weights_and_the_magnitudes_of_usf_and_frsf_stay():
    task = mlp()
    rules = {name: create(name, task) for name in ("usf", "frsf", "brsf")}
    before = {name: matrices(rule, task) for name, rule in rules.items()}
    with torch.no_grad():
        for parameter in task.net.parameters():
            parameter.mul_(-5)
    for name, rule in rules.items():
        for parameter, B in matrices(rule, task).items():
            assert torch.equal(B, -before[name][parameter])


def test_brsf_draws_anew_for_every_batch_and_frsf_does_not():
    task = mlp()
    for name, redraws in (("brsf", True), ("frsf", False)):
        rule = create(name, task)
        seen = []
        for _ in range(3):
            gradients(rule, task)
            seen.append(matrices(rule, task)["2.weight"].abs())
        assert [not torch.equal(seen[0], later) for later in seen[1:]] == [redraws, redraws]


def test_brsf_uses_one_draw_throughout_a_batch_even_where_a_layer_is_shared():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            return self.layer(self.layer(x))

    torch.manual_seed(0)
    net, x = Twice().double(), torch.randn(3, 4, dtype=torch.float64)
    rule = biograd.BatchwiseRandomSignConcordant(net)
    rule.assign_credit(net, x, torch.zeros(3, 4).double(), F.mse_loss)
    W, B = net.layer.weight.detach(), rule.feedback_matrices(net)["layer.weight"]
    e = 2 * (x @ W.T @ W.T) / 12
    expected = e.T @ (x @ W.T) + (e @ B).T @ x
    torch.testing.assert_close(net.layer.weight.grad, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_a_rule_saved_and_loaded_goes_on_with_the_same_bits(name):
    task = mlp()
    rule = create(name, task, **({"seed": 3} if name in RANDOM else {}))
    for _ in range(2):
        gradients(rule, task)
    other = create(name, task)
    assert all(isinstance(value, torch.Tensor) for value in rule.state_dict().values())
    other.load_state_dict(rule.state_dict())
    for _ in range(3):
        assert_same(gradients(other, task), gradients(rule, task))
        assert same(matrices(other, task), matrices(rule, task))


@pytest.mark.parametrize("name", ALL_RULES)
def test_a_rule_keeps_neither_the_net_nor_its_tensors(name):
    task = mlp()
    rule = create(name, task)
    gradients(rule, task)
    net, weight = weakref.ref(task.net), weakref.ref(task.net[0].weight)
    own = {tensor.untyped_storage().data_ptr() for tensor in rule.state_dict().values()}
    assert own.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in task.net.state_dict().values())
    del task
    gc.collect()
    assert net() is None
    assert weight() is None


@pytest.mark.parametrize("name", ALL_RULES)
def test_a_rule_can_be_copied_and_pickled(name):
    task = mlp()
    rule = create(name, task)
    for other in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):  # noqa: S301 (our own bytes)
        assert_same(gradients(copy.deepcopy(other), task), gradients(copy.deepcopy(rule), task))


@pytest.mark.parametrize("name", FEEDBACK_RULES)
def test_a_rule_is_for_the_net_it_was_made_for_and_copies_of_it(name):
    task = mlp()
    rule = create(name, task)
    gradients(rule, Task(copy.deepcopy(task.net), task.x, task.y))
    wider = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    with pytest.raises(biograd.UnsupportedNet, match=r"'0.weight' had shape \(6, 5\), here it is \(7, 5\)"):
        rule.assign_credit(wider, task.x, task.y, F.cross_entropy)
    with pytest.raises(biograd.UnsupportedNet, match=r"here it is no such parameter"):
        rule.assign_credit(nn.ModuleDict({"a": nn.Linear(5, 3)}).double(), task.x, task.y, F.cross_entropy)


def test_a_net_with_more_weights_than_the_rule_knows_is_refused():
    task = mlp()
    rule = create("fa", task)
    longer = nn.Sequential(*task.net, nn.Linear(3, 3)).double()
    beside = copy.deepcopy(task.net)
    beside.V = nn.Parameter(torch.ones(3, 3).double())
    beside.forward = lambda x: nn.Sequential.forward(beside, x) @ beside.V
    for net, name in ((longer, "5.bias"), (beside, "V")):
        with pytest.raises(biograd.UnsupportedNet, match=f"made for another net, without '{name}'"):
            rule.assign_credit(net, task.x, task.y, F.cross_entropy)
        assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("name", ["fa", "frsf", "kp", "wm"])
def test_a_rule_that_was_not_moved_with_its_net_says_so(name):
    task = mlp()
    rule = create(name, task)
    net, x = task.net.float(), task.x.float()
    with pytest.raises(biograd.UnsupportedNet, match=r"rule\.to\("):
        rule.assign_credit(net, x, task.y, F.cross_entropy)
    rule.float().assign_credit(net, x, task.y, F.cross_entropy)


@pytest.mark.parametrize("name", ALL_RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_net_of_another_precision_is_taught_in_its_own(name, dtype):
    task = convolutional(dtype)
    rule = create(name, task)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    for parameter in (*task.net.parameters(), *rule.parameters()):
        if parameter.grad is not None:
            assert parameter.grad.dtype == dtype
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL_RULES)
def test_credit_is_the_loss_and_output_of_the_net_detached_and_gradients_add_up(name):
    task, other = mlp(), mlp()
    rule, twin = create(name, task), create(name, other)
    credit = rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    output = task.net(task.x)
    assert torch.equal(credit.output, output.detach())
    assert torch.equal(credit.loss, F.cross_entropy(output, task.y).detach())
    assert not credit.loss.requires_grad
    assert not credit.output.requires_grad
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    one, two = gradients(twin, other), gradients(twin, other)
    for key, parameter in task.net.named_parameters():
        summed = [gradient for gradient in (one[key], two[key]) if gradient is not None]
        expected = torch.stack(summed).sum(0) if summed else None
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-12, atol=1e-14)


def test_exact_names_reach_the_rule_and_leave_it_without_feedback_there():
    task = mlp()
    rule = create("fa", task, exact=("2",))
    assert rule.names == ["0.weight", "4.weight"]
    assert set(rule.feedback_matrices(task.net)) == {"0.weight", "4.weight"}
    whole = create("fa", task)
    whole.B["4.weight"].copy_(rule.B["4.weight"])
    whole.B["2.weight"].copy_(task.net[2].weight.detach())
    assert_same(gradients(rule, task), gradients(whole, task), tolerance=1e-13)


@pytest.mark.parametrize("name", ["fa", "usf", "frsf", "kp", "wm"])
def test_a_call_that_fails_changes_nothing_of_the_rule(name):
    task = mlp()
    rule = create(name, task)
    before = copy.deepcopy(rule.state_dict())
    with pytest.raises(RuntimeError):
        rule.assign_credit(task.net, task.x[:, :4], task.y, F.cross_entropy)
    assert all(torch.equal(value, before[key]) for key, value in rule.state_dict().items())
    assert_same(gradients(rule, task), gradients(create(name, task), task))
