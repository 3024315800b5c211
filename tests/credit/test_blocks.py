"""Where a chain is cut into blocks, and that its blocks together are the net."""

import copy
from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import biograd
from biograd import UnsupportedNet
from biograd.credit import blocks
from biograd.credit.chain.ledger import Ledger
from biograd.credit.chain.passages import run_detached
from biograd.credit.chain.shapes import output_shapes
from biograd.layers import LocallyConnected2d, LocallyConnectedTranspose2d
from tests.credit.nets import Residual


def teach(outputs, signals):
    ledger = Ledger()
    ledger.extend(zip(outputs, signals, strict=True))
    ledger.settle()


def cut(net: nn.Module) -> list[list[str]]:
    """The kinds of layers in each block."""
    return [[type(layer).__name__ for layer in block.layers] for block in blocks(net)]


def conv() -> nn.Module:
    return nn.Conv2d(2, 2, 3, padding=1)


def linear() -> nn.Module:
    return nn.Linear(4, 4)


def test_normalisation_nonlinearity_and_pooling_close_the_block_that_they_follow():
    net = nn.Sequential(
        conv(), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), conv(), nn.PReLU(), nn.AvgPool2d(2)
    )
    assert cut(net) == [["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"], ["Conv2d", "PReLU", "AvgPool2d"]]


def test_flattening_dropout_and_padding_belong_to_the_block_that_they_lead():
    net = nn.Sequential(
        nn.ZeroPad2d(1), conv(), nn.Tanh(), nn.Dropout2d(), nn.ReflectionPad2d(1), conv(), nn.Tanh(), nn.Flatten(),
        nn.Dropout(), linear(),
    )  # fmt: skip
    assert cut(net) == [
        ["ZeroPad2d", "Conv2d", "Tanh"],
        ["Dropout2d", "ReflectionPad2d", "Conv2d", "Tanh"],
        ["Flatten", "Dropout", "Linear"],
    ]


def test_a_convolutional_block_before_a_flattening_keeps_its_channels_and_positions():
    net = nn.Sequential(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    assert output_shapes(blocks(net), torch.zeros(1, 2, 4, 4)) == [(2, 4, 4), (3,)]


def test_a_dropout_before_a_nonlinearity_does_not_keep_it_from_closing_its_block():
    net = nn.Sequential(linear(), nn.Dropout(), nn.ReLU(), linear(), nn.Dropout(), nn.LayerNorm(4), linear())
    assert cut(net) == [["Linear", "Dropout", "ReLU"], ["Linear", "Dropout", "LayerNorm"], ["Linear"]]


def test_what_comes_before_the_first_weight_belongs_to_the_first_block_and_what_trails_to_the_last():
    net = nn.Sequential(
        nn.BatchNorm1d(4), nn.ReLU(), linear(), nn.Tanh(), linear(), nn.Flatten(), nn.Softmax(1)
    )
    assert cut(net) == [["BatchNorm1d", "ReLU", "Linear", "Tanh"], ["Linear", "Flatten", "Softmax"]]


def test_every_kind_of_weight_layer_opens_a_block():
    layers = [
        nn.Embedding(5, 4), linear(), nn.Conv1d(2, 2, 1), conv(), nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(2, 2, 1),
        LocallyConnected2d(2, 2, 1, 3), LocallyConnectedTranspose2d(2, 2, 1, 3),
    ]  # fmt: skip
    assert [block.opening for block in blocks(nn.Sequential(*layers))] == layers


def test_norms_with_large_parameters_and_gains_open_none():
    class Gain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x * self.gain

    net = nn.Sequential(linear(), nn.LayerNorm([2, 4]), nn.RMSNorm([2, 4]), nn.GroupNorm(1, 2), Gain())
    assert len(blocks(net)) == 1


def test_nested_chains_are_cut_as_if_they_were_flat_and_blocks_are_named_as_in_the_net():
    parts: list[Any] = [linear(), nn.Tanh(), linear(), nn.Tanh(), linear()]
    nested = nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(parts[0], parts[1]), body=nn.Sequential(nn.Sequential(parts[2]), parts[3])
        ),
    )
    nested.append(parts[4])
    assert cut(nested) == cut(nn.Sequential(*parts))
    modules = dict(nested.named_modules())
    assert [block.name for block in blocks(nested)] == ["stem.0", "body.0.0", "2"]
    assert all(modules[block.name] is block.opening for block in blocks(nested))


def test_a_sequential_with_a_forward_of_its_own_and_a_residual_unit_are_one_block_each():
    class Dense(nn.Sequential):
        def forward(self, input):
            return input + super().forward(input)

    net = nn.Sequential(
        conv(), nn.ReLU(), Dense(conv(), nn.ReLU(), conv()), Residual(2), nn.Flatten(), linear()
    )
    assert cut(net) == [["Conv2d", "ReLU"], ["Dense"], ["Residual"], ["Flatten", "Linear"]]


