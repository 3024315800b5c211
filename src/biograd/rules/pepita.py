"""PEPITA: the error of the output perturbs the input, and layers learn from how their activity changes."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from annotated_types import Gt
from torch import Tensor, nn

from biograd.credit.by_hand.unit import Trace
from biograd.credit.chain.blocks import Block, layers_of, run_layers, spared
from biograd.credit.chain.ledger import Ledger
from biograd.credit.chain.lesson import output_error, own_error
from biograd.credit.chain.parameter_hooks import without_parameter_hooks
from biograd.credit.chain.places import Laid, axis_of_input
from biograd.credit.chain.shapes import output_shapes
from biograd.credit.chain.ways import way_to
from biograd.credit.full_precision import full_precision, is_lowered, widened
from biograd.credit.kinds import has_neurons, input_shape, positions_sharing
from biograd.credit.loss_terms import by_example, importance
from biograd.credit.side_effects import random_state, without_side_effects
from biograd.credit.weighting import Weight, Weighting
from biograd.errors import UnsupportedNet
from biograd.rules.base import Credit, ErrorWeights, Family, Loss
from biograd.rules.blockwise import Blockwise
from biograd.rules.examples import CHAINS, Examples
from biograd.rules.parts.chains import CutPoints, Inside, suggesting_rules_for_any_net
from biograd.rules.parts.feedback_weights import Distribution, Seed, draw_like
from biograd.rules.parts.places import Classes, Layout, Places
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import LogUniform
from biograd.settings import checked_settings

ReadoutError = Literal["modulated", "standard"]


class Pepita(Blockwise):
    r"""PEPITA, "present the error to perturb the input to modulate activity": two forward passes and no backward one.

    The first pass gives activities :math:`h_l` and the error e of each example, the derivative of its loss by the
    output (softmax less the one-hot label, for cross-entropy). The second one, on :math:`x + F e`, gives
    :math:`h^e_l`, and

    .. math:: \Delta W_l = (h_l - h^e_l)\,(h^e_{l-1})^\top, \quad h^e_0 = x + F e, \qquad
       \Delta W_L = e^e\,(h^e_{L-1})^\top,

    against which the weights move, averaged over the batch; :math:`e^e` is the error of the second pass. A bias learns
    as from an input of 1. No derivative of a nonlinearity enters below the output. F is fixed and random.

    :math:`h_l` is what the layer passes on: after nonlinearity and dropout, before pooling. Both passes have the
    same dropout masks. Where a weight is shared over positions (convolutions) the update is the mean over them too.
    Scale and shift of a normalisation right behind a layer learn from the same difference; those behind a nonlinearity
    do not learn. There is no limit in which the rule is backpropagation.

    Where the first layer takes features last, as in sequences (batch, tokens, features), one F serves all tokens: each
    is moved by the error at its own, or by the pooled one over √tokens.

    Reference: Dellaferrera & Kreiman, *Error-driven input modulation: solving the credit assignment problem without
    a backward pass*, ICML 2022.

    Args:
        net: a chain whose hidden blocks open with linear, convolutional or locally connected layers.
        sample: one input, batch of one; not needed where the net is a chain of linear layers alone.
        scale: of F: its entries have the standard deviation ``scale`` √(2 / inputs), in units of the input.
        distribution: of the entries of F, ``uniform`` or ``normal``.
        features: which axis of an input holds them, ``last`` for (tokens, features) and ``first`` for (channels,
            positions); unless given, as the first layer takes them.
        readout_error: what the output layer learns from: the error of the second pass (``modulated``) or of the first
            (``standard``).
        seed: of F.

    Raises:
        UnsupportedNet: a hidden block that opens with something else, as residual units do.
    """

    family: ClassVar[Family] = "local"
    scales_with_loss: bool = False
    error_weights: ClassVar[ErrorWeights] = "none"
    forward_passes: ClassVar[int] = 2
    needs: ClassVar[str] = "linear, convolutional or locally connected layers"
    examples: ClassVar[Examples] = replace(CHAINS, learning_rate=0.003, falls_to={"convolutional": 0.92})

    default_training: ClassVar[dict[str, Any]] = {
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "batch_size": 64,
    }

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Tensor | None = None,
        *,
        scale: Annotated[float, Gt(0), LogUniform(0.005, 0.5)] = 0.05,
        distribution: Distribution = "uniform",
        readout_error: ReadoutError = "modulated",
        places: Places = None,
        features: Literal["first", "last"] | None = None,
        classes: Classes = None,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks)
        self.readout_error: ReadoutError = readout_error
        chain = self.chain(net)
        _require_taught(chain)
        shape = _input_shape(chain, sample)
        source = Layout(classes=classes).of(chain, output_shapes(chain, sample))[-1]
        entry = Laid("the input", shape, features or axis_of_input(chain[0]))
        self._way = way_to(entry, source, places or ("all" if entry.axis is None else None))
        inputs = self._way.units
        like = next(net.parameters()).detach().new_empty((inputs, self._way.outputs))
        drawn = draw_like(like, scale * math.sqrt(2 / inputs), distribution, RandomStream(seed).next("cpu"))
        self.register_buffer("F", drawn)
        self.F: Tensor

    def assign_credit(
        self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """See `Rule.assign_credit`; the output is that of the first pass."""
        weighting, chain = self.entry.begin(self, net, x, weight), self.chain(net, x)
        _require_taught(chain)
        start = random_state(x.device)
        with torch.no_grad():
            activities, output = _first_pass(chain, x)
        loss, error, penalty = output_error(output, y, loss_fn)
        self.entry.look(self, output, y, loss_fn)
        v = by_example(importance(y, len(x), error.dtype, loss_fn), loss_fn)
        ledger, of_hidden, is_rough = Ledger(weighting), weighting.and_also(v), is_lowered(chain)
        with full_precision(x) if is_rough else nullcontext():
            if is_rough:  # h − hᵉ is small, so both of its passes are in full precision
                x = widened(x)
                with without_side_effects(layers_of(chain), x.device, start), torch.no_grad():
                    activities, _ = _first_pass(chain, x)
            with without_side_effects(layers_of(chain), x.device, start):
                modulated_x = self.modulate(x, own_error(error, v))
                modulated, _, trace = _second_pass(chain, modulated_x, activities, of_hidden, ledger)
                if self.readout_error == "modulated":
                    error = output_error(modulated, y, loss_fn)[1]
            # ΔW_L = eᵉ (hᵉ_{L−1})ᵀ
            with torch.no_grad():
                ledger.add(modulated, error, trace=trace)
            if penalty is not None:
                ledger.add(penalty, torch.ones_like(loss), has_examples=False)
            ledger.settle()
        return Credit(loss, output)

    def carry_to_input(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        """See `Rule.input_gradient`: how the first layer's activity changes, through that layer."""
        chain = self.chain(net, x)
        if len(chain) == 1:
            loss = loss_fn(chain[0](spared(chain[0], x.requires_grad_())), y)
            return torch.autograd.grad(loss, x)[0]
        with full_precision(x) if is_lowered(chain) else nullcontext():
            with torch.no_grad():
                activities, output = _first_pass(chain, x)
                error = output_error(output, y, loss_fn)[1]
                v = by_example(importance(y, len(x), error.dtype, loss_fn), loss_fn)
                modulated = self.modulate(x, own_error(error, v))
            first, second, *_ = chain
            drive = run_layers(
                _weighing(first), run_layers(first.leading, spared(first, modulated.requires_grad_()))
            )
            signal, _ = _difference(first, second, _Weighed(drive, []), activities[0])
            return torch.autograd.grad(drive, modulated, signal)[0]

    def modulate(self, x: Tensor, error: Tensor) -> Tensor:
        """``x + F e`` with each example's own error.

        Args:
            x: ``(batch, …)``.
            error: the derivative of the mean loss by the output, ``(batch, …)``.

        Raises:
            UnsupportedNet: inputs of another size than that F was made for.
        """
        # hᵉ_0 = x + F e; of the mean loss each example's derivative is 1/B of its own
        e = error.to(self.F.dtype) * self._way.examples(error)
        return x + self._way(lambda e: e @ self.F.t(), e, x).to(x.dtype)


