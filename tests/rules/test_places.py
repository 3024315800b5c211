"""Direct feedback on sequences and maps of any size: what each token, or position, is told."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd.credit.chain.blocks import Block
from biograd.credit.chain.cut_points import named_modules
from biograd.credit.chain.places import axis_of
from biograd.layers import LocallyConnectedTranspose2d
from biograd.rules.direct_random_target_projection import aimed_at
from tests.rules.small import Task, assert_same, gradients

N, T, IN, WIDE, K = 5, 7, 6, 12, 4
FORMS = ["full", "tiled", {"name": "low-rank", "rank": 3}]


class Mean(nn.Module):
    """The mean over the tokens."""

    def forward(self, x):
        return x.mean(1)


class Swap(nn.Module):
    """Exchanges tokens and features."""

    def forward(self, x):
        return x.transpose(1, -1)


class Squeeze(nn.Module):
    """Drops a last axis of one."""

    def forward(self, x):
        return x.squeeze(-1)


class Mixer(nn.Module):
    """A residual unit on tokens with a matrix of its own, of which no kind of layer says anything."""

    def __init__(self, width):
        super().__init__()
        self.W = nn.Parameter(torch.randn(width, width) / width)

    def forward(self, x):
        return x + x @ self.W


class ToTokens(nn.Module):
    """A map as a sequence of its positions."""

    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Other(nn.Module):
    """A layer of its own, without weights."""

    def __init__(self, function=torch.square):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Unit(nn.Module):
    """Layers under a forward of its own."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def of_tokens(loss_fn, output, y):
    return loss_fn(output.flatten(0, 1), y.flatten())


cross_entropy = functools.partial(of_tokens, F.cross_entropy)


CASES = [
    *((name, {"form": form}) for name in ("dfa", "drtp") for form in FORMS),
    *(("ddtp-linear", {}), ("ddtp-linear", {"regularization": 0.1}), ("pepita", {})),
]
CHAIN_RULES = ["dfa", "drtp", "ddtp-linear", "pepita"]


def token_wise(seed=0, inside=IN, wide=WIDE, classes=K):
    torch.manual_seed(seed)
    hidden = [nn.Linear(inside, wide), nn.Tanh(), nn.Linear(wide, wide), nn.LayerNorm(wide), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(wide, classes)).double()


def tokens(length=T, inside=IN, classes=K):
    torch.manual_seed(1)
    return torch.randn(N, length, inside).double(), torch.randint(classes, (N, length))


def assert_taught(got, blocks, x, signals):
    """Each block is taught by its signal alone."""
    expected = []
    for block, signal in zip(blocks, signals, strict=True):
        h = block(x.detach())
        expected += torch.autograd.grad(h, [*block.parameters()], signal.expand(h.shape))
        x = h
    for gradient, wanted in zip(got.values(), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("sample", ["none", "given", "longer"])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_each_token_is_taught_as_an_example_of_its_own_whatever_the_sample(name, settings, sample):
    net, (x, y) = token_wise(), tokens()
    shown = {"none": None, "given": x[:1], "longer": torch.zeros(1, 9, IN).double()}[sample]
    rule, other = (biograd.rules.create(name, net, sample=s, **settings) for s in (shown, None))
    got = gradients(rule, Task(net, x, y), cross_entropy)
    assert_same(got, gradients(other, Task(net, x.flatten(0, 1), y.flatten())), tolerance=1e-12)
    mine, theirs = ({name: p.grad for name, p in r.named_parameters()} for r in (rule, other))
    assert_same(mine, theirs, tolerance=1e-12)


@pytest.mark.parametrize("name", CHAIN_RULES)
def test_as_many_tokens_as_features_and_classes_change_nothing(name):
    net, (x, y) = token_wise(inside=4, wide=4), tokens(length=4, inside=4)
    got = gradients(biograd.rules.create(name, net, sample=x[:1]), Task(net, x, y), cross_entropy)
    alone = Task(net, x.flatten(0, 1), y.flatten())
    assert_same(got, gradients(biograd.rules.create(name, net), alone), tolerance=1e-13)


POOLED = [("dfa", {"form": "tiled"}), ("dfa", {}), ("drtp", {}), ("ddtp-linear", {"alpha": 0.25})]


@pytest.mark.parametrize(("name", "settings"), POOLED, ids=str)
def test_where_the_output_has_no_tokens_all_are_told_of_it_over_the_root_of_their_number(name, settings):
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Linear(IN, WIDE), nn.Tanh()),
        nn.Sequential(nn.Linear(WIDE, 8), nn.Tanh(), Mean()),
    ]
    blocks = [block.double() for block in (*blocks, nn.Linear(8, K))]
    net, (x, _), y = nn.Sequential(*blocks), tokens(), torch.tensor([0, 3, 1, 2, 2])
    rule = biograd.rules.create(name, net, sample=x[:1, :3], **settings)
    error, label = (net(x).softmax(1) - F.one_hot(y, K)) / N, -F.one_hot(y, K).double() / N
    # 2 α e of ddtp-linear, whose targets are α of each example's own gradient away
    source = {"dfa": error, "drtp": label, "ddtp-linear": 2 * 0.25 * error}[name]
    matrices = rule.decoders.parameters() if name == "ddtp-linear" else rule.direct.buffers()
    first, second = (source @ matrix.detach().T for matrix in matrices)
    assert_taught(gradients(rule, Task(net, x, y)), blocks, x, [first[:, None] / math.sqrt(T), second, error])