def test_a_nested_chain_with_a_hook_of_its_own_is_a_unit_so_that_the_hook_still_sees_it():
    inner = nn.Sequential(linear(), nn.Tanh(), linear())
    seen = []
    inner.register_forward_hook(lambda module, args, output: seen.append(output))
    net = nn.Sequential(linear(), inner)
    x = torch.randn(3, 4)
    assert cut(net) == [["Linear"], ["Sequential"]]
    outputs = run_detached(blocks(net), x, lambda block: True).outputs
    assert len(seen) == 1
    assert seen[0] is outputs[-1]


NOT_CHAINS = {
    "a module of its own": lambda: Residual(2),
    "a layer": linear,
    "a hooked chain": lambda: _hooked(nn.Sequential(linear())),
    "a chain hooked backwards": lambda: _hooked_backwards(nn.Sequential(linear())),
    "a module list": lambda: nn.ModuleList([linear()]),
    "a data-parallel copy": lambda: nn.DataParallel(nn.Sequential(linear())),
}


def _hooked(net: nn.Module) -> nn.Module:
    net.register_forward_pre_hook(lambda module, args: None)
    return net


def _hooked_backwards(net: nn.Module) -> nn.Module:
    net.register_full_backward_hook(lambda module, into, out: None)
    return net


@pytest.mark.parametrize("name", NOT_CHAINS)
def test_what_is_no_chain_is_refused(name):
    with pytest.raises(UnsupportedNet, match="must be a chain") as caught:
        blocks(NOT_CHAINS[name]())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", ["dfa", "dtp", "stdp-association", "pepita", "gait-prop"])
def test_a_rule_refuses_what_is_no_chain_with_the_rules_that_would_do(rule):
    with pytest.raises(
        UnsupportedNet, match=r"must be a chain.*bp, fa, usf, brsf, frsf, kp, wm, frozen$"
    ) as caught:
        biograd.rules.create(rule, linear())
    assert "\n" not in str(caught.value)


def test_a_chain_without_weights_is_refused():
    with pytest.raises(UnsupportedNet, match="no layer with weights"):
        blocks(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.ReLU()))


def test_data_parallel_training_is_refused_with_a_pointer_to_what_averages():
    store = torch.distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(nn.Sequential(linear(), linear()))
        with pytest.raises(UnsupportedNet, match=r"biograd\.training\.GradientSum"):
            blocks(wrapped)
    finally:
        torch.distributed.destroy_process_group()


def test_a_compile_wrapper_is_seen_through():
    net = nn.Sequential(linear(), nn.Tanh(), linear())
    compiled: Any = torch.compile(net, backend="eager")
    assert [block.opening for block in blocks(compiled)] == [block.opening for block in blocks(net)]
    net.compile(backend="eager")
    assert len(blocks(net)) == 2


