"""Nets that change between the steps of a rule, what may change about them, and what surrounds a step."""

import contextlib
import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.stateless import _reparametrize_module

FEEDBACK = ("fa", "kp", "usf")
CHAIN = (
    *("dfa", "drtp", "shallow", "dtp", "gait-prop"),
    *("stdp-association", "pepita", "softhebb"),
)
ALL = FEEDBACK + CHAIN
WITH_WEIGHTS = tuple(name for name in ALL if name not in ("shallow", "gait-prop", "softhebb"))
"""Those that hold tensors (an exact inverse is none), which must lie beside the net's."""


class Doubled(nn.Module):
    """A nonlinearity of its own make."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.tanh(x)


class Inner(Doubled):
    """One that goes on through its parts, once it has any."""

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return super().forward(x)


class Lin(nn.Linear):
    """A linear layer by another name."""


class Twice(nn.Linear):
    """One that multiplies by its weight twice."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(super().forward(x))


class Own(nn.Module):
    """Parameters as those of a linear layer, and another use of them."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(like.weight.detach().clone()), copy.deepcopy(like.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() if self.bias is None else torch.addmm(self.bias, x, self.weight.t())


class DoubledChain(nn.Sequential):
    """More than its layers."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def units(bias: bool) -> nn.Sequential:
    """Each block is a unit."""
    nest = nn.Sequential(nn.Linear(8, 8, bias=bias), nn.Tanh())
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(6, 8, bias=bias), nn.LeakyReLU(0.5), nest),
        *(Lin(8, 8, bias=bias), nn.Identity(), nn.Linear(8, 4)),
    )


