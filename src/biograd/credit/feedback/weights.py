"""Which parameters of a net carry errors back, and what stands in the way of teaching them."""

from collections.abc import Collection, Iterator

from torch import Tensor, nn
from torch.nn.utils import parametrize

from biograd.credit.kinds import Exact, Opaque, nearest_kind
from biograd.errors import UnsupportedNet


def taught_weights(net: nn.Module, exact: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """The weight matrices of a net that a feedback path must replace, by name.

    These are all parameters with two or more dimensions, frozen ones too (errors travel back through
    them), but for embeddings, the parameters of normalisation layers and those named in ``exact``. A weight
    that is shared counts once, under its first name.

    Args:
        net: the net, without wrappers.
        exact: names of parameters, or of modules all of whose parameters, keep their exact derivative.

    Raises:
        UnsupportedNet: a module whose weights cannot be reached, a name in ``exact`` that the net does not
            have, or no weight matrix at all.
    """
    _check_exact_names(net, exact)
    _check_modules(net, exact)
    kept = {id(tensor) for tensor in exact_tensors(net, exact)}
    carrying = {id(p) for p in _carrying_parameters(net)} - kept
    taught = {
        name: parameter
        for name, parameter in net.named_parameters()
        if id(parameter) in carrying and _is_matrix(name, parameter)
    }
    if not taught:
        raise UnsupportedNet(
            "the net has no weight matrix to teach: it needs a linear or convolutional layer"
        )
    return taught


def embedding_weights(net: nn.Module, exact: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """The weights of embeddings that no other layer shares, by name: exact when looked up, and only then."""
    tables = {id(module.weight) for module in net.modules() if _is_table(module)}
    if not tables:
        return {}
    tables -= {id(p) for p in (*_carrying_parameters(net), *exact_tensors(net, exact))}
    return {name: parameter for name, parameter in net.named_parameters() if id(parameter) in tables}


def exact_tensors(net: nn.Module, exact: Collection[str]) -> list[Tensor]:
    """The parameters and buffers that ``exact`` names, by whichever of the names of a shared one."""
    if not exact:
        return []
    return [
        tensor
        for named in (
            net.named_parameters(remove_duplicate=False),
            net.named_buffers(remove_duplicate=False),
        )
        for name, tensor in named
        if is_exact(name, exact)
    ]


def is_exact(name: str, exact: Collection[str]) -> bool:
    """Whether ``exact`` names this parameter or a module that holds it."""
    return any(name == given or name.startswith(given + ".") for given in exact)


def _check_exact_names(net: nn.Module, exact: Collection[str]) -> None:
    names = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    names |= {name for name, _ in net.named_buffers(remove_duplicate=False)}
    names |= {name for name, _ in net.named_modules(remove_duplicate=False)}
    for name in exact:
        if name not in names or not name:
            raise UnsupportedNet(f"exact names {name!r}, which is no parameter, buffer or module of the net")


def _check_modules(net: nn.Module, exact: Collection[str]) -> None:
    modules = list(net.named_modules(remove_duplicate=False))
    kept = {id(module) for name, module in modules if is_exact(name, exact)}
    for name, module in modules:
        reason = _why_opaque(module)
        if reason and id(module) not in kept:
            what = f"{name!r} ({type(module).__name__})" if name else type(module).__name__
            raise UnsupportedNet(f"feedback weights cannot reach {what}: {reason}; {_way_out(name)}")


def _why_opaque(module: nn.Module) -> str | None:
    kind = nearest_kind(module)
    if kind is not None and isinstance(kind.feedback, Opaque):
        return kind.feedback.reason
    if parametrize.is_parametrized(module):
        return "its weight is computed from other parameters (a parametrisation)"
    return None


def _way_out(name: str) -> str:
    named = f"name it in exact=({name!r},) to let errors through it exactly, or " if name else ""
    return f"{named}use the rule bp"


def _is_table(module: nn.Module) -> bool:
    kind = nearest_kind(module)
    return kind is not None and isinstance(kind.feedback, Exact) and kind.feedback.is_table


def _carrying_parameters(net: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of modules that are neither embeddings nor normalisations, all but biases, which are only added."""
    for module in net.modules():
        kind = nearest_kind(module)
        if kind is not None and isinstance(kind.feedback, Exact):
            continue
        added = "bias" if kind is not None and kind.weight is not None else None
        yield from (p for name, p in module.named_parameters(recurse=False) if name != added)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    if isinstance(parameter, nn.UninitializedParameter):
        raise UnsupportedNet(
            f"{name!r} has no shape yet: pass one batch through the net before making the rule"
        )
    if parameter.is_complex():
        raise UnsupportedNet(f"{name!r} is complex, feedback weights are for real nets; use the rule bp")
    return parameter.dim() >= 2