def _first_pass(chain: Sequence[Block], x: Tensor) -> tuple[list[Tensor], Tensor]:
    """What each hidden block passes on, in as many numbers as it has units, and the net's output."""
    h = run_layers(chain[0].leading, spared(chain[0], x))
    activities = []
    for block, above in pairwise(chain):
        activity, h = _passed_on(block, above, _weighed(block, h))
        activities.append(activity)
    return activities, _given(chain[-1], h).output


@torch.no_grad()
def _second_pass(
    chain: Sequence[Block], x: Tensor, activities: list[Tensor], weighting: Weighting, ledger: Ledger
) -> "_Weighed":
    """The modulated output, and what teaches the last block; gradients of hidden blocks go into the ledger."""
    h, leading = spared(chain[0], x), chain[0].leading
    if chain[0].by_hand(x) is not None:
        h, leading = run_layers(leading, h), ()
    for (block, above), activity in zip(pairwise(chain), activities, strict=True):
        weighed = _weighed(block, h, leading, records=True)
        signal, h = _difference(block, above, weighed, activity)
        # ΔW_l = (h_l − hᵉ_l) (hᵉ_{l−1})ᵀ
        ledger.add_gradients(weighed.parameters, weighed.gradients(weighting.of(signal)))
        leading = ()
    return _given(chain[-1], h, leading, records=True)


