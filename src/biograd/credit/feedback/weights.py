"""Which parameters of a net carry errors back, and what stands in the way of teaching them."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Literal

from torch import Tensor, nn

from biograd.credit.feedback.computed_weights import ComputedWeight, computed_weights
from biograd.credit.kinds import Exact, Opaque, how_weight_is_computed, nearest_kind
from biograd.errors import UnsupportedNet, listed


def taught_weights(net: nn.Module, exact: Collection[str] = ()) -> dict[str, Tensor]:
    """The weight matrices of a net that a feedback path must replace, by name.

    These are all parameters with two or more dimensions, frozen ones too (errors travel back through
    them), but for embeddings, the parameters of normalisation layers and those named in ``exact``. A weight
    that is shared counts once, under its first name. In place of parameters that a weight is computed of (by a
    parametrisation, pruning, weight or spectral normalisation) stands that weight as it is now, detached, by the name
    that it would have as a parameter.

    Args:
        net: the net, without wrappers.
        exact: names of parameters, or of modules all of whose parameters, keep their exact derivative; or patterns of
            such names, in which ``*`` stands for any text.

    Raises:
        UnsupportedNet: as `carrying_weights`; or there is none.
    """
    taught = carrying_weights(net, exact)
    if not taught:
        raise UnsupportedNet(
            "the net has no weight matrix to teach: it needs a linear or convolutional layer"
        )
    return taught


def carrying_weights(net: nn.Module, exact: Collection[str] = ()) -> dict[str, Tensor]:
    """The weights that `taught_weights` gives, of a net that may have none.

    Raises:
        UnsupportedNet: modules whose weights cannot be reached, all of them named; or something in ``exact`` that the
            net does not have.
    """
    exact = exact_names(net, exact)
    computed = computed_weights(net)
    _check_modules(net, exact)
    kept = {id(tensor) for tensor in exact_tensors(net, exact)}
    carrying = {id(p) for p in _carrying_parameters(net, computed)} - kept
    plain = {name: parameter for name, parameter in net.named_parameters() if id(parameter) in carrying}
    made = {name: weight.now() for name, weight in computed.items() if role(name, weight, exact) == "carries"}
    return {name: weight for name, weight in {**plain, **made}.items() if _is_matrix(name, weight)}


Role = Literal["carries", "exact", "looked up", "beside"]


def role(name: str, weight: ComputedWeight, exact: Collection[str]) -> Role:
    """What a computed weight is to errors: it carries them back; exactly; is a table; or lies beside their way.

    Args:
        name: of the weight.
        weight: how it is computed.
        exact: what `exact_names` has.
    """
    if is_exact(name, exact) or (weight.parts and all(is_exact(part, exact) for part in weight.parts)):
        return "exact"
    if _is_table(weight.module):
        return "looked up"
    kind = nearest_kind(weight.module)
    is_added = kind is not None and kind.weight is not None and weight.attribute == "bias"
    is_norm = kind is not None and isinstance(kind.feedback, Exact)
    return "beside" if is_added or is_norm or not weight.parts else "carries"


def exact_names(net: nn.Module, exact: Collection[str]) -> frozenset[str]:
    """The names of parameters, buffers and modules that names and patterns in ``exact`` stand for.

    Raises:
        UnsupportedNet: one of them stands for nothing in the net.
    """
    if not exact:
        return frozenset()
    names = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    names |= {name for name, _ in net.named_buffers(remove_duplicate=False)}
    names |= {name for name, _ in net.named_modules(remove_duplicate=False)} - {""}
    names |= computed_weights(net).keys()
    found = {given: {name for name in names if name == given or fnmatchcase(name, given)} for given in exact}
    for given, fitting in found.items():
        if not fitting:
            raise UnsupportedNet(_no_such_name(given, sorted(names)))
    return frozenset().union(*found.values())


def _no_such_name(given: str, names: list[str]) -> str:
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.4)
    said = ", ".join(map(repr, near)) if near else listed([repr(name) for name in names], 8)
    return (
        f"exact names {given!r}, and no parameter, buffer or module of the net is called so: the nearest are {said}; * "
        "stands for any text"
    )


def embedding_weights(net: nn.Module, exact: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """The weights of embeddings that no other layer shares, by name: exact when looked up, and only then."""
    tables = {id(module._parameters.get("weight")) for module in net.modules() if _is_table(module)}
    if not tables:
        return {}
    tables -= {id(p) for p in (*_carrying_parameters(net, computed_weights(net)), *exact_tensors(net, exact))}
    return {name: parameter for name, parameter in net.named_parameters() if id(parameter) in tables}


def exact_tensors(net: nn.Module, exact: Collection[str]) -> list[Tensor]:
    """The parameters and buffers that `exact_names` has, by whichever of the names of a shared one."""
    if not exact:
        return []
    parts = [
        part for n, w in computed_weights(net).items() if is_exact(n, exact) for part in w.parts.values()
    ]
    return parts + [
        tensor
        for named in (
            net.named_parameters(remove_duplicate=False),
            net.named_buffers(remove_duplicate=False),
        )
        for name, tensor in named
        if is_exact(name, exact)
    ]


def is_exact(name: str, exact: Collection[str]) -> bool:
    """Whether `exact_names` has this parameter or module, or a module that holds it."""
    while name and name not in exact:
        name = name.rpartition(".")[0]
    return bool(name)


def _check_modules(net: nn.Module, exact: Collection[str]) -> None:
    modules = list(net.named_modules(remove_duplicate=False))
    kept = {id(module) for name, module in modules if is_exact(name, exact)}
    found: dict[int, tuple[str, nn.Module]] = {}
    for name, module in modules:
        if id(module) not in kept and _why_opaque(module) and not _is_named_by_parts(name, module, exact):
            found.setdefault(id(module), (name, module))
    if found:
        raise UnsupportedNet(_unreached(list(found.values())))


def _unreached(found: list[tuple[str, nn.Module]]) -> str:
    """What is said of modules that feedback weights cannot reach."""
    by_reason: dict[str, list[str]] = {}
    for name, module in found:
        what = f"{name!r} ({type(module).__name__})" if name else type(module).__name__
        by_reason.setdefault(_why_opaque(module) or "", []).append(what)
    said = "; ".join(f"{listed(whats)}: {reason}" for reason, whats in by_reason.items())
    return f"feedback weights cannot reach {said}; {_way_out([name for name, _ in found])}"


def _why_opaque(module: nn.Module) -> str | None:
    kind = nearest_kind(module)
    if kind is not None and isinstance(kind.feedback, Opaque):
        return kind.feedback.reason
    if how_weight_is_computed(module) is not None and not computed_weights(module).keys() & {"weight"}:
        return (
            "a hook that is not known computes its weight; register it as a parametrisation "
            "(torch.nn.utils.parametrize), beside which a feedback weight can stand"
        )
    return None


def _is_named_by_parts(name: str, module: nn.Module, exact: Collection[str]) -> bool:
    """Whether all that a hook computes a weight from is exact, without the layer's name."""
    parts = [part for part, _ in module.named_parameters(recurse=False) if part.startswith("weight_")]
    return bool(parts) and all(is_exact(f"{name}.{part}".lstrip("."), exact) for part in parts)


