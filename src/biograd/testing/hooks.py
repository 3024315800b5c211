"""Checks of hooks on parameters: what clips, scales, logs or steps as gradients come in acts under every rule."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn

from biograd.testing.snapshots import gradients, parameters
from biograd.testing.subject import Subject, Trial, contract_check, require


@contract_check
def check_hooks_on_parameters_run_once(subject: Subject) -> None:
    """A hook on a parameter of net or rule sees the whole gradient, once; what it returns is what is taught."""
    plain, hooked = subject.trial(), subject.trial()
    plain.teach()
    before, after = Counter[str](), Counter[str]()
    for name, parameter in _named(hooked):
        _halve(name, parameter, before)
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: after.update([name]))
    hooked.teach()
    halved = gradients(net=hooked.net, rule=hooked.rule)
    for name, gradient in gradients(net=plain.net, rule=plain.rule).items():
        times = 0 if gradient is None else 1
        for kind, seen in (("register_hook", before[name]), ("post-accumulate", after[name])):
            require(seen == times, f"a {kind} hook on {name} ran {seen} times, and must run {times}")
        got = halved[name]
        require(
            gradient is None or (got is not None and torch.equal(got, gradient / 2)),
            f"a hook that halves the gradient of {name} does not halve what is taught",
        )


def _halve(name: str, parameter: nn.Parameter, seen: Counter[str]) -> None:
    """Hooks that record and return None, and that halve the gradient."""
    parameter.register_hook(lambda _: seen.update([name]))
    parameter.register_hook(lambda gradient: gradient / 2)


@contract_check
def check_an_optimizer_may_step_in_hooks(subject: Subject) -> None:
    """An optimiser that steps as soon as a gradient is complete moves everything as one that waits for all."""
    waiting, hasty = subject.trial(dtype=torch.float64), subject.trial(dtype=torch.float64)
    waiting.teach()
    for _, parameter in _named(waiting):
        _step(parameter)
    for _, parameter in _named(hasty):
        parameter.register_post_accumulate_grad_hook(_step)
    hasty.teach()
    for owner in ("net", "rule"):
        expected = parameters(getattr(waiting, owner))
        for name, got in parameters(getattr(hasty, owner)).items():
            require(
                torch.allclose(got, expected[name], rtol=1e-9, atol=1e-12),
                f"an optimiser that steps in hooks moves {owner}.{name} differently; fill .grad in one backward",
            )


@torch.no_grad()
def _step(parameter: torch.Tensor) -> None:
    if parameter.grad is not None:
        parameter.sub_(parameter.grad, alpha=0.1)
        parameter.grad = None


def _named(trial: Trial) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of net and rule that learn, as `gradients` names them."""
    for owner, module in (("net", trial.net), ("rule", trial.rule)):
        yield from ((f"{owner}.{name}", p) for name, p in module.named_parameters() if p.requires_grad)
