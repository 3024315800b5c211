"""Target propagation through decoders: limits, schedules, state, measurements, and what it refuses."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn

import biograd
from biograd import rules
from biograd.errors import UnsupportedNet, UserMistake
from biograd.settings import describe
from biograd.testing.snapshots import Traces, buffers, differing, gradients
from tests.rules.small import Task, convolutional, create, mlp

NAMES = ["dtp", "sdtp", "ao-sdtp"]
every_rule = pytest.mark.parametrize("name", NAMES)


def teach(rule: Any, task: Task, loss_fn: Any = F.cross_entropy) -> dict[str, Any]:
    """Every gradient that one call leaves, of net and rule."""
    task.net.zero_grad()
    rule.zero_grad()
    rule.assign_credit(task.net, task.x, task.y, loss_fn)
    return gradients(net=task.net, rule=rule)


def filled(taught: dict[str, Any]) -> set[str]:
    return {name.partition(".")[0] for name, gradient in taught.items() if gradient is not None}


# --- limits ---


class Exact(nn.Module):
    """The exact inverse of a square linear layer as it is now."""

    inverse: Tensor
    bias: Tensor

    def __init__(self, site: Any) -> None:
        super().__init__()
        layer = site.block.opening
        self.register_buffer("inverse", torch.linalg.inv(layer.weight.detach()))
        self.register_buffer("bias", layer.bias.detach().clone())

    def forward(self, h: Tensor) -> Tensor:
        return (h - self.bias) @ self.inverse.t()


def orthogonal() -> Task:
    torch.manual_seed(0)
    square = [nn.Linear(6, 6).double() for _ in range(3)]
    for layer in square:
        nn.init.orthogonal_(layer.weight)
    net = nn.Sequential(nn.Linear(7, 6), *square, nn.Linear(6, 3)).double()
    return Task(net, torch.randn(8, 7, dtype=torch.float64), torch.randint(3, (8,)))


@pytest.mark.parametrize(("step", "ratio"), [("sum", 0.3), ("mean", 0.3 / 8)])
def test_dtp_with_exact_inverses_of_orthogonal_blocks_is_backpropagation_2_alpha_times_as_long(step, ratio):
    task = orthogonal()
    got = teach(create("dtp", task, decoder=Exact, alpha=0.15, step=step), task)
    expected = teach(biograd.Backpropagation(task.net), task)
    for name, gradient in expected.items():
        scale = 1 if name.startswith("net.4") else ratio
        torch.testing.assert_close(got[name], scale * gradient, rtol=1e-10, atol=1e-14)


def test_dtp_with_one_hidden_block_has_no_decoder_and_goes_the_way_of_the_gradient():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.0), nn.Linear(6, 3)).double()
    task = Task(net, torch.randn(8, 5, dtype=torch.float64), torch.randint(3, (8,)))
    for schedule in ("parallel", "alternating"):
        rule = create("dtp", task, alpha=0.5, schedule=schedule)
        assert not list(rule.parameters())
        got, expected = teach(rule, task), teach(biograd.Backpropagation(net), task)
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, rtol=1e-12, atol=1e-14)


@every_rule
def test_identical_targets_teach_hidden_blocks_nothing(name):
    """Where the net already gives the label's distribution, or the loss is flat, nothing moves below."""
    task = mlp()
    rule = create(name, task)
    y = task.net(task.x).detach().softmax(1) if name != "dtp" else task.y
    got = teach(rule, task._replace(y=y), lambda output, y: 0.0 * output.sum())
    for key, gradient in got.items():
        if key.startswith("net."):
            assert gradient is not None
            assert gradient.abs().max() < 1e-14


@pytest.mark.filterwarnings("ignore:hidden layers of .* aim at the label")
def test_no_gradient_crosses_a_layer_under_sdtp():
    """A hidden block depends on blocks above by their outputs alone, and not at all on the loss."""
    for name in ("sdtp", "ao-sdtp"):
        task = mlp()
        rule = create(name, task)
        one = teach(rule, task)
        rule = create(name, task)
        other = teach(rule, task, lambda output, y: 5 * F.cross_entropy(output, y) + output.square().mean())
        assert differing(one, other) == "net.4.weight, net.4.bias"


@every_rule
def test_no_block_is_taught_by_anothers_local_loss(name, monkeypatch):
    task = mlp()
    rule = create(name, task)
    full = teach(copy.deepcopy(rule), task)
    signals = type(rule).teaching_signals
    monkeypatch.setattr(
        type(rule), "teaching_signals", lambda self, lesson: [[*signals(self, lesson)][-1], None]
    )
    names = differing(full, teach(rule, task))
    assert names == "net.2.weight, net.2.bias"


