"""The blocks that a rule was made for: those of a chain, or those of any net at cut points that the user named."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from biograd.credit.by_hand.remembered import Remembered
from biograd.credit.chain.blocks import Block, blocks, layers_of, refuse_data_parallel
from biograd.credit.chain.cut_plan import look
from biograd.credit.chain.cut_points import named_modules
from biograd.credit.chain.insides import learns, refuse_hidden_backpropagation, refuse_repeated_use
from biograd.credit.chain.named_chain import NamedChain
from biograd.credit.kinds import how_weight_is_computed, nearest_kind
from biograd.credit.structures import batch_size, outlined
from biograd.credit.wrappers import refuse_sharded, unwrap
from biograd.errors import UnsupportedNet, UserMistake

Reading = Literal["in sequence", "freely", "layer by layer"]
"""What a rule asks of blocks at named cut points: that each reads the one before it and nothing else, as targets need;
nothing; or that each is one layer with weights, as rules need that teach layers alone."""


class TaughtBlocks(Protocol):
    """Gives a net's blocks, as they were when a rule was made."""

    def of(self, net: nn.Module, x: Any = None) -> list[Block]:
        """The blocks of a net; see `TaughtChain.of`."""
        ...


@dataclass(frozen=True)
class Layout:
    """The blocks that a rule was made for: names, kinds and shapes alone, so that it holds nothing of a net."""

    blocks: tuple[tuple[str, str, tuple[tuple[int, ...], ...]], ...]

    @classmethod
    def of(cls, chain: list[Block]) -> "Layout":
        """That of a chain."""
        return cls(
            tuple(
                (block.name, _kind(block.opening), tuple(tuple(p.shape) for p in block.parameters()))
                for block in chain
            )
        )

    def __str__(self) -> str:
        return ", ".join(f"{name} {kind} {shapes[0] if shapes else ()}" for name, kind, shapes in self.blocks)


def _kind(layer: nn.Module) -> str:
    """What opens a block, in a word, as the nearest kind that it is of."""
    kind, computed = nearest_kind(layer), how_weight_is_computed(layer)
    name = "module" if kind is None else kind.types[0].__name__
    return name if computed is None else f"{name} behind {computed}"


class TaughtChain:
    """Gives a net's blocks, as they were when the rule was made.

    Args:
        net: a chain; see `biograd.credit.chain.blocks`.
        exact_inside: whether hidden blocks may have several weight layers, between which errors pass exactly.

    Raises:
        UnsupportedNet: the net is no chain, or backpropagation would hide inside a block.
    """

    def __init__(self, net: nn.Module, *, exact_inside: bool) -> None:
        self._exact_inside, self._has_looked, self._remembered = exact_inside, False, Remembered()
        chain = blocks(net)
        refuse_hidden_backpropagation(chain, exact_inside=exact_inside)
        self._layout = Layout.of(chain)
        self._frozen = [place for place, block in enumerate(chain) if not learns(block)]
        self._classes = _classes(chain)

    def of(self, net: nn.Module, x: Any = None) -> list[Block]:
        """The blocks of a net.

        Args:
            net: like the one that the rule was made for.
            x: a batch that is about to run through it; at the first one, and the first with modules of other classes,
                it is seen whether a block uses its weight several times.

        Raises:
            UnsupportedNet: it has other blocks, or a block does.
            UserMistake: the batch has no examples, whose mean is no number.
        """
        _refuse_no_examples(x)
        chain = self._remembered.of(net, x)
        if chain is None:
            chain = self._looked_at(net)
            self._remembered.keep(net, chain)
            chain = self._remembered.of(net, x) or chain
        if x is not None and not self._has_looked:
            refuse_repeated_use(chain, x, exact_inside=self._exact_inside)
            self._has_looked = True
        return chain

    def _looked_at(self, net: nn.Module) -> list[Block]:
        chain = blocks(net)
        here = Layout.of(chain)
        if here != self._layout:
            refuse_hidden_backpropagation(chain, exact_inside=self._exact_inside)
            raise UnsupportedNet(
                f"the rule was made for another net, with the blocks {self._layout}; this one has {here}; make the "
                "rule for the net it teaches"
            )
        if any(learns(chain[place]) for place in self._frozen):
            refuse_hidden_backpropagation(chain, exact_inside=self._exact_inside)
            self._frozen, self._has_looked = [], False
        classes = _classes(chain)
        if classes != self._classes:
            self._classes, self._has_looked = classes, False
        return chain


def _classes(chain: list[Block]) -> list[str]:
    """Names of the classes of all modules."""
    modules = [type(module) for layer in layers_of(chain) for module in layer.modules()]
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in modules]


class TaughtCuts:
    """Gives a net's blocks at named cut points; inside a block errors pass exactly, as the user named it.

    Args:
        net: any net.
        names: the cut points; see `biograd.credit.chain.cut_points.named_modules`.
        sample: one input, batch of one, any structure of tensors, on which the net runs a few times.
        reading: what is asked of the blocks.
        several_outputs: whether the net may give several tensors of real numbers.

    Raises:
        UnsupportedNet: the net cannot be cut there; see `biograd.credit.chain.cut_plan.look`.
        UserMistake: no sample.
    """

    def __init__(
        self,
        net: nn.Module,
        names: Sequence[str],
        sample: Any,
        reading: Reading,
        *,
        several_outputs: bool = False,
    ) -> None:
        net = _without_wrappers(net)
        refuse_sharded(net.parameters())
        if sample is None:
            raise UserMistake(
                "named cut points are found by running the net on one input: give it, create(…, sample=x[:1])"
            )
        self._plan = look(
            *(net, named_modules(net, names), sample),
            in_sequence=reading == "in sequence",
            layer_by_layer=reading == "layer by layer",
            several_outputs=several_outputs,
        )
        self._is_by_layer = reading == "layer by layer"

    def of(self, net: nn.Module, x: Any = None) -> list[Block]:
        """The blocks of a net; see `TaughtChain.of`."""
        _refuse_no_examples(x)
        net = _without_wrappers(net)
        parameters = dict(net.named_parameters())
        refuse_sharded(parameters.values())
        here = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        modules = dict(net.named_modules())
        for cut in self._plan.cuts:
            gone = [n for n in (cut.name, cut.opening, *cut.layers) if n not in modules]
            other = [name for name, shape in cut.parameters if here.get(name) != shape]
            if gone or other:
                raise UnsupportedNet(
                    f"the rule was made for another net: {(gone or other)[0]!r} of the block {cut.name!r} is gone or "
                    "has another shape; make the rule for the net it teaches"
                )
        return NamedChain(net, self._plan, x, modules, parameters, layer_by_layer=self._is_by_layer)


def _without_wrappers(net: nn.Module) -> nn.Module:
    refuse_data_parallel(net)
    return unwrap(net)


def _refuse_no_examples(x: Any) -> None:
    if batch_size(x) == 0:
        raise UserMistake(
            f"the batch has no examples, {_shape(x)}, and a rule for chains needs one at least: leave it out"
        )


def _shape(x: Any) -> str:
    return str(tuple(x.shape)) if isinstance(x, Tensor) else outlined(x)
