"""Direct rules and the shallow baseline: what they see, what crosses, and what they refuse."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.credit.chain.lesson import through_every_block
from biograd.rules.block_rule import BlockRule
from biograd.rules.direct_random_target_projection import aimed_at
from biograd.rules.parts.epoch import HiddenFirst
from tests.rules.small import BLOCK_RULES, Task, assert_same, convolutional, create, gradients, mlp

FORMS = ["full", "low-rank", "tiled"]


def hidden(taught):
    return {name: gradient for name, gradient in taught.items() if not name.startswith(("4.", "7."))}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [mlp, convolutional])
def test_drtp_tells_hidden_blocks_the_same_whatever_the_error(form, make):
    task = make()
    task.net.eval()
    rule = create("drtp", task, form=form)
    one = gradients(rule, task)
    other = gradients(rule, task, lambda output, y: 100 * F.l1_loss(output, F.one_hot(y, 3).to(output)))
    assert_same(hidden(one), hidden(other))
    last = list(one)[-1]
    assert not torch.allclose(one[last], other[last])


@pytest.mark.parametrize("form", FORMS)
def test_dfa_is_linear_in_the_error(form):
    task = convolutional()
    task.net.eval()
    rule = create("dfa", task, form=form)
    one = gradients(rule, task)
    tripled = gradients(rule, task, lambda output, y: 3 * F.cross_entropy(output, y))
    assert_same(tripled, {name: 3 * gradient for name, gradient in one.items()}, tolerance=1e-12)


@pytest.mark.filterwarnings("ignore:hidden layers of .* aim at the label")
@pytest.mark.parametrize("name", ["dfa", "drtp"])
def test_a_hidden_block_depends_on_no_weight_above_it_but_by_the_error(name):
    task = mlp()
    rule = create(name, task)
    error = torch.randn(8, 3, dtype=torch.float64)
    before = gradients(rule, task, lambda output, y: (output * error).sum())
    with torch.no_grad():
        for parameter in (*task.net[2].parameters(), *task.net[4].parameters()):
            parameter.copy_(torch.randn_like(parameter))
    after = gradients(rule, task, lambda output, y: (output * error).sum())
    for key in ("0.weight", "0.bias"):
        assert torch.equal(after[key], before[key])


class Phased(BlockRule):
    """Hidden blocks learn in the first epoch, the last one in those after it."""

    def __init__(self, net, sample=None):
        super().__init__(net, turns=HiddenFirst(1))

    def teaching_signals(self, lesson):
        return [torch.ones_like(h) for h in lesson.hidden]


def test_an_epoch_teaches_hidden_blocks_and_the_last_one_as_the_turns_have_it():
    task = mlp()
    rule = Phased(task.net)
    found = []
    for epoch in range(2):
        rule.begin_epoch(epoch)
        taught = gradients(rule, task)
        found.append({name.partition(".")[0] for name, gradient in taught.items() if gradient is not None})
    assert found == [{"0", "2"}, {"4"}]


def test_a_rule_that_forgets_a_block_is_no_rule():
    class Forgetful(Phased):
        def teaching_signals(self, lesson):
            return super().teaching_signals(lesson)[1:]

    task = mlp()
    rule = Forgetful(task.net)
    rule.begin_epoch(0)
    with pytest.raises(ValueError, match="shorter"):
        gradients(rule, task)


class GoingDown(BlockRule):
    """Asks what each signal is at the drive when its block was taught, and what another one is."""

    def __init__(self, net, sample=None):
        super().__init__(net, way=through_every_block)
        self.asked = []

    def teaching_signals(self, lesson):
        for place in reversed(range(len(lesson.hidden))):
            signal = torch.ones_like(lesson.hidden[place])
            yield signal
            self.asked += [
                (lesson.drive_signal(place, s), lesson.passages[place].drive_signal(s))
                for s in (2 * signal, signal)
            ]


def test_what_a_signal_is_at_the_drive_is_told_of_that_signal_alone():
    task = mlp()
    rule = GoingDown(task.net)
    gradients(rule, task)
    assert len(rule.asked) == 4
    assert all(torch.equal(told, found) for told, found in rule.asked)


class Unit(nn.Module):
    """A residual unit."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.second(torch.tanh(self.first(x)))


def residual() -> Task:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Tanh(), Unit(), Unit(), nn.Flatten(), nn.Linear(32, 3)
    ).double()
    return Task(net, torch.randn(4, 1, 6, 6, dtype=torch.float64), torch.randint(3, (4,)))


