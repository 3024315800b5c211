"""Settings are the keyword-only parameters of a constructor: written once, checked everywhere."""

import builtins
import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, TypeVar

from biograd.errors import UserMistake, brief
from biograd.searched import Range

if typing.TYPE_CHECKING:
    from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])


class Strategy:
    """One of several ways of doing something, chosen by its name, with settings of its own.

    A setting that is annotated with a union of strategies takes one of them, its name, or a mapping of its name and
    its settings: ``form=Constant(gamma=0.01)``, ``form="constant"``, ``form={"name": "constant", "gamma": 0.01}``; on
    a command line ``--rule.form constant --rule.form.gamma 0.01``. Settings without a name refine the default.
    Subclasses are dataclasses, frozen and keyword-only, whose fields are their settings.

    Raises:
        UserMistake: a value of the wrong type or out of range.

    Example:
        >>> from annotated_types import Gt
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Constant(Strategy):
        ...     name: ClassVar[str] = "constant"
        ...     gamma: Annotated[float, Gt(0)] = 1e-3
        >>> def rule(net, *, form: Constant = Constant()): ...
        >>> validate(rule, {"form": "constant", "form.gamma": "0.01"}, "rule")
        {'form': Constant(gamma=0.01)}
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in validate(type(self), vars(self), type(self).__name__).items():
            object.__setattr__(self, name, value)  # frozen for everyone else


@dataclass(frozen=True)
class Meaning:
    """What a setting is for, where several constructors have it: said once, in its annotation.

    A constructor whose own docstring says something of the setting says it in place of this.

    Example:
        >>> Seed = Annotated[int, Meaning("of all draws")]
        >>> def net(shape, *, seed: Seed = 0): ...
        >>> describe(net)[0].meaning
        'of all draws'
    """

    text: str


@dataclass(frozen=True)
class Setting:
    """One setting as a user reads it.

    Attributes:
        name: with a dot where it is one of a strategy's: ``form.gamma``.
        type: the type and its range.
        default: what holds where it is not given; of a strategy its name.
        strategy: the strategy whose setting it is, None for the constructor's own.
        meaning: what its annotation says it is for; see `Meaning`.
        searched: over what its annotation says that it is searched, None where it is not.
    """

    name: str
    type: str
    default: Any
    strategy: builtins.type[Strategy] | None = None
    meaning: str = ""
    searched: Range | None = None


def describe(constructor: Callable[..., Any]) -> list[Setting]:
    """The settings of a constructor, in the order of its signature; those of its strategies behind each.

    Example:
        >>> from annotated_types import Gt
        >>> def net(shape, *, width: Annotated[int, Gt(0)] = 3): ...
        >>> describe(net)
        [Setting(name='width', type='int > 0', default=3, strategy=None, meaning='', searched=None)]
    """
    hints, found = annotations(constructor), []
    for name, parameter in _keyword_only(constructor).items():
        hint, default = hints.get(name, Any), parameter.default
        shown = default.name if isinstance(default, Strategy) else default
        found.append(Setting(name, _spell(hint), shown, meaning=_meant(hint), searched=_searched(hint)))
        for strategy in _strategies(hint):
            inner = describe(strategy)
            found += [
                replace(own, name=f"{name}.{own.name}", strategy=own.strategy or strategy) for own in inner
            ]
    return found


def validate(constructor: Callable[..., Any], given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Check and convert the settings given by name; text from a command line is converted too.

    Only the settings that were given come back, so that the constructor's own defaults stay its own. Strategies come
    back made.

    Args:
        constructor: whose keyword-only parameters are the settings.
        given: name to value; ``-`` and ``_`` are the same in a name, and ``form.gamma`` is a setting of the strategy
            ``form``.
        owner: what the message calls it, ``"rule 'fa'"``.

    Raises:
        UserMistake: an unknown setting, or a value of the wrong type or out of range.
    """
    from pydantic import ValidationError

    given = _in_one_spelling(given, owner)
    known = _keyword_only(constructor)
    unknown = [name for name in given if name not in known]
    if unknown:
        names = ", ".join(known) or "none"
        told = _on_ordinary(constructor, unknown[0])
        raise UserMistake(f"{owner} has no setting {brief(unknown[0])}; its settings: {names}{told}")
    given = _with_strategies(constructor, given, owner)
    try:
        model = settings_model(constructor)(**{**_defaults(known), **given})
    except ValidationError as error:
        raise UserMistake(_explain(error, owner)) from None
    return {name: getattr(model, name) for name in given}


