"""Rules that change nothing but the weights that errors travel back through."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.by_hand.feedback import CarriedByHand, Units, weights_of
from biograd.credit.by_hand.losses import cross_entropy
from biograd.credit.chain.blocks import Block
from biograd.credit.chain.ledger import Ledger
from biograd.credit.eager import eagerly
from biograd.credit.feedback.computed_weights import ComputedWeight, computed_weights
from biograd.credit.feedback.data_parallel import average_beside
from biograd.credit.feedback.fitting import Feedback
from biograd.credit.feedback.path import FeedbackPath, path_through
from biograd.credit.feedback.patterns import Attention
from biograd.credit.feedback.taught_call import OnCall, TaughtCall
from biograd.credit.feedback.weights import exact_names, taught_weights
from biograd.credit.loss_roots import loss_roots
from biograd.credit.operations import Following, Signed, signed
from biograd.credit.structures import as_leaves, detached, gradients_at, map_tensors
from biograd.credit.weighting import Weight, Weighting
from biograd.credit.wrappers import is_compile_wrapper, refuse_sharded, unwrap
from biograd.errors import UnsupportedNet
from biograd.rules.base import Credit, Family, Loss, Rule


class FeedbackRule(Rule):
    r"""Layer-wise feedback: :math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'(a_l)`.

    Teaches every weight matrix of any net: linear, convolutional (plain, transposed, grouped, dilated), locally
    connected, recurrent and attention layers, and products with a matrix that stands in no layer, shared ones too.
    Biases, normalisation, embeddings, pooling and skip connections keep their exact derivative. What cannot be taught
    is refused or must be named in ``exact``.

    A rule defines `feedback`, and `alongside` where its feedback learns or changes from batch to batch.

    Args:
        net: the net to teach.
        exact: names of parameters, buffers or modules that keep their exact derivative, or patterns of names (``*``).
        attention: whether errors pass its patterns exactly, or values alone.

    Raises:
        UnsupportedNet: the net has a layer whose weights cannot be reached (scripted, bilinear, …).
    """

    family: ClassVar[Family] = "feedback"
    takes_structures: ClassVar[bool] = True

    alongside: ClassVar[Callable[..., AbstractContextManager[OnCall | None]] | None] = None
    """``alongside(weights)``: a context around every batch that is taught, where feedback learns or is drawn anew. It
    yields None, or a function that is called with every taught call. None where feedback is fixed."""

    def __init__(self, net: nn.Module, *, exact: Sequence[str] = (), attention: Attention = "exact") -> None:
        super().__init__()
        refuse_sharded(net.parameters())
        self._attention: Attention = attention
        self._exact = exact_names(unwrap(net), exact)
        self._has_looked, self._has_taught_units, self._offsets = False, False, frozenset[str]()
        self._shapes = {name: tuple(w.shape) for name, w in taught_weights(unwrap(net), self._exact).items()}
        self._known = {name for name, _ in unwrap(net).named_parameters()}
        self._has_computed = bool(computed_weights(unwrap(net)))
        self._units = Units(net)

    @property
    def names(self) -> list[str]:
        """Names of the weights it teaches."""
        return list(self._shapes)

    @abstractmethod
    def feedback(self, weights: Mapping[str, Tensor]) -> Mapping[str, Feedback]:
        """What carries errors back in place of each weight at this moment, by the same names.

        A matrix in the weight's shape; or `Signed`, magnitudes for the weight's signs; or `Following`, a parameter that
        is taught what the weight is; or a function that makes one of the first two, and is called only where an error
        travels further. `feedback` itself runs without recording gradients.

        Args:
            weights: the taught weights by name, detached.
        """

    def feedback_matrices(self, net: nn.Module) -> dict[str, Tensor]:
        """See `Rule.feedback_matrices`."""
        with torch.no_grad():
            weights = _detached(self.weights(net))
            feedback = self.feedback(weights)
            return {name: _matrix(feedback[name], weight).detach() for name, weight in weights.items()}

    def carrying_names(self, net: nn.Module, x: Any) -> set[str]:
        """See `Rule.carrying_names`; the first layer's is not among them unless the input wants a gradient.

        Runs the net once.
        """
        calls: list[TaughtCall] = []
        with self.path(net, calls.append) as path, self._looking_first():
            path.forward(net, x, look=self._looks)
        return {call.name for call in calls if call.carries_error}

    @contextmanager
    def path(self, net: nn.Module, on_call: OnCall | None = None) -> Iterator[FeedbackPath]:
        """A context in which errors travel back through this rule's feedback weights.

        Gradients by the input, of what was computed inside, are the rule's own: an attack through the rule's feedback
        path needs these.
        """
        weights = self.weights(net)
        with torch.no_grad():
            feedback = self.feedback(_detached(weights))
            if _is_compiled(net):  # a compiler can take matrices in, not see them made
                feedback = {name: _seen(feedback[name], weight) for name, weight in weights.items()}
        with path_through(
            unwrap(net),
            weights,
            feedback,
            self._exact,
            on_call,
            self._offsets,
            self._attention,
            self._computed(net),
        ) as path:
            yield path

    def assign_credit(
        self, net: nn.Module, x: Any, y: Any, loss_fn: Loss, *, weight: Weight = None
    ) -> Credit:
        """See `Rule.assign_credit`; ``loss_fn`` itself keeps its exact derivative."""
        weighting = self.entry.begin(self, net, x, weight)
        units = self._units.of(net, x, self.weights)
        if units is not None:
            return self._teach_by_hand(units, x, y, loss_fn, weighting)
        with nullcontext() if self.alongside is None else self.alongside(self.weights(net)) as on_call:
            looks = self._looks
            with self.path(net, on_call) as path, self._looking_first():
                output = path.forward(net, x, look=looks)
            path.check(output)
            self._has_looked, self._offsets = self._has_looked or looks, self._offsets | path.offsets
            self.entry.look(self, output, y, loss_fn)
            loss, roots, derivatives = loss_roots(output, y, loss_fn, weighting)
            credit = Credit(loss.detach(), detached(output))
            path.backward(roots, derivatives)
            average_beside(net, path.followers())
        return credit

    def _teach_by_hand(
        self, units: list[Block], x: Tensor, y: Any, loss_fn: Loss, weighting: Weighting
    ) -> Credit:
        weights = {name: weight for name, weight in weights_of(units) if name in self._shapes}
        with nullcontext() if self.alongside is None else self.alongside(weights) as on_call:
            with torch.no_grad():
                run = CarriedByHand(units, x, self.feedback(_detached(weights)), on_call)
                output = run.ran()
            self.entry.look(self, output, y, loss_fn)
            known = cross_entropy(output, y, loss_fn) if weighting.is_one else None
            if known is None:
                loss = _carry_by_autograd(run, output, y, loss_fn, weighting)
            else:
                loss, error = known
                _carry(run, error)
        self._has_taught_units = True
        return Credit(loss, output.detach())

    def carry_to_input(self, net: nn.Module, x: Any, y: Any, loss_fn: Loss) -> Any:
        """See `Rule.input_gradient`: through the feedback weights of all layers, the first one's too."""
        leaves = as_leaves(x)
        with self.path(net) as path, self._looking_first():
            output = path.forward(net, map_tensors(Tensor.clone, x), look=self._looks)
        path.check(output)
        path.backward([loss_fn(output, y)], [None], inputs=leaves)
        return gradients_at(x)

    @property
    def _looks(self) -> bool:
        """Whether a forward is to be looked at; in a chain of units no use of weights is hidden from a compiler."""
        return not (self._has_looked or (self._has_taught_units and torch.compiler.is_compiling()))

    def _looking_first(self) -> AbstractContextManager[None]:
        """The first forward runs compiled parts as plain Python: compiled code hides its use of weights."""
        return eagerly() if self._looks else nullcontext()

    def weights(self, net: nn.Module) -> dict[str, Tensor]:
        """The taught weights of the net of this call; one that the net computes, as it would compute it now.

        Raises:
            UnsupportedNet: they are not those the rule was made for.
        """
        parameters = dict(unwrap(net).named_parameters())
        refuse_sharded(parameters.values())
        computed = self._computed(net)
        taught = {name: computed[name].now() for name in self._shapes if name in computed}
        weights = {**parameters, **taught}
        for name, shape in self._shapes.items():
            got = tuple(weights[name].shape) if name in weights else "no such parameter"
            if got != shape:
                raise UnsupportedNet(
                    f"the rule was made for another net: {name!r} had shape {shape}, here it is {got}; "
                    "make the rule for the net it teaches"
                )
        if not parameters.keys() <= self._known:  # its use could be exact, unseen
            unknown = min(parameters.keys() - self._known)
            raise UnsupportedNet(
                f"the rule was made for another net, without {unknown!r}; make the rule for the net it teaches"
            )
        return {name: weights[name] for name in self._shapes}

    def _computed(self, net: nn.Module) -> dict[str, ComputedWeight]:
        """The weights that the net computes; a net that began to since has other parameters, and is refused."""
        return computed_weights(unwrap(net)) if self._has_computed else {}


