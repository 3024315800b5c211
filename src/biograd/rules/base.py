"""The contract of a learning rule: fill ``.grad``, and nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit.entry import Entry
from biograd.credit.isolation import isolated
from biograd.credit.structures import called, copied, detached, outlined, require_tensor_for, tensors_in
from biograd.credit.weighting import Weight
from biograd.errors import UnsupportedNet, UserMistake
from biograd.rules.examples import CHAINS, Examples
from biograd.rules.parts.epoch import Epoch
from biograd.searched import Range
from biograd.tasks import KINDS, Kind

Loss = Callable[[Any, Any], Tensor]
"""``loss_fn(output, y)`` gives a scalar, as the losses of ``torch.nn.functional`` do."""

Family = Literal[
    "backpropagation", "feedback", "direct feedback", "target propagation", "local", "baseline", "own"
]
ErrorWeights = Literal["none", "learned", "signs", "last layer", "all"]
Awaited = Literal["error", "label", "nothing"]
Nets = Literal["any", "chain"]


class Credit(NamedTuple):
    """What one call of `Rule.assign_credit` computed on the way; both detached.

    Attributes:
        loss: the scalar loss of the batch.
        output: the net's output, ``(batch, …)``, in the structure that ``net(x)`` gives and bit for bit; of recurrent
            layers that a feedback rule teaches, to rounding.
    """

    loss: Tensor
    output: Any


class Rule(nn.Module, ABC):
    """Interface of every learning rule.

    A rule is made for one net, ``Rule(net, sample, **settings)``: ``sample`` is one input (batch of one)
    from which rules take the shapes they need, and the keyword-only parameters are its settings. It
    stores names and shapes of the net's parameters and its own state, never the net or its tensors.
    Feedback weights that are fixed are buffers, those that are learned are parameters.

    A rule defines `assign_credit`, declares what it is in the class attributes below, and may define the methods that
    are None here. No method that has a body here, or in another interface of this package, is overridden.
    """

    family: ClassVar[Family] = "own"
    """The kind of rule; reports colour by it."""

    error_weights: ClassVar[ErrorWeights | None] = None
    """Which of the net's own weights carry errors or targets to hidden layers: ``none`` (fixed ones do, or no error is
    sent); ``learned``: none either, but others that learn; ``signs`` of the weights; those of the ``last layer``, and
    learned ones below it; ``all``, transposed or inverted. None where a rule does not say."""

    waits_for: ClassVar[Awaited] = "error"
    """What a hidden layer must have before it can learn: the ``error`` of the output, the ``label``, or ``nothing``."""

    forward_passes: ClassVar[int | Literal["depth"]] = 1
    """How often a batch runs through the hidden layers; ``depth`` where that grows with their number."""

    nets: ClassVar[Nets] = "any"
    """What it teaches: ``any`` net, or a ``chain`` of blocks (`biograd.credit.chain.blocks`)."""

    takes_structures: bool = False
    """Whether the net may take and give any structure of tensors (tuples, dicts, `biograd.Inputs`); where not, all but
    one tensor is refused. Of most rules for chains an instance has it that was made with cut points."""

    needs: ClassVar[str] = ""
    """What else the net must have, in a few words."""

    tasks: ClassVar[tuple[Kind, ...]] = KINDS
    """What the targets may be, of the kinds of `biograd.tasks`; a run of another task is refused."""

    teaches_hidden_layers: ClassVar[bool] = True
    """Whether layers below the output move at all."""

    default_training: ClassVar[Mapping[str, Any]] = {}
    """Training settings under which the rule works, where they differ from the general defaults: a nested mapping as in
    a configuration file, ``{"optimizer": {"name": "adamw", "weight_decay": 0.5}}``."""

    searched_training: ClassVar[Mapping[str, Range]] = {}
    """What a search varies of the training settings for this rule, by dotted name as in tables,
    ``{"feedback_optimizer.lr": LogUniform(1e-5, 1e-2)}``, in place of the optimiser's own range where it has one. The
    ranges of the rule's settings stand in their annotations; see `biograd.searched`."""

    examples: ClassVar[Examples] = CHAINS
    """Small nets that the rule teaches, and what it is to reach on them."""

    scales_with_loss: bool = True
    """Whether a loss twice as large teaches twice as much, in every layer; where not, a scaled loss is refused."""

    aims_at_labels: ClassVar[bool] = False
    """Whether hidden layers aim at the label itself, and see nothing of the loss but the terms of a cross-entropy."""

    averages_examples: bool = True
    """Whether what a batch teaches is the mean of what its examples would teach; without normalisation over the batch
    in the net."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = Entry()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rule":
        self.entry.rule_moves()
        return super()._apply(fn, recurse)

    @abstractmethod
    def assign_credit(
        self, net: nn.Module, x: Any, y: Any, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        r"""Add this rule's gradient estimate to ``.grad``, in place of ``loss_fn(net(x), y).backward()``.

        Args:
            net: the net the rule was made for, or a data-parallel or compile wrapper of it.
            x: a batch of inputs, ``(batch, …)``; where the rule takes them, any structure of tensors that the net
                takes, several arguments as `biograd.Inputs`.
            y: its targets, as ``loss_fn`` takes them. Examples that a cross-entropy ignores teach nothing.
            loss_fn: a differentiable scalar loss of the net's output, averaged over the batch; the first call looks.
            weight: multiplies everything that the call teaches, exactly, of net and rule, whatever the rule makes of
                the loss: a number (1/16 to accumulate the gradients of 16 batches, a process's share of a batch, a
                gradient scaler's scale), or ``(batch,)`` numbers, with which the call teaches
                :math:`\tfrac1B \sum_b w_b\, g_b` of what each example teaches, :math:`g_b`. The first axis of the first
                tensor in x counts the examples, and that of every output that the loss reads.

        Raises:
            UnsupportedNet: the net does not match, or does something the rule cannot teach.
            UserMistake: a structure of tensors that the rule does not take, a loss that is a sum, a scaled one under a
                rule that does not scale with it, or a weight that does not fit.
        """

    # What a rule may define beside it; None where it has no such thing.

    classify: ClassVar[Callable[..., Tensor] | None] = None
    """``classify(net, x)``: see `predict`; for rules whose classification is another computation than the net's forward
    pass. Differentiable in x, and draws nothing."""

    carry_to_input: ClassVar[Callable[..., Tensor] | None] = None
    """``carry_to_input(net, x, y, loss_fn)``: the computation of `input_gradient`; ``x`` is a copy of its own, and what
    it changes is put back afterwards."""

    advise_on_optimizer: ClassVar[Callable[..., list[str]] | None] = None
    """``advise_on_optimizer(optimizer, steps)``: see `check_optimizer`."""

    untaught: ClassVar[Callable[..., set[str]] | None] = None
    """``untaught(net, x)``: names of the parameters of hidden layers that the rule leaves as they are, while it teaches
    others there; nothing is left behind."""

    feedback_matrices: ClassVar[Callable[..., dict[str, Tensor]] | None] = None
    """``feedback_matrices(net)``: parameter name to the weight, in the parameter's own shape, that errors travel back
    through in its place at this moment; detached."""

    carrying_names: ClassVar[Callable[..., set[str]] | None] = None
    """``carrying_names(net, x)``: which of the `feedback_matrices` carry errors further when the net is shown x."""

    targets: ClassVar[Callable[..., dict[str, tuple[Tensor, Tensor]]] | None] = None
    """``targets(net, x, y, loss_fn)``: name of every hidden block to its output h and its target ĥ on a batch, both
    ``(batch, …)``; nothing is taught or left behind."""

    reconstruction_losses: ClassVar[Callable[..., dict[str, float]] | None] = None
    r"""``reconstruction_losses(net, x)``: name of every block with a decoder to
    :math:`\sum\lVert h - g(\cdot)\rVert^2 / \sum\lVert h\rVert^2`, the decoder's relative squared error on the block's
    input h; nan where that is all zero; nothing is left behind."""

    inverse_weights: ClassVar[Callable[..., dict[str, Tensor]] | None] = None
    """``inverse_weights(net)``: parameter name to the matrices ``(…, fan_in, out)`` that signals go back through the
    inverse of, detached."""

    def predict(self, net: nn.Module, x: Any) -> Any:
        """The prediction of a net that this rule taught, ``(batch, outputs)``: ``net(x)`` for most rules.

        Evaluation and attacks use it.

        Args:
            net: the net, as in `assign_credit`.
            x: a batch of inputs.
        """
        return called(net, x) if self.classify is None else self.classify(net, x)

    def input_gradient(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> Any:
        r"""The signal that this rule's own feedback carries to the input, in place of the true gradient by x.

        Under backpropagation it is the true gradient, :math:`\partial\mathcal{L}/\partial x`. Under other rules it is
        the signal that the first layer of weights receives, carried on through that layer. An attack follows it to
        see what the feedback gives away. Nothing is taught, and net, rule, ``.grad`` and random numbers are left as
        they were.

        Args:
            net: the net the rule was made for; in evaluation mode, where dropout draws nothing.
            x: a batch of inputs, floating-point; see `assign_credit`.
            y: its targets, as ``loss_fn`` takes them.
            loss_fn: a differentiable scalar loss, averaged over the batch.

        Returns:
            In the shape of ``x``, detached; in a structure, None in the place of what is not floating-point.

        Raises:
            UnsupportedNet: nothing of this rule's reaches the input, or the net does not match.
            UserMistake: the input holds whole numbers alone, or is a structure that the rule does not take.

        Example:
            >>> from biograd import Backpropagation, FeedbackAlignment
            >>> net, x, y = nn.Linear(3, 2, bias=False), torch.ones(1, 3), torch.tensor([0])
            >>> feedback = FeedbackAlignment(net).input_gradient(net, x, y, nn.functional.cross_entropy)
            >>> feedback.shape, net.weight.grad
            (torch.Size([1, 3]), None)
        """
        if self.carry_to_input is None:
            raise no_path_to_input(self)
        if not self.takes_structures:
            require_tensor_for(type(self).__name__, x)
        if not any(tensor.is_floating_point() for tensor in tensors_in(x)):
            raise UserMistake(
                f"a gradient by the input needs floating-point numbers, and there are none in {outlined(x)}: give the "
                "rest of the net what it makes of them (embeddings, say)"
            )
        with isolated(net, self, loss_fn, devices_of=x), torch.enable_grad():
            return detached(self.carry_to_input(net, copied(x), y, loss_fn))

    def begin_epoch(self, epoch: int) -> None:
        """Take note that the epoch of this number begins; the training loop calls it before the epoch's first step.

        For rules whose epochs differ (one for the decoders, one for the weights): they hold an
        `biograd.rules.parts.epoch.Epoch`, which this sets. A loop of your own has to call it too.

        Args:
            epoch: epochs done before, from 0.
        """
        for part in self.modules():
            if isinstance(part, Epoch):
                part.number = epoch

    def check_optimizer(self, optimizer: torch.optim.Optimizer, steps: float) -> list[str]:
        """Refuse an optimiser under which this rule cannot work, and warn of one under which it may work badly.

        Args:
            optimizer: the optimiser that holds the net's parameters; the rule's are in it too, unless they were
                given an optimiser of their own.
            steps: how many steps it is going to take, each counted with the share of the present learning rate
                that a schedule leaves it (a cosine to zero counts half).

        Returns:
            Warnings for the user, one line each; empty when all is well.

        Raises:
            UserMistake: the rule cannot work under this optimiser.
        """
        return [] if self.advise_on_optimizer is None else self.advise_on_optimizer(optimizer, steps)


def no_path_to_input(rule: Rule) -> UnsupportedNet:
    """What `Rule.input_gradient` raises where nothing of a rule's reaches the input."""
    return UnsupportedNet(
        f"{type(rule).__name__} has no feedback path to the input: attack by the true gradient, without "
        "gradients, or from another run"
    )
