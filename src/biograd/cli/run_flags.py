"""The flags that configure a run, for every command that trains; checking them is the configuration's work."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from biograd.cli.parsing import Settings

SECTIONS = ("rule", "net", "data", "optimizer", "feedback_optimizer", "schedule", "penalty")
"""What takes a name, and settings of its own: ``--rule fa --rule.scale 0.5``."""


@dataclass(frozen=True)
class Flag:
    """One flag of a run, as the help shows it.

    Attributes:
        name: as it is typed, without the dashes.
        value: what stands for its value in the help.
        meaning: what it decides.
        range: the values it takes.
        default: in words or as it would be typed; empty where it must be given.
    """

    name: str
    value: str
    meaning: str
    range: str = ""
    default: str = ""

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
    Flag("data", "DATA", "data set", f"a name of `biograd data` {_FILE}"),
    Flag("net", "NET", "net", f"a name of `biograd nets` {_FILE}"),
    Flag("one-vs-rest", "CLASS", "make it binary: this class, by name or index, against the rest"),
    Flag(
        "data-dir",
        "DIR",
        "folder of the data's official files",
        default="$BIOGRAD_DATA, else the user's cache",
    ),
)
TRAINING = (
    Flag("loss", "LOSS", "what is minimised", "cross-entropy or squared-error", "cross-entropy"),
    Flag(
        "penalty",
        "NAME",
        "on the net's weights, minimised beside the loss",
        f"a name of `biograd penalties` {_FILE}",
        "none",
    ),
    Flag("epochs", "N", "passes over the training part", "≥ 1", "10"),
    Flag("batch-size", "N", "examples a step", "≥ 1", "100"),
    Flag("lr", "RATE", "learning rate", "> 0", "0.001"),
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
    Flag("seed", "N", "what everything random derives from", "≥ 0", "0"),
)
MACHINE = (
    Flag("device", "DEVICE", "where to train", "auto, cpu, cuda, cuda:N or mps", "auto"),
    Flag("threads", "N", "threads within an operation; another number gives other bits", "1 to 1024", "1"),
    Flag("precision", "TYPE", "of numbers", "float32, float64, or bfloat16 for autocast", "float32"),
    Flag("deterministic", "BOOL", "refuse operations whose result varies", "true or false", "true"),
)
RECORDS = (
    Flag(
        "label",
        "NAME",
        "what tables and folders call the run",
        "letters, digits and . _ + = -",
        "the rule's name",
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
                group.add_argument(f"--{flag.name}", metavar=flag.value, help=flag.help)
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
    return flags


def _choice(name: str | None, settings: Settings, section: str) -> dict[str, str]:
    """A name and its settings; settings alone refine what a file or a default names."""
    named = {} if name is None else {"name": name}
    return {**settings.get(section, {}), **named}


def _all_flags() -> Sequence[Flag]:
    return [flag for flags in GROUPS.values() for flag in flags]