def _way_out(names: list[str]) -> str:
    if "" in names:
        return "use the rule bp"
    them = "".join(f"{name!r}," + " " for name in names[:6]).rstrip() + (" …" if len(names) > 6 else "")
    it = "it" if len(names) == 1 else "them"
    return f"name {it} in exact=({them}) to let errors through {it} exactly, or use the rule bp"


def _is_table(module: nn.Module) -> bool:
    kind = nearest_kind(module)
    return kind is not None and isinstance(kind.feedback, Exact) and kind.feedback.is_table


def _carrying_parameters(net: nn.Module, computed: Mapping[str, ComputedWeight]) -> Iterator[nn.Parameter]:
    """Parameters of modules that are neither embeddings nor normalisations, all but biases, which are only added.

    What only serves to compute a weight is not among them.
    """
    added = {id(p) for module in net.modules() for p in _biases(module)}
    parts = set().union(*(weight.places() for weight in computed.values()))
    for module in net.modules():
        kind = nearest_kind(module)
        if kind is None or not isinstance(kind.feedback, Exact):
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) not in added and (module, name) not in parts:
                    yield parameter


def _biases(module: nn.Module) -> Iterator[nn.Parameter]:
    """What a layer with a weight adds."""
    kind = nearest_kind(module)
    if kind is not None and kind.weight is not None and module._parameters.get("bias") is not None:
        yield module.get_parameter("bias")


def _is_matrix(name: str, parameter: Tensor) -> bool:
    if isinstance(parameter, nn.UninitializedParameter):
        raise UnsupportedNet(
            f"{name!r} has no shape yet: pass one batch through the net before making the rule"
        )
    if parameter.is_complex():
        raise UnsupportedNet(f"{name!r} is complex, feedback weights are for real nets; use the rule bp")
    return parameter.dim() >= 2
