"""A net that runs as it is, while the outputs of named modules are cut."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.cut_plan import Cut, CutPlan
from biograd.credit.chain.passage import Passage
from biograd.credit.side_effects import without_side_effects
from biograd.credit.structures import (
    batch_size,
    called,
    detached,
    device_of,
    map_tensors,
    of_examples,
    only_tensor,
    outlined,
    with_only_tensor,
)
from biograd.errors import UnsupportedNet

Taught = Callable[[int, Tensor, Tensor], None]
"""``(place, input, drive)``: is told of a layer as soon as its drive is there, with the drive's graph."""


class Watcher(Protocol):
    """What watches some blocks while they run, as a `biograd.credit.feedback.path.FeedbackPath` does."""

    watches: bool
    """Whether it does now."""


class NamedChain(list[Block]):
    """The blocks of a net at named cut points.

    A pass runs ``net(x)`` with hooks that leave with it, and every value is bit for bit that of the net.

    Args:
        net: without wrappers.
        plan: its blocks, as seen when the rule was made.
        x: an input, on which blocks that run alone are parts of the net; None until the first pass.
        modules: of the net, by name.
        parameters: of the net, by name.
        layer_by_layer: whether every named module but the last is one layer, and the block that layer alone.

    Attributes:
        given: what the net gave in the last pass, with its graph, in its structure.
        reading: how that is read as one tensor.
    """

    def __init__(
        self,
        net: nn.Module,
        plan: CutPlan,
        x: Any,
        modules: Mapping[str, nn.Module],
        parameters: Mapping[str, nn.Parameter],
        *,
        layer_by_layer: bool = False,
    ) -> None:
        self._net, self._cuts, self._x = net, plan.cuts, x
        self.given: Any = None
        self.reading = plan.output
        cuts = plan.cuts
        self._modules = [modules[cut.name] for cut in cuts]
        self._openings = [modules[cut.opening] for cut in cuts]
        self._readouts = [modules[name] for name in plan.output.readouts]
        self._outputs: list[Tensor] = []  # of the last pass
        super().__init__(_block(self, index, cut, modules, parameters) for index, cut in enumerate(cuts))
        if layer_by_layer:
            self[:-1] = [
                Block(cut.name, (layer,), layer) for cut, layer in zip(cuts[:-1], self._modules, strict=False)
            ]

    @property
    def shapes(self) -> list[torch.Size]:
        """Shape of every block's output for one example, as seen when the rule was made."""
        return [cut.shape for cut in self._cuts]

    def run(
        self,
        x: Any,
        record: Callable[[Block], bool],
        *,
        through_every_block: bool = False,
        into_the_last: bool = False,
        whole: Collection[int] = (),
        watcher: Watcher | None = None,
        from_input: bool = False,
    ) -> list[Passage]:
        """One pass.

        Args:
            x: a batch of inputs, any structure of tensors.
            record: whether a block's graph is wanted.
            through_every_block: whether signals are to go back through the blocks: passages then have the input and
                the drive of the opening layer, which else are the block's own input and output.
            into_the_last: whether the last block's input requires grad.
            whole: places of blocks that signals go back through as a whole, from their output to their own input.
            watcher: watches while these run.
            from_input: whether the graphs of blocks that read the batch go on to it.

        Returns:
            A passage for every block; the output of the last is that of the net as one tensor.
        """
        recorded = [record(block) for block in self]
        carries = [through_every_block or (into_the_last and block is self[-1]) for block in self]
        entry = map_tensors(Tensor.clone, x) if from_input else detached(x)
        cutting = _Pass(self._cuts, entry, recorded, carries, whole, watcher)
        with ExitStack() as hooks, torch.set_grad_enabled(any(recorded)):
            for index, opening in enumerate(self._openings if through_every_block else []):
                if index in whole:
                    continue
                watch_input = partial(cutting.enter_opening, index)
                hooks.callback(opening.register_forward_pre_hook(watch_input).remove)
                hooks.callback(opening.register_forward_hook(partial(cutting.leave_opening, index)).remove)
            for index, module in enumerate(self._modules[:-1]):
                hooks.callback(module.register_forward_hook(partial(cutting.end_block, index)).remove)
            self.given = self._plain(cutting.entry)
            cutting.end(self.reading.joined(self.given, batch_size(x)))
        self._x, self._outputs = x, [passage.output.detach() for passage in cutting.passages]
        return cutting.passages

    def run_layer_by_layer(self, x: Any, taught: Taught | None, *, from_input: bool = False) -> Any:
        """One pass in which each named module but the last is a layer, taught as soon as its drive is there.

        Args:
            x: a batch of inputs.
            taught: is told of each of them; None teaches none.
            from_input: whether the graphs of layers that read the batch go on to it, and so inputs are not cut.

        Returns:
            The output, any structure of tensors, with the graph of the last named module, and of the readouts.
        """
        with ExitStack() as hooks, torch.enable_grad():
            for module in () if from_input else (*self._modules, *self._readouts):
                hooks.callback(module.register_forward_pre_hook(_detach_inputs, with_kwargs=True).remove)
            for index, module in enumerate(self._modules[:-1]):
                hooks.callback(module.register_forward_hook(partial(_teach, index, taught)).remove)
            return self._plain(map_tensors(Tensor.clone, x) if from_input else detached(x))

    def _plain(self, x: Any) -> Any:
        """``net(x)`` in plain Python: a net that was compiled as a whole would be compiled anew for hooks."""
        return called(self._net._call_impl, x)

    def _known_input(self) -> Any:
        assert self._x is not None, "no pass before a block that runs alone"
        return self._x

    def run_alone(self, index: int, z: Any) -> Tensor:
        """The output of one block on an input of its own. Named modules below it do not run; nothing is left behind.

        A block above the first needs an input of the net before, that of the chain or of a pass.

        Args:
            index: of the block.
            z: its input; of the first any structure of tensors.
        """
        module, examples = self._modules[index], batch_size(z)
        with ExitStack() as hooks, without_side_effects([self._net], device_of(z)):
            if not self._cuts[index].besides:
                return module(z)
            outputs = [*self._outputs[: max(index - 1, 0)], z] if self._outputs else []
            for below, output in enumerate(outputs if index > 0 else []):
                if self._cuts[below].gives_tensor:
                    hooks.enter_context(_answering(self._modules[below], of_examples(output, len(z))))
            if index > 0:
                exchange = partial(_exchange, z)
                hooks.callback(self._modules[index - 1].register_forward_hook(exchange).remove)
            if index < len(self) - 1:
                hooks.callback(module.register_forward_hook(_arrive).remove)
            try:
                # of the known input no value is read, but its size may be
                given = self._plain(z if index == 0 else of_examples(self._known_input(), len(z)))
                return self.reading.joined(given, examples)
            except _Arrived as arrived:
                return _only_tensor(arrived.output, self._cuts[index].name)


