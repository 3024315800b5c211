"""Checks of a rule as a module with a state of its own: seeds, saving, loading, moving, copying."""

import copy
import math

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from biograd.errors import brief
from biograd.rules.base import Rule
from biograd.testing.snapshots import differing, gradients, state
from biograd.testing.subject import Subject, Trial, contract_check, require


@contract_check
def check_is_a_complete_module(subject: Subject) -> None:
    """A rule is an ``nn.Module`` whose parameters and saved names are all there before the optimiser is made."""
    trial = subject.trial()
    lazy = [name for name, p in trial.rule.named_parameters() if isinstance(p, nn.UninitializedParameter)]
    require(not lazy, f"parameters without a shape before the first step: {', '.join(lazy)}")
    born = dict(trial.rule.named_parameters())
    shapes = _shapes(trial.rule)
    trial.train(3)
    grown = dict(trial.rule.named_parameters())
    require(
        born.keys() == grown.keys() and all(born[name] is grown[name] for name in born),
        "the rule's parameters were made or replaced after the optimiser was: it would train others",
    )
    require(shapes == _shapes(trial.rule), "the names or shapes of what the rule saves change as it learns")


def _shapes(rule: Rule) -> dict[str, torch.Size]:
    return {name: getattr(value, "shape", torch.Size()) for name, value in rule.state_dict().items()}


@contract_check
def check_saves_and_loads(subject: Subject) -> None:
    """A state saved as safetensors and loaded into another instance gives bit for bit the same next steps."""
    trial = subject.trial()
    trial.train(3)
    strangers = [name for name, value in trial.rule.state_dict().items() if not isinstance(value, Tensor)]
    require(not strangers, f"entries of state_dict() that are no tensors: {', '.join(strangers)}")
    saved = save({name: value.contiguous() for name, value in trial.rule.state_dict().items()})
    other = subject.trial(seed=77)
    other.net.load_state_dict(trial.net.state_dict())
    other.rule.load_state_dict(load(saved))
    names = _first_difference(trial, other)
    require(
        not names,
        f"after loading, the next steps are not bit for bit the same: {names}; what a step depends on, counters of "
        "draws too, must be in the rule's buffers or extra state",
    )


def _first_difference(a: Trial, b: Trial, steps: int = 2) -> str:
    """What the next steps of two trials make different, as text; empty if nothing."""
    for _ in range(steps):
        for trial in (a, b):
            trial.forget_gradients()
            trial.teach()
        names = differing(gradients(net=a.net, rule=a.rule), gradients(net=b.net, rule=b.rule))
        if names or (names := differing(state(a.rule), state(b.rule))):
            return names
    return ""


@contract_check
def check_copies(subject: Subject) -> None:
    """``copy.deepcopy`` gives a rule that goes on as the first one, and apart from it."""
    trial = subject.trial()
    trial.train(2)
    twin = Trial(copy.deepcopy(trial.net), copy.deepcopy(trial.rule), trial.x, trial.y, trial.task)
    before = state(twin.rule)
    trial_goes_on = Trial(copy.deepcopy(trial.net), trial.rule, trial.x, trial.y, trial.task)
    trial_goes_on.train(2)
    names = differing(before, state(twin.rule))
    require(not names, f"training a rule changed the state of its copy: {names}")
    reference = subject.trial()
    reference.train(2)
    names = _first_difference(twin, reference)
    require(not names, f"a copy does not go on as the rule did: {names}")


@contract_check
def check_moves(subject: Subject) -> None:
    """``rule.to(…)`` follows ``net.to(…)`` to another dtype, and to a GPU if there is one."""
    trial = subject.trial()
    trial.x = trial.x.double()
    _check_moved(trial)
    if torch.cuda.is_available():
        trial = subject.trial()
        trial.x, trial.y = trial.x.cuda(), trial.y.cuda()
        _check_moved(trial)


def _check_moved(trial: Trial) -> None:
    place = f"{trial.x.dtype} on {trial.x.device}"
    trial.net.to(trial.x)
    trial.rule.to(trial.x)
    stuck = [
        name for name, t in state(trial.rule).items() if t.is_floating_point() and not _is_at(t, trial.x)
    ]
    require(not stuck, f"did not move with rule.to(…) to {place}: {', '.join(stuck)}")
    try:
        loss = trial.train(2)[-1]
    except Exception as error:
        raise AssertionError(f"after a move to {place} the rule raises {brief(error)}") from error
    require(math.isfinite(loss), f"after a move to {place} the loss is {loss}")


def _is_at(tensor: Tensor, place: Tensor) -> bool:
    return tensor.dtype == place.dtype and tensor.device == place.device


@contract_check
def check_draws_from_a_generator_of_its_own(subject: Subject) -> None:
    """Same seed, same gradients, wherever the global generator stands; another seed, others."""
    first, second = _taught(subject, global_seed=1), _taught(subject, global_seed=2)
    names = differing(gradients(net=first.net, rule=first.rule), gradients(net=second.net, rule=second.rule))
    require(not names, f"gradients depend on the global random number generator: {names}")
    if subject.has_seed and subject.examples.draws:
        other = _taught(subject, global_seed=1, seed=77)
        same = not differing(gradients(net=first.net), gradients(net=other.net))
        require(not same, "the setting seed changes nothing")


def _taught(subject: Subject, global_seed: int, seed: int | None = None) -> Trial:
    """A trial after three steps, with the global generator elsewhere before each part of it."""
    torch.manual_seed(global_seed)
    trial = subject.trial(seed=seed)
    torch.manual_seed(global_seed + 10)
    trial.train(3)
    trial.teach()
    return trial


@contract_check
def check_instances_do_not_interfere(subject: Subject) -> None:
    """Two rules that learn in turns learn what each would learn alone."""
    alone = subject.trial()
    alone.train(2)
    one, two = subject.trial(), subject.trial()
    two.train(1)
    one.train(2)
    two.train(1)
    names = _first_difference(one, alone)
    require(not names, f"a rule learns differently when another one is at work: {names}")