def chain() -> Any:
    """A chain with everything that has state or draws random numbers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Dropout2d(0.3),
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Sequential(LocallyConnected2d(4, 2, 3, (4, 4)), nn.RReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(2, 3),
        nn.BatchNorm1d(3),
    ).double()


X = torch.randn(5, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("training", [True, False])
def test_outputs_buffers_and_random_state_are_bit_for_bit_those_of_the_net(training):
    net, other = chain().train(training), chain().train(training)
    torch.manual_seed(5)
    expected = other(X)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    outputs = run_detached(blocks(net), X, lambda block: True).outputs
    assert torch.equal(outputs[-1], expected)
    assert torch.equal(torch.get_rng_state(), state)
    for (name, buffer), same in zip(net.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, same), name


def test_nothing_leaks_between_blocks_and_each_gets_its_own_derivative():
    net, other = chain(), chain()
    torch.manual_seed(5)
    outputs = run_detached(blocks(net), X, lambda block: True).outputs
    signals = [torch.randn_like(h) for h in outputs]
    teach(outputs, [None, signals[1], None])
    taught = {name for name, p in net.named_parameters() if p.grad is not None}
    assert taught == {"5.0.weight", "5.0.bias"}
    torch.manual_seed(5)
    h, expected = X, {}
    for block, signal in zip(blocks(other), signals, strict=True):
        h = block(h.detach())
        h.backward(signal)
    expected = {name: p.grad for name, p in other.named_parameters()}
    teach(*_recorded(net, signals))
    for name, parameter in net.named_parameters():
        factor = 2 if name in taught else 1  # taught twice: signals add up
        torch.testing.assert_close(parameter.grad, factor * expected[name], rtol=1e-12, atol=1e-12)


def _recorded(net, signals):
    torch.manual_seed(5)
    return run_detached(blocks(net), X, lambda block: True).outputs, signals


def test_no_input_of_a_block_asks_for_a_gradient():
    net = chain()
    asked = []
    for block in blocks(net):
        block.layers[0].register_forward_pre_hook(lambda module, args: asked.append(args[0].requires_grad))
    run_detached(blocks(net), X.clone().requires_grad_(), lambda block: True)
    assert asked == [False] * 3


def test_all_blocks_are_taught_in_one_backward(monkeypatch):
    net = chain()
    calls = []
    backward = torch.autograd.backward
    monkeypatch.setattr(
        torch.autograd, "backward", lambda *args: (calls.append(len(args[0])), backward(*args))
    )
    outputs = run_detached(blocks(net), X, lambda block: True).outputs
    teach(outputs, [torch.ones_like(h) for h in outputs])
    assert calls == [3]


def test_a_frozen_block_is_left_out_and_those_beside_it_are_taught():
    net = chain()
    net[5].requires_grad_(False)
    outputs = run_detached(blocks(net), X, lambda block: True).outputs
    assert [h.requires_grad for h in outputs] == [True, False, True]
    teach(outputs, [torch.ones_like(h) for h in outputs])
    assert {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None} == {
        "1",
        "2",
        "8",
        "9",
    }


def test_with_nothing_to_teach_nothing_happens():
    net = chain().requires_grad_(False)
    outputs = run_detached(blocks(net), X, lambda block: True).outputs
    teach(outputs, [torch.ones_like(h) for h in outputs])
    assert all(p.grad is None for p in net.parameters())


def test_blocks_that_are_not_recorded_keep_no_graph_and_give_the_same_values():
    net, other = chain().eval(), chain().eval()
    cut_net = blocks(net)
    outputs = run_detached(cut_net, X, lambda block: block is cut_net[-1]).outputs
    assert [h.grad_fn is not None for h in outputs] == [False, False, True]
    assert torch.equal(outputs[-1], other(X))


def test_blocks_run_within_no_grad_when_told_to_record_still_learn():
    net = nn.Sequential(linear(), linear())
    with torch.no_grad():
        outputs = run_detached(blocks(net), torch.randn(2, 4), lambda block: True).outputs
    assert all(h.requires_grad for h in outputs)


class Noise(nn.Module):
    """Draws random numbers in evaluation too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


def test_asking_for_shapes_leaves_flags_buffers_and_random_state_as_they_were():
    net = chain().append(Noise())
    net[2].eval()
    before, flags = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    torch.manual_seed(9)
    state = torch.get_rng_state()
    assert output_shapes(blocks(net), X) == [(4, 4, 4), (2, 1, 1), (3,)]
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_shapes_are_known_without_a_sample_where_the_first_layer_is_linear():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    assert output_shapes(blocks(net), None) == [(5,), (2,)]


def test_shapes_that_need_a_sample_ask_for_one_and_a_sample_that_does_not_fit_is_refused():
    net = nn.Sequential(conv(), nn.Flatten(), nn.Linear(32, 2))
    with pytest.raises(UnsupportedNet, match=r"Conv2d depend on the input.*sample=x\[:1\]"):
        output_shapes(blocks(net), None)
    with pytest.raises(UnsupportedNet, match="sample does not fit block '2'"):
        output_shapes(blocks(net), torch.zeros(1, 2, 5, 5))
    flags = [module.training for module in net.modules()]
    assert all(flags)


def test_a_sample_of_many_examples_is_read_as_one():
    net = nn.Sequential(conv(), nn.Flatten(), nn.Linear(32, 2))
    assert output_shapes(blocks(net), torch.zeros(7, 2, 4, 4)) == [(2, 4, 4), (2,)]


def test_a_sample_is_not_changed_by_a_layer_that_works_in_place():
    x = -torch.ones(2, 4)
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))
    assert output_shapes(blocks(net), x[:1]) == [(2,)]
    assert torch.equal(x, -torch.ones(2, 4))


def test_a_net_of_embeddings_is_a_chain():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 2))
    tokens = torch.tensor([[0, 1, 2], [3, 4, 0]])
    assert output_shapes(blocks(net), tokens) == [(3, 4), (2,)]
    outputs = run_detached(blocks(net), tokens, lambda block: True).outputs
    assert torch.equal(outputs[-1], net(tokens))
    teach(outputs, [torch.ones_like(h) for h in outputs])
    assert all(p.grad is not None for p in net.parameters())
    assert F.cross_entropy(outputs[-1], torch.tensor([0, 1])).isfinite()