class _Pass:
    """What a pass leaves, block after block; its methods are hooks.

    Args:
        cuts: the blocks.
        entry: what the net is given.
        recorded: of each block, whether its graph is kept.
        carries: of each block, whether its input requires grad.
        whole: see `NamedChain.run`.
        watcher: see `NamedChain.run`.
    """

    def __init__(
        self,
        cuts: Sequence[Cut],
        entry: Any,
        recorded: list[bool],
        carries: list[bool],
        whole: Collection[int],
        watcher: Watcher | None,
    ) -> None:
        self.passages: list[Passage] = []
        self.entry = entry
        self._cuts, self._recorded, self._carries = cuts, recorded, carries
        self._whole, self._watcher = whole, watcher
        self._watch(0)
        self._input: Tensor | None = None
        self._drive: Tensor | None = None

    def enter_opening(self, index: int, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Cut the input of an opening layer; not of the first, where what leads to it may learn too."""
        del module
        self._input = args[0]
        return (args[0].detach(), *args[1:]) if index > 0 else None

    def leave_opening(self, index: int, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Keep the drive; signals pass it even where its weights are frozen."""
        del module, args
        if torch.is_grad_enabled() and not output.requires_grad:
            output.requires_grad_()
        self._drive = output
        return output.clone() if self._cuts[index].overwrites_drive else output

    def end_block(self, index: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Cut the output of a named module."""
        del module, args
        if index != len(self.passages):
            raise UnsupportedNet(
                f"{self._cuts[index].name!r} is called in another place than when the rule was made: a net with named "
                "cut points must run alike at every batch"
            )
        h = _only_tensor(output, self._cuts[index].name)
        self._keep(h)
        self.entry = h.detach()
        if self._carries[index + 1] and torch.is_grad_enabled():
            self.entry.requires_grad_()
        given = self.entry.clone() if self._cuts[index].is_overwritten else self._given(index + 1)
        self._watch(index + 1)
        return given if h is output else with_only_tensor(output, given)

    def end(self, output: Tensor) -> None:
        """Keep the net's output."""
        if len(self.passages) != len(self._cuts) - 1:
            raise UnsupportedNet(
                f"{self._cuts[len(self.passages)].name!r} was called when the rule was made, and is not at this batch: "
                "a net with named cut points must run alike at every batch"
            )
        self._keep(output)

    def _given(self, index: int) -> Tensor:
        """The input of a block; no leaf where a watcher is to see that it is activity."""
        return self.entry.view_as(self.entry) if index in self._whole else self.entry

    def _watch(self, index: int) -> None:
        if self._watcher is not None:
            self._watcher.watches = index in self._whole

    def _keep(self, output: Tensor) -> None:
        output = output if self._recorded[len(self.passages)] else output.detach()
        input = self.entry if self._input is None else self._input
        drive = output if self._drive is None else self._drive
        self.passages.append(Passage(self.entry, input, drive, output))
        self._input = self._drive = None


class _Part:
    """A `biograd.credit.chain.blocks.Stretch` of a net at named cut points."""

    def __init__(
        self,
        chain: NamedChain,
        index: int,
        parameters: tuple[nn.Parameter, ...],
        leading: tuple[nn.Parameter, ...],
        cut: Cut,
        ending: nn.Module,
    ) -> None:
        self.parameters, self.leading = parameters, leading
        self.ending, self.besides, self.has_one_layer = (cut.name, ending), cut.besides, cut.has_one_layer
        self._chain, self._index = chain, index

    def __call__(self, x: Any) -> Tensor:
        """The block's output."""
        return self._chain.run_alone(self._index, x)


class _Arrived(BaseException):  # passes a net's own ``except Exception``
    """The output of the block that runs alone."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def _block(
    chain: NamedChain,
    index: int,
    cut: Cut,
    modules: Mapping[str, nn.Module],
    parameters: Mapping[str, nn.Parameter],
) -> Block:
    layers, opening = tuple(modules[name] for name in cut.layers), modules[cut.opening]
    own = tuple(parameters[name] for name, _ in cut.parameters)
    leading = tuple(parameters[name] for name in cut.leading)
    part = None if cut.is_plain else _Part(chain, index, own, leading, cut, modules[cut.name])
    return Block(cut.opening, layers, opening, part)


def _only_tensor(output: Any, name: str) -> Tensor:
    h = only_tensor(output)
    if h is None:
        raise UnsupportedNet(
            f"{name!r} gives {outlined(output)} at this batch, and what a named module gives must hold one tensor of "
            "real numbers"
        )
    return h


def _exchange(z: Tensor, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    return with_only_tensor(output, z)


def _arrive(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    raise _Arrived(output)


def _detach_inputs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return detached(args), detached(kwargs)


def _teach(
    index: int, taught: Taught | None, module: nn.Module, args: tuple[Any, ...], drive: Tensor
) -> Tensor:
    if taught is not None:
        taught(index, args[0], drive)
    return drive.detach()


@contextmanager
def _answering(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Let a module answer at once, whatever it is given, inside the context."""
    own = vars(module).get("forward")
    module.forward = lambda *args, **kwargs: output  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own  # pyright: ignore[reportAttributeAccessIssue]
