"""The feedback path: every forward value as it is, another weight for the errors to travel back through.

A mode watches the functions that a net calls. Where one of them multiplies by a taught weight, the same
operation runs inside an autograd function whose backward uses the feedback weight; everything else keeps its
exact derivative. What uses a taught weight in any other way is refused, so that nothing is silently exact.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from biograd.credit.calls import PRODUCTS, Call, parse_linear
from biograd.credit.feedback.computed import Computed, as_taught
from biograd.credit.feedback.computed_weights import ComputedWeight, computed_weights
from biograd.credit.feedback.first_look import FirstLook
from biograd.credit.feedback.fitting import READY, Feedback, fitting
from biograd.credit.feedback.forms import Form, as_it_is, computed, formed, in_form, is_form
from biograd.credit.feedback.patterns import Attention, ConstantPatterns
from biograd.credit.feedback.recomputation import (
    CHECKPOINTING,
    NoForward,
    refuse_second_forward,
    watchers_of_saved_tensors,
)
from biograd.credit.feedback.taught_product import is_taught, taught_product
from biograd.credit.feedback.unrolled import UNROLLED, Under
from biograd.credit.feedback.weight_uses import (
    differentiates,
    is_gain,
    is_harmless,
    is_still_a_weight,
    name_of,
    takes_a_form,
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
from biograd.credit.operations import Following, Operation, Signed
from biograd.credit.structures import SEQUENCES, called, tensors_in
from biograd.credit.wrappers import unwrap
from biograd.errors import UnsupportedNet, listed


class TaughtCall(NamedTuple):
    """One call of a taught weight, as an `OnCall` receives it.

    Attributes:
        name: the weight's name.
        operation: what was done with it.
        input_shape: shape of the input, with its batch dimension.
        carries_error: whether an error travels on to the layer below; not so in the first layer.
        form: what was used of the weight: all of it, or a part, or its transpose.
    """

    name: str
    operation: Operation
    input_shape: torch.Size
    carries_error: bool
    form: Form


OnCall = Callable[[TaughtCall], None]
"""A function of one `TaughtCall`."""


class FeedbackPath(TorchFunctionMode):
    """A context in which errors travel back through feedback weights.

    Most users want `feedback_path`, which takes names. This one takes tensors, so that it also works where a
    net is called with other parameters than its own (``torch.func.functional_call``, per-example gradients).

    Args:
        feedback: weight, as the net will use it, to feedback weight in the same shape, dtype and device, or to a
            function that makes it.
        exact: tensors that the user lets errors through exactly.
        names: weight to name, for messages; those without feedback (embeddings) are watched all the same.
        on_call: is called with each taught call while gradients are recorded.
        offsets: weights that are known to be added to activations: what comes of that is no weight.
        attention: whether errors pass its patterns exactly, or values alone.
        computed: weights that the net computes, which the path finds when they are.
    """

    def __init__(
        self,
        feedback: Mapping[Tensor, Feedback],
        *,
        exact: Collection[Tensor] = (),
        names: Mapping[Tensor, str] | None = None,
        on_call: OnCall | None = None,
        offsets: Collection[Tensor] = (),
        attention: Attention = "exact",
        computed: Collection[Computed] = (),
    ) -> None:
        super().__init__()
        self._feedback = dict(feedback)
        self._exact = {id(tensor) for tensor in exact}
        self._names = dict(names or {})
        # What must not be used outside this path, weights and what was made of them, each to what it has of a weight.
        self._watched = {weight: as_it_is(weight) for weight in (*self._feedback, *self._names)}
        self._on_call = on_call
        self._offsets = dict.fromkeys(offsets)  # no set: a compiler takes none of tensors
        self._refused: dict[str, str] | None = None  # where it looks: name of a weight to what uses it
        self._seen: set[Any] = set()  # nodes that use a weight and may, each of which was looked at
        self._patterns = ConstantPatterns(self._watched.__contains__) if attention == "pattern" else None
        self._is_in_forward = self._is_checkpointed = self._may_run_again = False
        self._computed = tuple(computed)
        self._computing = 0  # how many weights are being computed now, one within another
        self._made_weights: dict[Tensor, None] = {}
        self._within = ExitStack()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Teach a weight operation, refuse another use of a taught weight, let all else pass."""
        kwargs = kwargs or {}
        if self._computing:
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
            raise UnsupportedNet(_DIFFERENTIATES)
        used = [*self._watched_among(args), *self._watched_among(tuple(kwargs.values()))]
        call = PRODUCTS[func](self._is_weight_beside, *args, **kwargs) if used and func in PRODUCTS else None
        if call is not None:
            return self._teach(func, call, args, kwargs)
        below = _nodes_of((args, kwargs)) if used else ()
        result = func(*args, **kwargs)
        for tensor in used:
            self._watch(func, tensor, args, kwargs, result)
        if (
            used and not torch.compiler.is_compiling()
        ):  # a rule looks at a net before it lets a compiler trace it
            self._seen.update(nodes_below((result, args[:1]), below))
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
        with FirstLook(unwrap(net), x, self._exact, self._watched, self._offsets) as looked:
            output = called(net, x)
        found = self._refused | {what: by for what, by in looked.found.items() if what not in self._refused}
        if not found:
            self.check(output)
        if found or looked.constants:
            raise UnsupportedNet(_refusal(found, looked.constants))
        if self._patterns is not None:
            self._patterns.check()
        return output

    @property
    def offsets(self) -> set[str]:
        """Names of weights that are known to be added to activations."""
        weights = {self._watched[tensor].weight for tensor in self._offsets}
        return {self._names[weight] for weight in weights if weight in self._names}

    def check(self, output: Any) -> None:
        """Refuse an output whose graph reaches a taught weight past the mode.

        Scripted functions, custom autograd functions and activation checkpointing hide what they do from the
        mode; their nodes show in the graph.

        Raises:
            UnsupportedNet: with the name of the function and of the weight.
        """
        found: dict[str, str] = {}
        frozen = FrozenMemory(w for w in (*self._feedback, *self._names) if not w.requires_grad)
        for node in nodes_below(output):
            name = node.name()
            refuse_invisible(name, bool(frozen))
            for weight in (*leaves_read(node), *frozen.saved_by(node)):
                is_known = is_taught(node) or is_exact_by_nature(name) or node in self._seen
                if weight in self._watched and not is_known:
                    found.setdefault(self._name(weight), name)
        if found:
            raise UnsupportedNet(_refusal(found))

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
        if not torch.compiler.is_compiling():
            self._seen.update(nodes_below(made))
        if one.role == "exact":
            self._exact.add(id(made))
        elif one.role != "beside":
            self._names[made], self._watched[made] = one.name, as_it_is(made)
            self._offsets.update({made: None} if one.is_offset else {})
        if one.feedback is not None:
            self._feedback[made] = one.feedback

    def _teach(self, func: Any, call: Call, args: tuple[Any, ...], kwargs: Any) -> Any:
        form = self._watched.get(call.weight)
        feedback = None if form is None or form.steps is None else self._feedback.get(form.weight)
        if not torch.is_grad_enabled():
            self._may_run_again |= feedback is not None
            return func(*args, **kwargs)
        if form is None or feedback is None:
            self._check_unknown(func, call)
            return func(*args, **kwargs)
        if self._is_weight(call.x) and not self._is_given(call.x):
            self._refuse(call.x, name_of(func))  # it makes another weight
        self._look_for_recomputing()
        if self._on_call is not None:
            name = self._names[form.weight]
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
        for summed_up in _summed_up(made):  # only where there is someone to tell
            on_call(summed_up)  # pyright: ignore[reportOptionalCall]
        return result

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._teach(F.linear, parse_linear(x, weight, bias), (x, weight, bias), {})

    def _is_weight(self, tensor: Any) -> bool:
        """Whether it is a weight, or was made of one and not overwritten since."""
        if tensor not in self._watched:
            return False
        # a compiler shows no graph, and comes after a first look
        return torch.compiler.is_compiling() or tensor.grad_fn is None or tensor.grad_fn in self._seen

    def _is_given(self, tensor: Tensor) -> bool:
        """Whether it is what every example was given of a weight: activity where it meets another one."""
        return self._watched[tensor].is_given

    def _is_weight_beside(self, tensor: Tensor, other: Tensor) -> bool:
        return self._is_weight(tensor) and not (self._is_given(tensor) and self._is_weight(other))

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
        if weight in self._watched:
            is_computed = self._watched[weight].steps is None
            self._refuse(weight, name_of(func) + (_COMPUTED_IN_FORWARD if is_computed else ""))
            return
        raise UnsupportedNet(
            f"{name_of(func)} uses a weight of shape {tuple(weight.shape)} that is no taught parameter of the "
            "net (computed from others in the forward, or a buffer): its parts named in exact=(…) would keep their "
            "exact derivative; or compute it in a parametrisation (torch.nn.utils.parametrize), which has a feedback "
            "weight, or use the rule bp"
        )

    def _is_made_of_exact(self, weight: Tensor) -> bool:
        leaves = [leaf for node in nodes_below(weight) for leaf in leaves_read(node)]
        return bool(leaves) and all(id(leaf) in self._exact for leaf in leaves)

    def _watched_among(self, values: list[Any] | tuple[Any, ...]) -> Iterator[Tensor]:
        for value in values:
            if isinstance(value, Tensor):
                if value in self._watched:
                    yield value
            elif isinstance(value, SEQUENCES):
                yield from self._watched_among(value)

    def _watch(self, func: Any, used: Tensor, args: tuple[Any, ...], kwargs: Any, result: Any) -> None:
        """Refuse a function of a weight that errors would travel back through; watch what else it makes."""
        if takes_a_form(func, used, args):
            return
        form = self._watched[used]
        if is_form(func, used, args):
            self._keep(formed(func, args, kwargs, form, result))
            return
        made = [tensor for tensor in tensors_in(result) if tensor is not used]
        others = [t for t in tensors_in((args, kwargs)) if t not in self._watched and t.is_floating_point()]
        if is_harmless(func, args, kwargs) or (form.is_vector and is_gain(func, others, result)):
            made = made if self._makes_a_weight(func, used, others, result) else []
        elif others and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in made):
            self._refuse(used, name_of(func))
            made = [] if any(other.grad_fn is not None for other in others) else made
        # numbers that carry no error are no weights
        kept = [tensor for tensor in made if tensor.dim() >= 2 or tensor.requires_grad]
        self._keep({tensor: computed(form, used, tensor) for tensor in kept})

    def _makes_a_weight(self, func: Any, used: Tensor, others: list[Tensor], result: Any) -> bool:
        """Whether a function of a weight that may use it makes another weight, not an activation."""
        is_known = used in self._offsets or self._watched[used].weight in self._offsets
        return not is_known and is_still_a_weight(func, used, others, result)

    def _keep(self, forms: Mapping[Tensor, Form]) -> None:
        """Watch what was made of a weight."""
        self._watched.update(
            (t, f) for t, f in forms.items() if t not in self._watched and t.is_floating_point()
        )

    def _refuse(self, used: Tensor, function: str) -> None:
        """Raise for a use of a weight, or of what was made of one; where it looks, remember it and go on."""
        name = self._name(self._watched[used].weight)
        if self._refused is None:
            raise UnsupportedNet(_refusal({name: function}))
        self._refused.setdefault(name, function)

    def _name(self, weight: Tensor) -> str:
        return self._names.get(weight, "a weight")


