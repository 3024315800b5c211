"""What lies between the cut points of a net: seen once, on one input, and kept as names and shapes."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.chain.blocks import is_one_layer_of_weights, layers_of_module
from biograd.credit.chain.cut_watch import Seen, has_weights, watched_run
from biograd.credit.chain.insides import weights_within
from biograd.credit.chain.net_output import NetOutput
from biograd.credit.eager import eagerly
from biograd.credit.graph import leaves_read, nodes_below
from biograd.credit.isolation import isolated
from biograd.credit.kinds import has_filters
from biograd.credit.structures import called, copied, of_examples, outlined, tensors_in
from biograd.credit.wrappers import is_compile_wrapper
from biograd.errors import UnsupportedNet, listed

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Cut:
    """A block of a net, from the output of one named module to that of the next; names and shapes alone.

    Attributes:
        name: of the module whose output ends it.
        opening: name of the one layer with weights that all of the block's input passes through, else ``name``.
        layers: names of what runs in it: its layers in order where it `is_plain`, else the outermost modules.
        is_plain: whether it is a list of layers, one of which has weights, and nothing else.
        has_one_layer: whether ``opening`` is that layer.
        besides: what else it is than the named module on what the cut below gave, in words; empty if nothing.
        gives_tensor: whether the module gives the tensor that is cut, and not a structure around it.
        is_overwritten: whether what runs behind the cut overwrites its input.
        overwrites_drive: whether what runs behind the opening layer overwrites its input.
        parameters: names and shapes of what its output depends on.
        leading: names of those that what its opening layer gets depends on.
        shape: of its output for one example; of the last see `biograd.credit.chain.net_output.NetOutput`.
    """

    name: str
    opening: str
    layers: tuple[str, ...]
    is_plain: bool
    has_one_layer: bool
    besides: str
    gives_tensor: bool
    is_overwritten: bool
    overwrites_drive: bool
    parameters: Shapes
    leading: tuple[str, ...]
    shape: torch.Size


@dataclass(frozen=True)
class CutPlan:
    """The blocks of a net between its cut points, in the order of their calls, and how its output is read."""

    cuts: tuple[Cut, ...]
    output: NetOutput


def look(
    net: nn.Module,
    named: Mapping[str, nn.Module],
    sample: Any,
    *,
    in_sequence: bool,
    layer_by_layer: bool = False,
    several_outputs: bool = False,
) -> CutPlan:
    """Run a net a few times and see what lies between its cut points; it is left as it was.

    Args:
        net: without wrappers.
        named: the modules whose outputs are cut, by name.
        sample: one input with its batch dimension, any structure of tensors.
        in_sequence: whether every block must read the one before it, and no other.
        layer_by_layer: whether the layers inside the named modules are cut, and their inputs too, so that nothing
            between them learns.
        several_outputs: whether the net may give several tensors of real numbers.

    Raises:
        UnsupportedNet: a named module is not called once, or gives no tensor; a parameter that two blocks depend on; a
            path around a cut; weights outside the named modules; or several outputs, where one is needed.
    """
    with _evaluating_alone(net, sample):
        for parameter in net.parameters():  # stand-ins: frozen ones are to be seen too
            parameter.requires_grad_(parameter.is_floating_point())
        _refuse_compiled_around(net, named)
        seen = watched_run(net, named, sample, layer_by_layer=False)
        _require_calls(seen, named)
        output = _net_output(net, seen, sample, several_outputs=several_outputs)
        readouts = {name: named[name] for name in output.readouts}
        blocks = {name: module for name, module in named.items() if name not in readouts}
        if layer_by_layer:
            blocks = _layers_inside(net, seen, blocks, readouts)
            _refuse_compiled_around(net, blocks)
        if readouts or layer_by_layer:
            seen = watched_run(net, blocks, sample, layer_by_layer=False, readouts=readouts)
            _require_calls(seen, blocks)
        used = set().union(*map(_leaves, seen.roots))
        if layer_by_layer:
            seen = watched_run(net, blocks, sample, layer_by_layer=True, readouts=readouts)
        _refuse_weights_outside(seen, net, used)
        last = seen.order[-1]
        _require_read(last, blocks[last], used)
        _refuse_several_at_the_end({last: blocks[last], **readouts})
        return CutPlan(_cuts(net, seen, output, in_sequence=in_sequence), output)


def _net_output(net: nn.Module, seen: Seen, sample: Any, *, several_outputs: bool) -> NetOutput:
    """How the output of a net is read that ran with all named modules cut."""
    tensors = seen.roots[-1]
    if len(tensors) == 1:
        return NetOutput((True,))
    if not (tensors and several_outputs):
        instead = "give one, or use a rule that takes several (dfa; bp, fa and other rules for any net)"
        raise UnsupportedNet(
            f"the net gives {outlined(seen.output)}, and the rule needs one tensor of real numbers in it: "
            f"{instead if tensors else 'give one'}"
        )
    with torch.no_grad():
        of_two = called(net, copied(of_examples(of_examples(sample, 1), 2)))
    twice = [tensor for tensor in tensors_in(of_two) if tensor.is_floating_point()]
    holds = tuple((*map(_rows, pair),) == (1, 2) for pair in itertools.zip_longest(tensors, twice))
    if not any(holds):
        raise UnsupportedNet(
            f"the net gives {outlined(seen.output)}, none of which has the examples on its first axis: give (batch, …)"
        )
    return NetOutput(holds, _readouts(seen))


def _rows(tensor: Tensor | None) -> int:
    return len(tensor) if tensor is not None and tensor.dim() else 0


def _readouts(seen: Seen) -> tuple[str, ...]:
    """The named modules but the last whose outputs reach the net's, and no other named module."""
    of_last = [tensor for tensor in tensors_in(seen.last_output) if tensor.is_floating_point()]
    read_on = set().union(_leaves(of_last), *map(_leaves, seen.roots[:-1]))
    ends = _leaves(seen.roots[-1]) - read_on
    return tuple(name for name, (h,) in zip(seen.order[:-1], seen.entries[1:], strict=True) if h in ends)


