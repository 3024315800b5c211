"""The contract of a learning rule as checks that anyone's rule can run."""

from collections.abc import Callable, Mapping
from typing import Any

from biograd.rules.examples import CHAINS, Examples, Task, teacher
from biograd.testing import gradients, hooks, learning, states, traces
from biograd.testing.subject import Factory, Subject

__all__ = [
    "CHAINS",
    "Check",
    "Examples",
    "Subject",
    "Task",
    "all_checks",
    "check_rule",
    "teacher",
]

Check = Callable[[Subject], None]
"""Raises an AssertionError that says what was expected of the rule."""

_CHECKS: tuple[Check, ...] = (
    states.check_is_a_complete_module,
    learning.check_describes_its_settings,
    gradients.check_returns_loss_and_output,
    gradients.check_fills_gradients,
    gradients.check_adds_to_gradients,
    gradients.check_a_weight_scales_everything,
    gradients.check_own_gradients_are_its_own,
    gradients.check_leaves_frozen_parameters_untaught,
    gradients.check_teaches_the_net_it_is_given,
    gradients.check_takes_any_batch_size,
    gradients.check_takes_structures_or_refuses_them,
    hooks.check_hooks_on_parameters_run_once,
    hooks.check_an_optimizer_may_step_in_hooks,
    traces.check_creation_leaves_no_trace,
    traces.check_leaves_no_trace,
    traces.check_plain_backpropagation_goes_on,
    traces.check_buffers_and_random_state_end_as_after_a_forward,
    traces.check_a_failing_loss_leaves_no_trace,
    traces.check_refuses_another_net,
    traces.check_keeps_neither_net_nor_graph,
    states.check_draws_from_a_generator_of_its_own,
    states.check_instances_do_not_interfere,
    states.check_saves_and_loads,
    states.check_copies,
    states.check_moves,
    learning.check_advises_on_optimizers,
    learning.check_moves_hidden_layers,
    learning.check_learns,
)


def all_checks() -> tuple[Check, ...]:
    """Every check of the contract, the quick ones first.

    For a test a check, each with its name:

    .. code-block:: python

        @pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.__name__)
        def test_my_rule(check):
            check(Subject(MyRule))
    """
    return _CHECKS


def check_rule(
    factory: Factory | str,
    *,
    settings: Mapping[str, Any] | None = None,
    examples: Examples | None = None,
    kind: str = "mlp",
    steps: int = 150,
) -> None:
    """Run the whole contract of a learning rule; return if it holds.

    Args:
        factory: a class derived from `biograd.Rule`, another callable ``factory(net, sample, **settings)``, a
            registered name, or ``path/to/file.py:Name``.
        settings: the rule's settings, by name.
        examples: nets that the rule teaches, and what it is to reach on them; those that the rule declares
            (`biograd.Rule.examples`) unless given.
        kind: of the net among them: ``mlp``, ``convolutional`` or ``locally-connected``.
        steps: how many steps of Adam the rule gets to learn in.

    Raises:
        AssertionError: at the first check that fails; it says what was expected, and a note names the check.

    Example:
        >>> check_rule("fa", settings={"scale": 0.5})
    """
    subject = Subject(factory, settings or {}, examples, kind, steps)
    for check in all_checks():
        check(subject)
