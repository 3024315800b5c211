"""Checks that a rule leaves everything but ``.grad`` as it was, also when something goes wrong."""

import copy
import gc
import weakref
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from biograd.errors import UnsupportedNet, brief
from biograd.rules.examples import Task
from biograd.testing.snapshots import Traces, buffers, differing, gradients
from biograd.testing.subject import Subject, Trial, contract_check, make_net, require


@contract_check
def check_creation_leaves_no_trace(subject: Subject) -> None:
    """Making a rule changes nothing: neither the net, nor its buffers, nor the global generator."""
    task = subject.noisy_task
    net, (x, _) = make_net(task), task.batch(32, 0)
    traces, before, random_state = Traces(net), buffers(net), torch.get_rng_state()
    subject.make_rule(net, x[:1])
    require(not traces.found(), f"making the rule left on the net: {traces.found()}")
    names = differing(before, buffers(net))
    require(not names, f"making the rule changed the buffers {names}")
    filled = [name for name, grad in gradients(net=net).items() if grad is not None]
    require(not filled, f"making the rule filled .grad of {', '.join(filled)}")
    require(
        torch.equal(random_state, torch.get_rng_state()),
        "making the rule drew from the global random number generator; draw from one of its own",
    )


@contract_check
def check_leaves_no_trace(subject: Subject) -> None:
    """A call leaves no hook, attribute, flag, mode or changed parameter behind, and the batch as it was."""
    for task in (subject.task, subject.noisy_task):
        for training in (True, False):
            trial = subject.trial(task)
            trial.net.train(training)
            _check_untouched(trial)


def _check_untouched(trial: Trial) -> None:
    traces, x, y = Traces(trial.net), trial.x.clone(), trial.y.clone()
    trial.teach()
    require(not traces.found(), f"a call left behind: {traces.found()}")
    require(torch.equal(x, trial.x) and torch.equal(y, trial.y), "a call changed the batch it was given")
    require(trial.x.grad is None and not trial.x.requires_grad, "a call made the inputs require gradients")


@contract_check
def check_plain_backpropagation_goes_on(subject: Subject) -> None:
    """After a call, ``loss_fn(net(x), y).backward()`` gives the exact gradients that it gave before."""
    trial, plain = subject.trial(), subject.trial()
    trial.teach()
    trial.forget_gradients()
    for one in (trial, plain):
        one.task.loss_fn(one.net(one.x), one.y).backward()
    names = differing(gradients(net=trial.net), gradients(net=plain.net))
    require(not names, f"a call changed what plain backpropagation gives for {names}")


@contract_check
def check_buffers_and_random_state_end_as_after_a_forward(subject: Subject) -> None:
    """Running statistics, the global generator and the output are those of one ``net(x)``, in either mode."""
    for training in (True, False):
        trial = subject.trial(subject.noisy_task)
        trial.net.train(training)
        plain, start = copy.deepcopy(trial.net), torch.get_rng_state()
        output = trial.teach().output
        _compare_with_a_forward(trial, output, plain, start)


def _compare_with_a_forward(trial: Trial, output: Tensor, plain: nn.Module, start: Tensor) -> None:
    random_state = torch.get_rng_state()
    torch.set_rng_state(start)
    with torch.no_grad():
        expected = plain(trial.x)
    names = differing(buffers(trial.net), buffers(plain))
    require(not names, f"buffers do not end as net(x) would have left them: {names}")
    require(
        torch.equal(random_state, torch.get_rng_state()),
        "the global random number generator does not end as net(x) would have left it",
    )
    require(torch.equal(output, expected), "output is not that of net(x) from the same random state")


class _LossFailed(Exception):
    pass


@contract_check
def check_a_failing_loss_leaves_no_trace(subject: Subject) -> None:
    """An exception in ``loss_fn`` comes through; net, gradients and process are as if nothing had begun."""

    def fail(output: Tensor, y: Tensor) -> Tensor:
        raise _LossFailed

    trial = subject.trial()
    traces, before = Traces(trial.net), gradients(net=trial.net, rule=trial.rule)
    try:
        trial.rule.assign_credit(trial.net, trial.x, trial.y, fail)
    except _LossFailed:
        pass
    else:
        raise AssertionError("an exception of loss_fn was swallowed")
    require(not traces.found(), f"an exception in loss_fn left behind: {traces.found()}")
    names = differing(before, gradients(net=trial.net, rule=trial.rule))
    require(not names, f"an exception in loss_fn left gradients: {names}")
    trial.teach()


