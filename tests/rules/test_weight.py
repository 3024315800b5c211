"""``weight`` scales everything that a call teaches; what a loss says of its examples holds under every rule."""

import copy
import functools
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd.credit.weighting import Weighting
from biograd.testing import Subject

EVERY_RULE = biograd.rules.names()
MEANS = [name for name in EVERY_RULE if name not in ("brsf", "softhebb")]
"""Rules whose update is a mean over examples: not where a call draws feedback anew, or updates are normalised."""
OF_LABELS = ["drtp", "sdtp", "ao-sdtp", "stdp-association"]
STILL = {"dtp": {"noise": 0.0}, "sdtp": {"noise": 0.0}, "ao-sdtp": {"noise": 0.0}, "wm": {"every": 1000}}
"""Settings under which a rule draws no noise."""
DRAWING = {"drl", "l-drl", "ddtp-linear"}
"""Rules whose own lessons always draw noise."""


class Case:
    """A rule with its net in float64, and a batch of two classes, so that no wrong label has to be drawn."""

    def __init__(self, name: str, size: int = 128, **settings: Any) -> None:
        subject = Subject(name, {**STILL.get(name, {}), **settings})
        trial = subject.trial(dtype=torch.float64)
        if name == "forward-forward":
            torch.manual_seed(0)
            trial.net = biograd.nets.create("ff-mlp", (12,), 2, widths=(16, 16)).double()
            trial.rule = biograd.rules.create(name, trial.net)
        self.net, self.rule = trial.net, trial.rule
        self.x, y = trial.task.batch(size, 0)
        self.x, self.y = self.x.double(), y % 2

    def teach(
        self, loss_fn: Any = F.cross_entropy, part: Any = slice(None), y: Tensor | None = None, **weight: Any
    ):
        y = self.y if y is None else y
        self.rule.assign_credit(self.net, self.x[part], y[part], loss_fn, **weight)

    def gradients(self, own: bool = True) -> dict[str, Tensor]:
        modules = {"net": self.net, "rule": self.rule} if own else {"net": self.net}
        found = {
            f"{kind}.{name}": p.grad.clone()
            for kind, module in modules.items()
            for name, p in module.named_parameters()
            if p.grad is not None
        }
        self.net.zero_grad()
        self.rule.zero_grad()
        return found