def test_pepita_moves_every_token_by_the_pooled_error_over_the_root_of_their_number():
    net, (x, _) = nn.Sequential(nn.Linear(IN, WIDE), nn.Tanh(), Mean(), nn.Linear(WIDE, K)).double(), tokens()
    rule, error = biograd.Pepita(net, x[:1, :3]), torch.randn(N, K).double()
    moved = x + (N * error @ rule.F.T)[:, None] / math.sqrt(T)
    torch.testing.assert_close(rule.modulate(x, error), moved, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", CHAIN_RULES)
def test_classes_may_stand_before_the_tokens(name):
    net, (x, y) = token_wise(), tokens()
    swapped = nn.Sequential(*net, Swap())
    got = gradients(biograd.rules.create(name, swapped, sample=x[:1]), Task(swapped, x, y))
    expected = gradients(biograd.rules.create(name, net), Task(net, x, y), cross_entropy)
    assert_same(got, expected, tolerance=1e-13)


@pytest.mark.parametrize("name", ["dfa", "drtp"])
def test_on_maps_each_position_is_told_of_its_own_error_where_the_user_says_so(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 1), nn.Tanh(), nn.Conv2d(6, K, 1)).double()
    rule = biograd.rules.create(name, net, sample=torch.zeros(1, 2, 3, 3).double(), places="own")
    x, y = torch.randn(N, 2, 4, 5).double(), torch.randint(K, (N, 4, 5))
    got = gradients(rule, Task(net, x, y))
    pixels = Task(net, x.movedim(1, -1).reshape(-1, 2, 1, 1), y.reshape(-1, 1, 1))
    assert_same(got, gradients(rule, pixels), tolerance=1e-13)


def test_all_places_are_told_of_all_where_the_user_says_so():
    net, (x, y) = token_wise(), tokens()
    rule = biograd.DirectFeedbackAlignment(net, x[:1], places="all")
    error = (net(x).softmax(-1) - F.one_hot(y, K)) / (N * T)
    signals = [(error.flatten(1) @ p.B.T).unflatten(1, (T, WIDE)) for p in rule.direct.blocks]
    assert_taught(
        gradients(rule, Task(net, x, y), cross_entropy), [net[:2], net[2:5], net[5]], x, [*signals, error]
    )


@pytest.mark.parametrize("head", ["of tokens", "pooled"])
def test_behind_the_last_matrix_the_error_is_what_its_weights_make_of_it(head):
    net, (x, y) = token_wise(), tokens()
    loss_fn = cross_entropy
    if head == "pooled":
        net, y, loss_fn = nn.Sequential(*net[:5], nn.Sequential(net[5], Mean())), y[:, 0], F.cross_entropy
    rule = biograd.DirectFeedbackAlignment(net, x[:1], error="after")
    assert [p.B.shape for p in rule.direct.blocks] == [(WIDE, WIDE)] * 2
    output = net(x)
    error = (output.softmax(-1) - F.one_hot(y, K)) / y.numel()
    W = dict(net.named_parameters())["5.weight" if head == "of tokens" else "5.0.weight"]
    at_tokens = (error if head == "of tokens" else error[:, None].expand(N, T, K) / T) @ W
    signals = [at_tokens @ p.B.T for p in rule.direct.blocks]
    assert_taught(
        gradients(rule, Task(net, x, y), loss_fn), [net[:2], net[2:5], net[5]], x, [*signals, error]
    )