def test_auxiliary_outputs_are_frozen_and_shared_by_both_readings():
    task = mlp()
    rule = create("ao-sdtp", task, auxiliary=5)
    assert rule.A.shape == (5, 6)
    assert "A" in dict(rule.named_buffers())
    assert rule.A.abs().max() <= (6 / 11) ** 0.5
    read: list[Tensor] = []
    rule.decoders[-1].register_forward_pre_hook(lambda _, args: read.append(args[0]))
    rule.targets(task.net, task.x, task.y, F.cross_entropy)
    p, t = torch.cat(read).split(len(task.x))
    assert torch.equal(p[:, 3:], t[:, 3:])
    assert not torch.equal(p[:, :3], t[:, :3])
    assert torch.equal(t[:, :3], F.one_hot(task.y, 3).double())


# --- schedules ---


@every_rule
def test_alternating_epochs_teach_decoders_first_and_then_the_net_and_leave_the_other_none(name):
    task = mlp()
    rule = create(name, task, schedule="alternating")
    for epoch, part in enumerate(["rule", "net", "rule", "net"]):
        rule.begin_epoch(epoch)
        rule.begin_epoch(epoch)
        taught = teach(rule, task)
        assert filled(taught) == {part}
        assert all(g is not None for key, g in taught.items() if key.startswith(part))


@every_rule
def test_what_each_phase_teaches_is_what_the_parallel_schedule_teaches_that_part(name):
    task = mlp()
    parallel = teach(create(name, task, seed=3), task)
    rule = create(name, task, seed=3, schedule="alternating")
    rule.begin_epoch(0)
    decoders = teach(rule, task)
    rule.begin_epoch(1)
    net = teach(rule, task)
    for key, gradient in parallel.items():
        assert torch.equal((net if key.startswith("net") else decoders)[key], gradient)


@every_rule
def test_a_phase_without_the_net_makes_no_graph_of_it(name):
    task = convolutional()
    rule = create(name, task, schedule="alternating")
    rule.begin_epoch(0)
    graphs = []
    hooks = [m.register_forward_hook(lambda *a: graphs.append(a[2].requires_grad)) for m in task.net]
    outputs = rule.assign_credit(task.net, task.x, task.y, F.cross_entropy).output
    for hook in hooks:
        hook.remove()
    assert not any(graphs)
    assert torch.isfinite(outputs).all()


def penalised(net: Any):
    return lambda output, y: F.cross_entropy(output, y) + net[0].weight.square().sum()


def test_a_penalty_keeps_its_derivative_where_the_net_is_taught_and_is_silent_where_not():
    task = mlp()
    rule = create("dtp", task, schedule="alternating")
    rule.begin_epoch(0)
    assert filled(teach(rule, task, penalised(task.net))) == {"rule"}
    rule.begin_epoch(1)
    plain, more = teach(rule, task), teach(rule, task, penalised(task.net))
    weight = task.net[0].weight.detach()
    torch.testing.assert_close(more["net.0.weight"], plain["net.0.weight"] + 2 * weight)


@every_rule
def test_a_state_saved_in_the_middle_of_either_phase_goes_on_to_the_bit(name):
    for epoch in (2, 3):
        task = mlp()
        rule = create(name, task, schedule="alternating", seed=1)
        rule.begin_epoch(epoch)
        teach(rule, task)
        other = create(name, task, schedule="alternating", seed=2)
        other.load_state_dict(load(save({k: v.contiguous() for k, v in rule.state_dict().items()})))
        assert not differing(teach(rule, task), teach(other, task))


# --- random numbers and traces ---


@every_rule
def test_equal_seeds_give_equal_numbers_and_noise_is_new_every_time(name):
    task = mlp()
    one, other = (create(name, task, seed=4) for _ in range(2))
    first, again = teach(one, task), teach(other, task)
    assert not differing(first, again)
    assert all(key.startswith("rule") for key in differing(first, teach(one, task)).split(", "))
    assert differing(first, teach(create(name, task, seed=5), task))


def test_all_noise_of_a_batch_is_one_draw_with_the_standard_deviation_asked_for():
    task = mlp()
    rule = create("sdtp", task, noise=0.7)
    inputs = [torch.zeros(500, 6), torch.zeros(500, 4, 5).transpose(1, 2), torch.zeros(500, 7, 2)]
    noise = [*rule._reconstruction.noisy(inputs)]
    assert [n.shape for n in noise] == [h.shape for h in inputs]
    assert [n.stride() for n in noise] == [h.stride() for h in inputs]
    numbers = torch.cat([n.flatten() for n in noise])
    assert numbers.std().item() == pytest.approx(0.7, rel=0.02)
    assert numbers.mean().item() == pytest.approx(0, abs=0.02)
    assert len(numbers.unique()) > 0.99 * len(numbers)