class _Weighed(NamedTuple):
    """What a layer and its normalisation gave, or what a last block gave.

    Attributes:
        output: with its graph where parameters learn, unless there is a trace.
        parameters: that learn.
        trace: what gives gradients by hand.
    """

    output: Tensor
    parameters: Sequence[nn.Parameter]
    trace: Trace | None = None

    def gradients(self, signal: Tensor) -> Sequence[Tensor | None]:
        """Those of the parameters, of the derivative at the output of a hidden layer."""
        if self.trace is not None:
            return self.trace.gradients(signal)
        if not self.parameters:
            return []
        with without_parameter_hooks(self.parameters):
            return torch.autograd.grad(self.output, self.parameters, signal, allow_unused=True)


def _weighed(
    block: Block, x: Tensor, leading: tuple[nn.Module, ...] = (), *, records: bool = False
) -> _Weighed:
    """The drive of a block.

    Args:
        block: hidden, or the last one.
        x: its input, behind what leads it.
        leading: what of that is still to run.
        records: whether parameters are to learn.
    """
    unit = None if leading else block.by_hand(x)
    if unit is not None:
        trace = unit.weighed(x, x)
        return _Weighed(trace.output, unit.parameters, trace)
    return _recorded((*leading, *_weighing(block)), x, records)


def _given(last: Block, x: Tensor, leading: tuple[nn.Module, ...] = (), *, records: bool = False) -> _Weighed:
    """What the last block gives; arguments as for `_weighed`."""
    unit = None if leading else last.by_hand(x)
    if unit is None:
        return _recorded((*leading, *last.layers[len(last.leading) :]), x, records)
    trace = unit.weighed(x, x)
    return _Weighed(trace.fired(), unit.parameters, trace)


def _recorded(layers: tuple[nn.Module, ...], x: Tensor, records: bool) -> _Weighed:
    parameters = [p for layer in layers for p in layer.parameters() if records and p.requires_grad]
    with torch.set_grad_enabled(bool(parameters)):
        return _Weighed(run_layers(layers, x), parameters)


@torch.no_grad()
def _difference(block: Block, above: Block, weighed: _Weighed, activity: Tensor) -> tuple[Tensor, Tensor]:
    """The signal at a drive, h − hᵉ over examples times shared positions, and the input of the block above.

    It takes the memory of the activity.
    """
    drive = weighed.output.detach()
    modulated, h = _passed_on(block, above, weighed._replace(output=drive))
    shared = positions_sharing(block.opening, drive)
    return activity.sub_(modulated).div_(drive.shape[0] * shared).view_as(drive), h


def _passed_on(block: Block, above: Block, weighed: _Weighed) -> tuple[Tensor, Tensor]:
    """The last tensor behind a drive that still has one number for each unit, and the input of the block above."""
    by_hand, units = weighed.trace is not None, weighed.output.numel()
    activity = h = weighed.trace.fired() if weighed.trace is not None else weighed.output
    is_whole = True
    for layer in above.leading if by_hand else (*block.firing, *above.leading):
        h = layer(h)
        is_whole = is_whole and h.numel() == units
        activity = h if is_whole else activity
    return activity, h


def _weighing(block: Block) -> tuple[nn.Module, ...]:
    """The opening layer of a block and the normalisations right behind it."""
    return block.driving[len(block.leading) :]


def _input_shape(chain: Sequence[Block], sample: Tensor | None) -> torch.Size:
    """The shape of an input."""
    if sample is not None:
        return sample.shape[1:]
    shape = input_shape(chain[0].opening)
    assert shape is not None  # output_shapes saw to it
    return torch.Size(shape)


def _require_taught(chain: Sequence[Block]) -> None:
    for block in chain[:-1]:
        if not has_neurons(block.opening):
            with suggesting_rules_for_any_net():
                raise UnsupportedNet(
                    f"pepita teaches linear, convolutional and locally connected layers; {block.name!r} is a "
                    f"{type(block.opening).__name__}"
                )
