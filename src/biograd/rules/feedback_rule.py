"""Rules that change nothing but the weights that errors travel back through."""

import sys
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from biograd.credit.feedback.path import Feedback, FeedbackPath, OnCall, TaughtCall, path_through
from biograd.credit.feedback.weights import taught_weights
from biograd.credit.wrappers import is_compile_wrapper, unwrap
from biograd.errors import UnsupportedNet
from biograd.rules.base import Credit, Loss, Rule


class FeedbackRule(Rule):
    r"""Layer-wise feedback: :math:`\delta_l = (B_{l+1} \delta_{l+1}) \circ \varphi'(a_l)`.

    Teaches every weight matrix of any net: linear, convolutional (plain, transposed, grouped, dilated) and
    locally connected layers, shared ones too. Biases, normalisation, embeddings, pooling and skip connections
    keep their exact derivative. What cannot be taught is refused or must be named in ``exact``.

    A subclass gives `feedback`: the matrix for one weight.

    Args:
        net: the net to teach.
        sample: not needed.
        exact: names of parameters or modules that keep their exact derivative.

    Raises:
        UnsupportedNet: the net has a layer whose weights cannot be reached (attention, recurrent layers, …).
    """

    family: ClassVar[str] = "feedback"

    def __init__(self, net: nn.Module, sample: Tensor | None = None, *, exact: Sequence[str] = ()) -> None:
        super().__init__()
        self._exact = tuple(exact)
        self._has_looked = False
        self._shapes = {name: tuple(w.shape) for name, w in taught_weights(unwrap(net), self._exact).items()}
        self._known = {name for name, _ in unwrap(net).named_parameters()}

    @property
    def names(self) -> list[str]:
        """Names of the weights it teaches."""
        return list(self._shapes)

    @abstractmethod
    def feedback(self, name: str, weight: Tensor) -> Tensor:
        """The feedback weight of the parameter ``name`` at this moment, in the shape of ``weight``."""

    def feedback_matrices(self, net: nn.Module) -> dict[str, Tensor]:
        """Name to feedback weight, as errors would travel back through it at this moment; detached."""
        with torch.no_grad():
            return {name: self.feedback(name, weight).detach() for name, weight in self.weights(net).items()}

    def carrying_names(self, net: nn.Module, x: Tensor) -> set[str]:
        """Names of the weights whose feedback carries errors further when the net is shown ``x``.

        The first layer's carries none unless the input wants a gradient. Runs the net once.
        """
        calls: list[TaughtCall] = []
        with self.path(net, calls.append):
            net(x)
        return {call.name for call in calls if call.carries_error}

    @contextmanager
    def path(self, net: nn.Module, on_call: OnCall | None = None) -> Iterator[FeedbackPath]:
        """A context in which errors travel back through this rule's feedback weights.

        Gradients for the input computed from what was called in it are the rule's own, which is what an
        attack through the rule's feedback path needs.
        """
        weights = self.weights(net)
        feedback = self.feedback_matrices(net) if _is_compiled(net) else self._carriers(weights)
        with path_through(unwrap(net), weights, feedback, self._exact, on_call) as path:
            yield path

    def assign_credit(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Credit:
        """See `Rule.assign_credit`; ``loss_fn`` itself keeps its exact derivative."""
        return self.learn(net, x, y, loss_fn)

    def learn(
        self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss, on_call: OnCall | None = None
    ) -> Credit:
        """One forward and one backward through the feedback path; ``on_call`` hears of every taught call."""
        if torch.compiler.is_compiling() and not self._has_looked:
            raise UnsupportedNet(_LOOKS_FIRST)
        with self.path(net, on_call) as path, self._looking_first():
            output = path.forward(net, x)
        path.check(output)
        self._has_looked = True
        loss = loss_fn(output, y)
        path.backward(loss)
        return Credit(loss.detach(), output.detach())

    def carry_to_input(self, net: nn.Module, x: Tensor, y: Tensor, loss_fn: Loss) -> Tensor:
        """See `Rule.input_gradient`: through the feedback weights of all layers, the first one's too."""
        with self.path(net) as path, self._looking_first():
            output = path.forward(net, x.requires_grad_().clone())
        path.check(output)
        path.backward(loss_fn(output, y), inputs=[x])
        return torch.zeros_like(x) if x.grad is None else x.grad

    @contextmanager
    def _looking_first(self) -> Iterator[None]:
        """The first forward runs what is compiled as it was written: compiled code hides its use of weights."""
        if self._has_looked or "torch._dynamo" not in sys.modules:  # nothing has been compiled
            yield
            return
        try:
            stance = torch.compiler.set_stance("force_eager")
        except RuntimeError:  # within a function that is compiled
            raise UnsupportedNet(_LOOKS_FIRST) from None
        with stance:
            yield

    def carrier(self, name: str, weight: Tensor) -> Feedback:
        """What carries errors back: `feedback`, made where an error has to travel further.

        A subclass may give a cheaper form of the same matrix.
        """
        return partial(self.feedback, name, weight.detach())

    def _carriers(self, weights: dict[str, nn.Parameter]) -> dict[str, Feedback]:
        return {name: self.carrier(name, weight) for name, weight in weights.items()}

    def weights(self, net: nn.Module) -> dict[str, nn.Parameter]:
        """The taught weights of the net of this call.

        Raises:
            UnsupportedNet: they are not those the rule was made for.
        """
        weights = dict(unwrap(net).named_parameters())
        for name, shape in self._shapes.items():
            got = tuple(weights[name].shape) if name in weights else "no such parameter"
            if got != shape:
                raise UnsupportedNet(
                    f"the rule was made for another net: {name!r} had shape {shape}, here it is {got}; "
                    "make the rule for the net it teaches"
                )
        if not weights.keys() <= self._known:  # its use could be exact, unseen
            raise UnsupportedNet(
                f"the rule was made for another net, without {min(weights.keys() - self._known)!r}; make the rule for "
                "the net it teaches"
            )
        return {name: weights[name] for name in self._shapes}


_LOOKS_FIRST = (
    "the first call of a rule looks at what the net does with its weights, which a compiler hides: call "
    "assign_credit once before compiling what calls it"
)


class WeightTable(nn.Module):
    """Tensors by the names of a net's parameters, as buffers or as parameters.

    Args:
        tensors: name to tensor; a name may hold dots, which PyTorch keeps for itself.
        learned: whether the tensors are parameters.
    """

    def __init__(self, tensors: dict[str, Tensor], *, learned: bool = False) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            if learned:
                self.register_parameter(_slot(name), nn.Parameter(tensor))
            else:
                self.register_buffer(_slot(name), tensor)

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, _slot(name))


def _is_compiled(net: nn.Module) -> bool:
    """Whether a part of it is compiled: a compiler can take matrices in, not see them made."""
    return any(
        is_compile_wrapper(module) or module._compiled_call_impl is not None for module in net.modules()
    )


def _slot(name: str) -> str:
    return name.replace(".", ":")