@every_rule
@pytest.mark.parametrize("training", [True, False])
def test_measurements_leave_no_trace(name, training):
    task = convolutional(torch.float32)
    task.net.train(training)
    rule = create(name, task)
    rule.train(training)
    traces, random_state = Traces(task.net), torch.get_rng_state()
    before = buffers(task.net)
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    targets = rule.targets(task.net, task.x, task.y, F.cross_entropy)
    losses = rule.reconstruction_losses(task.net, task.x)
    assert not traces.found()
    assert torch.equal(random_state, torch.get_rng_state())
    assert not differing(before, buffers(task.net))
    assert not differing(state, rule.state_dict())
    assert not filled(gradients(net=task.net, rule=rule))
    assert list(targets) == ["0", "3"]
    assert list(losses) == (["3"] if name == "dtp" else ["3", "7"])
    assert all(not h.requires_grad and not t.requires_grad for h, t in targets.values())


def test_targets_are_measured_in_the_phase_without_them_too():
    task = mlp()
    rule = create("dtp", task, schedule="alternating")
    asleep = rule.targets(task.net, task.x, task.y, F.cross_entropy)
    rule.begin_epoch(1)
    awake = rule.targets(task.net, task.x, task.y, F.cross_entropy)
    assert all(torch.equal(asleep[key][1], awake[key][1]) for key in awake)


def test_an_input_of_nothing_but_zeros_has_no_relative_error():
    task = mlp()
    with torch.no_grad():
        for parameter in task.net[0].parameters():
            parameter.zero_()
    losses = create("dtp", task).reconstruction_losses(task.net, task.x)
    assert losses["2"] != losses["2"]


@every_rule
def test_batch_statistics_and_dropout_of_noisy_inputs_are_forgotten(name):
    task = convolutional()
    plain, rule = copy.deepcopy(task.net), create(name, task)
    torch.manual_seed(5)
    rule.assign_credit(task.net, task.x, task.y, F.cross_entropy)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    plain(task.x)
    assert torch.equal(after, torch.get_rng_state())
    assert not differing(buffers(task.net), buffers(plain))


def dropping(inplace: bool) -> Task:
    torch.manual_seed(0)
    hidden = [nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Dropout(0.5, inplace)) for _ in range(2)]
    net = nn.Sequential(nn.Dropout(0.2, inplace), *hidden, nn.Linear(6, 3)).double()
    return Task(net, torch.randn(8, 6, dtype=torch.float64), torch.randint(3, (8,)))


@pytest.mark.parametrize("name", [*NAMES, "drl", "ddtp-linear", "l-drl", "dfa"])
def test_a_dropout_that_overwrites_its_input_teaches_as_one_that_does_not(name):
    found = []
    for inplace in (False, True):
        task = dropping(inplace)
        rule = create(name, task)
        torch.manual_seed(3)
        taught = teach(rule, task)
        torch.manual_seed(3)
        shown = rule.targets(task.net, task.x, task.y, F.cross_entropy) if name != "dfa" else {}
        found.append(
            {**taught, **{f"{block} {n}": t for block, pair in shown.items() for n, t in enumerate(pair)}}
        )
    assert not differing(*found)


@every_rule
def test_decoders_learn_to_invert(name):
    task = mlp()
    rule = create(name, task, noise=0.05)
    first = rule.reconstruction_losses(task.net, task.x)
    optimizer = torch.optim.Adam(rule.parameters(), 0.05)
    for _ in range(60):
        teach(rule, task)
        optimizer.step()
    last = rule.reconstruction_losses(task.net, task.x)
    assert last["2"] < 0.3 * first["2"]
    assert all(last[key] < 0.8 * first[key] for key in first)


# --- nets and settings ---


@every_rule
@pytest.mark.parametrize("net", ["bartunov-mnist-fc", "bartunov-mnist-lc", "bartunov-mnist-conv"])
def test_the_papers_nets_are_taught(name, net):
    model = biograd.nets.create(net, (1, 28, 28), 10, seed=0)
    task = Task(model, torch.randn(2, 1, 28, 28), torch.tensor([0, 7]))
    taught = teach(create(name, task), task)
    assert [key for key, gradient in taught.items() if gradient is None or not gradient.any()] == []


@every_rule
def test_decoders_follow_autocast(name):
    task = mlp(torch.float32)
    rule = create(name, task)
    with torch.autocast("cpu", torch.bfloat16):
        taught = teach(rule, task)
    assert all(g is not None and g.dtype == torch.float32 and g.isfinite().all() for g in taught.values())


@every_rule
def test_a_net_of_one_block_is_refused(name):
    with pytest.raises(UnsupportedNet, match=r"no hidden one to set a target for.* use the rule bp"):
        rules.create(name, nn.Sequential(nn.Linear(4, 3)))


def test_a_convolutional_net_needs_a_sample():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(UnsupportedNet, match="sample=x"):
        rules.create("dtp", net)


class Unit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.inner(x)