def convolutions(bias: bool) -> nn.Sequential:
    """Units of convolutions."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.LeakyReLU(0.5)),
        *(nn.Conv2d(4, 4, 3, padding=1, bias=bias), nn.Tanh(), nn.Flatten(), nn.Linear(64, 4)),
    )


def normalised(bias: bool) -> nn.Sequential:
    """Units, and blocks that are more than that."""
    return nn.Sequential(
        *(nn.Linear(6, 8, bias=bias), Inner(), nn.BatchNorm1d(8, affine=False), nn.Dropout(0.3)),
        *(nn.Linear(8, 8, bias=bias), nn.Tanh(), nn.Linear(8, 4)),
    )


SHAPES: dict[Any, tuple[int, ...]] = {units: (5, 2, 3), convolutions: (5, 2, 4, 4), normalised: (5, 6)}


@dataclass(frozen=True)
class Change:
    """Something about a net that changes.

    Attributes:
        net: makes it.
        of: changes it, or gives another.
        refused_by: names of the rules that refuse it then.
        fails: whether the net itself cannot run then.
    """

    net: Callable[[bool], nn.Sequential]
    of: Callable[[Any], Any]
    refused_by: tuple[str, ...] = ()
    fails: bool = False


def _set(path: str, **values: Any) -> Callable[[nn.Sequential], None]:
    """A change of attributes of a layer."""

    def change(net: nn.Sequential) -> None:
        for name, value in values.items():
            setattr(net.get_submodule(path), name, value)

    return change


def _put(path: str, layer: Callable[[Any], nn.Module]) -> Callable[[nn.Sequential], None]:
    """Another layer, made of the one that stood there."""

    def change(net: nn.Sequential) -> None:
        net.set_submodule(path, layer(net.get_submodule(path)))

    return change


def _to(path: str, act: Callable[[Any], Any]) -> Callable[[nn.Sequential], None]:
    """Something done to a layer, or to the net itself where the path is empty."""

    def change(net: nn.Sequential) -> None:
        act(net.get_submodule(path))

    return change


def _another(layer: Any) -> nn.Module:
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1)
    return layer


def _wider(layer: nn.Linear) -> nn.Linear:
    return nn.Linear(layer.in_features, layer.out_features + 1, bias=layer.bias is not None).double()


def _twice(layer: nn.Linear) -> Twice:
    return Twice(8, 8, bias=layer.bias is not None).double()


def _transposed(layer: nn.Conv2d) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(4, 4, 3, padding=1, bias=layer.bias is not None).double()


def _as_class(like: type[nn.Module]) -> Callable[[Any], None]:
    return lambda layer: setattr(layer, "__class__", like)


def _in_order(*names: str) -> Callable[[nn.Sequential], None]:
    """Parts in another order; an old name and a new one are divided by a colon."""

    def change(nest: nn.Sequential) -> None:
        parts = [(name.rpartition(":")[2], nest._modules[name.partition(":")[0]]) for name in names]
        nest._modules.clear()
        nest._modules.update(parts)

    return change


def _with_forward(layer: nn.Module) -> None:
    before = layer.forward
    layer.forward = lambda x: 2 * before(x)


def _freeze(layer: nn.Module) -> None:
    layer.requires_grad_(False)


def _new_parameter(layer: Any) -> None:
    layer.gain = nn.Parameter(torch.ones(2, dtype=torch.float64))


def _data(act: Callable[[Tensor], Tensor]) -> Callable[[Any], None]:
    """Other data in the memory of a weight."""
    return lambda layer: setattr(layer.weight, "data", act(layer.weight.data))


def _replace_weight(layer: Any) -> None:
    layer.weight = nn.Parameter(layer.weight.detach() + 0.1)


def _tie(net: Any) -> None:
    net[4].weight = net[3][0].weight


def _exchange(net: Any) -> None:
    net[4].weight, net[3][0].weight = net[3][0].weight, net[4].weight


def _old_norm(layer: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch says to use the newer one
        nn.utils.weight_norm(layer)


def _without(path: str, name: str) -> Callable[[Any], None]:
    def change(net: nn.Sequential) -> None:
        layer = net.get_submodule(path)
        if layer._parameters[name] is not None:
            setattr(layer, name, None)

    return change


def _doubles(*args: Any) -> Any:
    """A hook on a forward."""
    return 2 * args[-1]


def _triples(module: nn.Module, *gradients: Any) -> Any:
    """A hook on a backward."""
    return tuple(None if gradient is None else 3 * gradient for gradient in gradients[0])


_BIASED = tuple(name for name in CHAIN if name != "softhebb")

CHANGES: dict[str, Change] = {
    "nothing": Change(units, lambda net: None),
    "nothing about convolutions": Change(convolutions, lambda net: None),
    "nothing about normalisations": Change(normalised, lambda net: None),
    # layers
    "a layer, for one like it": Change(units, _put("1", _another)),
    "a layer within, for one like it": Change(units, _put("3.0", _another)),
    "a chain within, for one like it": Change(units, _put("3", _another)),
    "a layer, for a wider one": Change(units, _put("1", _wider), ALL),
    "a layer, for one that multiplies twice": Change(units, _put("4", _twice), CHAIN),
    "a layer, for one of its own make": Change(units, _put("4", Own), CHAIN),
    "a convolution, for a transposed one": Change(convolutions, _put("2", _transposed), CHAIN),
    "a nonlinearity, for another": Change(units, _put("2", lambda layer: nn.Sigmoid())),
    "a nonlinearity within, for another": Change(units, _put("3.1", lambda layer: nn.ReLU())),
    "a nonlinearity, for one of its own make": Change(units, _put("2", lambda layer: Doubled())),
    "a nonlinearity, for none": Change(units, _put("2", lambda layer: nn.Identity())),
    "a nonlinearity, for a layer": Change(units, _put("2", lambda layer: nn.Linear(8, 8).double()), ALL),
    "one more nonlinearity": Change(units, _to("", lambda net: net.append(nn.Softplus()))),
    "one more layer": Change(units, _to("", lambda net: net.append(nn.Linear(4, 4).double())), ALL),
    "one more layer within": Change(
        units, _to("3", lambda nest: nest.append(nn.BatchNorm1d(8).double())), ALL
    ),
    "a dropout more within": Change(units, _to("3", lambda nest: nest.append(nn.Dropout()))),
    "one layer fewer": Change(units, _to("", lambda net: net.pop(6)), ALL),
    "a nonlinearity fewer within": Change(units, _to("3", lambda nest: nest.pop(1))),
    "a part of a layer": Change(
        normalised, _to("1", lambda layer: layer.add_module("inner", nn.Linear(8, 8).double())), ALL
    ),
    "a name": Change(units, _to("", _in_order("0", "1:first", *"23456")), ALL),
    "the order": Change(units, _to("", _in_order(*"0134256"))),
    "the order within": Change(units, _to("3", _in_order("1", "0"))),
    # classes
    "the class of a layer": Change(units, _to("4", _as_class(Twice)), CHAIN),
    "the class of a nonlinearity": Change(units, _to("2", _as_class(nn.Tanh))),
    "the class of the net": Change(units, _to("", _as_class(DoubledChain)), CHAIN),
    "the class of a chain within": Change(units, _to("3", _as_class(DoubledChain)), CHAIN),
    # whether it learns
    "a weight that does not learn": Change(units, _to("1", lambda layer: _freeze(layer.weight))),
    "a layer that does not learn": Change(units, _to("3", _freeze)),
    "a last layer that does not learn": Change(units, _to("6", _freeze)),
    # hooks
    "a hook": Change(units, _to("1", lambda layer: layer.register_forward_hook(_doubles))),
    "a hook on a nonlinearity": Change(units, _to("2", lambda layer: layer.register_forward_hook(_doubles))),
    "a hook on what does nothing": Change(
        units, _to("5", lambda layer: layer.register_forward_hook(_doubles))
    ),
    "a hook on what flattens": Change(units, _to("0", lambda layer: layer.register_forward_hook(_doubles))),
    "a hook on a chain within": Change(
        units, _to("3", lambda nest: nest.register_forward_hook(_doubles)), CHAIN
    ),
    "a hook on the net": Change(units, _to("", lambda net: net.register_forward_hook(_doubles)), CHAIN),
    "a hook before": Change(
        units, _to("4", lambda layer: layer.register_forward_pre_hook(lambda _, given: 2 * given[0]))
    ),
    "a hook on the backward": Change(
        units, _to("4", lambda layer: layer.register_full_backward_hook(_triples))
    ),
    "a hook before the backward": Change(
        units, _to("4", lambda layer: layer.register_full_backward_pre_hook(_triples))
    ),
    "a hook on a parameter": Change(units, _to("1", lambda layer: layer.weight.register_hook(_doubles))),
    # forwards
    "a forward": Change(units, _to("1", _with_forward)),
    "the forward of a nonlinearity": Change(units, _to("2", _with_forward)),
    "the forward of a chain within": Change(units, _to("3", _with_forward), CHAIN),
    "the forward of the net": Change(units, _to("", _with_forward), CHAIN),
    "a compiled layer": Change(units, _to("1", lambda layer: layer.compile(backend="eager"))),
    "the net, compiled in place": Change(units, _to("", lambda net: net.compile(backend="eager"))),
    "the net, wrapped by the compiler": Change(units, lambda net: torch.compile(net, backend="eager")),
    # types and devices
    "the type of a layer": Change(units, _to("4", lambda layer: layer.float()), FEEDBACK, fails=True),
    "the type of the net": Change(units, lambda net: net.float(), WITH_WEIGHTS, fails=True),
    "the type of a weight's data": Change(
        units, _to("4", _data(lambda data: data.float())), FEEDBACK, fails=True
    ),
    "the device": Change(units, lambda net: net.to("meta"), WITH_WEIGHTS, fails=True),
    # modes
    "the mode": Change(normalised, lambda net: net.eval()),
    "the mode of one layer": Change(normalised, _to("2", lambda layer: layer.eval())),
    "a rate": Change(normalised, _set("3", p=0.9)),
    # parameters
    "a parameter": Change(units, _to("1", _replace_weight)),
    "two parameters, one for the other": Change(units, _exchange),
    "a parameter, tied to another": Change(units, _tie, FEEDBACK),
    "a bias fewer": Change(units, _without("1", "bias"), _BIASED),
    "a parameter more": Change(units, _to("1", _new_parameter), ALL),
    "a parameter more of a nonlinearity": Change(units, _to("2", _new_parameter), ALL),
    "a parameter more of the net": Change(units, _to("", _new_parameter), FEEDBACK),
    "a parametrisation": Change(units, _to("4", parametrizations.weight_norm), ALL),
    "pruning": Change(units, _to("4", lambda layer: prune.l1_unstructured(layer, "weight", 0.3)), ALL),
    "an older norm": Change(units, _to("4", _old_norm), ALL),
    "the shape of a weight's data": Change(units, _to("1", _data(lambda data: data.new_ones(9, 6))), ALL),
    "the layout of a weight's data": Change(units, _to("3.0", _data(lambda data: data.t()))),
    # settings
    "a slope": Change(units, _set("2", negative_slope=0.1)),
    "a slope below zero": Change(units, _set("2", negative_slope=-0.5)),
    "what is overwritten": Change(units, _set("2", inplace=True)),
    "the padding": Change(
        convolutions, _set("2", padding_mode="circular", _reversed_padding_repeated_twice=[1] * 4)
    ),
    "the dilation": Change(convolutions, _set("2", dilation=(2, 2), padding=(2, 2))),
    "a padding by name": Change(convolutions, _set("2", padding="same")),
    "the stride": Change(convolutions, _set("0", stride=(2, 2)), fails=True),
    # copies
    "the net, for a copy": Change(units, copy.deepcopy),
    "the net, for a shallow copy": Change(units, copy.copy),
    "the net, for a pickled one": Change(units, lambda net: pickle.loads(pickle.dumps(net))),  # noqa: S301
}


@contextlib.contextmanager
def _hook_on_all(register: Callable[[Any], Any], hook: Callable[..., Any]) -> Iterator[None]:
    handle = register(hook)
    try:
        yield
    finally:
        handle.remove()


def _on_linear(hook: Callable[..., Any]) -> Callable[..., Any]:
    return lambda module, *args: hook(module, *args) if isinstance(module, nn.Linear) else None


@contextlib.contextmanager
def _patched(module: type[nn.Module], name: str) -> Iterator[None]:
    """Twice what a class gives."""
    own, before = module.__dict__.get(name), getattr(module, name)
    setattr(module, name, lambda self, x: 2 * before(self, x))
    try:
        yield
    finally:
        delattr(module, name) if own is None else setattr(module, name, own)


AROUND: dict[str, Callable[[nn.Module], contextlib.AbstractContextManager[Any]]] = {
    "autocast": lambda net: torch.autocast("cpu", torch.bfloat16),
    "a hook on all": lambda net: _hook_on_all(of_all.register_module_forward_hook, _on_linear(_doubles)),
    "a hook before all": lambda net: _hook_on_all(
        of_all.register_module_forward_pre_hook, _on_linear(lambda _, given: (2 * given[0],))
    ),
    "a hook on all backwards": lambda net: _hook_on_all(
        of_all.register_module_full_backward_hook, _on_linear(_triples)
    ),
    "a class with another forward": lambda net: _patched(Lin, "forward"),
    "a class with another call": lambda net: _patched(Lin, "__call__"),
    "linear layers with another forward": lambda net: _patched(nn.Linear, "forward"),
    "a nonlinearity with another forward": lambda net: _patched(nn.Tanh, "forward"),
    "chains with another forward": lambda net: _patched(nn.Sequential, "forward"),
    "chains with another call": lambda net: _patched(nn.Sequential, "__call__"),
    "hooks on what autograd keeps": lambda net: torch.autograd.graph.saved_tensors_hooks(
        lambda kept: kept, lambda kept: kept
    ),
    "other parameters for a while": lambda net: _reparametrize_module(
        net, {name: nn.Parameter(p.detach() + 0.1) for name, p in net.named_parameters()}
    ),
}
"""What is in force around a step."""
