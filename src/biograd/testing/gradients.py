"""Checks of what a rule is for: the loss and output it returns, and the ``.grad`` it fills."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from biograd.errors import UserMistake, brief
from biograd.testing.snapshots import differing, gradients
from biograd.testing.subject import Subject, Trial, contract_check, require


@contract_check
def check_returns_loss_and_output(subject: Subject) -> None:
    """The result is ``Credit(loss, output)``, detached, bit for bit what the net and the loss give."""
    trial = subject.trial()
    with torch.no_grad():
        expected = trial.net(trial.x)
        loss = trial.task.loss_fn(expected, trial.y)
    credit = trial.teach()
    attached = [name for name, value in credit._asdict().items() if value.requires_grad]
    require(not attached, f"{', '.join(attached)} must be detached, or the graph outlives the step")
    require(torch.equal(credit.output, expected), "output is not bit for bit what net(x) gives")
    require(
        torch.equal(credit.loss, loss), f"loss is {brief(credit.loss)}, loss_fn(net(x), y) is {brief(loss)}"
    )


@contract_check
def check_fills_gradients(subject: Subject) -> None:
    """Every parameter that the rule teaches has a finite ``.grad``, the last layer's and its own among them."""
    trial = subject.trial()
    untaught = trial.untaught()
    filled = _filled_within(trial, calls=4)
    last = trial.layers()[-1]
    for name, parameter in trial.net.named_parameters():
        is_last = any(parameter is p for p in last.parameters())
        if (is_last or trial.rule.teaches_hidden_layers) and name not in untaught:
            require(f"net.{name}" in filled, f"{name} has no gradient that is not zero")
    own = [name for name, p in trial.rule.named_parameters() if p.requires_grad]
    missing = [name for name in own if f"rule.{name}" not in filled]
    require(not missing, f"parameters of the rule never get a gradient: {', '.join(missing)}")


def _filled_within(trial: Trial, calls: int) -> set[str]:
    """Names of all that got a gradient in one of some calls: a rule may take turns."""
    filled: set[str] = set()
    for _ in range(calls):
        trial.forget_gradients()
        trial.teach()
        for name, grad in gradients(net=trial.net, rule=trial.rule).items():
            if grad is not None:
                require(bool(grad.isfinite().all()), f"the gradient of {name} is not finite")
                filled |= {name} if grad.any() else set()
    return filled


@contract_check
def check_adds_to_gradients(subject: Subject) -> None:
    """A call adds to what stands in ``.grad``, the rule's own parameters included."""
    alone, onto = subject.trial(dtype=torch.float64), subject.trial(dtype=torch.float64)
    alone.teach()
    added = gradients(net=alone.net, rule=alone.rule)
    before = _fill_at_random(onto)
    onto.teach()
    for name, total in gradients(net=onto.net, rule=onto.rule).items():
        grad = added[name]
        expected = before[name] if grad is None else before[name] + grad
        require(
            total is not None and torch.allclose(total, expected, rtol=1e-9, atol=1e-12),
            f"the gradient of {name} is not what was there plus what a call adds; a call must add, not overwrite",
        )


def _fill_at_random(trial: Trial) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    for parameter in (*trial.net.parameters(), *trial.rule.parameters()):
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return {
        name: grad for name, grad in gradients(net=trial.net, rule=trial.rule).items() if grad is not None
    }


@contract_check
def check_a_weight_scales_everything(subject: Subject) -> None:
    """A weight multiplies every gradient of net and rule; a number an example does so to what each example teaches."""
    plain = subject.trial(dtype=torch.float64)
    takes = "weight" in inspect.signature(plain.rule.assign_credit).parameters
    require(takes, "assign_credit takes no weight; it must scale everything that a call teaches")
    plain.teach()
    taught = gradients(net=plain.net, rule=plain.rule)
    for weight in (0.25, torch.full((len(plain.x),), 0.25)):
        scaled = subject.trial(dtype=torch.float64)
        scaled.teach(weight=weight)
        _require_sum(gradients(net=scaled.net, rule=scaled.rule), taught, 0.25, "with weight 0.25 that")
    if plain.rule.averages_examples:
        halves = subject.trial(dtype=torch.float64), subject.trial(dtype=torch.float64)
        for place, half in enumerate(halves):
            half.teach(weight=(torch.arange(len(half.x)) % 2 == place).double())
        one, other = (gradients(net=half.net, rule=half.rule) for half in halves)
        pairs = {name: [g for g in (one[name], other[name]) if g is not None] for name in taught}
        total = {name: torch.stack(pair).sum(0) if pair else None for name, pair in pairs.items()}
        _require_sum(
            total, taught, 1.0, "with weight 1 for half of the examples, and for the other half, the sum"
        )