@contract_check
def check_refuses_another_net(subject: Subject) -> None:
    """A net that the rule was not made for raises UnsupportedNet, with gradients untouched.

    A rule that keeps nothing of the net may teach it, as one that was made for it would.
    """
    for other in _other_nets(subject.task):
        trial = subject.trial()
        trial.net = make_net(other)
        if not _is_refused(trial):
            expected = subject.trial(other)
            expected.teach()
            names = differing(gradients(net=trial.net), gradients(net=expected.net))
            require(
                not names, f"taught a net it was not made for, and differently than if it had been: {names}"
            )


def _is_refused(trial: Trial) -> bool:
    try:
        trial.teach()
    except UnsupportedNet:
        filled = [name for name, grad in gradients(net=trial.net).items() if grad is not None]
        require(not filled, f"refused another net, but filled .grad of {', '.join(filled)}")
        return True
    except Exception as error:
        message = f"a net that the rule was not made for must raise UnsupportedNet; got {brief(error)}"
        raise AssertionError(message) from error
    return False


def _other_nets(task: Task) -> Iterator[Task]:
    """Nets that take the same batch: one with other layers, one with a layer more."""
    x, _ = task.batch(2, 0)
    with torch.no_grad():
        outputs = make_net(task).eval()(x).shape[1]

    def narrow() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 7), nn.Tanh(), nn.Linear(7, outputs))

    def longer() -> nn.Module:
        net = task.net()
        layers = net if isinstance(net, nn.Sequential) else [net]
        return nn.Sequential(*layers, nn.Linear(outputs, outputs))

    yield Task(narrow, task.batch, task.loss_fn)
    yield Task(longer, task.batch, task.loss_fn)


@contract_check
def check_keeps_neither_net_nor_graph(subject: Subject) -> None:
    """The rule holds names and shapes alone: not the net, its tensors or a memory shared with them, nor a graph."""
    trial = subject.trial()
    trial.train(2)
    memory = {p.untyped_storage().data_ptr(): name for name, p in trial.net.named_parameters()}
    held = [
        (memory.get(t.untyped_storage().data_ptr()), t.grad_fn is None) for t in _tensors_within(trial.rule)
    ]
    alive = _alive_without_the_net(trial)
    require(all(is_leaf for _, is_leaf in held), "the rule holds a tensor with its graph; detach it")
    require(not alive, f"{type(trial.rule).__name__} keeps the net alive: {', '.join(alive)}")
    shared = [name for name, _ in held if name is not None]
    require(not shared, f"the rule holds tensors in the memory of the net's {', '.join(shared)}; clone them")


def _alive_without_the_net(trial: Trial) -> list[str]:
    """What of the net is still there when only the rule is kept."""
    parts = {
        **{f"its module {name!r}": weakref.ref(module) for name, module in trial.net.named_modules()},
        **{f"its parameter {name!r}": weakref.ref(p) for name, p in trial.net.named_parameters()},
    }
    trial.net = nn.Identity()
    gc.collect()
    return [name for name, part in parts.items() if part() is not None]


def _tensors_within(root: Any) -> Iterator[Tensor]:
    """Every tensor that can be reached from an object, through closures and containers of any kind."""
    seen, todo = {id(root)}, [root]
    while todo:
        thing = todo.pop()
        if isinstance(thing, Tensor):
            yield thing
        for part in _parts(thing):
            if id(part) not in seen and not isinstance(part, type | ModuleType):
                seen.add(id(part))
                todo.append(part)


def _parts(thing: Any) -> list[Any]:
    """What an object refers to; of a function not its globals, which are a whole module's."""
    if isinstance(thing, FunctionType):
        return [
            *(thing.__closure__ or ()),
            *(thing.__defaults__ or ()),
            *(thing.__kwdefaults__ or {}).values(),
        ]
    return gc.get_referents(thing)
