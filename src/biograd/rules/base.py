"""The contract of a learning rule: fill ``.grad``, and nothing else."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from biograd.credit.isolation import isolated
from biograd.errors import UnsupportedNet

Loss = Callable[[Tensor, Tensor], Tensor]
"""``loss_fn(output, y)`` gives a scalar, as the losses of ``torch.nn.functional`` do."""


class Credit(NamedTuple):
    """What one call of `Rule.assign_credit` computed on the way; both detached.

    Attributes:
        loss: the scalar loss of the batch.
        output: the net's output, ``(batch, …)``, bit for bit what ``net(x)`` gives.
    """

    loss: Tensor
    output: Tensor


class Rule(nn.Module, ABC):
    """Interface of every learning rule.

    A rule is made for one net, ``Rule(net, sample, **settings)``: ``sample`` is one input (batch of one)
    from which rules take the shapes they need, and the keyword-only parameters are its settings. It
    stores names and shapes of the net's parameters and its own state, never the net or its tensors.
    Feedback weights that are fixed are buffers, those that are learned are parameters.
    """

    default_training: ClassVar[Mapping[str, Any]] = {}
    """Training settings under which the rule works, where they differ from everyone's: a nested mapping
    as in a configuration file, ``{"optimizer": {"name": "adamw", "weight_decay": 0.5}}``."""

    family: ClassVar[str] = "own"
    """What the rule is kin to, in one of the words that reports colour by: ``backpropagation``, ``feedback``
    (weights that errors travel back through), ``direct feedback``, ``target propagation``, ``local``, ``baseline``;
    ``own`` for a rule that is none of these."""

    teaches_hidden_layers: ClassVar[bool] = True
    """Whether layers below the output move at all."""

    @abstractmethod
    def assign_credit(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Credit:
        """Add this rule's gradient estimate to ``.grad``, in place of ``loss_fn(net(x), y).backward()``.

        Args:
            net: the net the rule was made for, or a data-parallel or compile wrapper of it.
            x: a batch of inputs, ``(batch, …)``.
            y: its targets, as ``loss_fn`` takes them.
            loss_fn: a differentiable scalar loss, averaged over the batch.

        Raises:
            UnsupportedNet: the net does not match, or does something the rule cannot teach.
        """

    def predict(self, net: nn.Module, x: Tensor) -> Tensor:
        """What a net that this rule taught says of inputs, ``(batch, outputs)``: ``net(x)`` for most rules.

        For rules whose classification is another computation than the net's forward pass (a comparison of
        goodness over labels, say). Evaluation and attacks ask here; differentiable in x, and draws nothing.

        Args:
            net: the net, as in `assign_credit`.
            x: a batch of inputs.
        """
        return net(x)

    def input_gradient(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        r"""What this rule's own feedback tells the input, in the place of :math:`\partial\mathcal{L}/\partial x`.

        The true gradient under backpropagation. Otherwise what the rule tells the first layer of weights, carried on
        through that layer: an attack follows it to see what the rule's feedback gives away. Nothing is taught, and
        net, rule, ``.grad`` and random numbers are left as they were.

        Args:
            net: the net the rule was made for; in evaluation mode, where dropout draws nothing.
            x: a batch of inputs, floating-point.
            y: its targets, as ``loss_fn`` takes them.
            loss_fn: a differentiable scalar loss, averaged over the batch.

        Returns:
            In the shape of ``x``, detached.

        Raises:
            UnsupportedNet: nothing of this rule's reaches the input, or the net does not match.

        Example:
            >>> from biograd import Backpropagation, FeedbackAlignment
            >>> net, x, y = nn.Linear(3, 2, bias=False), torch.ones(1, 3), torch.tensor([0])
            >>> feedback = FeedbackAlignment(net).input_gradient(net, x, y, nn.functional.cross_entropy)
            >>> feedback.shape, net.weight.grad
            (torch.Size([1, 3]), None)
        """
        with isolated(net, self, loss_fn, devices_of=x), torch.enable_grad():
            return self.carry_to_input(net, x.detach().clone(), y, loss_fn).detach()

    def carry_to_input(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        """The computation of `input_gradient`, for rules that have one; what it changes is put back afterwards.

        Arguments, result and errors as there; ``x`` is a copy of its own.
        """
        del net, x, y, loss_fn
        raise UnsupportedNet(
            f"{type(self).__name__} has no feedback path to the input: attack by the true gradient, without "
            "gradients, or from another run"
        )

    def feedback_matrices(self, net: nn.Module) -> dict[str, Tensor]:
        """The weights that errors travel back through now, signs, magnitudes and all; empty for a rule without.

        Args:
            net: the net, as in `assign_credit`.

        Returns:
            Parameter name to its feedback weight, detached, in the shape of the parameter.
        """
        del net
        return {}

    def carrying_names(self, net: nn.Module, x: Tensor) -> set[str]:
        """Which of `feedback_matrices` carry errors further on a batch; empty for a rule without.

        Args:
            net: the net, as in `assign_credit`.
            x: a batch of inputs, on which the net may be run.

        Returns:
            Names of parameters; not the first layer's, below which no error goes.
        """
        del net, x
        return set()

    def inverse_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """The weights that signals go back through the inverse of; empty for a rule without.

        Args:
            net: the net, as in `assign_credit`.

        Returns:
            Parameter name to what is inverted, detached: a matrix ``(fan_in, out)``, or several,
            ``(…, fan_in, out)``.
        """
        del net
        return {}

    def targets(
        self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss
    ) -> dict[str, tuple[Tensor, Tensor]]:
        r"""What blocks gave on a batch, and what they should have given; empty for a rule that sets no targets.

        A target :math:`\hat h` is that of the local loss :math:`\lVert h - \hat h\rVert^2` with weight one: a rule
        that takes a smaller step and gives its loss more weight shows the target that amounts to the same update.
        Nothing is taught.

        Args:
            net: the net, as in `assign_credit`.
            x: a batch of inputs.
            y: its targets, as ``loss_fn`` takes them.
            loss_fn: as in `assign_credit`.

        Returns:
            Block name to the block's output h and its target, both ``(batch, …)`` and of one shape.
        """
        del net, x, y, loss_fn
        return {}

    def reconstruction_losses(self, net: nn.Module, x: Tensor) -> dict[str, float]:
        r"""How well decoders get back what their blocks were given; empty for a rule without decoders.

        .. math:: \frac{\sum_i \lVert h_{l-1,i} - g_l(h_{l,i})\rVert^2}{\sum_i \lVert h_{l-1,i}\rVert^2}

        over the examples i of the batch, for the decoder :math:`g_l` of a block that was given :math:`h_{l-1}` and
        gave :math:`h_l`; without noise, whatever the decoder is trained on.

        Args:
            net: the net, as in `assign_credit`.
            x: a batch of inputs.

        Returns:
            Block name to that share, nan where :math:`h_{l-1}` is all zero.
        """
        del net, x
        return {}

    def begin_epoch(self, epoch: int) -> None:
        """Take note that the epoch of this number begins; the training loop says so before its first step.

        For rules whose epochs differ (one for the inverses, one for the weights). What is done must be a
        function of the number alone, so that a run that goes on in the middle of an epoch may say it again.

        Args:
            epoch: epochs done before, from 0.
        """
        del epoch

    def check_optimizer(self, optimizer: torch.optim.Optimizer, steps: float) -> list[str]:
        """Refuse an optimiser that cannot serve this rule, and say what may disappoint.

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
        del optimizer, steps
        return []