def test_behind_the_last_matrix_with_the_weights_of_the_net_is_backpropagation():
    net, (x, y) = nn.Sequential(*token_wise()[:2], nn.Linear(WIDE, K)).double(), tokens()
    rule = biograd.DirectFeedbackAlignment(net, error="after")
    rule.direct.blocks[0].B.copy_(torch.eye(WIDE))
    got = gradients(rule, Task(net, x, y), cross_entropy)
    assert_same(got, gradients(biograd.Backpropagation(net), Task(net, x, y), cross_entropy), 1e-12)


def test_behind_the_last_matrix_needs_a_block_below_it():
    with pytest.raises(biograd.UnsupportedNet, match="error='after' needs a block below the last"):
        biograd.DirectFeedbackAlignment(nn.Sequential(nn.Linear(3, 2)), error="after")


def test_at_low_rank_a_large_vocabulary_takes_few_numbers():
    net, (x, y) = token_wise(classes=5000), tokens(classes=5000)
    rule = biograd.DirectFeedbackAlignment(net, x[:1], form={"name": "low-rank", "rank": 2})
    assert sum(buffer.numel() for buffer in rule.buffers()) == 2 * (WIDE + 5000) * 2
    rule.assign_credit(net, x, y, cross_entropy)


@pytest.mark.parametrize("name", [*CHAIN_RULES, "dtp"])
def test_a_net_that_gives_one_number_an_example_is_taught_as_one_that_gives_a_vector_of_one(name):
    torch.manual_seed(0)
    column = nn.Sequential(nn.Linear(IN, WIDE), nn.Tanh(), nn.Linear(WIDE, 1)).double()
    plain = nn.Sequential(*column, Squeeze())
    x, y = torch.randn(N, IN).double(), torch.randn(N).double()
    got = gradients(biograd.rules.create(name, plain, sample=x[:1]), Task(plain, x, y), F.mse_loss)
    expected = gradients(biograd.rules.create(name, column), Task(column, x, y[:, None]), F.mse_loss)
    assert_same(got, expected, tolerance=1e-13)


@pytest.mark.parametrize("name", CHAIN_RULES)
def test_a_number_a_token_without_an_axis_of_its_own_is_no_class(name):
    torch.manual_seed(0)
    column = nn.Sequential(nn.Linear(IN, WIDE), nn.Tanh(), nn.Linear(WIDE, 1)).double()
    plain = nn.Sequential(*column, Squeeze())
    x, y = torch.randn(N, T, IN).double(), torch.randn(N, T).double()
    rule = biograd.rules.create(name, plain, sample=x[:1], classes="absent")
    got = gradients(rule, Task(plain, x, y), F.mse_loss)
    expected = gradients(biograd.rules.create(name, column), Task(column, x, y[..., None]), F.mse_loss)
    assert_same(got, expected, tolerance=1e-13)


def test_a_label_an_example_is_none_of_the_tokens_where_each_has_one_number():
    with pytest.raises(biograd.UserMistake, match="in the shape of the output"):
        aimed_at(torch.tensor([2, 0]), torch.zeros(2, 3), classes="absent")


def test_decoders_need_an_axis_for_what_they_read():
    net = nn.Sequential(nn.Linear(IN, WIDE), nn.Tanh(), nn.Linear(WIDE, 1), nn.Flatten(0))
    with pytest.raises(biograd.UnsupportedNet, match=r"one number an example.*drop it in the loss"):
        biograd.rules.create("drl", net)


@pytest.mark.parametrize("length", [T, K])
def test_sdtp_aims_each_token_at_its_own_label_and_sums_the_losses_of_hidden_layers_over_tokens(length):
    net, (x, y) = token_wise(), tokens(length)
    rule, other = biograd.rules.create("sdtp", net, sample=x[:1]), biograd.rules.create("sdtp", net)
    got = gradients(rule, Task(net, x, y), cross_entropy)
    alone = gradients(other, Task(net, x.flatten(0, 1), y.flatten()))
    assert_same(got, {k: g if k.startswith("5") else length * g for k, g in alone.items()}, 1e-12)
    decoded = {name: length * p.grad for name, p in other.named_parameters()}
    assert_same({name: p.grad for name, p in rule.named_parameters()}, decoded, 1e-12)


