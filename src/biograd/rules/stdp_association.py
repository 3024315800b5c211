"""Local learning from spike timing, association and competition: no error is propagated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from biograd.credit import late
from biograd.credit.chain.blocks import Block
from biograd.credit.chain.moment import Aim, Moment, gradients_of_drive
from biograd.credit.chain.shapes import output_shapes
from biograd.credit.full_precision import full_precision
from biograd.credit.kinds import has_filters, neuron_axis, neurons
from biograd.credit.loss_terms import (
    are_distributions,
    are_indices,
    importance,
    require_honoured,
    rows_of,
    soft_targets,
    targets,
    terms_of,
)
from biograd.errors import UnsupportedNet, UserMistake
from biograd.rules.base import Awaited, Loss
from biograd.rules.examples import CHAINS, Examples
from biograd.rules.local_rule import LocalRule
from biograd.rules.parts.chains import CutPoints, Inside, suggesting_rules_for_any_net
from biograd.rules.parts.feedback_weights import Seed
from biograd.rules.parts.random_stream import RandomStream
from biograd.searched import Among, LogUniform
from biograd.settings import checked_settings
from biograd.tasks import Kind

AT_ONCE = 2**17
"""How many neurons' signals are computed at once, of maps, so that what is made of them stays in the cache."""