def _on_ordinary(constructor: Callable[..., Any], name: str) -> str:
    """What to say where a user's own constructor has the parameter, and not as a setting."""
    function = inspect.unwrap(constructor.__init__ if inspect.isclass(constructor) else constructor)
    is_ours = str(getattr(function, "__module__", "")).startswith("biograd.")
    if is_ours or name not in _ordinary(function):
        return ""
    return f"; settings are keyword-only parameters: write *, before {name} where it is defined"


def _ordinary(function: Callable[..., Any]) -> list[str]:
    """The parameters that may be given by position and by name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in, without a signature
        return []
    return [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]


def spelled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a record holds them: of a strategy its name and the settings that differ from their defaults.

    Example:
        >>> from biograd.rules.parts.inverse_strategies import Kept
        >>> spelled({"seed": 1, "inverse": Kept(tolerance=0.01)})
        {'seed': 1, 'inverse': {'name': 'kept', 'settings': {'tolerance': 0.01}}}
    """
    return {
        name: _spelled(value) if isinstance(value, Strategy) else value for name, value in settings.items()
    }


def _spelled(strategy: Strategy) -> dict[str, Any]:
    defaults = _defaults(_keyword_only(type(strategy)))
    own = {
        name: value
        for name, value in vars(strategy).items()
        if name not in defaults or value != defaults[name]
    }
    return {"name": strategy.name, "settings": spelled(own)}


def _in_one_spelling(given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Names with ``_``, and those of a strategy's settings, ``form.gamma``, gathered under ``form``."""
    keys = [name.replace("-", "_") for name in given]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UserMistake(f"{owner}: setting {brief(twice)} is given twice, with - and with _")
    whole: dict[str, Any] = {}
    for key, value in sorted(zip(keys, given.values(), strict=True), key=lambda pair: "." in pair[0]):
        name, dot, inner = key.partition(".")
        whole[name] = {**_named(whole.get(name), name, owner), inner: value} if dot else value
    return {name: whole[name] for name in dict.fromkeys(key.partition(".")[0] for key in keys)}


def _named(strategy: Any, setting: str, owner: str) -> dict[str, Any]:
    """A strategy as a flat mapping, ``{"name": "constant", "gamma": 0.01}``; None has no entries."""
    if isinstance(strategy, Strategy):
        return {"name": strategy.name, **vars(strategy)}
    if strategy is None or isinstance(strategy, str):
        return {} if strategy is None else {"name": strategy}
    if isinstance(strategy, Mapping) and isinstance(strategy.get("settings", {}), Mapping):
        own = {name: value for name, value in strategy.items() if name != "settings"}
        return {str(n).replace("-", "_"): v for n, v in {**own, **strategy.get("settings", {})}.items()}
    raise UserMistake(
        f"{owner}: setting {setting!r} got {brief(strategy)}: expected a name, or a table of a name and its settings"
    )


def _with_strategies(constructor: Callable[..., Any], given: dict[str, Any], owner: str) -> dict[str, Any]:
    hints, known = annotations(constructor), _keyword_only(constructor)
    return {
        name: _made(value, name, hints.get(name, Any), known[name].default, owner)
        for name, value in given.items()
    }


def _made(value: Any, setting: str, hint: Any, default: Any, owner: str) -> Any:
    """The strategy that a value stands for; other values, and those that are strategies already, as they are."""
    kinds = {kind.name: kind for kind in _strategies(hint)}
    value = None if value == "none" and _takes_none(hint) else value
    is_none = value is None and _takes_none(hint)
    if not kinds or is_none or isinstance(value, tuple(kinds.values())):
        return value
    own = {"name": None} if value is None else _named(value, setting, owner)
    if "name" not in own and isinstance(default, Strategy):
        own = {**_named(default, setting, owner), **own}
    name = own.pop("name", None)
    if not isinstance(name, str) or name not in kinds:
        got = f"{', '.join(own)} without a name" if own and name is None else brief(name)
        expected = [*kinds, *(["none"] if _takes_none(hint) else [])]
        raise UserMistake(f"{owner}: setting {setting!r} got {got}: expected {', '.join(expected)}")
    return kinds[name](**validate(kinds[name], own, f"{owner}: {setting} {name!r}"))


def _strategies(hint: Any) -> list[type[Strategy]]:
    """The strategies that an annotation names."""
    if inspect.isclass(hint) and issubclass(hint, Strategy):
        return [hint]
    if typing.get_origin(hint) is typing.Literal:
        return []
    return [kind for part in typing.get_args(hint) for kind in _strategies(part)]


def _takes_none(hint: Any) -> bool:
    """Whether an annotation has None beside its strategies."""
    return hint is type(None) or any(_takes_none(part) for part in typing.get_args(hint))


def settings_model(constructor: Callable[..., Any]) -> "type[BaseModel]":
    """A pydantic model with one field a setting, made from the signature."""
    from pydantic import ConfigDict, create_model

    hints = annotations(constructor)
    fields: dict[str, Any] = {
        name: (_checked_type(hints.get(name, Any)), ... if p.default is p.empty else p.default)
        for name, p in _keyword_only(constructor).items()
    }
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    return create_model(getattr(constructor, "__name__", "Settings"), __config__=config, **fields)


def checked_settings(function: F) -> F:
    """Check the keyword arguments of a constructor on every call against its annotations."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        name = function.__qualname__.removesuffix(".__init__")
        known = _keyword_only(function)
        settings = {key: value for key, value in kwargs.items() if key in known}
        return function(*args, **{**kwargs, **validate(function, settings, name)})

    return typing.cast(F, checked)


def _keyword_only(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(constructor).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def _defaults(known: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    return {name: p.default for name, p in known.items() if p.default is not p.empty}


def annotations(constructor: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a constructor's parameters.

    Raises:
        UserMistake: one names what is not there when the program runs.
    """
    function = constructor.__init__ if inspect.isclass(constructor) else constructor
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        name = getattr(constructor, "__name__", brief(constructor))
        raise UserMistake(
            f"an annotation of {name} cannot be read: {type(error).__name__}: {error}; import what it names also when "
            "the program runs, or leave it out"
        ) from error


def _checked_type(hint: Any) -> Any:
    """What a value is checked against: strategies were checked as they were made."""
    return Any if _strategies(hint) else _accepting_text(hint)


def _accepting_text(hint: Any) -> Any:
    """Let a tuple be written ``512,512`` and None ``none``, as a command line gives them."""
    from pydantic import BeforeValidator

    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    if typing.get_origin(bare) is tuple:
        return Annotated[hint, BeforeValidator(_split)]
    if type(None) in typing.get_args(bare) and str not in typing.get_args(bare):
        return Annotated[hint, BeforeValidator(lambda value: None if value == "none" else value)]
    return hint


def _split(value: Any) -> Any:
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        return tuple(parts[:-1] if parts[-1] == "" else parts)  # "512," is a tuple of one, "" an empty one
    return (value,) if isinstance(value, int | float) else value


def _explain(error: Any, owner: str) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{owner} needs the setting {where!r}"
    return f"{owner}: setting {where!r} got {brief(first['input'])}: {in_words(first['msg'])}"


def in_words(message: str) -> str:
    """What pydantic says of a value, as the other messages have it.

    Example:
        >>> in_words("Input should be a valid boolean, unable to interpret input")
        'expected true or false'
        >>> in_words("Input should be greater than 0")
        'expected a number greater than 0'
    """
    for pattern, words in _IN_WORDS:
        message = re.sub(pattern, words, message)
    return f"{message[:1].lower()}{message[1:]}"


_IN_WORDS = (
    (r"^Value error, ", ""),
    (r"^Input should be ", "expected "),
    (r"a valid boolean.*", "true or false"),
    (r"a valid integer.*", "a whole number"),
    (r"a valid number.*", "a number"),
    (r"a valid string.*", "text"),
    (r"^expected (greater|less) ", r"expected a number \1 "),
)


_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "length ≥"}


