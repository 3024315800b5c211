"""SoftHebb: neurons that compete softly for each input, and learn what they win without any label."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor, nn

from biograd.credit.chain.blocks import Block
from biograd.credit.chain.moment import Aim, Moment, gradients_of_drive
from biograd.credit.kinds import (
    has_filters,
    how_weight_is_computed,
    incoming_axes,
    neuron_axis,
    positions_sharing,
)
from biograd.credit.loss_terms import counted, importance
from biograd.errors import UnsupportedNet, UserMistake
from biograd.rules.base import Awaited, Loss
from biograd.rules.examples import WEIGHTS_ALONE, Examples
from biograd.rules.local_rule import LocalRule
from biograd.rules.parts.chains import CutPoints, Inside
from biograd.rules.parts.epoch import HiddenFirst
from biograd.searched import LogUniform
from biograd.settings import checked_settings

PerBlock = Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)]
"""One number for all hidden blocks, or one for each from the first one up."""

_UNSCALED = ("SGD", "ASGD")


class SoftHebb(LocalRule):
    r"""Hebbian learning in soft winner-take-all layers; only the last block reads labels.

    .. math:: y = \mathrm{softmax}(u / \tau), \qquad
       \Delta W_k \propto \eta\,\big|\lVert W_k \rVert - 1\big|^q\; \hat y_k\,(x - u_k W_k)

    x is the layer's input, :math:`u_k = W_k \cdot x` the weighted input of neuron k. All neurons of a layer compete,
    those of a convolutional or locally connected layer with the channels at their own position. The most active
    learns with :math:`\hat y_k = y_k`, the others turn away from the input, :math:`\hat y_k = -y_k` (anti-Hebbian).
    The term :math:`u_k W_k` leads norms to 1, where the rate of a neuron vanishes. :math:`\hat y_k (x - u_k W_k)` is
    averaged over the batch, and over positions that share a filter, and then divided by its largest entry in the
    layer. No hidden layer reads the targets. The last block learns from the derivative of the loss.

    The gradient is :math:`-\Delta W`, so that plain gradient descent with rate :math:`\alpha` moves hidden weights at
    :math:`\eta = \alpha \cdot` ``hidden_rate``; momentum m makes that 1 / (1 − m) times as much.

    There is no limit in which the rule is backpropagation. References: Moraitis, Toichkin, Journé, Chua & Guo 2022;
    Journé, Garcia Rodriguez, Guo & Moraitis 2023.

    Args:
        net: a chain whose hidden layers are linear, convolutional or locally connected, without biases or anything
            else that learns.
        sample: one input, batch of one; needed where cut points are named.
        temperature: τ, > 0; the smaller, the larger the winner's share.
        hidden_rate: what multiplies the learning rate in hidden layers, > 0.
        rate_power: q, ≥ 0; at 0 the rate does not depend on the norm.
        anti_hebbian: without it :math:`\hat y = y`, as in the paper of 2022.
        normalize: without it the mean is not divided by its largest entry.
        unsupervised_epochs: how many epochs teach the hidden layers alone, after which the last block is taught
            alone; at 0 both learn in every epoch.

    Raises:
        UnsupportedNet: no such chain.
        UserMistake: neither one number nor one for each hidden block.
    """

    waits_for: ClassVar[Awaited] = "nothing"
    scales_with_loss: bool = False
    needs: ClassVar[str] = "hidden layers without biases"
    takes_differences: ClassVar[bool] = True  # x − u W, which vanishes as W converges
    examples: ClassVar[Examples] = replace(WEIGHTS_ALONE, falls_to={"mlp": 0.85, "locally-connected": 0.92})

    default_training: ClassVar[Mapping[str, Any]] = {
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}
    }

    reads_several_outputs: ClassVar[bool] = True

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        temperature: Annotated[PerBlock, LogUniform(0.1, 5.0)] = (0.5,),
        hidden_rate: Annotated[PerBlock, LogUniform(0.01, 1.0)] = (0.2,),
        rate_power: Annotated[float, Ge(0)] = 0.5,
        anti_hebbian: bool = True,
        normalize: bool = True,
        unsupervised_epochs: Annotated[int, Ge(0)] = 0,
        inside: Inside = None,
        blocks: CutPoints = (),
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks, turns=HiddenFirst(unsupervised_epochs))
        *hidden, _ = self.chain(net)
        for block in hidden:
            _require_weights_alone(block)
        self.temperature = _for_each(hidden, temperature, "temperature")
        self.hidden_rate = _for_each(hidden, hidden_rate, "hidden_rate")
        self.rate_power, self.anti_hebbian, self.normalize = rate_power, anti_hebbian, normalize
        self.averages_examples = not normalize

    def aim(self, y: Tensor, batch: int, dtype: torch.dtype, loss_fn: Loss) -> Aim:
        """No target: hidden layers read no label, but whether the loss ignores the example."""
        return Aim(y, importance=counted(importance(y, batch, dtype, loss_fn)))

    def drive_signal(self, moment: Moment) -> Tensor:
        r""":math:`-\hat y`, divided by the number of examples, and of positions that share a filter."""
        layer, u = moment.block.opening, moment.drive
        neurons = neuron_axis(layer)
        # y = softmax(u / τ); ŷ = y of the most active, −y of the others
        signal = torch.softmax(u / self.temperature[moment.index], neurons)
        if self.anti_hebbian:
            winners = u.argmax(neurons, keepdim=True)
            signal.scatter_(neurons, winners, -signal.gather(neurons, winners))
        else:
            signal.neg_()
        signal /= len(u) * positions_sharing(layer, u)
        return signal.to(u.dtype)

    def block_gradients(self, moment: Moment, parameters: list[nn.Parameter]) -> Sequence[Tensor | None]:
        r"""See `LocalRule.block_gradients`; :math:`-\Delta W`.

        As :math:`u_k = W_k \cdot x` at every position, the mean of :math:`\hat y_k u_k` is :math:`W_k` times that of
        :math:`\hat y_k x`.
        """
        # minus the mean of ŷ x, scaled
        (away,) = gradients_of_drive(moment, parameters, self.drive_signal(moment))
        assert away is not None
        W, inputs = parameters[0], incoming_axes(moment.block.opening)
        # −ΔW_k ∝ −mean(ŷ_k (x − u_k W_k))
        gradient = away - (W * away).sum(inputs, keepdim=True) * W
        if self.normalize:
            gradient /= gradient.abs().amax().clamp_min(torch.finfo(gradient.dtype).tiny)
            gradient = moment.weighting.by_size(gradient)
        # η |‖W_k‖ − 1|^q
        off = torch.linalg.vector_norm(W, dim=inputs, keepdim=True).sub_(1).abs_()
        return [gradient.mul_(off.pow_(self.rate_power).mul_(self.hidden_rate[moment.index]))]

    def advise_on_optimizer(self, optimizer: torch.optim.Optimizer, steps: float) -> list[str]:
        """Warn of optimisers that undo the rate of each neuron, and of weight decay, which works against norms of 1."""
        del steps
        found = []
        kind = type(optimizer).__name__
        if kind not in _UNSCALED:
            found.append(
                f"softhebb: {kind} rescales every gradient, which undoes hidden_rate and the rate that falls as a "
                "neuron's norm nears 1; use SGD"
            )
        if any(group.get("weight_decay") for group in optimizer.param_groups):
            found.append(
                "softhebb: weight decay pulls the norms of hidden neurons below 1; the rule needs none"
            )
        return found


def _require_weights_alone(block: Block) -> None:
    layer = block.opening
    if not has_filters(layer):
        raise UnsupportedNet(
            f"softhebb teaches linear, convolutional and locally connected hidden layers; {block.name!r} is "
            f"{type(layer).__name__}. Other rules for chains: dfa, drtp, dtp"
        )
    computed = how_weight_is_computed(layer)
    if computed is not None:
        raise UnsupportedNet(
            f"softhebb's hidden neurons learn weights alone, and block {block.name!r} computes its own from other "
            f"parameters ({computed}): remove that (torch.nn.utils has a function for each)"
        )
    if any(parameter is not layer.weight for parameter in block.parameters()):
        raise UnsupportedNet(
            f"softhebb's hidden neurons learn weights alone, and block {block.name!r} has more: make its layer with "
            "bias=False and normalisations with affine=False (--net.bias false, or the nets softhebb-mlp and "
            "softhebb-cnn)"
        )
    if block.driving[-1] is not layer:
        raise UnsupportedNet(
            f"softhebb's neurons compete by their weighted inputs, which a normalisation right behind {block.name!r} "
            "would rescale: put it before the layer"
        )


def _for_each(hidden: list[Block], values: tuple[float, ...], name: str) -> tuple[float, ...]:
    if len(values) not in (1, len(hidden)):
        raise UserMistake(
            f"softhebb: {name} needs one number, or one for each of the {len(hidden)} hidden blocks; got "
            f"{len(values)}: {values}"
        )
    return values * len(hidden) if len(values) == 1 else values
