"""One run of a net with the outputs of named modules cut, and what it shows of what lies between them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from biograd.credit.feedback.unrolled import UNROLLED
from biograd.credit.kinds import Opaque, WrittenOut, nearest_kind, nearest_weight
from biograd.credit.products import factors, is_product
from biograd.credit.structures import (
    as_leaves,
    called,
    copied,
    detached,
    map_tensors,
    of_examples,
    only_tensor,
    outlined,
    require_tensors_in,
    tensors_in,
    with_only_tensor,
)
from biograd.errors import BiogradError, UnsupportedNet, UserMistake
from biograd.user_files import lines_of


@dataclass
class Seen:
    """What one run showed; one entry a block, in the order of calls.

    Attributes:
        entries: leaves that stand for the input of each block: of the first, those of the net's.
        passed: what was passed on of each, which the net may overwrite.
        order: names of the cut modules.
        roots: the outputs of the blocks, with their graphs; of the last, all tensors of real numbers that the net
            gives.
        output: what the net gives.
        last_output: what the last of the named modules gives.
        gives_tensor: whether the named module gave that tensor, and not a structure around it.
        is_direct: whether the module was called with ``passed`` as it was and nothing else.
        gives_own: whether the one tensor that the net gives is that of the last of the named modules.
        layers: names of a block's layers with weights.
        outer: names of the outermost modules that ran in it.
        drives: what each layer with weights gave, and its version then.
        calls: how often each named module was called.
        outside: weights that something else than a named module multiplies by, to the function that does.
    """

    entries: list[list[Tensor]]
    passed: list[Any]
    order: list[str] = field(default_factory=list)
    roots: list[list[Tensor]] = field(default_factory=list)
    output: Any = None
    last_output: Any = None
    gives_tensor: list[bool] = field(default_factory=list)
    is_direct: list[bool] = field(default_factory=list)
    gives_own: bool = False
    layers: list[list[str]] = field(default_factory=lambda: [[]])
    outer: list[list[str]] = field(default_factory=lambda: [[]])
    drives: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)


def watched_run(
    net: nn.Module,
    named: Mapping[str, nn.Module],
    sample: Any,
    *,
    layer_by_layer: bool,
    readouts: Collection[str] = (),
) -> Seen:
    """Run a net on one input; it must be protected and in evaluation mode.

    Args:
        net: without wrappers.
        named: the modules whose outputs are cut, by name.
        sample: one input with its batch dimension.
        layer_by_layer: whether the inputs of the named modules are cut too.
        readouts: names of others that are a part of the last block wherever they run.

    Raises:
        UnsupportedNet: something gives no tensor.
        UserMistake: the net fails on the sample.
    """
    x = copied(of_examples(sample, 1))
    seen = Seen([as_leaves(x)], [map_tensors(Tensor.clone, x)])
    watch = _Watch(net, named, seen, layer_by_layer, readouts)
    with ExitStack() as handles, torch.enable_grad(), _Products(net, watch):
        for name, module in net.named_modules():
            if name not in watch.around:
                handles.callback(
                    module.register_forward_pre_hook(watch.before(name), with_kwargs=True).remove
                )
                handles.callback(module.register_forward_hook(watch.behind(name)).remove)
        try:
            seen.output = called(net, seen.passed[0])
        except BiogradError:
            raise
        except Exception as error:  # whatever a net may raise
            reason = next(iter(str(error).splitlines()), "")
            raise UserMistake(
                f"the net fails on the sample {_said(sample)}, {type(error).__name__}: {reason}; a sample is one input "
                "with its batch axis, x[:1]",
                lines_of(error),
            ) from error
    require_tensors_in(seen.output)
    seen.roots.append([tensor for tensor in tensors_in(seen.output) if tensor.is_floating_point()])
    seen.gives_tensor.append(True)
    seen.layers[-1] += watch.layers_of_readouts
    seen.outer[-1] += watch.outer_of_readouts
    seen.gives_own = len(seen.roots[-1]) == 1 and seen.roots[-1][0] is seen.last_output
    return seen


def has_weights(module: nn.Module) -> bool:
    """Whether a module is a layer that multiplies by weights of its own, a recurrent one too."""
    kind = nearest_kind(module)
    hides_products = kind is not None and isinstance(kind.feedback, Opaque | WrittenOut)
    return nearest_weight(module) is not None or hides_products


class _Watch:
    """Hooks on modules that cut the outputs of the named ones, and note what runs where."""

    def __init__(
        self,
        net: nn.Module,
        named: Mapping[str, nn.Module],
        seen: Seen,
        layer_by_layer: bool,
        readouts: Collection[str],
    ) -> None:
        self._named, self.seen, self._layer_by_layer, self._readouts = named, seen, layer_by_layer, readouts
        self._running: list[str] = []
        inside = (*named, *readouts)
        self.around = {""} | {name for name, _ in net.named_modules() if _is_around(name, inside)}
        self.layers_of_readouts: list[str] = []
        self.outer_of_readouts: list[str] = []

    @property
    def is_outside(self) -> bool:
        """Whether no named module runs."""
        return not any(name in self._named or name in self._readouts for name in self._running)

    @property
    def is_in_readout(self) -> bool:
        """Whether a readout runs."""
        return any(name in self._readouts for name in self._running)

    def before(self, name: str) -> Callable[..., Any]:
        """What runs before a module."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            is_outermost = not self._running
            self._running.append(name)
            if is_outermost:
                (self.outer_of_readouts if self.is_in_readout else self.seen.outer[-1]).append(name)
            if name in self._named:
                self._begin_block(name, args, kwargs)
            is_cut = self._layer_by_layer and (name in self._named or name in self._readouts)
            return (detached(args), detached(kwargs)) if is_cut else None

        return hook

    def behind(self, name: str) -> Callable[..., Any]:
        """What runs behind a module."""

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if has_weights(module):
                (self.layers_of_readouts if self.is_in_readout else self.seen.layers[-1]).append(name)
                if self.is_outside and not any(n.startswith(f"{name}.") for n in self.seen.outside):
                    self.seen.outside.setdefault(name, type(module).__name__)
                if isinstance(output, Tensor):
                    self.seen.drives[name] = output, output._version
            self._running.pop()
            return self._end_block(name, output) if name in self._named else None

        return hook

    def _begin_block(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen = self.seen
        seen.calls[name] = seen.calls.get(name, 0) + 1
        passed = seen.passed[-1]
        is_as_it_was = not any(tensor._version for tensor in tensors_in(passed))
        seen.is_direct.append(not kwargs and len(args) == 1 and args[0] is passed and is_as_it_was)

    def _end_block(self, name: str, output: Any) -> Any:
        seen = self.seen
        seen.order.append(name)
        if len(seen.order) == len(self._named):
            seen.last_output = output
            return None
        h = only_tensor(output)
        if h is None:
            raise UnsupportedNet(
                f"{name!r} gives {outlined(output)}, and what a named module gives must hold one tensor of real "
                "numbers: name a module inside or around it"
            )
        entry = h.detach().requires_grad_()
        seen.roots.append([h])
        seen.gives_tensor.append(h is output)
        seen.entries.append([entry])
        seen.passed.append(entry.clone())
        seen.layers.append([])
        seen.outer.append([])
        return with_only_tensor(output, seen.passed[-1])


class _Products(TorchFunctionMode):
    """Notes parameters of two dimensions or more that something outside the named modules multiplies by."""

    def __init__(self, net: nn.Module, watch: _Watch) -> None:
        super().__init__()
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in net.named_parameters()}
        self._watch = watch

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let the function run, and see what went in."""
        kwargs = kwargs or {}
        if self._watch.is_outside and func in UNROLLED:
            with self:  # which sees its products
                return UNROLLED[func](*args, **kwargs)
        if self._watch.is_outside and is_product(func):
            for factor in factors(func, args, kwargs):
                if factor.dim() >= 2 and factor in self._names:
                    self._watch.seen.outside.setdefault(self._names[factor], func.__name__)
        return func(*args, **kwargs)


def _said(sample: Any) -> str:
    return str(tuple(sample.shape)) if isinstance(sample, Tensor) else f"({outlined(sample)})"


def _is_around(name: str, named: Iterable[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in named)