def _nodes_of(values: Any) -> set[Any]:
    """The nodes that made the tensors among values."""
    return set() if torch.compiler.is_compiling() else {tensor.grad_fn for tensor in tensors_in(values)}


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
    feedback: Mapping[str, Feedback],
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
    watched = {**parts, **plain, **embedding_weights(net, exact)}
    return FeedbackPath(
        {weight: fitting(name, weight, feedback) for name, weight in plain.items()},
        exact=exact_tensors(net, exact),
        names={weight: name for name, weight in watched.items()},
        on_call=on_call,
        offsets=[weight for name, weight in watched.items() if name in offsets],
        attention=attention,
        computed=list(made.values()),
    )


def _summed_up(calls: Sequence[TaughtCall]) -> Iterator[TaughtCall]:
    """One call a weight, with all the inputs that it had."""
    by_name: dict[str, list[TaughtCall]] = {}
    for call in calls:
        by_name.setdefault(call.name, []).append(call)
    for name, made in by_name.items():
        rows = sum(call.input_shape[:-1].numel() for call in made)
        shape = torch.Size((rows, made[0].input_shape[-1]))
        carries_error = any(call.carries_error for call in made)
        yield TaughtCall(name, made[0].operation, shape, carries_error, made[0].form)


def _refusal(found: Mapping[str, str], constants: Mapping[str, str] | None = None) -> str:
    """What is said of weights, vectors and buffers by name, and of constants, each with the function that uses it."""
    named = {repr(name): function for name, function in found.items()}
    uses = [f"{what} is used by {function}" for what, function in {**named, **(constants or {})}.items()]
    names = f"{next(iter(named))}," if len(named) == 1 else listed(list(named))
    ways = [f"name {'it' if len(named) == 1 else 'them'} in exact=({names})"] if named else []
    ways += ["make each constant a buffer of the net and name it in exact=(…)"] if constants else []
    return (
        f"{listed(uses)}, through which errors would travel back exactly; {' and '.join(ways)} to allow that, or use "
        "the rule bp"
    )


_COMPUTED_IN_FORWARD = (
    " in a form that the forward computes (in a parametrisation, torch.nn.utils.parametrize, it would have a feedback "
    "weight)"
)
_DIFFERENTIATES = (
    "the net differentiates within its forward, where feedback weights would change the values; "
    "use the rule bp"
)
