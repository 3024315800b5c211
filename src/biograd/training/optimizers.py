"""Every optimiser of ``torch.optim`` by its lower-case name, and one more, with settings taken from its signature.

PyTorch's signatures also say what the training loop cannot use (``capturable``, tensors as rates), so a
constructor with keyword-only, annotated settings is made of each, as rules and nets have them.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from annotated_types import Gt

from biograd.errors import UserMistake
from biograd.registry import Registry
from biograd.searched import Among, LogUniform, Range
from biograd.settings import annotations, validate

Constructor = Callable[..., torch.optim.Optimizer]

_REFUSED = {
    "lbfgs": "it evaluates the loss several times a step, and a learning rule gives one estimate a step",
    "sparseadam": "it takes sparse gradients only, and learning rules fill dense ones",
}
_NOT_SETTINGS = {"capturable", "differentiable"}
_ADAPTIVE_RATE = LogUniform(1e-5, 1e-2)
_RATES = {
    "sgd": LogUniform(1e-3, 1.0),
    "asgd": LogUniform(1e-3, 1.0),
    "muon": LogUniform(1e-4, 1e-1),
    "adagrad": LogUniform(1e-4, 1e-1),
    "adafactor": LogUniform(1e-4, 1e-1),
    "adadelta": LogUniform(1e-2, 10.0),
}
"""Where the rate is searched of those that it means something else to than to Adam and its kin."""
_ALSO_SEARCHED = {
    ("adam", "eps"): Among(1e-8, 1e-6, 1e-4),
    ("adamw", "eps"): Among(1e-8, 1e-6, 1e-4),
    ("adamw", "weight_decay"): LogUniform(1e-4, 1.0),
    ("sgd", "momentum"): Among(0.0, 0.9),
}
_PROBE = torch.Size([2, 2])


def _in_torch() -> dict[str, str]:
    classes = [getattr(torch.optim, name) for name in dir(torch.optim)]
    return {
        cls.__name__.lower(): f"torch.optim:{cls.__name__}"
        for cls in classes
        if inspect.isclass(cls)
        and issubclass(cls, torch.optim.Optimizer)
        and cls is not torch.optim.Optimizer
    }


REGISTRY = Registry(
    "optimizer",
    {
        **{name: where for name, where in _in_torch().items() if name not in _REFUSED},
        "adam-uncorrected": "biograd.training.uncorrected_adam:UncorrectedAdam",
    },
    group="biograd.optimizers",
)


def names() -> list[str]:
    """The short names of every optimiser that the training loop can use."""
    return REGISTRY.names()


def find(name: str) -> Constructor:
    """The constructor ``(parameters, *, lr=…, …)`` that ``name`` stands for.

    Raises:
        UserMistake: an unknown name, or an optimiser that cannot work in this loop, with the reason.
    """
    if name in _REFUSED:
        raise UserMistake(
            f"optimizer {name!r} cannot train here: {_REFUSED[name]}; use one of {', '.join(names())}"
        )
    return _with_settings(REGISTRY.find(name))


def check(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings converted and within the ranges that the optimiser itself checks.

    Raises:
        UserMistake: an unknown optimiser or setting, or a value that it does not take.
    """
    checked = validate(find(name), settings, f"optimizer {name!r}")
    create(name, [torch.zeros(_PROBE, requires_grad=True)], **checked)
    return checked


def create(name: str, parameters: Iterable[torch.Tensor], **settings: Any) -> torch.optim.Optimizer:
    """Make an optimiser with one group that holds ``parameters``.

    On the CPU and on CUDA it uses PyTorch's fused kernels where they exist (Adam takes a quarter of the
    time) unless ``fused`` or ``foreach`` is set.

    Args:
        name: one of `names()`, or ``path/to/file.py:ClassName``.
        parameters: what it moves; those of the net and those of the rule, so that both decay alike.
        **settings: as the class in ``torch.optim`` takes them, without ``capturable`` and
            ``differentiable``.

    Raises:
        UserMistake: an unknown optimiser or setting, or the optimiser does not take a value or the shape
            of a parameter.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2, 3))
        >>> create("adamw", [weight], betas="0.8,0.99").param_groups[0]["betas"]
        (0.8, 0.99)
    """
    owner = f"optimizer {name!r}"
    constructor, parameters = find(name), list(parameters)
    checked = validate(constructor, settings, owner)
    try:
        return constructor(parameters, **{**_fused(constructor, parameters, checked), **checked})
    except (ValueError, RuntimeError) as error:
        raise UserMistake(
            f"{owner}: {str(error).splitlines()[0]}; change its settings or the optimizer"
        ) from None


def _fused(
    constructor: Constructor, parameters: list[torch.Tensor], given: dict[str, Any]
) -> dict[str, bool]:
    """``{"fused": True}`` where PyTorch has the kernel and the user chose neither implementation."""
    offered = "fused" in inspect.signature(constructor).parameters
    chosen = given.get("fused") is not None or given.get("foreach")
    able = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return {"fused": True} if offered and able and not chosen else {}


@functools.cache
def _with_settings(cls: type[torch.optim.Optimizer]) -> Constructor:
    """``cls`` as a function whose keyword-only parameters are its settings."""
    hints = annotations(cls)
    settings = [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            annotation=_annotation(cls.__name__.lower(), parameter, hints.get(parameter.name)),
        )
        for parameter in list(inspect.signature(cls).parameters.values())[1:]
        if parameter.name not in _NOT_SETTINGS
    ]

    def construct(parameters: Iterable[torch.Tensor], **given: Any) -> torch.optim.Optimizer:
        return cls(parameters, **given)

    first = inspect.Parameter("parameters", inspect.Parameter.POSITIONAL_ONLY)
    construct.__name__ = cls.__name__
    construct.__doc__ = cls.__doc__
    construct.__annotations__ = {setting.name: setting.annotation for setting in settings}
    construct.__signature__ = inspect.Signature([first, *settings])  # pyright: ignore[reportFunctionMemberAccess]
    return construct


def _annotation(name: str, parameter: inspect.Parameter, hint: Any) -> Any:
    """What a user may write: the annotation without tensors, or the default's type where there is none.

    With it the range over which it is searched, unless the optimiser's own annotation has one.
    """
    kind = type(parameter.default) if hint is None else _without_tensors(hint)
    if any(isinstance(mark, Range) for mark in typing.get_args(kind)):
        return Annotated[kind, Gt(0)] if parameter.name == "lr" else kind
    if parameter.name == "lr":
        return Annotated[kind, Gt(0), _RATES.get(name, _ADAPTIVE_RATE)]
    searched = _ALSO_SEARCHED.get((name, parameter.name))
    return kind if searched is None else Annotated[kind, searched]


def _without_tensors(hint: Any) -> Any:
    """``float | Tensor`` becomes ``float``, inside tuples too."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return tuple[tuple(_without_tensors(arg) for arg in args)]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_without_tensors(arg) for arg in args if arg is not torch.Tensor)]  # noqa: UP007
    return hint
