"""Cut points: which modules names stand for, what a net must do between them, and what is refused by name."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import biograd
from biograd import UnsupportedNet, UserMistake, rules
from biograd.credit.chain.cut_points import named_modules, proposed
from biograd.credit.chain.passages import run_detached
from biograd.credit.chain.taught_chain import TaughtCuts
from tests.credit.cut_nets import CUTS, Steps, Tokens, Unit, linear, task


def cut(net, *names, sample=None, reading="in sequence"):
    sample = torch.zeros(1, 4, dtype=next(net.parameters()).dtype) if sample is None else sample
    return TaughtCuts(net, names, sample, reading)


def in_a_row(net, x):
    return net.c(net.b(net.a(x)))


def test_a_star_stands_for_one_part_of_a_name():
    assert list(named_modules(Tokens(), CUTS)) == ["embed", "layers.0", "layers.1", "head"]
    assert list(named_modules(Tokens(1), ["layers.*.*", "head"])) == [
        *("layers.0.norm", "layers.0.a", "layers.0.b", "head")
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["embedd", "head"], "'embedd', and no module of the net is called so: the nearest are 'embed'"),
        (["layers", "layers.0", "head"], "'layers.0', which lies inside 'layers'"),
        (
            ["head"],
            'one module, \'head\', and needs two at least.*blocks=\\["embed", "layers.\\*", "head"\\]',
        ),
    ],
)
def test_names_that_are_no_cut_points_are_refused(names, said):
    with pytest.raises(UserMistake, match=said) as caught:
        named_modules(Tokens(), names)
    assert not isinstance(caught.value, UnsupportedNet)  # no other rule would mend it


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (Tokens(), ["embed", "layers.*", "head"]),
        (Steps(in_a_row, a=nn.Sequential(linear(), nn.ReLU()), b=nn.ReLU(), c=linear()), ["a", "c"]),
        (Steps(in_a_row, a=nn.Sequential(linear(), linear()), b=nn.ReLU(), c=linear()), ["a.*", "c"]),
        (Steps(in_a_row, net=Tokens()), ["net.embed", "net.layers.*", "net.head"]),
    ],
)
def test_cut_points_are_proposed_for_parts_with_weights(net, names):
    assert proposed(net) == names


def test_a_net_that_is_no_chain_is_refused_with_cut_points_that_would_do():
    net, x, _ = task(Tokens(), 4, 5)
    with pytest.raises(
        UnsupportedNet,
        match=r'blocks=\["embed", "layers.\*", "head"\] \(--rule.blocks embed,layers.\*,head\)',
    ):
        rules.create("dfa", net)
    rules.create("dfa", net, sample=x[:1], blocks=("embed", "layers.*", "head"))


def test_cut_points_need_a_sample_and_go_without_inside():
    with pytest.raises(UserMistake, match=r"give it, create\(…, sample=x\[:1\]\)"):
        rules.create("dfa", Tokens(), blocks=CUTS)
    with pytest.raises(UserMistake, match=r"fails on the sample \(a dict with tensors \(1, 4, 5\)\)"):
        rules.create("dfa", Tokens(), sample={"x": torch.zeros(1, 4, 5)}, blocks=CUTS)
    with pytest.raises(UserMistake, match=r"leave one of them out"):
        rules.create("dfa", Tokens(), sample=torch.zeros(1, 4, 5), blocks=CUTS, inside="exact")


def skip(net, x):
    h = net.a(x)
    return net.c(net.b(h) + h)


def tied(net, x):
    return F.linear(net.b(net.a(x)), net.a.weight)


def pair(net, x):
    return net.c(net.a(x) + net.b(x))


def unnamed(net, x):
    return net.c(net.other(net.b(net.a(x))))


def by_hand(net, x):
    return net.c(net.b(net.a(x)) @ net.other.weight)


def twice(net, x):
    return net.c(net.b(net.b(net.a(x))))


def never(net, x):
    return net.c(net.a(x))


def of_input(net, x):
    return net.c(net.b(net.a(x)) + x)


def behind(net, x):
    return net.other(net.c(net.b(net.a(x))))


ABC = ("a", "b", "c")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (skip, "the block that ends at 'c' reads the output of 'a' past 'b', as a skip does"),
        (of_input, "the block that ends at 'c' reads the net's input past 'b'"),
        (pair, "'b' does not read the output of 'a'"),
        (unnamed, r"weights outside the named modules: 'other.weight' \(linear\)"),
        (behind, r"weights outside the named modules: 'other.weight' \(linear\)"),
        (by_hand, r"weights outside the named modules: 'other.weight' \(matmul|'other.weight' \(__matmul__"),
        (twice, "'b' is called 2 times .* name a module around its calls"),
        (never, "'b' is called never .* leave it out"),
    ],
)
def test_a_net_that_goes_around_its_cut_points_is_refused_by_name(steps, said):
    net = Steps(steps, a=linear(), b=linear(), c=linear(), other=linear())
    with pytest.raises(UnsupportedNet, match=said):
        cut(net, *ABC)


def test_a_part_whose_output_nobody_uses_may_lie_outside_the_named_modules():
    def beside(net, x):
        h = net.a(x)
        net.other(h)
        return net.b(h)

    net = Steps(beside, a=linear(), b=linear(), other=linear())
    rule = rules.create("dfa", net, sample=torch.zeros(1, 4), blocks=("a", "b"))
    rule.assign_credit(net, torch.randn(3, 4), torch.tensor([0, 1, 2]), F.cross_entropy)
    assert [n for n, p in net.named_parameters() if p.grad is None] == ["other.weight", "other.bias"]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.LSTM(4, 4, batch_first=True), r"'other' \(LSTM\)"),
        (nn.GRUCell(4, 4), r"'other' \(GRUCell\)"),
        (
            nn.MultiheadAttention(4, 2),
            r"'other.out_proj.weight' \(linear\)",
        ),
    ],
)
def test_recurrent_layers_and_attention_outside_the_named_modules_are_seen(layer, said):
    def between(net, x):
        h = net.a(x)
        made = net.other(h, h, h) if isinstance(layer, nn.MultiheadAttention) else net.other(h)
        return net.b(made if isinstance(made, Tensor) else made[0])

    net = Steps(between, a=linear(), b=linear(), other=layer)
    with pytest.raises(UnsupportedNet, match=f"weights outside the named modules: {said};"):
        cut(net, "a", "b")


def test_a_parameter_that_two_blocks_reach_is_refused_by_name():
    net = Steps(
        lambda net, x: net.c(net.scale * net.b(net.scale * net.a(x))), a=linear(), b=linear(), c=linear()
    )
    net.scale = nn.Parameter(torch.ones(4))
    with pytest.raises(
        UnsupportedNet, match=r"the parameter 'scale' has a part in two blocks, those that end at 'b' and 'c'"
    ):
        cut(net, *ABC)
    net = Steps(tied, a=linear(), b=linear(), c=linear())
    with pytest.raises(UnsupportedNet, match=r"weights outside the named modules: 'a.weight'"):
        cut(net, "a", "b")


def test_a_frozen_parameter_counts_too():
    net = Steps(
        lambda net, x: net.c(net.scale * net.b(net.scale * net.a(x))), a=linear(), b=linear(), c=linear()
    )
    net.scale = nn.Parameter(torch.ones(4), requires_grad=False)
    with pytest.raises(UnsupportedNet, match=r"the parameter 'scale'"):
        cut(net, *ABC)
    assert not net.scale.requires_grad


def test_a_skip_of_cut_activity_does_no_harm_where_no_targets_are_sent():
    net = Steps(skip, a=linear(), b=linear(), c=linear())
    x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    rules.create("dfa", net, sample=x[:1], blocks=ABC).assign_credit(net, x, y, F.cross_entropy)
    assert all(parameter.grad is not None for parameter in net.parameters())
    with pytest.raises(UnsupportedNet, match=r"a path around a cut"):
        rules.create("dtp", net, sample=x[:1], blocks=ABC)


def test_a_last_block_of_several_weight_layers_is_refused():
    net = Steps(in_a_row, a=linear(), b=nn.ReLU(), c=Unit(4))
    with pytest.raises(UnsupportedNet, match=r"the last block, 'c', has 2 weight layers, c.a, c.b"):
        cut(net, "a", "c")


def test_a_named_module_that_gives_no_tensor_is_refused():
    net = Steps(lambda net, x: net.b(net.a(x)[0]), a=nn.LSTM(4, 4), b=linear())
    with pytest.raises(
        UnsupportedNet, match=r"'a' gives a tuple with tensors \(1, 4\), \(1, 4\), \(1, 4\), and what"
    ):
        cut(net, "a", "b")


def test_a_named_module_may_wrap_its_tensor():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = linear()

        def forward(self, x):
            return {"hidden": self.layer(x), "mask": None}

    net = Steps(
        lambda m, x: m.c(torch.tanh(m.b(m.a(x)["hidden"])["hidden"])), a=Wrapped(), b=Wrapped(), c=linear()
    )
    x = torch.randn(5, 4)
    chain = cut(net, *ABC).of(net, x)
    alone = chain[1](x)  # before any pass
    outputs = run_detached(chain, x, lambda block: True).outputs
    assert torch.equal(outputs[-1], net(x))
    torch.testing.assert_close(alone, net.b.layer(x))
    torch.testing.assert_close(chain[2](x), net.c(torch.tanh(x)))


def test_a_net_of_several_outputs_and_a_sample_that_does_not_fit_are_refused():
    net = Steps(lambda net, x: (net.b(net.a(x)), x), a=linear(), b=linear())
    with pytest.raises(UnsupportedNet, match=r"the net gives a tuple with tensors .*needs one tensor"):
        cut(net, "a", "b")
    with pytest.raises(
        UserMistake, match=r"the net fails on the sample \(1, 7\), RuntimeError: mat1 and mat2"
    ):
        cut(Steps(in_a_row, a=linear(), b=linear(), c=linear()), *ABC, sample=torch.zeros(1, 7))


def test_another_net_is_refused_and_a_copy_is_not():
    net, x, _ = task(Tokens(), 4, 5)
    taught = cut(net, *CUTS, sample=x[:1])
    assert len(taught.of(copy.deepcopy(net), x)) == 4
    with pytest.raises(UnsupportedNet, match=r"made for another net: 'layers.1' of the block"):
        taught.of(Tokens(1), x)
    with pytest.raises(UnsupportedNet, match=r"made for another net: 'embed.weight' of the block"):
        taught.of(Tokens(width=8), x)


def test_a_net_that_runs_otherwise_at_a_batch_is_refused_and_left_without_hooks():
    def by_size(net, x):
        return net.c(net.b(net.a(x)) if len(x) < 3 else net.a(net.b(x)) if len(x) < 5 else net.a(x))

    net = Steps(by_size, a=linear(), b=linear(), c=linear())
    taught = cut(net, *ABC)
    for size, said in ((3, "'b' is called in another place"), (5, "'b' was called when the rule was made")):
        with pytest.raises(UnsupportedNet, match=said):
            run_detached(taught.of(net), torch.randn(size, 4), lambda block: True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_outputs_are_those_of_the_net_and_every_graph_ends_at_its_cut():
    net, x, _ = task(Tokens(), 4, 5)
    chain = cut(net, *CUTS, sample=x[:1]).of(net, x)
    outputs = run_detached(chain, x, lambda block: True).outputs
    assert torch.equal(outputs[-1], net(x))
    expected = [{"embed"}, {"layers"}, {"layers"}, {"norm", "head"}]
    for index, (output, names) in enumerate(zip(outputs, expected, strict=True)):
        net.zero_grad()
        output.sum().backward()
        reached = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
        assert reached - {"positions"} == names
        assert ("positions" in reached) == (index == 1)  # added behind the cut at the embedding


def test_a_block_alone_gives_what_it_gives_in_the_net_and_leaves_nothing():
    net = Steps(
        lambda net, x: net.c(net.norm(F.dropout(net.b(net.norm0(net.a(x))), 0.5, net.training))),
        **{
            "a": linear(),
            "norm0": nn.BatchNorm1d(4),
            "b": linear(),
            "norm": nn.BatchNorm1d(4),
            "c": linear(),
        },
    )
    x = torch.randn(5, 4)
    chain = cut(net, *ABC).of(net, x)
    state = torch.get_rng_state()
    outputs = run_detached(chain, x, lambda block: True).outputs
    before, after = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    torch.set_rng_state(state)
    again = chain[2](outputs[1].detach())
    assert torch.equal(again, outputs[2])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    torch.set_rng_state(after)
    assert "forward" not in vars(net.a)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_an_activation_in_place_behind_a_cut_spoils_nothing():
    net = Steps(lambda net, x: net.b(net.relu(net.a(x))), a=linear(), relu=nn.ReLU(inplace=True), b=linear())
    x = torch.randn(5, 4)
    plain = net.a(x)
    outputs = run_detached(cut(net, "a", "b").of(net, x), x, lambda block: True).outputs
    assert torch.equal(outputs[0], plain)
    assert torch.equal(outputs[1], net(x))


def test_a_user_s_hook_on_a_named_module_keeps_its_say():
    net = Steps(in_a_row, a=linear(), b=linear(), c=linear())
    net.b.register_forward_hook(lambda module, args, output: 2 * output)
    x = torch.randn(5, 4)
    outputs = run_detached(cut(net, *ABC).of(net, x), x, lambda block: True).outputs
    assert torch.equal(outputs[-1], net(x))


def test_the_look_leaves_the_net_as_it_was():
    net = Steps(
        lambda net, x: net.b(net.drop(net.norm(net.a(x)))),
        **{"a": linear(), "norm": nn.BatchNorm1d(4), "drop": nn.Dropout(), "b": linear()},
    )
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    cut(net, "a", "b")
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert net.drop.training


def test_a_module_compiled_around_a_cut_point_is_refused():
    net = Steps(in_a_row, a=linear(), b=nn.Sequential(linear()), c=linear())
    net.b.compile(backend="eager")
    with pytest.raises(UnsupportedNet, match=r"'b' is compiled as a whole, and 'b.0' inside it"):
        cut(net, "a", "b.0", "c")


def test_data_parallel_wrappers_are_refused_as_for_chains(monkeypatch):
    net = Tokens()
    monkeypatch.setattr(
        nn.parallel.DistributedDataParallel, "__init__", lambda self, net: nn.Module.__init__(self)
    )
    with pytest.raises(UnsupportedNet, match=r"bypasses DistributedDataParallel"):
        cut(nn.parallel.DistributedDataParallel(net), *CUTS, sample=torch.zeros(1, 4, 5))


def test_a_batch_without_examples_is_refused():
    net, x, y = task(Tokens(), 4, 5)
    rule = biograd.rules.create("dfa", net, sample=x[:1], blocks=CUTS)
    with pytest.raises(UserMistake, match=r"the batch has no examples"):
        rule.assign_credit(net, x[:0], y[:0], F.cross_entropy)


def test_a_chain_of_units_gets_a_proposal_that_works():
    net, x = biograd.nets.create("resnet20", (1, 8, 8), 3, seed=0), torch.randn(2, 1, 8, 8)
    with pytest.raises(
        UnsupportedNet, match=r"or name cut points, blocks=\[.*\] \(--rule.blocks (\S+)\)"
    ) as caught:
        rules.create("dfa", net)
    flag = str(caught.value).split("--rule.blocks ")[1].split(")")[0]
    rule = rules.create("dfa", net, sample=x[:1], blocks=tuple(flag.split(",")))
    rule.assign_credit(net, x, torch.tensor([0, 2]), F.cross_entropy)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_decoders_see_the_shapes_of_the_user_s_own_sample():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.hidden = nn.Embedding(9, 4), linear()

        def forward(self, x):
            if not (x > 0).any(1).all():
                raise ValueError("a sequence of padding alone")
            return self.hidden(self.table(x).mean(1))

    net = Steps(lambda m, x: m.c(torch.tanh(m.b(torch.tanh(m.a(x))))), a=Reader(), b=linear(), c=linear())
    x = torch.tensor([[3, 1, 2, 0], [1, 2, 0, 0]])
    rule = rules.create("dtp", net, sample=x[:1], blocks=ABC)
    rule.assign_credit(net, x, torch.tensor([0, 3]), F.cross_entropy)
    with pytest.raises(
        UserMistake, match=r"the net fails on the sample \(1, 4\), ValueError: a sequence of padding"
    ):
        rules.create("dtp", net, sample=0 * x[:1], blocks=ABC)
    with pytest.raises(
        UserMistake, match=r"the net fails on the sample \(4,\), IndexError.*batch axis, x\[:1\]"
    ):
        rules.create("dtp", net, sample=x[0], blocks=ABC)


def test_a_misspelt_list_is_answered_with_the_list():
    with pytest.raises(UserMistake, match=r"the nearest are 'layers\.\*'"):
        named_modules(Tokens(), ["embed", "layer.*", "head"])