def _layers_inside(
    net: nn.Module, seen: Seen, named: Mapping[str, nn.Module], readouts: Mapping[str, nn.Module]
) -> dict[str, nn.Module]:
    """The layers with weights that run inside the named modules, and the last named module itself.

    Raises:
        UnsupportedNet: a module holds weights that no layer of its own uses, as attention may.
    """
    *hidden, last = (name for name in seen.order if name in named)
    found = {
        name: net.get_submodule(name)
        for names in seen.layers[:-1]
        for name in names
        if not any(f"{name}.".startswith(f"{readout}.") for readout in readouts)
    }
    for block in hidden:
        _require_layers_called(block, named[block], found)
    return {**found, last: named[last]}


def _cuts(net: nn.Module, seen: Seen, output: NetOutput, *, in_sequence: bool) -> tuple[Cut, ...]:
    leaves, named_parameters = [*map(_leaves, seen.roots)], list(net.named_parameters())
    parameters = [{name: tuple(p.shape) for name, p in named_parameters if p in found} for found in leaves]
    _refuse_shared(parameters, seen.order)
    if in_sequence:
        _refuse_ways_around(leaves, seen)
    given = [tensor for (tensor,) in seen.roots[:-1]]
    shapes = [tensor.shape[1:] for tensor in (*given, output.joined(seen.output, 1))]
    return tuple(
        _cut(net, seen, index, tuple(found.items()), shape)
        for index, (found, shape) in enumerate(zip(parameters, shapes, strict=True))
    )


@contextmanager
def _evaluating_alone(net: nn.Module, sample: Any) -> Iterator[None]:
    """A context in which a net runs in evaluation mode and plain Python, and is left as it was."""
    with isolated(net, devices_of=sample), eagerly():
        for module in net.modules():
            module.training = False
        yield


def _leaves(roots: Iterable[Tensor]) -> set[Tensor]:
    return {leaf for root in roots for node in nodes_below(root) for leaf in leaves_read(node)}


def _cut(net: nn.Module, seen: Seen, index: int, parameters: Shapes, shape: torch.Size) -> Cut:
    name, besides = seen.order[index], _besides(net, seen, index)
    module, passed = net.get_submodule(name), seen.passed[index + 1 : index + 2]
    inner = layers_of_module(name, module)
    is_plain = not besides and is_one_layer_of_weights(inner)
    found = _opening(seen, index)
    opening = found or name
    root = seen.roots[index][0]
    drive, version = seen.drives.get(opening, (root, root._version))
    return Cut(
        name=name,
        opening=opening,
        layers=tuple(inner_name for inner_name, _ in inner) if is_plain else tuple(seen.outer[index]),
        is_plain=is_plain,
        has_one_layer=found is not None,
        besides=besides,
        gives_tensor=seen.gives_tensor[index],
        is_overwritten=any(tensor._version > 0 for tensor in passed),
        overwrites_drive=drive._version > version,
        parameters=parameters,
        leading=_leading(net, opening, drive),
        shape=shape,
    )


def _besides(net: nn.Module, seen: Seen, index: int) -> str:
    """What else than a named module on what the cut below gave is in its block."""
    is_last = index == len(seen.order) - 1
    if seen.is_direct[index] and seen.gives_tensor[index] and (seen.gives_own or not is_last):
        return ""
    others = [name for name in seen.outer[index] if name != seen.order[index]]
    if others:
        return listed([f"{name!r} ({type(net.get_submodule(name)).__name__})" for name in others], 4)
    if not seen.is_direct[index]:
        return "a function before it or a further argument of its call"
    return "a function behind it" if is_last else "a structure around its output"


def _opening(seen: Seen, index: int) -> str | None:
    """The one layer with weights of a block, if the block's input reaches its output through that alone."""
    layers = seen.layers[index]
    if len(layers) != 1 or layers[0] not in seen.drives:
        return None
    drive, entries = seen.drives[layers[0]][0], set(seen.entries[index])
    goes_around = any(leaf in entries for leaf in _leaves_past(drive.grad_fn, seen.roots[index]))
    return None if goes_around else layers[0]


