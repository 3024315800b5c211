"""What a run is: every choice and number of it, checked before anything is done."""

import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
    field_validator,
)

from biograd import data, handed, nets, penalties, records, rules, user_files
from biograd.errors import UserMistake, brief
from biograd.rules.block_rule import BlockRule
from biograd.settings import describe, in_words, spelled, validate
from biograd.tasks import AUTO
from biograd.training import config_layers, losses, observers, optimizers, schedules
from biograd.training.objects import OBJECTS, named
from biograd.training.precision import Precision


def _with_its_object(value: Any, checked: Callable[[Any], str]) -> str:
    """A name of an object brings it along."""
    return value if isinstance(value, handed.Handed) else checked(value)


EVERY_EPOCH = "every-epoch"
"""The value of ``read_test`` under which the test set is read after each epoch."""

ReadTest = bool | Literal["every-epoch"]
"""Whether the test set is read once, never, or after each epoch too."""


class Choice(BaseModel):
    """A name and the settings given for what it names; settings not given keep their defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, WrapValidator(_with_its_object)]
    settings: dict[str, Any] = Field(default_factory=dict)

    def __str__(self) -> str:
        """As messages say it."""
        return f"{self.name} {self.settings}" if self.settings else self.name

    @property
    def label(self) -> str:
        """The name as a table shows it; see `biograd.handed.label_of`."""
        return handed.label_of(self.name)

    @property
    def files(self) -> list[str]:
        """What is named as ``path/to/file.py:Name``: by the choice, and by its settings."""
        return user_files.names_in([self.name, self.settings])


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


def _spelled(value: Any) -> Any:
    """An index may be given as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _resolved_device(name: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _known_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError("expected auto, cpu, cuda, cuda:N or mps")
    return name


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _true_false_or(word: str) -> WrapValidator:
    def validate(value: Any, checked: Callable[[Any], Any]) -> Any:
        try:
            return checked(value)
        except ValidationError:
            raise ValueError(f"expected true, false or {word}") from None

    return WrapValidator(validate)


def _fit_for_a_folder(label: str) -> str:
    if not re.fullmatch(r"\w[\w.+=-]*", label):
        raise ValueError("expected letters, digits and . _ + = - without a space")
    return label


Count = Annotated[int, BeforeValidator(_no_truth)]


class RunConfig(BaseModel):
    """The configuration of a run, as ``config.json`` holds it.

    Attributes:
        label: what tables and folders call the run; None for the rule's name. Runs of one rule differ by it. Where a
            rule is exact inside blocks, tables say so beside it.
        rule: the learning rule and its settings.
        data: the data set.
        net: the net.
        optimizer: moves the net's parameters and, in the same group, the rule's. Default: Adam at 1e-3.
        feedback_optimizer: moves the rule's parameters (decoders, learned feedback) in place of ``optimizer``.
            Default: ``shared``, which is none of its own. A setting without a name is Adam's.
        schedule: of the learning rates. Default: cosine, from each rate to zero over the training, step by step.
        loss: what is minimised and recorded; see `biograd.training.losses`. Default: ``auto``, what is usual for the
            task of the data (`biograd.tasks`). Accuracy is that of the largest output under all.
        penalty: on the net's weights, minimised beside the loss under any rule; it has no part in the loss that is
            recorded, nor in what diagnostics measure of the rule. Default: none.
        epochs: passes over the training part.
        batch_size: examples a step; the last batch of an epoch may be smaller.
        seed: what everything random of the run derives from.
        device: ``auto`` (recorded as what it is found to be: CUDA if there is one, else the CPU), ``cpu``,
            ``cuda``, ``cuda:N`` or ``mps``.
        threads: threads within an operation, one by default, so that a run has the same bits whatever the
            number of cores; wide nets train faster with more.
        data_dir: where the data lies; None for ``$BIOGRAD_DATA``, else the user's cache.
        answers: where the net gives several tensors the one that metrics judge, and losses by name read: a key, an
            attribute or a place, ``logits`` or ``heads.policy``; see `biograd.training.answers`.
        by_keyword: whether a net is given the columns of an example by name, ``net(**x)``; else as one dict.
        one_vs_rest: makes the task binary, this class against all others.
        validation_fraction: part of the training set, in [0, 1), that is held out for validation.
        precision: ``float32``, ``float64``, or ``bfloat16`` for autocast over float32 weights. Not
            ``float16``: it needs the loss scaled, and not every rule's gradient is linear in the loss.
        clip_norm: length to which the gradient of all parameters together is cut back; None never cuts.
        read_test: whether the test set is read, once, when all is trained; False for runs among which one is chosen.
            ``every-epoch`` reads it after each epoch too, for papers that report their best epoch on the test set: no
            bit of the run depends on it, and no observer that may stop the run is allowed beside it.
        observe: observers that are part of the run: they may stop it. Names, or tables with a name and settings.
        track: observers that only follow it (``tensorboard``, ``mlflow``): no bit of the run depends on them.
        diagnostics_every: steps between two measurements of the rule's angles; 0 measures nothing.
        checkpoint_every: steps between checkpoints within an epoch, 0 for none; there is one at the end
            of an epoch too, unless the last is less than a second old, and one at the end.
        deterministic: refuse operations whose result varies from call to call.
        compile: whether the net is compiled by `torch.compile` for the steps that teach it, under rules that run it
            as a whole; the bits are others than without. ``graphs`` captures what a step teaches as a CUDA graph, with
            any net and most rules.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)

    label: Annotated[str, AfterValidator(_fit_for_a_folder)] | None = None
    rule: Choice
    data: Choice
    net: Choice
    optimizer: Choice = Choice(name="adam", settings={"lr": 1e-3})
    feedback_optimizer: Choice = Choice(name=config_layers.SHARED)
    schedule: Choice = Choice(name="cosine")
    loss: Choice = Choice(name=AUTO)
    penalty: Choice = Choice(name="none")
    epochs: Annotated[Count, Field(gt=0)] = 10
    batch_size: Annotated[Count, Field(gt=0)] = 100
    seed: Annotated[Count, Field(ge=0, lt=2**63)] = 0
    device: Annotated[str, AfterValidator(_known_device), AfterValidator(_resolved_device)] = Field(
        "auto", validate_default=True
    )
    threads: Annotated[Count, Field(gt=0, le=1024)] = 1
    data_dir: Annotated[str, Field(min_length=1), AfterValidator(_absolute)] | None = None
    answers: Annotated[str, BeforeValidator(_spelled), Field(min_length=1)] | None = None
    by_keyword: bool = False
    one_vs_rest: Annotated[str, BeforeValidator(_spelled), Field(min_length=1)] | None = None
    validation_fraction: Annotated[float, BeforeValidator(_no_truth), Field(ge=0, lt=1)] = 0.1
    precision: Precision = "float32"
    clip_norm: Annotated[float, BeforeValidator(_no_truth), Field(gt=0)] | None = None
    read_test: Annotated[ReadTest, _true_false_or(EVERY_EPOCH)] = True
    observe: tuple[Choice, ...] = ()
    track: tuple[Choice, ...] = ()
    diagnostics_every: Annotated[Count, Field(ge=0)] = 0
    checkpoint_every: Annotated[Count, Field(ge=0)] = 1000
    deterministic: bool = True
    compile: Annotated[bool | Literal["graphs"], _true_false_or("graphs")] = False

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise _wrong_value(error) from None

    @classmethod
    def from_sources(
        cls,
        flags: Mapping[str, Any] | None = None,
        file: str | os.PathLike[str] | None = None,
        table: str | None = None,
        *,
        source: str = "the configuration",
    ) -> "RunConfig":
        """Put a configuration together: defaults < the rule's ``default_training`` < file < its table < flags.

        A net of ours whose parts hold several matrices is cut (`biograd.nets.cut_points`) under a rule that teaches
        block by block, at each matrix, or at sublayers where the rule sends targets; where neither ``rule.blocks`` nor
        ``rule.inside`` is given.

        Flags win key by key. Where a source names another rule, data set, net, optimiser, schedule or
        penalty than the sources below it, their settings for the first are dropped.

        Args:
            flags: nested names to values, ``{"rule": {"name": "fa", "scale": "0.5"}, "lr": 0.1}``; text
                is converted, None is as good as not given, and ``lr`` stands for the optimiser's.
            file: TOML of the same nested names; ``rule = "fa"`` is short for a table with that name. A
                run's ``config.json`` will do too.
            table: a rule or label; where the file has a table ``[rules.TABLE]``, that goes over the rest of the
                file, and its name is the run's label unless it is the rule's. A file with such tables is for
                comparisons, and takes one.
            source: what messages call the flags.

        Raises:
            UserMistake: the file cannot be read, or a key or value is wrong.
        """
        known = list(cls.model_fields)
        layers = _layers(flags, file, table, source)
        given = functools.reduce(config_layers.merged, layers.values())
        try:
            of_rule = _brought_by_rule(given.get("rule", {}).get("name"), known)
            sources = [_defaults(), of_rule, *layers.values(), _cut_by_net(given)]
            return cls(**functools.reduce(config_layers.merged, sources))
        except UserMistake as error:
            key = error.key if isinstance(error, _WrongValue) else "rule"
            holders = [place for place, layer in layers.items() if layer.get(key, {}) != {}]
            if holders in ([], [source]):
                raise
            raise UserMistake(f"{error} (in {' or '.join(holders)})", error.lines) from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "RunConfig":
        """Read a run's ``config.json``.

        Raises:
            UserMistake: there is none, or it is not the configuration of a run.
        """
        content = records.read_json(path)
        try:
            return cls(**content)
        except UserMistake as error:
            raise UserMistake(f"{path}: {error}", error.lines) from None

    def with_objects(self, objects: Mapping[str, Any]) -> "RunConfig":
        """The same, with the objects that its record names but cannot hold.

        Args:
            objects: rule, data, net or loss, as they were given when the run was configured.

        Raises:
            UserMistake: one is another than the run's.
        """
        found: dict[str, Choice] = {}
        for key, value in objects.items():
            if key not in OBJECTS:
                raise UserMistake(f"objects has a key {brief(key)}, expected some of {', '.join(OBJECTS)}")
            choice, name = getattr(self, key), config_layers.flat(named(key, value))["name"]
            if choice.name != name:
                raise UserMistake(
                    f"the {key} is {brief(name)}, and the run's was {brief(choice.name)}: give what it began with"
                )
            found[key] = Choice(name=name, settings=choice.settings)
        return self.model_copy(update=found)

    @property
    def objects(self) -> dict[str, str]:
        """The names that bring an object along, by key."""
        names = {key: getattr(self, key).name for key in OBJECTS}
        return {key: name for key, name in names.items() if isinstance(name, handed.Handed)}

    @property
    def title(self) -> str:
        """What folders call the run: its label, else its rule, and that it is exact inside blocks where it is."""
        settings, name = self.rule.settings, self.rule.label
        if settings.get("inside"):
            name = f"{name}-inside-{settings['inside']}"
        if settings.get("blocks"):
            name = f"{name}-at-cut-points"
        return self.label or name

    def to_json(self) -> dict[str, Any]:
        """The configuration as ``config.json`` holds it; `load` gives an equal one back."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """A fingerprint of what the bits of the run depend on; the data folder, the label and trackers have no part.

        Defaults are left out too, so that a setting that a later version adds changes no fingerprint, and a loss that
        is named where it is the usual one.
        """
        return hashlib.sha256(json.dumps(self.decisive(), sort_keys=True).encode()).hexdigest()

    def decisive(self, *, anywhere: bool = False) -> dict[str, Any]:
        """What the bits of the run depend on and differs from the defaults, as JSON has it; see `digest`.

        Args:
            anywhere: leave out in which folders the user's own files lie: what they hold decides.
        """
        unused = {"data_dir", "label", "track"} | ({"loss"} if self.loss == _USUAL else set())
        found = self.model_dump(mode="json", exclude_defaults=True, exclude=unused)
        if anywhere:
            found = user_files.without_folders(found)
            found["data"]["name"] = data.REGISTRY.with_path(
                found["data"]["name"], lambda path: Path(path).name
            )
        return found

    @field_validator(*config_layers.CHOICES, mode="before")
    @classmethod
    def _from_shorthand(cls, value: Any, info: Any) -> Any:
        if isinstance(value, Choice):
            return value
        return config_layers.nested(named(info.field_name, value))

    @field_validator("feedback_optimizer", mode="before")
    @classmethod
    def _from_none(cls, value: Any) -> Any:
        return Choice(name=config_layers.SHARED) if value is None else value

    @field_validator(*config_layers.SEVERAL, mode="before")
    @classmethod
    def _from_several(cls, value: Any, info: Any) -> Any:
        by_label = config_layers.several(value)
        for label, one in by_label.items():
            if one and "name" not in one:
                settings = ", ".join(f"{label}.{setting}" for setting in one)
                raise UserMistake(f"{settings} needs {label} to be named too: --{info.field_name} {label}")
        named = [{"name": label, **one} for label, one in by_label.items()]
        return tuple(Choice(**config_layers.nested(one)) for one in named)

    @field_validator("observe", mode="after")
    @classmethod
    def _blind_to_the_test_set(cls, value: tuple[Choice, ...], info: Any) -> tuple[Choice, ...]:
        if value and info.data.get("read_test") == EVERY_EPOCH:
            raise UserMistake(
                f"read_test {EVERY_EPOCH} is for runs that nothing stops by what it shows, and observe names "
                f"{value[0].label}: read the test set once (--read-test true), or only track the run (--track)"
            )
        return value

    @field_validator(*config_layers.SEVERAL, mode="after")
    @classmethod
    def _all_checked(cls, value: tuple[Choice, ...]) -> tuple[Choice, ...]:
        for one in value:
            user_files.renew(one.files)
        return tuple(_anchored_choice(one.name, _check_observer(one.name, one.settings)) for one in value)

    @field_validator(*config_layers.CHOICES, mode="after")
    @classmethod
    def _checked(cls, value: Choice, info: Any) -> Choice:
        if handed.is_handed(value.name) and not isinstance(value.name, handed.Handed):
            return value  # of a record; the object, by which it was checked, is not here
        user_files.renew(value.files)
        is_data = info.field_name == "data"
        name = data.REGISTRY.with_path(value.name, _absolute) if is_data else value.name
        return _anchored_choice(name, _CHECKS[info.field_name](_anchored(name), value.settings))


_USUAL = Choice(name="cross-entropy")
"""A loss that is `AUTO` wherever it fits; runs had it by default before there were other tasks."""


def given_by(
    flags: Mapping[str, Any] | None = None,
    file: str | os.PathLike[str] | None = None,
    table: str | None = None,
    *,
    source: str = "the configuration",
) -> config_layers.Layer:
    """What `RunConfig.from_sources` of the same arguments puts over all defaults, as one layer.

    Raises:
        UserMistake: the file cannot be read, or a key is wrong.
    """
    return functools.reduce(config_layers.merged, _layers(flags, file, table, source).values())


def _layers(
    flags: Mapping[str, Any] | None, file: str | os.PathLike[str] | None, table: str | None, source: str
) -> dict[str, config_layers.Layer]:
    """The layers of the sources, by what messages call them."""
    known = list(RunConfig.model_fields)
    layers = _of_file(file, table, known) if file is not None else {}
    return {**layers, source: config_layers.layer(flags or {}, source, known)}


def _of_file(
    file: str | os.PathLike[str], table: str | None, known: list[str]
) -> dict[str, config_layers.Layer]:
    """The layers of a file, by what messages call them."""
    shared, tables = config_layers.read(file, known)
    if tables and table is None:
        raise UserMistake(
            f"{file} has a table for each of several rules: biograd compare --config {file} runs them"
        )
    layers = {str(file): shared}
    if table in tables:
        own = tables[table]
        labelled = {} if own["rule"]["name"] == table else {"label": table}
        layers[config_layers.place(file, table)] = {**own, **labelled}
    return layers


def _anchored(name: str) -> str:
    """``file.py:Name`` with the whole path, so that a run resumes from any folder."""
    path, separator, attribute = name.rpartition(":")
    return f"{_absolute(path)}:{attribute}" if separator and path.endswith(".py") else name


def _anchored_choice(name: str, settings: Mapping[str, Any]) -> Choice:
    """A checked choice that means the same in any folder."""
    return Choice(name=_anchored(name), settings=_anchored_settings(settings))


def _anchored_settings(value: Any) -> Any:
    """Settings, those of strategies among them, with whole paths."""
    if isinstance(value, Mapping):
        return {key: _anchored_settings(item) for key, item in value.items()}
    return _anchored(value) if isinstance(value, str) else value


def _check_by(kind: str, find: Callable[[str], Any]) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    return lambda name, settings: spelled(validate(find(name), settings, f"{kind} {name!r}"))


def _check_feedback_optimizer(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        if name == config_layers.SHARED:
            return validate(lambda: None, settings, f"{name!r}")
        return optimizers.check(name, settings)
    except UserMistake as error:
        raise UserMistake(f"feedback_optimizer: {error}", error.lines) from None


def _check_penalty(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    if name == "none" and settings:
        known = ", ".join(one for one in penalties.names() if one != "none")
        raise UserMistake(
            f"penalty.{next(iter(settings))} needs a penalty that it is of: name one of {known}"
        )
    return spelled(validate(penalties.REGISTRY.find(name), settings, f"penalty {name!r}"))


_check_observer = _check_by("observer", observers.REGISTRY.find)


_CHECKS = {
    "rule": _check_by("rule", rules.REGISTRY.find),
    "data": _check_by("data", data.REGISTRY.find),
    "net": _check_by("net", nets.REGISTRY.find),
    "schedule": _check_by("schedule", schedules.REGISTRY.find),
    "loss": lambda name, settings: spelled(losses.check(name, settings)),
    "penalty": _check_penalty,
    "optimizer": optimizers.check,
    "feedback_optimizer": _check_feedback_optimizer,
}


def _brought_by_rule(name: Any, known: list[str]) -> dict[str, Any]:
    """The layer of training settings under which a rule works, empty for most."""
    if not isinstance(name, str):
        return {}
    settings = rules.declared(name)["default_training"]
    return config_layers.layer(settings, f"the default training of rule {name!r}", known)


def _cut_by_net(given: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of a net's own cut points, for a rule that teaches block by block and is told of no other blocks."""
    rule, net = given.get("rule", {}), given.get("net", {}).get("name")
    is_named = isinstance(net, str) and isinstance(rule.get("name"), str)
    if not is_named or not nets.cut_points(net) or {"blocks", "inside"} & rule.keys():
        return {}
    constructor = rules.REGISTRY.find(rule["name"])
    if "blocks" not in {setting.name for setting in describe(constructor)}:
        return {}
    sends_targets = (
        isinstance(constructor, type) and issubclass(constructor, BlockRule) and constructor.sends_targets
    )
    return {"rule": {"blocks": list(nets.cut_points(net, in_sequence=sends_targets))}}


def _defaults() -> dict[str, Any]:
    """The choices that have a default, as the lowest layer: a setting alone then refines the default."""
    fields = RunConfig.model_fields
    return {
        key: config_layers.flat(fields[key].default)
        for key in config_layers.CHOICES
        if not fields[key].is_required()
    }


class _WrongValue(UserMistake):
    """A key of a configuration that is missing, unknown or wrong."""

    key = ""


def _wrong_value(error: ValidationError) -> _WrongValue:
    found = _mistake(error)
    mistake = _WrongValue(str(found), found.lines)
    mistake.key = str(next(iter(error.errors()[0]["loc"]), ""))
    return mistake


def _mistake(error: ValidationError) -> UserMistake:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, UserMistake):
        return cause
    if first["type"] == "missing":
        return UserMistake(
            f'no {key} is given: name one, --{key} NAME or {key} = "NAME" in the file; {_known(key)}'
        )
    if first["type"] == "extra_forbidden":
        return UserMistake(config_layers.unknown(key, "the configuration", list(RunConfig.model_fields)))
    return UserMistake(f"{key} got {brief(first['input'])}: {in_words(first['msg'])}")


def _known(key: str) -> str:
    registry = {"rule": rules.REGISTRY, "data": data.REGISTRY, "net": nets.REGISTRY}.get(key)
    return f"known: {', '.join(registry.names())}" if registry else "see the documentation"