def test_a_residual_unit_is_refused_but_for_a_decoder_of_ones_own():
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), Unit(), nn.Tanh(), nn.Linear(4, 3))
    with pytest.raises(UnsupportedNet, match=r"'2' cannot be mirrored.* decoder="):
        rules.create("dtp", net)
    rule = rules.create("dtp", net, decoder=lambda site: nn.Linear(site.given[0], site.wanted[0]))
    task = Task(net, torch.randn(6, 5), torch.randint(3, (6,)))
    assert filled(teach(rule, task)) == {"net", "rule"}


def test_every_decoder_of_an_output_net_is_made_but_the_one_that_has_no_use():
    task = mlp()
    assert [len(create(name, task).decoders) for name in NAMES] == [1, 2, 2]


WRONG_TARGETS = {
    "numbers to fit": torch.randn(8, 3),
    "one number an example": torch.rand(8),
    "no distribution": torch.full((8, 3), 0.5),
    "negative shares": torch.tensor([[1.5, -0.5, 0.0]]).repeat(8, 1),
    "nan": torch.full((8, 3), torch.nan),
    "many labels": torch.ones(8, 3, dtype=torch.long),
}


@pytest.mark.parametrize("name", ["sdtp", "ao-sdtp"])
@pytest.mark.parametrize("schedule", ["parallel", "alternating"])
@pytest.mark.parametrize("kind", WRONG_TARGETS)
def test_targets_that_are_no_classes_are_refused_at_once_in_one_line(name, schedule, kind):
    task = mlp()._replace(y=WRONG_TARGETS[kind])
    rule = create(name, task, schedule=schedule)
    rule.begin_epoch(0)

    def loss_fn(output, y):
        return output.square().mean()

    with pytest.raises(UserMistake, match=r"needs classes to aim at.* use the rule dtp") as caught:
        rule.assign_credit(task.net, task.x, task.y, loss_fn)
    assert "\n" not in str(caught.value)
    assert not filled(gradients(net=task.net, rule=rule))


def test_an_output_without_classes_is_refused():
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    task = Task(net, torch.randn(8, 5), torch.rand(8, 1))
    with pytest.raises(UserMistake, match="a value a class"):
        teach(rules.create("sdtp", net), task, F.mse_loss)
    assert filled(teach(rules.create("dtp", net, noise=0.1), task, F.mse_loss)) == {"net"}


def test_maps_of_classes_leave_no_place_for_auxiliary_outputs():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Conv2d(2, 3, 1))
    with pytest.raises(UnsupportedNet, match=r"gives \(3, 4, 4\) for an example, .* use the rule sdtp$"):
        biograd.rules.create("ao-sdtp", net, sample=torch.randn(1, 1, 6, 6))


def test_maps_of_classes_are_taught():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 3, padding=1))
    task = Task(net, torch.randn(2, 1, 5, 5), torch.randint(3, (2, 5, 5)))
    for name in ("dtp", "sdtp"):
        assert "net" in filled(teach(create(name, task), task))


BAD = [
    *((name, {"noise": value}) for name in NAMES for value in (-0.1, float("nan"), "loud")),
    *((name, {"schedule": "weekly"}) for name in NAMES),
    *((name, {"inverse_loss": "none"}) for name in NAMES),
    *((name, {"seed": -1}) for name in NAMES),
    *(("dtp", {"alpha": value}) for value in (0.0, -1.0)),
    ("dtp", {"step": "median"}),
    ("ao-sdtp", {"auxiliary": 0}),
    ("ao-sdtp", {"auxiliary_activation": "relu"}),
]


@pytest.mark.parametrize(("name", "settings"), BAD, ids=str)
def test_a_value_out_of_range_is_a_mistake_told_in_one_line_that_names_the_setting(name, settings):
    (setting,) = settings
    with pytest.raises(UserMistake, match=f"setting '{setting}' got") as caught:
        create(name, mlp(), **settings)
    assert "\n" not in str(caught.value)


def test_defaults_are_the_papers_for_the_parallel_schedule_on_its_fully_connected_mnist_net():
    found = {name: {s.name: s.default for s in describe(rules.REGISTRY.find(name))} for name in NAMES}
    assert (found["dtp"]["alpha"], found["dtp"]["noise"]) == (0.150, 0.361)
    assert found["sdtp"]["noise"] == found["ao-sdtp"]["noise"] == 0.214
    assert [found[name]["inverse_loss"] for name in NAMES] == [
        "noise-preserving",
        "de-noising",
        "de-noising",
    ]
    assert found["ao-sdtp"]["auxiliary"] == 512


@every_rule
def test_decoders_are_a_list_of_modules_that_can_be_cut(name):
    task = mlp()
    decoders = create(name, task).decoders
    assert list(decoders[:1]) == [decoders[0]]
    assert list(decoders[1:]) == list(decoders)[1:]
