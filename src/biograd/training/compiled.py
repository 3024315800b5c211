"""The net of a run compiled by PyTorch: where that is refused, and what is said of it."""

import contextlib
import copy
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from biograd.credit.eager import eagerly
from biograd.credit.isolation import isolated
from biograd.errors import NotFinite, UserMistake, cut_short

if TYPE_CHECKING:
    from biograd.training.config import RunConfig
    from biograd.training.run_setup import RunSetup

NO_FASTER = (
    "compile: on a CPU, steps of nets whose weights are all in linear layers took 0.99 to 1.08 times as long with it; "
    "it is for convolutions and normalisation"
)


def taught_net(config: "RunConfig", net: nn.Module, device: torch.device, nets: str) -> nn.Module:
    """What a rule is given to teach: the net, in a wrapper that compiles it where the configuration says so.

    One graph is made for every size of batch, so that a run that goes on has the bits of one that did not stop.

    Args:
        config: of the run.
        net: on its device.
        device: of the run.
        nets: what the rule teaches; see `biograd.Rule`.

    Raises:
        UserMistake: the rule would pass the compiled net by, or there is nothing to compile with.
    """
    if config.compile is not True:
        return net
    if nets == "chain":
        raise UserMistake(
            "compile is for rules that run the net as a whole (bp and those of feedback), and "
            f"{config.rule.label!r} runs it block by block: leave it out"
        )
    _require_compiler(device)
    return torch.compile(net, dynamic=False)  # pyright: ignore[reportReturnType]


def advice(config: "RunConfig", net: nn.Module, device: torch.device) -> tuple[str, ...]:
    """What a run is warned of: that its net gains nothing."""
    layers = [module for module in net.modules() if module._parameters]
    is_linear = all(isinstance(layer, nn.Linear) for layer in layers)
    return (NO_FASTER,) if config.compile is True and device.type == "cpu" and is_linear else ()


def let_rule_look(setup: "RunSetup", x: Any, y: Tensor) -> None:
    """Let the rule see what the net does with its weights, which compiled code hides; nothing is taught.

    So all steps of the run are compiled, the first ones of every process too.
    """
    rule, net = setup.rule, setup.taught
    state = copy.deepcopy(rule.state_dict())
    with (
        isolated(net, setup.loss_fn, devices_of=x),
        setup.autocast(),
        eagerly(),
        contextlib.suppress(NotFinite),
    ):
        rule.assign_credit(net, x, y, setup.loss_fn)  # numbers that are not finite show in the run itself
    rule.load_state_dict(state)
    rule.zero_grad()


def refusal(error: RuntimeError) -> UserMistake | None:
    """What is said where the compiler fails; None of an error that is not its own."""
    dynamo = sys.modules.get("torch._dynamo.exc")
    if dynamo is None or not isinstance(error, dynamo.TorchDynamoException):
        return None
    reason = cut_short(" ".join(str(error).split()), 160)
    return UserMistake(f"the net could not be compiled ({reason}): leave compile out (--compile false)")


def _require_compiler(device: torch.device) -> None:
    """Refuse where PyTorch would find nothing to compile with."""
    if device.type == "mps":
        raise UserMistake("compile is for cpu and cuda: leave it out, or use another device")
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(name) is None:
        raise UserMistake(
            f"compile needs a C++ compiler, and there is no {name}: install one, name one in $CXX, or leave it out"
        )