def assert_equal(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        size = gradient.abs().max().clamp_min(1e-300)
        assert (got[name] - gradient).abs().max() / size < tolerance, name


@pytest.mark.parametrize("name", MEANS)
def test_sixteen_batches_of_eight_are_one_of_128(name):
    whole, parts = Case(name), Case(name)
    whole.teach()
    for start in range(0, 128, 8):
        parts.teach(part=slice(start, start + 8), weight=1 / 16)
    own = name not in DRAWING
    assert_equal(parts.gradients(own), whole.gradients(own))


@pytest.mark.parametrize("name", MEANS)
def test_shards_of_unequal_size_add_up_by_their_shares(name):
    whole, parts = Case(name), Case(name)
    whole.teach()
    parts.teach(part=slice(0, 100), weight=100 / 128)
    parts.teach(part=slice(100, 128), weight=torch.tensor(28 / 128))
    own = name not in DRAWING
    assert_equal(parts.gradients(own), whole.gradients(own), 1e-7)  # a weight in float32


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_gradient_scaler_scales_all_that_a_rule_teaches(name):
    plain, scaled = Case(name), Case(name)
    plain.teach()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    optimizer = torch.optim.SGD([*scaled.net.parameters(), *scaled.rule.parameters()], lr=0.1)
    scaled.teach(weight=scaler.scale(torch.ones(())))
    scaler.unscale_(optimizer)
    assert_equal(scaled.gradients(), plain.gradients())


@pytest.mark.parametrize("name", MEANS)
def test_a_number_an_example_is_a_weighted_mean(name):
    whole, parts = Case(name, 8), Case(name, 8)
    weight = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    whole.teach(weight=weight)
    for index in range(8):
        parts.teach(part=slice(index, index + 1), weight=weight[index].item() / 8)
    own = name not in DRAWING
    assert_equal(parts.gradients(own), whole.gradients(own), 1e-11)


@pytest.mark.parametrize("weight", [torch.tensor(0.3), torch.full((8,), 0.3)], ids=["a tensor", "rows"])
def test_a_weight_is_not_rounded_before_it_scales(weight):
    """In bfloat16 0.3 is 0.3008, by which all would be too large."""
    derivative = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(Weighting(weight, 8).of(derivative), Weighting(0.3, 8).of(derivative))
    assert torch.equal(Weighting(weight, 8).of_all(derivative), Weighting(0.3, 8).of(derivative))


@pytest.mark.parametrize("name", EVERY_RULE)
def test_of_no_examples_nothing_is_learned(name):
    case = Case(name, 8)
    if case.rule.nets == "chain":
        with pytest.raises(biograd.UserMistake, match=r"the batch has no examples, \(0, .*: leave it out"):
            case.teach(part=slice(0))
        assert not case.gradients()
    else:
        case.teach(summed, part=slice(0), weight=torch.ones(0))
        assert not any(gradient.any() for gradient in case.gradients().values())


@pytest.mark.parametrize(
    "weight", [torch.ones(7), torch.ones(8, 1), "1", True], ids=["seven", "a matrix", "a text", "a bool"]
)
def test_a_weight_that_fits_no_batch_is_refused(weight):
    case = Case("fa", 8)
    with pytest.raises(biograd.UserMistake, match=r"weight must be a number, .* \(8,\); got a"):
        case.teach(weight=weight)
    assert not case.gradients()


def penalised(net: nn.Module):
    return lambda output, y: (
        F.cross_entropy(output, y) + 0.1 * sum(p.square().sum() for p in net.parameters())
    )


@pytest.mark.parametrize("name", ["bp", "fa", "kp", "dfa", "dtp", "pepita", "stdp-association", "softhebb"])
@pytest.mark.parametrize("weight", [0.25, torch.full((8,), 0.25)], ids=["a number", "a number an example"])
def test_a_penalty_in_the_loss_is_scaled_with_it(name, weight):
    plain, scaled = Case(name, 8), Case(name, 8)
    plain.teach(penalised(plain.net))
    scaled.teach(penalised(scaled.net), weight=weight)
    expected = {key: gradient * 0.25 for key, gradient in plain.gradients().items()}
    assert_equal(scaled.gradients(), expected)


def own_gradients(name, settings, weight):
    trial = Subject(name, settings).trial(dtype=torch.float64)
    trial.teach(weight=weight)
    return [(p.detach(), p.grad) for p in trial.rule.parameters()]


UNEVEN = torch.tensor([0.0, 1.0, 4.0, 3.0] * 8, dtype=torch.float64)  # 2 on average


def test_lessons_from_noise_are_scaled_by_the_mean_of_the_weights():
    learned = {"inverse": "learned"}
    plain, scaled = (own_gradients("gait-prop", learned, weight) for weight in (None, UNEVEN))
    for (_, expected), (_, got) in zip(plain, scaled, strict=True):
        torch.testing.assert_close(got, 2 * expected, rtol=1e-12, atol=0)


def test_a_term_of_the_feedback_weights_alone_is_scaled_by_the_mean_of_the_weights():
    without, whole = (own_gradients("ddtp-linear", {"regularization": r}, UNEVEN) for r in (0.0, 0.3))
    for (Q, of_examples), (_, both) in zip(without, whole, strict=True):
        torch.testing.assert_close(both - of_examples, 2 * (2 * 0.3 * Q), rtol=1e-9, atol=1e-12)


# --- what a cross-entropy says of its examples ---


@pytest.mark.parametrize("name", EVERY_RULE)
def test_ignored_examples_teach_nothing(name):
    some, alone = Case(name, 8), Case(name, 8)
    counts = torch.tensor([True, False, True, True, False, True, True, False])
    some.teach(y=some.y.masked_fill(~counts, -100))
    alone.teach(part=counts)
    own = name not in DRAWING
    assert_equal(some.gradients(own), alone.gradients(own), 1e-11)


@pytest.mark.parametrize("name", ["dtp", "drl", "l-drl", "ddtp-linear"])
def test_a_step_of_the_mean_is_that_of_the_examples_that_count(name):
    some, alone = (Case(name, 8, step="mean") for _ in range(2))
    some.teach(y=some.y.masked_fill(torch.arange(8) > 4, -100))
    alone.teach(part=slice(0, 5))
    assert_equal(some.gradients(own=False), alone.gradients(own=False), 1e-11)


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_batch_that_is_ignored_altogether_teaches_hidden_layers_nothing(name):
    case = Case(name, 4)
    case.teach(y=torch.full((4,), -100))
    hidden = {key: g for key, g in case.gradients().items() if "0.weight" in key and g.isfinite().all()}
    assert all(not gradient.any() for gradient in hidden.values())


@pytest.mark.parametrize("name", [name for name in EVERY_RULE if name != "softhebb"])
def test_class_weights_are_weights_of_examples(name):
    by_class, by_example = Case(name, 8), Case(name, 8)
    weights = torch.tensor([0.2, 3.0], dtype=torch.float64)
    if by_class.net(by_class.x[:1]).shape[1] > 2:
        weights = torch.cat([weights, torch.ones(2, dtype=torch.float64)])
    by_class.teach(nn.CrossEntropyLoss(weights))
    of_examples = weights[by_example.y]
    by_example.teach(weight=of_examples * 8 / of_examples.sum())
    assert_equal(by_class.gradients(own=False), by_example.gradients(own=False), 1e-11)


@pytest.mark.parametrize("name", OF_LABELS)
def test_smoothed_labels_are_what_a_rule_aims_at(name):
    smoothed, soft = Case(name, 8), Case(name, 8)
    smoothed.teach(nn.CrossEntropyLoss(label_smoothing=0.2))
    classes = soft.net(soft.x[:1]).shape[1]
    soft.teach(y=F.one_hot(soft.y, classes).double() * 0.8 + 0.2 / classes)
    assert_equal(smoothed.gradients(), soft.gradients())
    hard = Case(name, 8)
    hard.teach()
    name_of_first = next(iter(hard.gradients()))
    smoothed.teach(functools.partial(F.cross_entropy, label_smoothing=0.2))
    again = smoothed.gradients()
    hard.teach()
    assert not torch.allclose(again[name_of_first], hard.gradients()[name_of_first])


def test_forward_forward_cannot_smooth_the_labels_it_shows():
    case = Case("forward-forward", 8)
    with pytest.raises(biograd.UserMistake, match="cannot honour 'label_smoothing'"):
        case.teach(nn.CrossEntropyLoss(label_smoothing=0.1))


@pytest.mark.parametrize("name", [*OF_LABELS, "forward-forward"])
def test_hidden_layers_that_see_labels_alone_refuse_weights_they_cannot_honour(name):
    case = Case(name, 8)
    with pytest.raises(biograd.UserMistake, match="cannot honour 'weight'"):
        case.teach(nn.MultiMarginLoss(weight=torch.ones(case.net(case.x[:1]).shape[1]).double()))


@pytest.mark.parametrize("name", EVERY_RULE)
def test_labels_of_one_byte_teach_as_others(name):
    case, other = Case(name, 8), Case(name, 8)
    case.teach(y=case.y.to(torch.uint8))
    other.teach()
    assert_equal(case.gradients(), other.gradients(), 1e-15)


@pytest.mark.parametrize("name", ["drtp", "sdtp", "dfa", "gait-prop"])
def test_an_example_none_of_whose_tokens_counts_teaches_nothing(name):
    """The others teach in the same direction as without it, by the same ratio everywhere."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(2, 8, 1), nn.Tanh(), nn.Conv1d(8, 6, 1), nn.Tanh(), nn.Conv1d(6, 3, 1)
    ).double()
    x, y = torch.randn(4, 2, 2).double(), torch.tensor([[0, -100], [-100, 2], [1, -100], [-100, -100]])
    settings = {"noise": 0.0} if name in STILL else {}
    rule = biograd.rules.create(name, net, sample=x[:1], **settings)
    rule.assign_credit(net, x, y, F.cross_entropy)
    taught = net[0].weight.grad.clone()
    alone = copy.deepcopy(net)
    alone.zero_grad()
    rule.assign_credit(alone, x[:3], y[:3], F.cross_entropy)
    assert taught.isfinite().all()
    assert taught.any()
    ratio = taught / alone[0].weight.grad
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-9, atol=0)


# --- losses that would teach something else, without a word ---


def summed(output, y):
    return F.cross_entropy(output, y, reduction="sum")


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_sum_over_the_batch_is_refused_at_the_first_call(name):
    case = Case(name, 8)
    with pytest.raises(biograd.UserMistake, match="the loss is a sum over the batch"):
        case.teach(summed)
    assert not case.gradients()


@pytest.mark.filterwarnings("ignore:hidden layers of .* aim at the label")
@pytest.mark.parametrize(
    "loss_fn",
    [F.cross_entropy, nn.CrossEntropyLoss(), F.multi_margin_loss],
    ids=["function", "module", "margin"],
)
@pytest.mark.parametrize("name", EVERY_RULE)
def test_means_are_taken(name, loss_fn):
    case = Case(name, 8)
    case.teach(loss_fn)
    assert case.gradients()


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_scaled_loss_scales_every_gradient_or_is_refused(name):
    plain, scaled = Case(name), Case(name)
    plain.teach()
    scaled_loss = lambda output, y: F.cross_entropy(output, y) / 64  # noqa: E731
    if not scaled.rule.scales_with_loss:
        with pytest.raises(
            biograd.UserMistake, match=r"the loss is 0.01562 × the mean cross-entropy.*weight=0.01562"
        ):
            scaled.teach(scaled_loss)
        return
    scaled.teach(scaled_loss)
    own = not list(scaled.rule.parameters())
    assert_equal(scaled.gradients(own), {k: g / 64 for k, g in plain.gradients(own).items()}, 1e-10)


@pytest.mark.parametrize("factor", [1, 0.5, 1 / 4, 1 / 8])
def test_customary_squared_errors_are_taken_and_others_refused(factor):
    def squared(output, y, times=factor):
        return times * (output - F.one_hot(y, 4)).square().sum(1).mean()

    Case("drtp").teach(squared)
    with pytest.raises(biograd.UserMistake, match=r"× the mean squared error"):
        Case("drtp").teach(functools.partial(squared, times=64 * factor))


@pytest.mark.filterwarnings("ignore:hidden layers of .* aim at the label")
@pytest.mark.parametrize("name", ["bp", "drtp", "pepita"])
def test_a_loss_that_sets_examples_against_one_another_is_no_sum(name):
    """Beside itself a batch holds each example's like, from which a contrastive loss would have it differ."""

    def contrastive(output, _):
        z = F.normalize(output, dim=1)
        return F.cross_entropy(z @ z.T / 0.1 - 1e9 * torch.eye(len(z)), torch.arange(len(z)).roll(1))

    case = Case(name, 16)
    case.teach(contrastive)
    assert case.gradients()


@pytest.mark.parametrize("name", EVERY_RULE)
@pytest.mark.parametrize(
    ("loss_fn", "said"),
    [
        (functools.partial(F.cross_entropy, reduction="none"), r"has the shape \(8,\), expected one number"),
        (lambda output, y: F.cross_entropy(output, y).item(), "is a float, expected one number"),
        (
            lambda output, y: F.cross_entropy(output.detach(), y),
            "has no derivative: compute it of the output",
        ),
    ],
    ids=["one an example", "a float", "detached"],
)
def test_a_loss_that_is_no_number_with_a_derivative_is_refused(name, loss_fn, said):
    case = Case(name, 8)
    with pytest.raises(biograd.UserMistake, match=f"the loss {said}"):
        case.teach(loss_fn)
    assert not case.gradients()


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_loss_of_parameters_alone_teaches_what_they_learn_from_it(name):
    case = Case(name, 8)
    case.teach(lambda *_: sum(p.square().sum() for p in case.net.parameters()))
    last, parameter = list(case.net.named_parameters())[-1]
    assert torch.equal(case.gradients()[f"net.{last}"], 2 * parameter.detach())


class Counting(nn.Module):
    """A cross-entropy that keeps statistics."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, output, y):
        self.calls += 1
        self.seen += len(y)
        return F.cross_entropy(output, y)


@pytest.mark.parametrize(
    "reach",
    [
        lambda loss: loss,
        lambda loss: functools.partial(loss),
        lambda loss: loss.forward,
        lambda loss: lambda output, y: loss(output, y),
        lambda loss: functools.partial(lambda way, output, y: way(output, y), loss.forward),
    ],
    ids=["module", "partial", "method", "closure", "given to a function"],
)
def test_a_first_look_leaves_a_loss_with_a_state_as_one_call_would(reach):
    case, loss = Case("bp", 8), Counting()
    case.teach(reach(loss))
    assert (loss.calls, loss.seen) == (1, 8)


CRITERION = nn.CrossEntropyLoss()


def by_a_global(output, y):
    return CRITERION(output, y)


def test_a_first_look_leaves_a_loss_that_a_function_finds_in_its_file(monkeypatch):
    loss = Counting()
    monkeypatch.setitem(globals(), "CRITERION", loss)
    Case("bp", 8).teach(lambda output, y: by_a_global(output, y))
    assert (loss.calls, loss.seen) == (1, 8)


def test_a_first_look_takes_a_loss_that_names_what_is_not_there():
    def loss(output, y):
        return F.cross_entropy(output, y) if len(y) else missing

    case = Case("bp", 8)
    case.teach(loss)
    if not case.gradients():
        missing = 0.0


def test_a_first_look_takes_a_scripted_loss():
    case, plain = Case("bp", 8), Case("bp", 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated
        case.teach(torch.jit.script(nn.CrossEntropyLoss(torch.ones(4).double())))
    plain.teach()
    assert_equal(case.gradients(), plain.gradients())


def test_a_loss_for_one_batch_size_and_a_batch_of_one_show_nothing():
    case = Case("drtp", 8)
    case.teach(lambda output, y: F.cross_entropy(output[:8], y * torch.ones(8, dtype=torch.long)))
    case = Case("drtp", 1)
    case.teach(lambda output, y: F.cross_entropy(output, y) * 3)


@pytest.mark.parametrize("name", ["bp", "fa", "dfa", "pepita"])
def test_a_compiler_may_not_take_in_the_first_call_which_looks(name):
    case = Case(name, 8)
    torch.compiler.reset()
    compiled = torch.compile(lambda: case.teach(summed), backend="aot_eager")
    with pytest.raises(biograd.UnsupportedNet, match="call assign_credit once before compiling"):
        compiled()
    assert not case.gradients()


def focal(output, y):
    losses = F.cross_entropy(output, y, reduction="none")
    return ((1 - torch.exp(-losses)) ** 2 * losses).mean()


def root_of_squares(output, y):
    return F.mse_loss(output, F.one_hot(y, output.shape[1]).to(output)).sqrt()


def hardest(output, y):
    return F.cross_entropy(output, y, reduction="none").topk(4)[0].mean()


@pytest.mark.filterwarnings("ignore:hidden layers of .* aim at the label")
@pytest.mark.parametrize("loss_fn", [focal, root_of_squares, hardest], ids=lambda loss_fn: loss_fn.__name__)
@pytest.mark.parametrize("name", ["bp", "dtp", "drl", "pepita", "drtp"])
def test_a_loss_that_is_like_a_known_one_at_one_output_alone_is_no_multiple_of_it(name, loss_fn):
    case = Case(name, 8)
    with torch.no_grad():
        list(case.net.parameters())[-2].mul_(1e-3)  # at the start all outputs are nearly equal
    case.teach(loss_fn)
    assert case.gradients()


@pytest.mark.parametrize("name", [*OF_LABELS, "forward-forward"])
@pytest.mark.parametrize("setting", ["weight", "label_smoothing", "ignore_index"])
def test_a_cross_entropy_that_cannot_be_read_is_noticed_by_rules_that_see_labels_alone(name, setting):
    case = Case(name, 8)
    classes = case.net(case.x[:1]).shape[1]
    weights = torch.linspace(0.2, 3, classes, dtype=torch.float64)
    value = {"weight": weights, "label_smoothing": 0.2, "ignore_index": 0}[setting]
    with pytest.warns(
        UserWarning, match=r"aim at the label and see nothing of this loss: .*CrossEntropyLoss"
    ):
        case.teach(lambda output, y: F.cross_entropy(output, y, **{setting: value}))
    if (name, setting) != ("forward-forward", "label_smoothing"):
        Case(name, 8).teach(functools.partial(F.cross_entropy, **{setting: value}))


# --- what the first steps would show ---


def step(case: Case, modules: list[nn.Module], calls: int = 3) -> None:
    optimizer = torch.optim.SGD([p for module in modules for p in module.parameters()], lr=0.1)
    for _ in range(calls):
        optimizer.zero_grad()
        case.teach()
        optimizer.step()


LEARNING = ["kp", "dtp", "sdtp", "ao-sdtp", "drl", "l-drl", "ddtp-linear"]


@pytest.mark.parametrize("name", LEARNING)
def test_parameters_of_a_rule_in_no_optimiser_are_noticed_once(name):
    case = Case(name, 8)
    step(case, [case.net, case.rule])
    forgotten = Case(name, 8)
    with pytest.warns(UserWarning, match="the first step moved the net alone: give the optimiser") as caught:
        step(forgotten, [forgotten.net])
    assert len(caught) == 1


def test_parameters_in_no_optimiser_are_noticed_after_many_calls_on_nets_that_do_not_move():
    forgotten, other = Case("dtp", 8), Case("dtp", 8)
    optimizer = torch.optim.SGD(forgotten.net.parameters(), lr=0.1)
    for net in (forgotten.net, other.net, forgotten.net):
        for _ in range(4):
            forgotten.rule.assign_credit(net, forgotten.x, forgotten.y, F.cross_entropy)
    optimizer.step()
    optimizer.zero_grad()
    forgotten.rule.zero_grad()
    with pytest.warns(UserWarning, match="the first step moved the net alone: give the optimiser"):
        forgotten.teach()


@pytest.mark.parametrize("name", LEARNING)
def test_gradients_of_a_rule_that_pile_up_are_noticed_once(name):
    case = Case(name, 8)
    optimizer = torch.optim.SGD([*case.net.parameters(), *case.rule.parameters()], lr=0.1)
    case.teach()
    optimizer.step()
    case.net.zero_grad()
    with pytest.warns(UserWarning, match=r"was not, to which this call adds: call optimizer\.zero_grad\(\)"):
        case.teach()
    optimizer.step()
    case.net.zero_grad()
    case.teach()


def test_accumulating_and_measuring_are_no_forgotten_step():
    case = Case("dtp", 8)
    optimizer = torch.optim.SGD([*case.net.parameters(), *case.rule.parameters()], lr=0.1)
    case.teach()
    copy.deepcopy(case.rule).assign_credit(case.net, case.x, case.y, F.cross_entropy)
    case.teach()
    optimizer.step()
    copy.deepcopy(case.rule).assign_credit(case.net, case.x, case.y, F.cross_entropy)
    case.teach()


@pytest.mark.parametrize(
    ("name", "settings"),
    [("dtp", {"schedule": "alternating"}), ("softhebb", {"unsupervised_epochs": 1})],
    ids=["alternating", "hidden layers first"],
)
def test_epochs_that_nobody_counts_are_noticed_once(name, settings):
    subject = Subject(name, settings)
    forgotten = subject.trial()
    with pytest.warns(UserWarning, match=r"call rule\.begin_epoch\(epoch\)"):
        forgotten.teach()
    forgotten.teach()
    counted = subject.trial()
    counted.rule.begin_epoch(0)
    counted.teach()
    loaded = subject.trial()
    loaded.rule.load_state_dict(counted.rule.state_dict())
    loaded.teach()


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_rule_left_in_another_dtype_than_its_net_says_so(name):
    case = Case(name, 8)
    if not [t for t in (*case.rule.parameters(), *case.rule.buffers()) if t.is_floating_point()]:
        pytest.skip("it has no numbers of its own")
    case.teach()
    case.gradients()
    case.net.float()
    case.x = case.x.float()
    with pytest.raises(
        biograd.UnsupportedNet, match=r"is in torch.float64 on cpu, and the net in torch.float32"
    ):
        case.teach()
    assert not case.gradients()
    case.rule.float()
    case.teach()
    case.gradients()
    case.rule.double()
    with pytest.raises(biograd.UnsupportedNet, match="move the rule as you moved the net"):
        case.teach()