def _leading(net: nn.Module, opening: str, drive: Tensor) -> tuple[str, ...]:
    """The parameters that a layer's output depends on, but for its own."""
    above = _leaves([drive])
    named = [name for name, parameter in net.named_parameters() if parameter in above]
    return tuple(name for name in named if not name.startswith(f"{opening}."))


def _leaves_past(stop: Any, roots: Iterable[Tensor]) -> Iterator[Tensor]:
    """The leaves that tensors depend on other than through one node of their graph."""
    todo, seen = [root.grad_fn for root in roots], {None, stop}
    while todo:
        node: Any = todo.pop()
        if node not in seen:
            seen.add(node)
            yield from leaves_read(node)
            todo += [source for source, _ in node.next_functions]


def _require_calls(seen: Seen, named: Mapping[str, nn.Module]) -> None:
    for name in named:
        calls = seen.calls.get(name, 0)
        if calls != 1:
            often = "never" if calls == 0 else f"{calls} times"
            instead = (
                "leave it out of blocks" if calls == 0 else "name a module around its calls in its place"
            )
            raise UnsupportedNet(
                f"{name!r} is called {often} when the net runs, and a named module must be called once: {instead}"
            )


def _refuse_weights_outside(seen: Seen, net: nn.Module, used: set[Tensor]) -> None:
    """Refuse weights that no named module holds; those of a part whose output nobody uses learn nothing anyway."""
    parameters = dict(net.named_parameters())
    outside = {
        name: by
        for name, by in seen.outside.items()
        if not used.isdisjoint(p for key, p in parameters.items() if f"{key}.".startswith(f"{name}."))
    }
    if not outside:
        return
    said = listed([f"{name!r} ({by})" for name, by in outside.items()], 4)
    raise UnsupportedNet(
        f"weights outside the named modules: {said}; errors would be backpropagated there: name the modules that hold "
        "them in blocks too"
    )


def _require_read(last: str, module: nn.Module, used: set[Tensor]) -> None:
    """Refuse a last block that would learn nothing, while what gives the output is hidden."""
    own = list(module.parameters())
    if own and used.isdisjoint(own):
        raise UnsupportedNet(
            f"the net's output does not depend on {last!r}, the named module that is called last: leave it out of "
            "blocks"
        )


def _refuse_several_at_the_end(last: Mapping[str, nn.Module]) -> None:
    for name, module in last.items():
        found = [f"{name}.{inner}".rstrip(".") for inner in weights_within(module)]
        if len(found) > 1:
            raise UnsupportedNet(
                f"the last block, {name!r}, has {len(found)} weight layers, {listed(found, 4)}; errors would be "
                "backpropagated inside: name the modules inside it in its place"
            )


def _refuse_shared(parameters: list[dict[str, Any]], order: list[str]) -> None:
    owner: dict[str, int] = {}
    for index, found in enumerate(parameters):
        for name in found:
            if name in owner:
                raise UnsupportedNet(
                    f"the parameter {name!r} has a part in two blocks, those that end at {order[owner[name]]!r} and "
                    f"{order[index]!r}, and each would teach it: name a module around both, or give them parameters "
                    "of their own"
                )
            owner[name] = index


def _refuse_ways_around(leaves: list[set[Tensor]], seen: Seen) -> None:
    """Refuse a block that reads another one than that before it."""
    for index in range(1, len(leaves)):
        read = {place for place, entries in enumerate(seen.entries) if not leaves[index].isdisjoint(entries)}
        if read == {index}:
            continue
        here, before = seen.order[index], seen.order[index - 1]
        if index not in read:
            raise UnsupportedNet(
                f"the block that ends at {here!r} does not read the output of {before!r}, which is called before it: "
                "targets go down one chain of blocks; name a module around parallel ones"
            )
        past = min(read - {index})
        source = "the net's input" if past == 0 else f"the output of {seen.order[past - 1]!r}"
        raise UnsupportedNet(
            f"a path around a cut: the block that ends at {here!r} reads {source} past {before!r}, as a skip does; "
            "name modules whose outputs include the skip, or use a rule that sends no targets (dfa, drtp)"
        )


def _refuse_compiled_around(net: nn.Module, named: Mapping[str, nn.Module]) -> None:
    """Refuse a compiled part with a cut point inside, where hooks would not be seen."""
    for name, module in net.named_modules():
        is_compiled = module._compiled_call_impl is not None or is_compile_wrapper(module)
        inner = [other for other in named if other.startswith(f"{name}.")]
        if is_compiled and inner:
            raise UnsupportedNet(
                f"{name!r} is compiled as a whole, and {inner[0]!r} inside it could not be cut: compile the named "
                "modules themselves"
            )


def _require_layers_called(block: str, module: nn.Module, called: Mapping[str, nn.Module]) -> None:
    """Refuse a module with weights that a local rule would leave untaught without a word."""
    for name, layer in module.named_modules(prefix=block):
        if has_weights(layer) and (name not in called or not has_filters(layer)):
            raise UnsupportedNet(
                f"{name!r} ({type(layer).__name__}) in the block {block!r} is no layer that a local rule can teach by "
                "itself: local rules reach linear, convolutional and locally connected layers that are called"
            )