@pytest.mark.parametrize("schedule", ["parallel", "alternating"])
@pytest.mark.parametrize("name", ["dtp", "sdtp", "ao-sdtp", "drl", "l-drl"])
def test_images_of_another_size_are_refused_where_decoders_were_made_for_one(name, schedule):
    """In an epoch that teaches decoders alone too."""
    torch.manual_seed(0)
    head = [nn.Conv2d(2, 2, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, K)]
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), *head)
    rule = biograd.rules.create(name, net, sample=torch.zeros(1, 1, 6, 6), schedule=schedule)
    rule.begin_epoch(0)
    x, y = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    refused(rule, net, x, y, F.cross_entropy, r"gives back \(2, 4, 4\) where its block was given \(2, 6, 6\)")
    with pytest.raises(biograd.UnsupportedNet, match="gives back"):
        rule.reconstruction_losses(net, x)
    with pytest.raises(biograd.UnsupportedNet, match="gives back"):
        rule.targets(net, x, y, F.cross_entropy)


@pytest.mark.parametrize("name", ["dtp", "sdtp", "drl", "l-drl"])
def test_other_lengths_are_refused_where_a_decoder_takes_all_tokens_at_once(name):
    net, (x, y) = Encoder(), tokens()
    rule = biograd.rules.create(name, net, sample=x[:1, :5].float(), blocks=LEVELS["layers"])
    refused(rule, net, x.float(), y, cross_entropy, r"made for an output \(5, \d\) of its block.*\(7, \d\)")


def test_auxiliary_outputs_are_refused_beside_tokens():
    net, (x, y) = token_wise(), tokens()
    rule = biograd.rules.create("ao-sdtp", net)
    refused(rule, net, x, y, cross_entropy, r"gives \(7, 12\) for an example.*use the rule sdtp")


def test_labels_of_tokens_that_the_loss_ignores_teach_nothing():
    net, (x, y) = token_wise(), tokens()
    rule = biograd.DirectRandomTargetProjection(net)
    y[0, :3], y[2] = -100, -100
    kept = y.flatten() != -100
    expected = gradients(rule, Task(net, x.flatten(0, 1)[kept], y.flatten()[kept]))
    assert_same(gradients(rule, Task(net, x, y), cross_entropy), expected, tolerance=1e-13)


def test_soft_labels_of_tokens_are_aimed_at_as_they_are():
    y = torch.rand(2, 3, 4).softmax(-1)
    assert torch.equal(aimed_at(y, torch.zeros(2, 3, 4), classes="last"), y)
    assert torch.equal(aimed_at(torch.ones(2, 3), torch.zeros(2, 3, 1), classes="last"), torch.ones(2, 3, 1))


