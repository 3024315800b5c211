"""What users bring (nets, rules, observers, …): what is wrong with it is one line, our own fault a traceback."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from biograd import user_files
from biograd.data import Task
from biograd.errors import UserMistake
from biograd.handed import is_handed
from biograd.penalties.base import Penalty
from biograd.rules.base import Credit, Rule
from biograd.user_files import failed, is_a_mistake

CHECK = "try it with biograd.testing.check_rule"


def is_users_own(name: str) -> bool:
    """Whether a name is that of something in a user's file, or of an object that a program gave."""
    return user_files.is_users_own(name) or is_handed(name)


@contextlib.contextmanager
def blamed(kind: str, name: str, expected: str = "") -> Iterator[None]:
    """Report what a user's own part raises inside, in one line and theirs; with a registered name, do nothing.

    Args:
        kind: ``"net"``, ``"rule"``, ``"data set"``, ``"penalty"``, ``"observer"`` or ``"study"``.
        name: the one in the configuration.
        expected: what the line adds.

    Raises:
        UserMistake: anything went wrong but memory, disks, or what biograd itself refused.
    """
    try:
        yield
    except Exception as error:
        if not is_users_own(name) or not is_a_mistake(error):
            raise
        raise failed(f"{kind} {name!r} failed", error, expected) from error


def require_rule(name: str, constructor: Callable[..., Any]) -> None:
    """Refuse a user's own constructor that can make no rule.

    Raises:
        UserMistake: a class not derived from Rule, without ``assign_credit``, or that takes no (net, sample).
    """
    if not is_users_own(name):
        return
    if inspect.isclass(constructor) and not issubclass(constructor, Rule):
        raise UserMistake(f"rule {name!r} is no rule: expected a class derived from biograd.Rule; {CHECK}")
    if missing := ", ".join(sorted(getattr(constructor, "__abstractmethods__", ()))):
        raise UserMistake(f"rule {name!r} must define {missing}(self, net, x, y, loss_fn); {CHECK}")
    if not _takes(constructor, 2):
        raise UserMistake(
            f"rule {name!r} takes {inspect.signature(constructor)}, expected (net, sample, *, settings); {CHECK}"
        )


def require_weight(name: str, rule: Rule) -> None:
    """Refuse a user's own rule that takes no weight, with which processes share out a batch.

    Raises:
        UserMistake: ``assign_credit`` has no such parameter.
    """
    if is_users_own(name) and "weight" not in inspect.signature(rule.assign_credit).parameters:
        raise UserMistake(
            f"rule {name!r} cannot be trained by several processes: its assign_credit takes no weight, by which each "
            f"teaches its share of a batch; {CHECK}"
        )


def require_net(name: str, constructor: Callable[..., Any]) -> None:
    """Refuse a user's own constructor that can make no net.

    Raises:
        UserMistake: a class that is no module or is a rule, or that takes no (input_shape, outputs).
    """
    if not is_users_own(name):
        return
    if inspect.isclass(constructor) and (
        not issubclass(constructor, nn.Module) or issubclass(constructor, Rule)
    ):
        raise UserMistake(f"net {name!r} is no net: expected a torch.nn.Module or a function that makes one")
    if not _takes(constructor, 2):
        raise UserMistake(
            f"net {name!r} takes {inspect.signature(constructor)}, expected (input_shape, outputs, *, settings)"
        )


def require_penalty(name: str, constructor: Callable[..., Any]) -> None:
    """Refuse a user's own constructor that can make no penalty.

    Raises:
        UserMistake: a class not derived from Penalty, without ``add_gradient``, or that takes no (net).
    """
    if not is_users_own(name):
        return
    if inspect.isclass(constructor) and not issubclass(constructor, Penalty):
        raise UserMistake(f"penalty {name!r} is no penalty: expected a class derived from biograd.Penalty")
    if missing := ", ".join(sorted(getattr(constructor, "__abstractmethods__", ()))):
        raise UserMistake(f"penalty {name!r} must define {missing}(self, net)")
    if not _takes(constructor, 1):
        raise UserMistake(
            f"penalty {name!r} takes {inspect.signature(constructor)}, expected (net, *, settings)"
        )


def require_trainable(name: str, net: Any) -> None:
    """Refuse what is no module, or one without parameters that could be trained.

    Raises:
        UserMistake: it is neither, or a layer is without its sizes.
    """
    if not isinstance(net, nn.Module):
        raise UserMistake(f"net {name!r} makes a {type(net).__name__}, expected a torch.nn.Module")
    lazy = [key for key, p in [*net.named_parameters(), *net.named_buffers()] if is_lazy(p)]
    if lazy:
        raise UserMistake(
            f"net {name!r} has a layer without sizes ({lazy[0]!r}): give the layer its sizes, "
            "as nn.Linear takes them and nn.LazyLinear does not"
        )
    if not any(p.requires_grad for p in net.parameters()):
        raise UserMistake(f"net {name!r} has no parameters to train")


def require_output(whose: str, output: Any, task: Task, y: Tensor) -> None:
    """Refuse what is no answer to examples with targets y.

    Raises:
        UserMistake: it has another shape than `Task.output_shape`.
    """
    expected = task.output_shape(y)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UserMistake(
            f"{whose} {got} for {expected[0]} examples, expected {expected}: one output {task.answers}"
        )


def require_credit(
    name: str, credit: Any, net: nn.Module, rule: Rule, task: Task, y: Tensor, answer: Callable[[Any], Tensor]
) -> None:
    """Refuse what a user's own rule gave back, or that it taught nothing: neither the net nor itself.

    Raises:
        UserMistake: no Credit of a scalar loss and an output, or no ``.grad`` in net and rule.
    """
    if not is_users_own(name):
        return
    if not isinstance(credit, Credit) or not isinstance(credit.loss, Tensor):
        got = "None" if credit is None else f"a {type(credit).__name__}"
        raise UserMistake(
            f"rule {name!r}: assign_credit must return Credit(loss, output), tensors; got {got}; {CHECK}"
        )
    if credit.loss.numel() != 1:
        shape = tuple(credit.loss.shape)
        raise UserMistake(f"rule {name!r}: the loss in Credit has shape {shape}, expected a scalar; {CHECK}")
    require_output(f"rule {name!r}: the output in Credit is", answer(credit.output), task, y)
    if all(p.grad is None for p in [*net.parameters(), *rule.parameters()]):
        raise UserMistake(
            f"rule {name!r}: assign_credit filled .grad of no parameter, neither the net's nor its own; {CHECK}"
        )


def _takes(constructor: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments by position; one that does not say is taken to."""
    try:
        inspect.signature(constructor).bind_partial(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # built in, without a signature
        return True
    return True