@torch.no_grad()
def _carry(run: CarriedByHand, error: Tensor) -> None:
    """Teach a net from the derivative of the loss by its output."""
    ledger = Ledger()
    ledger.add_gradients(run.taught, run.gradients(error))
    ledger.settle()


def _carry_by_autograd(
    run: CarriedByHand, output: Tensor, y: Any, loss_fn: Loss, weighting: Weighting
) -> Tensor:
    """Teach a net from a loss whose derivative autograd knows; the loss."""
    loss, roots, derivatives = loss_roots(run.with_graph(output), y, loss_fn, weighting)
    torch.autograd.backward(roots, derivatives)
    return loss.detach()


def _detached(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in weights.items()}


def _matrix(feedback: Feedback, weight: Tensor) -> Tensor:
    """A feedback weight as a matrix in the weight's shape."""
    if isinstance(feedback, Following):
        return feedback.matrix
    made = feedback if isinstance(feedback, Tensor | Signed) else feedback()
    return signed(weight, made.magnitude) if isinstance(made, Signed) else made


def _seen(feedback: Feedback, weight: Tensor) -> Feedback:
    return feedback if isinstance(feedback, Following) else _matrix(feedback, weight.detach())


def _is_compiled(net: nn.Module) -> bool:
    """Whether a part of it is compiled."""
    return any(
        is_compile_wrapper(module) or module._compiled_call_impl is not None for module in net.modules()
    )
