"""Reading an autograd graph: uses of a weight that no torch-function mode sees leave their mark in it."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from torch import Tensor

from biograd.credit.feedback.recomputation import CHECKPOINTING
from biograd.credit.kinds import EXACT_NODES
from biograd.credit.structures import tensors_in
from biograd.errors import UnsupportedNet

_SCRIPTED_BESIDE_FROZEN = (
    "the net has frozen weights and a scripted function, which could let errors travel back through them unseen; "
    "write the function in plain Python, or use the rule bp"
)
_COMPILED_UNSEEN = (
    'a part of the net is compiled by a backend that leaves the backward to plain autograd (backend="eager"), out of '
    'sight of feedback weights: take the default backend or backend="aot_eager", or compile nothing'
)
_NODE = re.compile(r"(\w+)Backward\d+")


def nodes_below(output: Any, without: Collection[Any] = ()) -> Iterator[Any]:
    """Every node of the graph below the tensors in ``output``, once.

    Args:
        output: holds tensors.
        without: nodes at which it stops.
    """
    seen: set[Any] = {tensor.grad_fn for tensor in tensors_in(output)} - {None, *without}
    todo = list(seen)
    while todo:
        node = todo.pop()
        yield node
        for source, _ in node.next_functions:
            if source is not None and source not in seen and source not in without:
                seen.add(source)
                todo.append(source)


def leaves_read(node: Any) -> Iterator[Tensor]:
    """The leaves that a node takes directly."""
    for source, _ in node.next_functions:
        leaf = getattr(source, "variable", None)
        if leaf is not None:
            yield leaf


def leaves_below(output: Tensor) -> list[Tensor]:
    """The leaves that a graph reads, each once."""
    return list(dict.fromkeys(leaf for node in nodes_below(output) for leaf in leaves_read(node)))


def is_computed(source: Any) -> bool:
    """Whether what a node takes was computed from leaves: a node, neither a leaf nor without gradient."""
    return source is not None and getattr(source, "variable", None) is None


def is_exact_by_nature(name: str) -> bool:
    """Whether a node of this name may use a weight as it is.

    So may a node whose derivative by the input does not depend on the parameter, and a normalisation; and one that a
    compiler made, since that traces under the mode. A sum may not: its result may be used as a weight.
    """
    node = _NODE.fullmatch(name)
    return name == "CompiledFunctionBackward" or (node is not None and node[1] in EXACT_NODES)


def refuse_invisible(name: str, has_frozen: bool) -> None:
    """Refuse a node that cannot be looked into and may hide a use of a weight.

    Args:
        name: the name of the node.
        has_frozen: whether the net has frozen weights, of which a scripted function leaves no mark.

    Raises:
        UnsupportedNet: reentrant activation checkpointing, a backend that compiles the forward alone, or a scripted
            function beside frozen weights.
    """
    if name.startswith("CheckpointFunction"):
        raise UnsupportedNet(CHECKPOINTING)
    if name.startswith("ApplyTemplate"):
        raise UnsupportedNet(_COMPILED_UNSEEN)
    if has_frozen and "DifferentiableGraph" in name:
        raise UnsupportedNet(_SCRIPTED_BESIDE_FROZEN)


class FrozenMemory:
    """Where frozen weights lie: they are no leaves of the graph, but nodes save them for their backward.

    Args:
        weights: those that do not require grad.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self._by_storage: dict[int, list[Tensor]] = {}
        for weight in weights:
            self._by_storage.setdefault(_storage(weight), []).append(weight)

    def __bool__(self) -> bool:
        return bool(self._by_storage)

    def saved_by(self, node: Any) -> Iterator[Tensor]:
        """The frozen weights that a node keeps, whole, in part or transposed."""
        for saved in _saved_tensors(node) if self._by_storage else ():
            for weight in self._by_storage.get(_storage(saved), ()):
                if _overlap(saved, weight):
                    yield weight


def _saved_tensors(node: Any) -> Iterator[Tensor]:
    for name in dir(type(node)):
        if name.startswith("_saved_") or name == "saved_tensors":
            yield from tensors_in(getattr(node, name))
    yield from tensors_in(getattr(node, "__dict__", {}))  # what a custom function keeps on its context


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _overlap(a: Tensor, b: Tensor) -> bool:
    first, second = _span(a), _span(b)
    return first[0] < second[1] and second[0] < first[1]


def _span(tensor: Tensor) -> tuple[int, int]:
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (steps + 1) * tensor.element_size()