def test_the_loss_of_tokens_is_known_also_where_they_are_as_many_as_the_classes():
    net, (x, y) = token_wise(), tokens(length=K)
    rule = biograd.DirectRandomTargetProjection(net)
    rule.assign_credit(net, x, y, cross_entropy)  # a loss that hidden layers do not see would be warned of
    again = biograd.DirectRandomTargetProjection(net)
    with pytest.raises(biograd.UserMistake, match="2 × the mean cross-entropy"):
        again.assign_credit(net, x, y, lambda output, y: 2 * cross_entropy(output, y))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_images_of_another_size_are_taught_where_all_positions_are_told_the_same(form):
    """As `tiled` does it; and every form where a position is told of its own."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, K)]
    net = nn.Sequential(*layers).double()
    rule = biograd.DirectFeedbackAlignment(net, torch.zeros(1, 1, 6, 6).double(), form=form, places="own")
    x, y = torch.randn(N, 1, 8, 9).double(), torch.randint(K, (N,))
    error, blocks = (net(x).softmax(1) - F.one_hot(y, K)) / N, [net[:3], net[3:]]
    projection = rule.direct.blocks[0]
    told = error @ (projection.B if hasattr(projection, "B") else projection.U @ projection.V).T
    assert_taught(gradients(rule, Task(net, x, y)), blocks, x, [told[:, :, None, None] / 2, error])


def refused(rule, net, x, y, loss_fn, message):
    """One line, and nothing is filled."""
    with pytest.raises(biograd.UnsupportedNet, match=message) as caught:
        rule.assign_credit(net, x, y, loss_fn)
    assert "\n" not in str(caught.value)
    assert all(p.grad is None for p in net.parameters())


SMALLER = [
    ({"places": "all"}, r"the output of block '5' is \(9, 4\), 28 numbers were seen.*places='own'"),
    ({"places": "all", "form": "tiled"}, r"the output of block '5' is \(9, 4\), 28 numbers"),
    ({"places": "all", "error": "after"}, r"the output of block '2' is \(9, 12\), 84 numbers"),
]


@pytest.mark.parametrize(("settings", "message"), SMALLER, ids=str)
def test_other_lengths_than_the_samples_are_refused_where_each_token_has_weights_of_its_own(
    settings, message
):
    net, (x, y) = token_wise(), tokens(length=9)
    refused(biograd.DirectFeedbackAlignment(net, x[:1, :7], **settings), net, x, y, cross_entropy, message)


def test_an_output_that_runs_tokens_together_is_refused_without_a_sample():
    net, (x, y) = nn.Sequential(*token_wise(), nn.Flatten()), tokens()
    refused(
        *(biograd.DirectFeedbackAlignment(net), net, x, y),
        lambda output, y: F.cross_entropy(output.view(-1, K), y.flatten()),
        "has 28 classes a place, and 4 were seen when the rule was made",
    )


def test_tokens_that_have_none_of_their_own_in_the_output_are_refused_when_the_rule_is_made():
    net, (x, y) = nn.Sequential(*token_wise(), Other(lambda x: x[:, :3])), tokens()
    message = r"'0' has the places \(7,\) and what it is told of \(3,\).*places='all'"
    with pytest.raises(biograd.UnsupportedNet, match=message):
        biograd.DirectFeedbackAlignment(net, x[:1])
    rule = biograd.DirectFeedbackAlignment(net, x[:1], places="all")
    rule.assign_credit(net, x, y[:, :3], cross_entropy)


def test_blocks_that_do_not_say_where_their_features_are_need_the_user_to():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(IN, WIDE), Mixer(WIDE), nn.Linear(WIDE, K)).double()
    x, y = tokens()
    with pytest.raises(biograd.UnsupportedNet, match=r"'1' is \(7, 12\).*features='last' for") as caught:
        biograd.DirectFeedbackAlignment(net, x[:1])
    assert "\n" not in str(caught.value)
    with pytest.raises(biograd.UnsupportedNet, match=r"'1' is \(7, 12\).*features='last' for"):
        biograd.DirectFeedbackAlignment(net).assign_credit(net, x, y, cross_entropy)
    told = gradients(
        biograd.DirectFeedbackAlignment(net, x[:1], features="last"), Task(net, x, y), cross_entropy
    )
    alone = Task(net, x.flatten(0, 1), y.flatten())
    assert_same(told, gradients(biograd.DirectFeedbackAlignment(net), alone), tolerance=1e-13)


def test_at_a_cut_point_too_a_map_made_a_sequence_needs_the_user_to_say_so():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = Unit(nn.Conv2d(3, 8, 1), ToTokens()), nn.Linear(8, K)

        def forward(self, x):
            return self.head(self.embed(x).mean(1))

    net, x = Net(), torch.randn(2, 3, 2, 2)
    with pytest.raises(biograd.UnsupportedNet, match=r"\(4, 8\) for an example.*features='last'"):
        biograd.DirectFeedbackAlignment(net, x[:1], blocks=["embed", "head"])
    rule = biograd.DirectFeedbackAlignment(net, x[:1], blocks=["embed", "head"], features="last")
    assert rule.direct.blocks[0].B.shape == (8, K)


def test_pepita_takes_the_axis_of_its_input_from_the_user_where_layers_before_the_first_may_move_it():
    net, (x, y) = token_wise(), tokens()
    marked = nn.Sequential(Other(lambda x: 2 * x), *net)
    assert biograd.Pepita(marked, x[:1]).F.shape == (IN * T, K * T)
    rule = biograd.Pepita(marked, x[:1], features="last")
    got = gradients(rule, Task(marked, x, y), cross_entropy)
    assert_same(got, gradients(rule, Task(marked, x.flatten(0, 1), y.flatten())), tolerance=1e-12)


def test_axes_may_be_given_block_by_block_and_must_then_be_as_many():
    net, (x, _) = token_wise(), tokens()
    rule = biograd.rules.create("dfa", net, sample=x[:1], features="last,first")
    assert [p.B.shape for p in rule.direct.blocks] == [(WIDE, K), (WIDE * T, K * T)]
    with pytest.raises(
        biograd.UserMistake, match="features got 3 axes, and the net has 2 hidden blocks: give one"
    ):
        biograd.DirectFeedbackAlignment(net, x[:1], features=("last",) * 3)


RESIDUAL = nn.TransformerEncoderLayer(8, 2, 16)
AXES = {
    "linear": ([nn.Linear(6, 8), nn.GELU()], (7, 8), "last"),
    "an embedding": ([nn.Embedding(6, 8)], (7, 8), "last"),
    "a convolution and pooling": ([nn.Conv2d(3, 8, 1), nn.MaxPool2d(2)], (8, 8, 8), "first"),
    "a transposed local layer": ([LocallyConnectedTranspose2d(3, 8, 1, (4, 4))], (8, 4, 4), "first"),
    "an activation of its own": ([nn.Linear(6, 8), Other()], (8, 8), "last"),
    "tokens exchanged with features": ([nn.Linear(6, 8), Swap()], (8, 8), "first"),
    "a map made a sequence": ([nn.Conv2d(3, 8, 1), ToTokens()], (8, 8), "last"),
    "positions dealt out": ([nn.Linear(6, 8), Other(lambda x: x.reshape(len(x), -1, 2))], (8, 2), None),
    "features beside features": ([nn.Linear(6, 8), Other(lambda x: x.transpose(1, 2) @ x)], (8, 8), None),
    "what fits one size": ([nn.Linear(6, 8), Other(lambda x: x.view(1, 7, 8))], (7, 8), None),
    "attention": ([RESIDUAL], (8, 8), "last"),
    "a unit of convolutions": ([Unit(nn.Conv2d(3, 8, 1))], (8, 8, 8), "first"),
    "convolutions made a sequence": ([Unit(nn.Conv2d(3, 8, 1), ToTokens())], (8, 8), None),
    "both": ([Unit(nn.Conv1d(3, 8, 1), nn.Linear(8, 8))], (8, 8), None),
    "neither": ([Mixer(8)], (8, 8), None),
}


@pytest.mark.parametrize("name", AXES)
def test_where_features_are_is_read_from_layers_and_never_from_equal_sizes(name):
    layers, shape, expected = AXES[name]
    assert axis_of(Block("0", tuple(layers), layers[0]), torch.Size(shape)) == expected


class Encoder(nn.Module):
    """A transformer in a forward of its own: ``(batch, tokens, 6)`` to ``(batch, tokens, 4)``, or pooled."""

    def __init__(self, *, is_pooled=False):
        super().__init__()
        self.embed, self.is_pooled = nn.Linear(IN, 8), is_pooled
        settings = {"dropout": 0.0, "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, **settings) for _ in range(2))
        self.head = nn.Linear(8, K)

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1) if self.is_pooled else x)


class Tap(torch.autograd.Function):
    """In the forward pass nothing; backward, a signal in place of the gradient."""

    @staticmethod
    def forward(ctx, h, signal):
        ctx.save_for_backward(signal)
        return h.view_as(h)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.saved_tensors[0].expand_as(gradient), None


LEVELS = {
    "layers": ["embed", "layers.*", "head"],
    "matrices": ["embed", "layers.*.self_attn", "layers.*.linear1", "layers.*.linear2", "head"],
}


@pytest.mark.parametrize("is_pooled", [False, True])
@pytest.mark.parametrize("level", LEVELS)
def test_a_transformer_is_told_at_named_modules_by_taps_of_each_tokens_own_error(level, is_pooled):
    """As Launay et al. have it: B e in place of the gradient at each tap, exact derivatives between them."""
    torch.manual_seed(0)
    net, (x, y), cuts = Encoder(is_pooled=is_pooled).double(), tokens(), LEVELS[level]
    y, loss_fn = (y[:, 0], F.cross_entropy) if is_pooled else (y, cross_entropy)
    rule = biograd.DirectFeedbackAlignment(net, x[:1, :5], blocks=cuts)
    got = gradients(rule, Task(net, x, y), loss_fn)
    e = (net(x).softmax(-1) - F.one_hot(y, K)) / y.numel()
    e = e[:, None] / math.sqrt(T) if is_pooled else e
    for module, projection in zip(named_modules(net, cuts[:-1]).values(), rule.direct.blocks, strict=True):
        module.register_forward_hook(_tap(e @ projection.B.T))
    assert_same(got, gradients(biograd.Backpropagation(net), Task(net, x, y), loss_fn), tolerance=1e-12)


def _tap(signal):
    def tap(module, args, output):
        h, *others = output if isinstance(output, tuple) else (output,)
        return (Tap.apply(h, signal), *others) if others else Tap.apply(h, signal)

    return tap
