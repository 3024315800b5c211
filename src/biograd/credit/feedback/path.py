"""The feedback path: every forward value as it is, another weight for the errors to travel back through.

A mode watches the functions that a net calls. Where one of them multiplies by a taught weight, the same
operation runs inside an autograd function whose backward uses the feedback weight; everything else keeps its
exact derivative. What uses a taught weight in any other way is refused, so that nothing is silently exact.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from biograd.credit.calls import PRODUCTS, Call, parse_linear
from biograd.credit.feedback.computed import Computed, as_taught
from biograd.credit.feedback.computed_weights import ComputedWeight, computed_weights
from biograd.credit.feedback.first_look import FirstLook
from biograd.credit.feedback.fitting import READY, Feedback, Standing, fitting
from biograd.credit.feedback.forms import in_form
from biograd.credit.feedback.patterns import Attention, ConstantPatterns
from biograd.credit.feedback.recomputation import (
    CHECKPOINTING,
    NoForward,
    refuse_second_forward,
    watchers_of_saved_tensors,
)
from biograd.credit.feedback.refusals import (
    COMPUTED_IN_FORWARD,
    DIFFERENTIATES,
    as_a_layer,
    refusal,
    unknown_weight,
)
from biograd.credit.feedback.taught_call import OnCall, TaughtCall, summed_up
from biograd.credit.feedback.taught_product import is_taught, taught_product
from biograd.credit.feedback.unrolled import UNROLLED, Under
from biograd.credit.feedback.watched import WatchedWeights
from biograd.credit.feedback.weight_uses import (
    differentiates,
    name_of,
)
from biograd.credit.feedback.weights import (
    embedding_weights,
    exact_names,
    exact_tensors,
    taught_weights,
)
from biograd.credit.graph import (
    FrozenMemory,
    is_exact_by_nature,
    leaves_read,
    nodes_below,
    refuse_invisible,
)
from biograd.credit.kinds import PARSERS, WRITTEN_OUT, WrittenOutCall
from biograd.credit.operations import Following, Signed
from biograd.credit.products import is_product
from biograd.credit.structures import called, tensors_in
from biograd.credit.wrappers import unwrap
from biograd.errors import UnsupportedNet


class FeedbackPath(TorchFunctionMode):
    """A context in which errors travel back through feedback weights.

    Most users want `feedback_path`, which takes names. This one takes tensors, so that it also works where a
    net is called with other parameters than its own (``torch.func.functional_call``, per-example gradients).

    Args:
        feedback: weight, as the net will use it, to feedback weight in the same shape, dtype and device, or to a
            function that makes it.
        exact: tensors that the user lets errors through exactly.
        names: weight to name, for messages; those without feedback (embeddings) are watched all the same.
        tables: which of them are tables of embeddings.
        on_call: is called with each taught call while gradients are recorded.
        offsets: weights that are known to be added to activations: what comes of that is no weight.
        attention: whether errors pass its patterns exactly, or values alone.
        computed: weights that the net computes, which the path finds when they are.

    Attributes:
        watches: whether it does what it is there for; where only parts of a net are taught so, it rests in between.
    """

    def __init__(
        self,
        feedback: Mapping[Tensor, Standing],
        *,
        exact: Collection[Tensor] = (),
        names: Mapping[Tensor, str] | None = None,
        tables: Collection[Tensor] = (),
        on_call: OnCall | None = None,
        offsets: Collection[Tensor] = (),
        attention: Attention = "exact",
        computed: Collection[Computed] = (),
    ) -> None:
        super().__init__()
        self._feedback = dict(feedback)
        self._exact = {id(tensor) for tensor in exact}
        self._watched = WatchedWeights(self._feedback, names, offsets)
        self._tables = dict.fromkeys(tables)  # no set: a compiler takes none of tensors
        self._on_call = on_call
        self._refused: dict[str, str] | None = None  # where it looks: name of a weight to what uses it
        self._patterns = (
            ConstantPatterns(self._watched.forms.__contains__) if attention == "pattern" else None
        )
        self._is_in_forward = self._is_checkpointed = self._may_run_again = False
        self._computed = tuple(computed)
        self._computing = 0  # how many weights are being computed now, one within another
        self._made_weights: dict[Tensor, None] = {}
        self._within = ExitStack()
        self.watches = True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Teach a weight operation, refuse another use of a taught weight, let all else pass."""
        kwargs = kwargs or {}
        if self._computing or not self.watches:
            return func(*args, **kwargs)
        parse = PARSERS.get(func)
        if parse is not None:
            return self._teach(func, parse(*args, **kwargs), args, kwargs)
        hiding = WRITTEN_OUT.get(func)
        if hiding is not None:
            return self._write_out(func, hiding(*args, **kwargs), args, kwargs)
        if func in UNROLLED:
            with Under(self):
                return UNROLLED[func](*args, **kwargs)
        if self._is_in_forward and differentiates(func):
            raise UnsupportedNet(DIFFERENTIATES)
        used = [*self._watched.among(args), *self._watched.among(kwargs.values())]
        call = (
            PRODUCTS[func](self._watched.is_weight_beside, *args, **kwargs)
            if used and func in PRODUCTS
            else None
        )
        if call is not None:
            return self._teach(func, call, args, kwargs)
        below = _nodes_of((args, kwargs)) if used else ()
        result = func(*args, **kwargs)
        for tensor in used:
            if self._watched.follow(func, tensor, args, kwargs, result):
                self._refuse(tensor, self._use_of(tensor, func))
        if used:
            self._watched.may_use((result, args[:1]), below)
        return result

    def __enter__(self) -> Self:
        """Begin to watch, and listen to the parts of the net that compute weights."""
        for one in self._computed:
            self._within.enter_context(one.weight.telling(self._begin, partial(self._end, one)))
        super().__enter__()
        if self._patterns is not None:
            self._within.enter_context(self._patterns)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Refuse activation checkpointing, now that PyTorch has taken back the hooks it sets for it."""
        self._within.close()
        super().__exit__(kind, error, trace)
        if self._is_checkpointed and kind is None:
            raise UnsupportedNet(CHECKPOINTING)

    def forward(self, net: nn.Module, x: Any, *, look: bool = False) -> Any:
        """``net(x)``, which must not run a backward itself: feedback weights would change its values.

        Args:
            net: the net.
            x: its input.
            look: whether to look at what is no weight matrix too, and to name all that cannot be taught at once; see
                `biograd.credit.feedback.first_look`.

        Raises:
            UnsupportedNet: it does, or it uses a weight in a way that cannot be taught.
        """
        self._is_in_forward = True
        try:
            return self._look(net, x) if look else called(net, x)
        finally:
            self._is_in_forward, self._refused = False, None

    def _look(self, net: nn.Module, x: Any) -> Any:
        self._refused = {}
        with FirstLook(unwrap(net), x, self._exact, self._watched.forms, self._watched.offsets) as looked:
            output = called(net, x)
        found = self._refused | {what: by for what, by in looked.found.items() if what not in self._refused}
        if not found:
            self.check(output)
        if found or looked.constants:
            raise UnsupportedNet(refusal(found, looked.constants))
        if self._patterns is not None:
            self._patterns.check()
        return output

    @property
    def offsets(self) -> set[str]:
        """Names of weights that are known to be added to activations."""
        weights = {self._watched.forms[tensor].weight for tensor in self._watched.offsets}
        return {self._watched.names[weight] for weight in weights if weight in self._watched.names}

    def check(self, output: Any) -> None:
        """Refuse an output whose graph reaches a taught weight past the mode.

        Scripted functions, custom autograd functions and activation checkpointing hide what they do from the
        mode; their nodes show in the graph.

        Raises:
            UnsupportedNet: with the name of the function and of the weight.
        """
        found: dict[str, str] = {}
        frozen = FrozenMemory(w for w in (*self._feedback, *self._watched.names) if not w.requires_grad)
        for node in nodes_below(output):
            name = node.name()
            refuse_invisible(name, bool(frozen))
            for weight in (*leaves_read(node), *frozen.saved_by(node)):
                is_known = is_taught(node) or is_exact_by_nature(name) or self._watched.may_be_used_by(node)
                if weight in self._watched.forms and not is_known:
                    found.setdefault(self._watched.name(weight), name)
        if found:
            raise UnsupportedNet(refusal(found))

    def backward(
        self,
        roots: Sequence[Tensor],
        derivatives: Sequence[Tensor | None] = (None,),
        inputs: Sequence[Tensor] | None = None,
    ) -> None:
        """``torch.autograd.backward``, in which no taught weight may be used again: that would be exact.

        Args:
            roots: what it begins at, a loss.
            derivatives: by each of them; None for 1.
            inputs: which leaves get a gradient; all unless given.

        Raises:
            UnsupportedNet: a part of the net ran its forward a second time.
        """
        with ExitStack() as watching:
            if self._may_run_again:
                watching.enter_context(NoForward(self._feedback))
                for one in self._computed:
                    watching.enter_context(one.weight.telling(refuse_second_forward, lambda made: None))
            torch.autograd.backward(roots, derivatives, inputs=inputs)

    def followers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The weights that are followed, or a part of them, each with the feedback weight that is taught what it is."""
        for weight, feedback in self._feedback.items():
            if isinstance(feedback, Following) and weight not in self._made_weights:
                yield weight, feedback.matrix
        for one in self._computed:
            learning = [part for part in one.weight.parts.values() if part.requires_grad]
            if isinstance(one.feedback, Following) and learning:
                yield learning[0], one.feedback.matrix

    def _begin(self) -> None:
        """What runs from here computes a weight of its parts."""
        self._computing += 1

    def _end(self, one: Computed, made: Tensor) -> None:
        """A weight was computed: from here it is one like others."""
        self._computing -= 1
        self._made_weights[made] = None  # which keeps it, so that no other tensor has its identity
        self._watched.may_use(made)
        if one.role == "exact":
            self._exact.add(id(made))
        elif one.role != "beside":
            self._watched.add(made, one.name, is_offset=one.is_offset)
        if one.feedback is not None:
            self._feedback[made] = one.feedback

    def _teach(self, func: Any, call: Call, args: tuple[Any, ...], kwargs: Any) -> Any:
        form = self._watched.forms.get(call.weight)
        feedback = None if form is None or form.steps is None else self._feedback.get(form.weight)
        if not torch.is_grad_enabled():
            self._may_run_again |= feedback is not None
            return func(*args, **kwargs)
        if form is None or feedback is None:
            self._check_unknown(func, call)
            return func(*args, **kwargs)
        if self._watched.is_weight(call.x) and not self._watched.is_given(call.x):
            self._refuse(call.x, name_of(func))  # it makes another weight
        self._look_for_recomputing()
        if self._on_call is not None:
            name = self._watched.names[form.weight]
            self._on_call(TaughtCall(name, call.operation, call.x.shape, call.x.requires_grad, form))
        matrix = feedback if isinstance(feedback, READY) else self._made(call, form.weight, feedback)
        output = taught_product(call.x, call.weight, call.bias, in_form(form, matrix), call.operation)
        return output if call.batched else output.squeeze(0)

    def _write_out(self, func: Any, call: WrittenOutCall, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Run a function that hides its products step by step, where one of its weights is not exact."""
        if not torch.is_grad_enabled():
            self._may_run_again |= any(weight in self._feedback for weight in call.weights)
            return func(*args, **kwargs)
        if all(id(weight) in self._exact or self._is_made_of_exact(weight) for weight in call.weights):
            return func(*args, **kwargs)
        on_call, made = self._on_call, []
        self._on_call = None if on_call is None else made.append
        try:
            result = call.run(self._product)
        finally:
            self._on_call = on_call
        for told in summed_up(made):  # only where there is someone to tell
            on_call(told)  # pyright: ignore[reportOptionalCall]
        return result

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._teach(F.linear, parse_linear(x, weight, bias), (x, weight, bias), {})

    def _made(self, call: Call, weight: Tensor, feedback: Callable[[], Tensor | Signed]) -> Tensor | Signed:
        """The matrix of a call; where no error travels further down, any tensor of its shape, as it is not read."""
        if not call.x.requires_grad:
            return weight.detach()
        self._feedback[weight] = made = feedback()
        return made

    def _look_for_recomputing(self) -> None:
        """Remember activation checkpointing, and other hooks that might run a forward again."""
        if torch.compiler.is_compiling():
            return  # the compiler traces a checkpointed part under the mode
        hooks = watchers_of_saved_tensors()
        self._is_checkpointed |= "torch.utils.checkpoint" in hooks
        self._may_run_again |= bool(hooks)

    def _check_unknown(self, func: Any, call: Call) -> None:
        weight = call.weight
        carries = call.x.requires_grad or weight.requires_grad
        if not carries or id(weight) in self._exact or self._is_made_of_exact(weight):
            return
        if weight in self._watched.forms:
            is_computed = self._watched.forms[weight].steps is None
            self._refuse(weight, self._use_of(weight, func) + (COMPUTED_IN_FORWARD if is_computed else ""))
            return
        raise unknown_weight(name_of(func), tuple(weight.shape))

    def _is_made_of_exact(self, weight: Tensor) -> bool:
        leaves = [leaf for node in nodes_below(weight) for leaf in leaves_read(node)]
        return bool(leaves) and all(id(leaf) in self._exact for leaf in leaves)

    def _use_of(self, used: Tensor, func: Callable[..., Any]) -> str:
        """What messages say that uses a weight, or what was made of one."""
        form = self._watched.forms[used]
        is_factor = form.weight in self._tables and form.steps is not None and is_product(func)
        return name_of(func) + (as_a_layer(form.weight) if is_factor else "")

    def _refuse(self, used: Tensor, function: str) -> None:
        """Raise for a use of a weight, or of what was made of one; where it looks, remember it and go on."""
        name = self._watched.name(used)
        if self._refused is None:
            raise UnsupportedNet(refusal({name: function}))
        self._refused.setdefault(name, function)


@contextmanager
def feedback_path(
    net: nn.Module,
    feedback: Mapping[str, Feedback],
    *,
    exact: Collection[str] = (),
    on_call: OnCall | None = None,
    attention: Attention = "exact",
) -> Iterator[FeedbackPath]:
    """Let errors travel back through other weights while a net is called.

    Inside the context a forward gives every value bit for bit, of recurrent layers to rounding; a backward of what was
    computed there uses ``feedback[name]`` in place of the parameter ``name`` to carry errors to the layer below, and
    the layer's own input for its weight. Nothing is attached to the net.

    Scripted and custom autograd functions hide their use of a weight, and activation checkpointing a second
    forward. Call ``path.check(output)`` and then ``path.backward([loss])``, as rules do, to have them refused: a
    plain ``loss.backward()`` would be exact there.

    Args:
        net: any module, or a data-parallel or compile wrapper of it.
        feedback: a feedback weight for every weight matrix, in the weight's own shape ``(out, in, …)``, or a
            function that makes it.
        exact: parameters, buffers or modules that keep their exact derivative, or patterns of names.
        on_call: is called with each taught call while gradients are recorded.
        attention: whether errors pass its patterns exactly, or values alone.

    Raises:
        UnsupportedNet: a weight without feedback, a feedback weight that does not fit, or a use of a weight
            that cannot be taught.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(2, 3, bias=False)
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> with feedback_path(net, {"weight": torch.zeros(3, 2)}):
        ...     output = net(x)
        >>> output.sum().backward()
        >>> x.grad, net.weight.grad
        (tensor([[0., 0.]]), tensor([[1., 1.],
                [1., 1.],
                [1., 1.]]))
    """
    inner = unwrap(net)
    names = exact_names(inner, exact)
    with path_through(
        inner, taught_weights(inner, exact), feedback, names, on_call, attention=attention
    ) as path:
        yield path


def path_through(
    net: nn.Module,
    weights: Mapping[str, Tensor],
    feedback: Mapping[str, Standing],
    exact: Collection[str] = (),
    on_call: OnCall | None = None,
    offsets: Collection[str] = (),
    attention: Attention = "exact",
    computed: Mapping[str, ComputedWeight] | None = None,
) -> FeedbackPath:
    """A feedback path for the weights of a net without wrappers that were found before; see `feedback_path`."""
    found = computed_weights(net) if computed is None else computed
    made = as_taught(found, weights, feedback, exact, offsets)
    plain = {name: weight for name, weight in weights.items() if name not in made}
    parts = dict(part for one in made.values() for part in one.watched_parts())
    tables = embedding_weights(net, exact)
    watched = {**parts, **plain, **tables}
    return FeedbackPath(
        {weight: fitting(name, weight, feedback) for name, weight in plain.items()},
        exact=exact_tensors(net, exact),
        names={weight: name for name, weight in watched.items()},
        tables=tables.values(),
        on_call=on_call,
        offsets=[weight for name, weight in watched.items() if name in offsets],
        attention=attention,
        computed=list(made.values()),
    )


def _nodes_of(values: Any) -> set[Any]:
    """The nodes that made the tensors among values."""
    return set() if torch.compiler.is_compiling() else {tensor.grad_fn for tensor in tensors_in(values)}
