"""The flags that configure a run, for every command that trains; checking them is the configuration's work."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from biograd.cli.parsing import Settings
from biograd.errors import UserMistake, brief
from biograd.tasks import AUTO, LOSSES

SECTIONS = ("rule", "net", "data", "optimizer", "feedback_optimizer", "schedule", "loss", "penalty")
"""What takes a name, and settings of its own: ``--rule fa --rule.scale 0.5``."""

SEVERAL = ("observe", "track")
"""What takes any number of names, each with settings of its own: ``--track mlflow --track.mlflow.uri URI``."""


@dataclass(frozen=True)
class Flag:
    """One flag of a run, as the help shows it.

    Attributes:
        name: as it is typed, without the dashes.
        value: what stands for its value in the help.
        meaning: what it decides.
        range: the values it takes.
        default: in words or as it would be typed; empty where it must be given.
        is_repeatable: whether it may be typed several times, each time with several names.
    """

    name: str
    value: str
    meaning: str
    range: str = ""
    default: str = ""
    is_repeatable: bool = False

    @property
    def key(self) -> str:
        """Its key in a configuration."""
        return self.name.replace("-", "_")

    @property
    def help(self) -> str:
        """Meaning, range and default in one line."""
        default = f"default {self.default}" if self.default else ""
        notes = "; ".join(filter(None, [self.range, default]))
        return f"{self.meaning} ({notes})" if notes else self.meaning


_FILE = "or path/to/file.py:Name"
TASK = (
    Flag("rule", "RULE", "learning rule", f"a name of `biograd rules` {_FILE}"),
    Flag("data", "DATA", "data set", f"a name of `biograd data`, files as folder:PATH, {_FILE}"),
    Flag("net", "NET", "net", f"a name of `biograd nets` {_FILE}"),
    Flag(
        "answers", "PART", "of a net that gives several tensors: a key, an attribute or a place, heads.policy"
    ),
    Flag(
        "by-keyword",
        "BOOL",
        "give the net the columns of an example by name, net(**x), in place of one dict",
        "true or false",
        "false",
    ),
    Flag("one-vs-rest", "CLASS", "make it binary: this class, by name or index, against the rest"),
    Flag(
        "data-dir",
        "DIR",
        "folder of the data's official files",
        default="$BIOGRAD_DATA, else the user's cache",
    ),
)
TRAINING = (
    Flag(
        "loss",
        "LOSS",
        "what is minimised",
        f"{', '.join(LOSSES)}, {_FILE}; or {AUTO}: what is usual for the task of the data",
        AUTO,
    ),
    Flag(
        "penalty",
        "NAME",
        "on the net's weights, minimised beside the loss",
        f"a name of `biograd penalties` {_FILE}",
        "none",
    ),
    Flag("epochs", "N", "passes over the training part", "≥ 1", "10"),
    Flag("batch-size", "N", "examples a step", "≥ 1", "100"),
    Flag("lr", "RATE", "learning rate; optimizers but adam have defaults of their own", "> 0", "0.001"),
    Flag(
        "optimizer",
        "NAME",
        "any of torch.optim's in lower case: adam, adamw, sgd, …; or adam-uncorrected",
        default="adam",
    ),
    Flag(
        "feedback-optimizer",
        "NAME",
        "of what the rule itself learns (decoders, feedback): an optimizer of its own",
        "a name as above, or shared: the net's",
        "shared",
    ),
    Flag("schedule", "NAME", "of the learning rates", "none, cosine or step", "cosine"),
    Flag("clip-norm", "NORM", "cut the gradient of all parameters together to this length", "> 0", "never"),
    Flag("validation-fraction", "F", "part of the training set that is held out", "0 ≤ F < 1", "0.1"),
    Flag(
        "read-test",
        "WHEN",
        "read the test set: once, at the end; never; or after each epoch too, for a paper that reports its best epoch",
        "true, false or every-epoch",
        "true",
    ),
    Flag(
        "observe",
        "NAME,…",
        "who else takes part in the run, and may stop it",
        "names of observers or path/to/file.py:Name; repeatable",
        is_repeatable=True,
    ),
    Flag("seed", "N", "what everything random derives from", "≥ 0", "0"),
)
MACHINE = (
    Flag("device", "DEVICE", "where to train", "auto, cpu, cuda, cuda:N or mps", "auto"),
    Flag("threads", "N", "threads within an operation; another number gives other bits", "1 to 1024", "1"),
    Flag("precision", "TYPE", "of numbers", "float32, float64, or bfloat16 for autocast", "float32"),
    Flag("deterministic", "BOOL", "refuse operations whose result varies", "true or false", "true"),
    Flag(
        "compile",
        "HOW",
        "compile the net, under bp and rules of feedback; or capture steps as CUDA graphs, under most rules",
        "true, false or graphs",
        "false",
    ),
)
RECORDS = (
    Flag(
        "label",
        "NAME",
        "what tables and folders call the run",
        "letters, digits and . _ + = -",
        "the rule's name",
    ),
    Flag(
        "track",
        "NAME,…",
        "where else to show the run",
        f"tensorboard, mlflow {_FILE}; repeatable; needs pip install 'biograd[track]'",
        is_repeatable=True,
    ),
    Flag("diagnostics-every", "N", "steps between two measurements of the rule's angles", "0 for none", "0"),
    Flag("checkpoint-every", "N", "steps between checkpoints within an epoch", "0 for none", "1000"),
)
GROUPS = {"what to train": TASK, "how": TRAINING, "where": MACHINE, "what to record": RECORDS}


def add_run_flags(parser: argparse.ArgumentParser, *, without: Iterable[str] = ()) -> None:
    """Add the flags of a run to a command's parser, except those whose names are given."""
    for title, flags in GROUPS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            if flag.name not in without:
                action = "append" if flag.is_repeatable else "store"
                group.add_argument(f"--{flag.name}", metavar=flag.value, help=flag.help, action=action)
    group.add_argument(
        "--config", metavar="FILE", help="TOML file of the same nested names; flags win key by key"
    )


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The nested configuration that the flags of a run make; what was not typed is left out."""
    typed = {flag.key: getattr(arguments, flag.key, None) for flag in _all_flags()}
    flags: dict[str, Any] = {key: value for key, value in typed.items() if value is not None}
    for section in SECTIONS:
        choice = _choice(flags.pop(section, None), arguments.settings, section)
        if choice:
            flags[section] = choice
    for section in SEVERAL:
        named = several(flags.pop(section, []), arguments.settings.get(section, {}), section)
        if named:
            flags[section] = named
    return flags


def several(typed: Iterable[str], settings: Mapping[str, str], section: str) -> dict[str, dict[str, str]]:
    """Names with their settings, by the last part of each name.

    Args:
        typed: what was written after each ``--track``.
        settings: what was written as ``--track.mlflow.uri URI``: ``{"mlflow.uri": "URI"}``.
        section: ``"track"``.

    Raises:
        UserMistake: two names end alike, or it is not said whose setting one is.

    Example:
        >>> several(["tensorboard,mlflow"], {"mlflow.uri": "sqlite:///runs.db"}, "track")
        {'tensorboard': {'name': 'tensorboard'}, 'mlflow': {'name': 'mlflow', 'uri': 'sqlite:///runs.db'}}
    """
    names = [name.strip() for text in typed for name in text.split(",") if name.strip()]
    labels = [name.rpartition(":")[2] for name in names]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserMistake(f"--{section}: {brief(twice)} is named twice")
    found = {label: {"name": name} for label, name in zip(labels, names, strict=True)}
    spelled = {label.replace("-", "_"): label for label in labels}  # as flags are read
    for key, value in settings.items():
        owner, _, setting = key.rpartition(".")
        if not owner:
            raise UserMistake(f"--{section}.{key} does not say whose: write --{section}.NAME.{key}")
        found.setdefault(spelled.get(owner, owner), {})[setting] = value
    return found


def _choice(name: str | None, settings: Settings, section: str) -> dict[str, str]:
    """A name and its settings; settings alone refine what a file or a default names."""
    named = {} if name is None else {"name": name}
    return {**settings.get(section, {}), **named}


def _all_flags() -> Sequence[Flag]:
    return [flag for flags in GROUPS.values() for flag in flags]
