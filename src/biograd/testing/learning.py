"""Checks that a rule learns, moves what it says it moves, and says what it takes."""

import inspect
from collections.abc import Mapping

import torch

from biograd.errors import brief
from biograd.settings import describe
from biograd.testing.snapshots import parameters
from biograd.testing.subject import Subject, Trial, contract_check, require


@contract_check
def check_learns(subject: Subject) -> None:
    """The loss on a small teacher falls below a share of what it was."""
    trial = subject.trial()
    with torch.no_grad():
        first = float(trial.task.loss_fn(trial.net(trial.x), trial.y))
    losses = trial.train(subject.steps, subject.examples.learning_rate)
    last = sum(losses[-10:]) / 10
    require(
        last < subject.falls_to * first,
        f"the loss went from {first:.3g} to {last:.3g} in {subject.steps} steps; expected less than "
        f"{subject.falls_to:g} of the first",
    )


@contract_check
def check_moves_hidden_layers(subject: Subject) -> None:
    """Every hidden layer learns but what is ``untaught``, or none if ``teaches_hidden_layers = False``."""
    trial = subject.trial()
    untaught = trial.untaught()
    hidden = [name for name in parameters(trial.net) if not _is_last(trial, name)]
    before = parameters(trial.net)
    trial.train(5)
    after = parameters(trial.net)
    moved = [name for name in hidden if not torch.equal(before[name], after[name])]
    if trial.rule.teaches_hidden_layers:
        still = [name for name in hidden if name not in moved and name not in untaught]
        require(not still, f"hidden parameters do not move: {', '.join(still)}")
        against = [name for name in moved if name in untaught]
        require(not against, f"says that these are untaught, but moves {', '.join(against)}")
    else:
        require(not moved, f"says teaches_hidden_layers = False, but moves {', '.join(moved)}")


def _is_last(trial: Trial, name: str) -> bool:
    wanted = trial.net.get_parameter(name)
    return any(wanted is parameter for parameter in trial.layers()[-1].parameters(recurse=False))


@contract_check
def check_advises_on_optimizers(subject: Subject) -> None:
    """``check_optimizer`` answers with a list of lines and changes nothing."""
    trial = subject.trial()
    optimizer = trial.optimizer(0.01)
    groups = [dict(group) for group in optimizer.param_groups]
    warnings = trial.rule.check_optimizer(optimizer, 100)
    is_list = isinstance(warnings, list) and all(isinstance(line, str) for line in warnings)
    require(is_list, f"check_optimizer must return a list of lines, got {brief(warnings)}")
    require(
        groups == [dict(group) for group in optimizer.param_groups], "check_optimizer changed the optimiser"
    )


@contract_check
def check_describes_its_settings(subject: Subject) -> None:
    """Settings are keyword-only, annotated and have defaults, so that a command line can offer and check them."""
    constructor = subject.constructor
    if not inspect.isclass(constructor):
        return
    signature = inspect.signature(constructor)
    for setting in (one for one in describe(constructor) if one.strategy is None):
        parameter = signature.parameters[setting.name]
        require(parameter.annotation is not parameter.empty, f"setting {setting.name!r} has no annotation")
        require(parameter.default is not parameter.empty, f"setting {setting.name!r} has no default")
    names = [n for n, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD][2:]
    require(not names, f"settings must be keyword-only: write `*,` before {', '.join(names)}")
    require(isinstance(constructor.default_training, Mapping), "default_training must be a mapping")