@pytest.mark.parametrize("name", ["dfa", "drtp"])
def test_a_skip_lets_nothing_through_to_the_blocks_below_it(name):
    task = residual()
    rule = create(name, task, inside="exact")
    full = gradients(rule, task)
    for index, own in enumerate((("0.",), ("2.",), ("3.",))):
        silenced = copy.deepcopy(rule)
        silenced.direct.blocks[index].B.zero_()
        got = gradients(silenced, task)
        for key, gradient in got.items():
            assert torch.equal(gradient, torch.zeros_like(gradient) if key.startswith(own) else full[key]), (
                key
            )


def test_within_a_residual_unit_the_derivative_is_exact():
    task = residual()
    rule = create("dfa", task, inside="exact")
    got = gradients(rule, task)
    below = task.net[:3](task.x).detach()
    output = task.net(task.x)
    (e,) = torch.autograd.grad(F.cross_entropy(output, task.y), output)
    signal = (e @ rule.direct.blocks[2].B.T).view_as(below)
    unit = task.net[3]
    expected = torch.autograd.grad(unit(below), list(unit.parameters()), signal)
    for (key, _), gradient in zip(unit.named_parameters(), expected, strict=True):
        torch.testing.assert_close(got[f"3.{key}"], gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", BLOCK_RULES)
def test_a_frozen_block_stays_untaught_and_changes_nothing_for_the_others(name):
    task = mlp()
    rule = create(name, task)
    free = gradients(rule, task)
    task.net[2].requires_grad_(False)
    frozen = gradients(rule, task)
    assert frozen.pop("2.weight") is None
    assert frozen.pop("2.bias") is None
    assert_same(frozen, {key: free[key] for key in frozen})


def test_shallow_runs_hidden_blocks_without_a_graph_and_teaches_the_last_as_backpropagation():
    task = convolutional()
    task.net.eval()
    recorded = []
    for layer in task.net:
        layer.register_forward_hook(lambda module, args, output: recorded.append(output.requires_grad))
    got = gradients(create("shallow", task), task)
    assert recorded == [False] * 7 + [True]
    expected = gradients(biograd.Backpropagation(task.net), task)
    assert {name for name, gradient in got.items() if gradient is not None} == {"7.weight", "7.bias"}
    for name in ("7.weight", "7.bias"):
        torch.testing.assert_close(got[name], expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", BLOCK_RULES)
def test_no_forward_is_run_twice(name):
    task = mlp()
    rule = create(name, task)
    calls = []
    for layer in task.net:
        layer.register_forward_hook(lambda module, args, output: calls.append(module))
    gradients(rule, task)
    assert calls == list(task.net)


@pytest.mark.parametrize("name", BLOCK_RULES)
def test_a_net_that_does_not_match_is_refused_with_the_blocks_of_both(name):
    rule = create(name, mlp())
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    task = mlp()
    with pytest.raises(biograd.UnsupportedNet, match=r"0 Linear \(6, 5\).*0 Linear \(7, 5\)") as caught:
        rule.assign_credit(net, task.x, task.y, F.cross_entropy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*BLOCK_RULES])
def test_a_net_that_is_no_chain_is_refused_when_the_rule_is_made(name):
    with pytest.raises(biograd.UnsupportedNet, match="must be a chain"):
        biograd.rules.create(name, Unit())


@pytest.mark.parametrize("name", ["dfa", "drtp"])
def test_a_convolutional_net_needs_a_sample_and_says_so(name):
    with pytest.raises(biograd.UnsupportedNet, match=r"sample=x\[:1\]"):
        biograd.rules.create(name, convolutional().net)


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.Tanh(),
        nn.Conv2d(2, 2, 1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


@pytest.mark.parametrize("form", FORMS)
def test_inputs_of_another_size_than_the_samples_are_refused_but_by_the_tiled_form(form):
    net = pooled()
    rule = biograd.DirectFeedbackAlignment(net, torch.zeros(1, 1, 6, 6), form=form)
    larger = Task(net, torch.randn(2, 1, 8, 8), torch.tensor([0, 1]))
    if form == "tiled":
        assert all(gradient is not None for gradient in gradients(rule, larger).values())
        return
    with pytest.raises(biograd.UnsupportedNet, match=r"\(2, 6, 6\), 32 units.*form='tiled'"):
        rule.assign_credit(*larger, F.cross_entropy)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["dfa", "drtp"])
def test_a_net_whose_output_is_an_image_is_taught(name, form):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)).double()
    x, y = torch.randn(2, 1, 4, 4, dtype=torch.float64), torch.randint(3, (2, 4, 4))
    rule = biograd.rules.create(name, net, sample=x[:1], form=form)
    got = gradients(rule, Task(net, x, y))
    h, output = torch.tanh(net[0](x)), net(x)
    (e,) = torch.autograd.grad(F.cross_entropy(output, y), output)
    source = e if name == "dfa" else -F.one_hot(y, 3).permute(0, 3, 1, 2).double() / 2
    projection = rule.direct.blocks[0]
    B = projection.U @ projection.V if form == "low-rank" else projection.B
    told = source.flatten(1) @ B.T
    signal = told.view_as(h) if form != "tiled" else told[:, :, None, None].expand_as(h)
    (expected,) = torch.autograd.grad(h, [*net[0].parameters()][:1], signal)
    torch.testing.assert_close(got["0.weight"], expected, rtol=1e-11, atol=1e-13)