def _require_sum(
    found: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None], factor: float, what: str
) -> None:
    for name, gradient in expected.items():
        got = found[name]
        if gradient is not None:
            require(
                got is not None and torch.allclose(got, factor * gradient, rtol=1e-8, atol=1e-12),
                f"{what} of {name} is not {factor:g} times that without",
            )


@contract_check
def check_own_gradients_are_its_own(subject: Subject) -> None:
    """No two ``.grad`` share memory: clipping or scaling gradients would act on them twice."""
    trial = subject.trial()
    trial.teach()
    owner: dict[int, str] = {}
    for kind, module in (("net", trial.net), ("rule", trial.rule)):
        for name, parameter in module.named_parameters():
            if parameter.grad is not None and parameter.grad.numel():
                memory = parameter.grad.untyped_storage().data_ptr()
                require(
                    memory not in owner,
                    f"the gradient of {kind}.{name} shares memory with {owner.get(memory)}",
                )
                owner[memory] = f"that of {kind}.{name}"


@contract_check
def check_leaves_frozen_parameters_untaught(subject: Subject) -> None:
    """A frozen layer gets no gradient, whichever it is, and the others keep theirs."""
    trial = subject.trial()
    trial.teach()
    taught = [name for name, p in trial.net.named_parameters() if p.grad is not None]
    for index in range(len(trial.layers())):
        _check_with_frozen(subject.trial(), index, taught)


def _check_with_frozen(trial: Trial, index: int, taught: list[str]) -> None:
    for parameter in trial.layers()[index].parameters(recurse=False):
        parameter.requires_grad_(False)
    trial.teach()
    parameters = dict(trial.net.named_parameters())
    filled = [name for name, p in parameters.items() if not p.requires_grad and p.grad is not None]
    require(not filled, f"frozen parameters got a gradient: {', '.join(filled)}")
    bare = [name for name in taught if parameters[name].requires_grad and parameters[name].grad is None]
    require(not bare, f"with layer {index} frozen, others got no gradient any more: {', '.join(bare)}")


@contract_check
def check_teaches_the_net_it_is_given(subject: Subject) -> None:
    """A copy of the net is taught as the net is, and the net then gets nothing."""
    trial, other = subject.trial(), subject.trial()
    other.teach()
    original, trial.net = trial.net, copy.deepcopy(trial.net)
    trial.teach()
    stray = [name for name, p in original.named_parameters() if p.grad is not None]
    require(not stray, f"a copy was to be taught, but the first net got gradients: {', '.join(stray)}")
    names = differing(gradients(net=trial.net), gradients(net=other.net))
    require(not names, f"a copy of the net is taught differently from the net: {names}")


@contract_check
def check_takes_any_batch_size(subject: Subject) -> None:
    """Batches of different sizes may follow one another, as at the end of an epoch, down to one example."""
    trial = subject.trial()
    for size in (8, 3, 1, 5):
        x, y = trial.task.batch(size, size)
        try:
            output = trial.teach(x, y).output
        except Exception as error:
            raise AssertionError(f"a batch of {size} after others raises {brief(error)}") from error
        require(len(output) == size, f"{size} inputs gave {len(output)} outputs")


@contract_check
def check_takes_structures_or_refuses_them(subject: Subject) -> None:
    """A net that takes and gives dicts of tensors is taught as it is by one tensor, or refused in a line at first."""
    plain, trial = subject.trial(), subject.trial()
    expected = plain.teach().output
    trial.net.register_forward_pre_hook(lambda net, inputs: (inputs[0]["input"],))
    trial.net.register_forward_hook(lambda net, inputs, output: {"output": output, "none": None})
    try:
        output = _teach_in_dicts(trial)
    except UserMistake as refusal:
        names = [name for name, grad in gradients(net=trial.net, rule=trial.rule).items() if grad is not None]
        require(not names, f"refused a dict of tensors, but filled .grad of {', '.join(names)}: {refusal}")
        return
    is_same = isinstance(output, dict) and output.keys() == {"output", "none"}
    require(
        is_same,
        f"the net gives a dict, and output is a {type(output).__name__}; it must be of that structure",
    )
    require(torch.equal(output["output"], expected), "in a dict output is not bit for bit what net(x) gives")
    require(
        not output["output"].requires_grad,
        "output in a dict must be detached, or the graph outlives the step",
    )
    names = differing(*(gradients(net=one.net, rule=one.rule) for one in (trial, plain)))
    require(not names, f"a net that takes and gives dicts is taught differently: {names}")


def _teach_in_dicts(trial: Trial) -> Any:
    loss_fn = trial.task.loss_fn
    return trial.rule.assign_credit(
        trial.net, {"input": trial.x}, trial.y, lambda output, y: loss_fn(output["output"], y)
    ).output