def _spell(hint: Any) -> str:
    """A type and its range in words a user reads."""
    if typing.get_origin(hint) is not Annotated:
        return _spell_type(hint)
    bare, *constraints = typing.get_args(hint)
    signs = [
        f"{sign} {getattr(constraint, key)}"
        for constraint in constraints
        for key, sign in _SIGNS.items()
        if getattr(constraint, key, None) is not None
    ]
    return " ".join([_spell_type(bare), ", ".join(signs)]).strip()


def _meant(hint: Any) -> str:
    """What an annotation says that its setting is for."""
    return next((mark.text for mark in _marks(hint) if isinstance(mark, Meaning)), "")


def _searched(hint: Any) -> Range | None:
    """The last range that an annotation has: a rule's own stands behind that of the type it annotates."""
    return next((mark for mark in reversed(_marks(hint)) if isinstance(mark, Range)), None)


def _marks(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint)[1:] if typing.get_origin(hint) is Annotated else ()


def _spell_type(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in args)
    if origin is tuple:
        return f"{_spell(args[0])}, …" if args else "list"
    if args:
        return " | ".join("none" if arg is type(None) else _spell(arg) for arg in args)
    if inspect.isclass(hint) and issubclass(hint, Strategy):
        return hint.name
    return "none" if hint is type(None) else getattr(hint, "__name__", str(hint))