def test_targets_become_one_hot_vectors_in_the_shape_and_dtype_of_the_output():
    output = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(
        aimed_at(torch.tensor([2, 0]), output), torch.tensor([[0, 0, 1.0], [1, 0, 0]]).double()
    )
    image = aimed_at(torch.tensor([[[0, 1]], [[2, 2]]]), torch.zeros(2, 3, 1, 2))
    assert torch.equal(image[0, :, 0], torch.tensor([[1.0, 0], [0, 1], [0, 0]]))
    numbers = torch.randn(2, 3)
    assert torch.equal(aimed_at(numbers, output), numbers.double())
    assert torch.equal(aimed_at(torch.tensor([1, 0]), torch.zeros(2, 1)), torch.tensor([[1.0], [0.0]]))


@pytest.mark.parametrize("y", [torch.zeros(4), torch.zeros(2, 2), torch.zeros(3, dtype=torch.long)])
def test_targets_that_fit_neither_way_are_refused_in_one_line(y):
    with pytest.raises(biograd.UserMistake, match=r"class indices \(2,\) or targets in the shape") as caught:
        aimed_at(y, torch.zeros(2, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dfa", "drtp"])
def test_the_same_seed_gives_the_same_projections_and_another_seed_others(name):
    task = mlp()
    one, two, other = (create(name, task, seed=seed).state_dict() for seed in (1, 1, 2))
    for key, B in one.items():
        assert torch.equal(B, two[key])
        assert not torch.equal(B, other[key])


@pytest.mark.parametrize("name", BLOCK_RULES)
def test_a_compiled_chain_is_taught_as_the_chain_within_it(name):
    task = mlp()
    rule = create(name, task)
    expected = gradients(rule, task)
    compiled = torch.compile(task.net, backend="eager")
    rule.assign_credit(compiled, task.x, task.y, F.cross_entropy)
    assert_same({key: p.grad for key, p in task.net.named_parameters()}, expected)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor:UserWarning"
)
@pytest.mark.parametrize("name", ["dfa", "stdp-association"])
def test_a_compiled_training_step_teaches_the_same_and_the_compiler_has_nothing_to_warn_of(name):
    task = mlp()
    rule = create(name, task)
    expected = gradients(rule, task)
    torch._dynamo.reset()
    compiled = torch.compile(lambda: gradients(rule, task), backend="aot_eager")
    assert_same(compiled(), expected, tolerance=1e-12)


@pytest.mark.parametrize("name", ["dfa", "drtp", "shallow"])
def test_a_penalty_within_the_loss_keeps_its_derivative(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    rule = biograd.rules.create(name, net)

    def penalised(output, target):
        return nn.functional.cross_entropy(output, target) + 0.3 * net[0].weight.square().sum()

    def gradient(loss_fn):
        net.zero_grad()
        credit = rule.assign_credit(net, x, y, loss_fn)
        taught = net[0].weight.grad
        return credit, torch.zeros_like(net[0].weight) if taught is None else taught.clone()

    _, plain = gradient(nn.functional.cross_entropy)
    credit, found = gradient(penalised)
    assert torch.allclose(found - plain, 0.6 * net[0].weight, rtol=0, atol=1e-12)
    assert torch.equal(credit.output, net(x))


@pytest.mark.parametrize(
    "name", ["dfa", "drtp", "ddtp-linear", "dtp", "sdtp", "ao-sdtp", "drl", "l-drl", "gait-prop", "itp"]
)
def test_one_example_without_its_batch_dimension_is_refused_and_nothing_is_filled(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3))
    rule = biograd.rules.create(name, net, sample=torch.randn(1, 6))
    with pytest.raises(
        biograd.UserMistake, match=r"but block '0' gave \(5,\): give the one example .*, x\[None\]"
    ):
        rule.assign_credit(net, torch.randn(6), torch.tensor(1), F.cross_entropy)
    assert all(p.grad is None for p in (*net.parameters(), *rule.parameters()))