class StdpAssociation(LocalRule):
    r"""A rule built from pair-based STDP, association with the label, and competition for the first spike.

    .. math:: \Delta W_{ji} = s\, n_g\, \mathrm{softmax}_{k \in g(j)}(\beta z_k)_j\,
       \big(r^*_j - \sigma(z_j)\big)\, h_i

    h is the layer's input (rates), z its drive (see `LocalRule`), σ the logistic function whatever the net's own
    nonlinearity is. *Association*: the neurons of a layer form groups g of :math:`n_g`, each tied once and at random
    to a set of classes, its code. A teaching current asks for :math:`r^*_j = 1` where the example's class is in the
    code of j's group, else for 0. *Timing*: the pair rule integrates to the pre-synaptic rate times how much more the
    neuron fires when it is taught than alone. *Competition*: the first neuron of a group to fire inhibits the others.
    In an exponential race with rates :math:`e^{\beta z}` the softmax is the probability to be first. A bias learns as
    from h = 1. The output block learns from the derivative of the loss, which for cross-entropy is the delta rule.

    With two classes each has every second group. With more, groups have random halves of the classes, drawn in
    complementary pairs. Neuron j (channel j, where the layer has positions) belongs to group j modulo the
    number of groups. Channels compete at each position, and positions add up. The update is the mean over the batch.

    Layer l reads :math:`h_{l-1}`, :math:`z_l` and the label. There is no limit in which the rule is backpropagation.

    The equation is this project's own. What led to it: Gupta, *A more biologically plausible local learning rule for
    ANNs*, 2020 (arXiv 2011.12012), of which the abstract names the ingredients.

    Args:
        net: a chain of linear, convolutional and locally connected layers with one output a class, two at least.
        sample: one input, batch of one; not needed where the first layer is linear.
        beta: β, how sharp the race is, ≥ 0; at 0 all neurons of a group learn alike.
        teaching_scale: s, of hidden layers against the output layer. Under an optimiser that rescales gradients
            (Adam) it does next to nothing.
        competition: without it the factor :math:`n_g\,\mathrm{softmax}` is 1.
        group_size: neurons in a group, about, ≥ 1; a layer has two groups at least.
        seed: of the codes; with two classes nothing is drawn.

    Raises:
        UnsupportedNet: another layer with weights, or outputs that are not one number a class.
        UserMistake: at a batch whose targets are no classes.
    """

    waits_for: ClassVar[Awaited] = "label"
    scales_with_loss: bool = False
    aims_at_labels: ClassVar[bool] = True
    tasks: ClassVar[tuple[Kind, ...]] = ("classes",)
    needs: ClassVar[str] = "classes; linear, convolutional or locally connected layers"
    examples: ClassVar[Examples] = replace(
        CHAINS, falls_to={"convolutional": 0.85, "locally-connected": 0.85}
    )

    default_training: ClassVar[Mapping[str, Any]] = {"optimizer": {"name": "adam", "lr": 3e-3}}

    @checked_settings
    def __init__(
        self,
        net: nn.Module,
        sample: Any = None,
        *,
        beta: Annotated[float, Ge(0), LogUniform(0.3, 10.0)] = 2.0,
        teaching_scale: Annotated[float, Gt(0), LogUniform(0.005, 0.5)] = 0.05,
        competition: bool = True,
        group_size: Annotated[int, Ge(1), Among(4, 8, 16, 32)] = 10,
        inside: Inside = None,
        blocks: CutPoints = (),
        seed: Seed = 0,
    ) -> None:
        super().__init__(net, sample, inside=inside, blocks=blocks)
        self.beta, self.teaching_scale, self.competition = beta, teaching_scale, competition
        *hidden, _ = chain = self.chain(net)
        self._has_looked = False
        self._classes = classes = _classes(output_shapes(chain, sample)[-1])
        stream = RandomStream(seed)
        self._groups = [_groups(_neurons(block), group_size) for block in hidden]
        like = next(net.parameters())
        for index, (block, groups) in enumerate(zip(hidden, self._groups, strict=True)):
            group = torch.arange(_neurons(block)) % groups
            codes = draw_codes(classes, groups, stream.next("cpu"))[:, group]  # of each neuron's group
            self.register_buffer(f"codes{index}", codes.to(like))
            sizes = group.bincount()[group] if competition else torch.ones(len(group))
            self.register_buffer(f"sizes{index}", sizes.to(like), persistent=False)

    def codes(self, index: int) -> Tensor:
        """Which classes the groups of a hidden block are tied to, ``(classes, groups)`` of 0 and 1.

        Neuron j belongs to group j modulo the number of groups.
        """
        return self.get_buffer(f"codes{index}")[:, : self._groups[index]]

    def aim(self, y: Tensor, batch: int, dtype: torch.dtype, loss_fn: Loss) -> Aim:
        """The labels as distributions over the classes, as sharp as a cross-entropy wants them.

        The values of the first batch are looked at, which waits for the device.

        Raises:
            UserMistake: targets that are no classes, or a weighted loss that is no cross-entropy.
        """
        require_honoured(y, loss_fn)
        terms = terms_of(loss_fn)
        v = importance(y, batch, dtype, loss_fn)
        if y.shape == (batch,) and are_indices(y, batch):
            are_plain = v is None and not terms.label_smoothing and late.is_read_at_once(y.device)
            return Aim(y, None if are_plain else targets(y, self._classes, dtype, terms), v)
        is_soft = y.shape == (batch, self._classes) and y.is_floating_point()
        if is_soft and (self._has_looked or are_distributions(y)):
            self._has_looked = True
            return Aim(y, soft_targets(y, terms), v)
        raise UserMistake(
            f"stdp-association needs classes, indices ({batch},) or distributions ({batch}, {self._classes}) that add "
            f"up to 1, and got {tuple(y.shape)} of {y.dtype}: for other targets use the rule bp or dfa"
        )

    def drive_signal(self, moment: Moment) -> Tensor:
        """See `LocalRule.drive_signal`: the equation with its sign turned, as optimisers descend."""
        index = moment.index
        codes, sizes = getattr(self, f"codes{index}"), getattr(self, f"sizes{index}")
        # in the precision of the weights, as σ(z) nears r*
        z = moment.drive.to(codes.dtype)
        axis, batch = neuron_axis(moment.block.opening) % z.dim(), z.shape[0]
        wanted, rate = teaching_current(moment.aim, codes), sizes * (self.teaching_scale / batch)
        examples = max(1, AT_ONCE * batch // z.numel())
        if examples >= batch:
            return self._signal(z, wanted, rate, self._groups[index], axis)
        signal = torch.empty_like(z)
        parts = zip(*(of_all.split(examples) for of_all in (signal, z, wanted)), strict=True)
        for part, z, wanted in parts:
            part.copy_(self._signal(z, wanted, rate, self._groups[index], axis))
        return signal

    def _signal(self, z: Tensor, wanted: Tensor, rate: Tensor, groups: int, axis: int) -> Tensor:
        """That of some examples.

        Args:
            z: drives, ``(examples, …, neurons, …)``.
            wanted: r*, ``(examples, neurons)``.
            rate: s n_g over the batch, ``(neurons,)``; s over it without competition.
            groups: how many.
            axis: along which the neurons lie.
        """
        if z.dim() > 2:
            positions = (1,) * (z.dim() - 1 - axis)
            wanted = wanted.view(z.shape[0], *(1,) * (axis - 1), -1, *positions)
            rate = rate.view(-1, *positions)
        # −(r* − σ(z))
        signal = torch.sigmoid(z).sub_(wanted)
        # s n_g softmax(β z), the mean over the batch
        scale = rate
        if self.competition:
            scale = first_to_fire(z, self.beta, groups, axis).mul_(scale)
        return signal.mul_(scale)

    def block_gradients(self, moment: Moment, parameters: list[nn.Parameter]) -> Sequence[Tensor | None]:
        """See `LocalRule.block_gradients`: the signal times the input h, as the drive depends on the parameters."""
        return gradients_of_drive(moment, parameters, self.drive_signal(moment))


def draw_codes(classes: int, groups: int, generator: torch.Generator) -> Tensor:
    """The code of each group, ``(classes, groups)`` of 0 and 1: of two classes each in turn, of more random halves.

    Halves come in complementary pairs, one behind the other; of an odd number of classes one half has one more.

    Args:
        classes: 2 or more.
        groups: how many.
        generator: draws the halves.
    """
    if classes == 2:
        return torch.eye(2).repeat(1, (groups + 1) // 2)[:, :groups]
    pairs = []
    for _ in range((groups + 1) // 2):
        half = torch.zeros(classes)
        half[torch.randperm(classes, generator=generator)[: classes // 2]] = 1
        pairs += [half, 1 - half]
    return torch.stack(pairs[:groups], 1)


def teaching_current(aim: Aim, codes: Tensor) -> Tensor:
    """r*, ``(batch, groups)``: 1 where an example's class is in a group's code, else 0; between for mixed classes.

    Args:
        aim: with distributions over the classes, or plain labels.
        codes: ``(classes, groups)``.
    """
    if aim.target is None:
        return rows_of(codes, aim.y)
    with full_precision(codes):  # a mixture may lie between two bfloat16
        return aim.target.to(codes.dtype) @ codes


def first_to_fire(z: Tensor, beta: float, groups: int, axis: int) -> Tensor:
    """The softmax of β z over the neurons of each group, in the shape of z; neuron j is in group j modulo their number.

    Args:
        z: ``(…, neurons, …)``; no gradients are recorded.
        beta: β.
        groups: how many.
        axis: along which the neurons lie, from 0.
    """
    neurons = z.shape[axis]
    missing = -neurons % groups
    if missing:  # places that a group does not have; β z goes between them without another copy
        raced = z.new_full((*z.shape[:axis], neurons + missing, *z.shape[axis + 1 :]), -math.inf)
        torch.mul(z, beta, out=raced.narrow(axis, 0, neurons))
    else:
        raced = z * beta
    in_groups = raced.view(*z.shape[:axis], -1, groups, *z.shape[axis + 1 :])
    first = torch.softmax(in_groups, axis).view(raced.shape)
    return first.narrow(axis, 0, neurons) if missing else first


def _groups(neurons: int, group_size: int) -> int:
    """How many groups a layer has: two at least, where it has as many neurons."""
    return min(neurons, max(2, round(neurons / group_size)))


def _classes(shape: torch.Size) -> int:
    if len(shape) != 1 or shape[0] < 2:
        raise UnsupportedNet(
            f"stdp-association needs a net with one output a class, two at least; it gives {tuple(shape)} for an "
            "example. One class against the rest is a task of two outputs"
        )
    return shape[0]


def _neurons(block: Block) -> int:
    if has_filters(block.opening):
        return neurons(block.opening)
    with suggesting_rules_for_any_net():
        raise UnsupportedNet(
            f"stdp-association teaches linear, convolutional and locally connected layers; {block.name!r} is a "
            f"{type(block.opening).__name__}"
        )
