"""Every check of the contract catches the rules that break it: each class below is broken in one way."""

import inspect
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

import biograd
from biograd import Credit, FeedbackAlignment, KolenPollack, Rule, Shallow
from biograd.credit.chain.ledger import Ledger
from biograd.rules.backpropagation import Backpropagation
from biograd.rules.feedback_rule import FeedbackRule
from biograd.testing import Subject, all_checks, check_rule, gradients, hooks, learning, states, traces

BROKEN = []


def caught_by(check, message):
    """Note that a rule fails a check with this message."""

    def note(rule):
        BROKEN.append(pytest.param(check, rule, message, id=f"{check.__name__}-{rule.__name__}"))
        return rule

    return note


@pytest.fixture(autouse=True)
def _modes_do_not_outlive_a_test():
    yield
    for mode in reversed(_get_current_function_mode_stack()):
        mode.__exit__(None, None, None)


# --- what a rule returns and fills ---


@caught_by(gradients.check_returns_loss_and_output, "loss, output must be detached")
class ReturnsItsGraph(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        output = net(x)
        loss = loss_fn(output, y)
        loss.backward()
        return Credit(loss, output)


@caught_by(gradients.check_returns_loss_and_output, "expected no error, and KeyError was raised: 'nothing'")
class Raises(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        raise KeyError("nothing")


@caught_by(gradients.check_returns_loss_and_output, "expected a Credit")
class ReturnsATuple(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        return tuple(super().assign_credit(net, x, y, loss_fn))


@caught_by(gradients.check_returns_loss_and_output, "output is not bit for bit")
class ReturnsProbabilities(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        loss, output = super().assign_credit(net, x, y, loss_fn)
        return Credit(loss, output.softmax(1))


@caught_by(gradients.check_returns_loss_and_output, "loss is .* loss_fn")
class ReturnsTheLossOfTheBatch(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        loss, output = super().assign_credit(net, x, y, loss_fn)
        return Credit(loss * len(x), output)


@caught_by(gradients.check_a_weight_scales_everything, "takes no weight")
class TakesNoWeight(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(gradients.check_a_weight_scales_everything, r"weight 0\.25 that of net\.0\.weight")
class WeighsNothing(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn, *, weight=None):
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(gradients.check_a_weight_scales_everything, "for half of the examples")
class WeighsByTheirMean(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn, *, weight=None):
        weight = weight.square().mean().sqrt() if torch.is_tensor(weight) else weight
        return super().assign_credit(net, x, y, loss_fn, weight=weight)


@caught_by(gradients.check_fills_gradients, "0.weight has no gradient")
class TeachesTheLastLayerOnly(Shallow):
    teaches_hidden_layers = True


@caught_by(gradients.check_fills_gradients, "is not finite")
class DividesByZero(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        return super().assign_credit(net, x, y, lambda output, y: loss_fn(output, y) / 0)


@caught_by(gradients.check_fills_gradients, "parameters of the rule never get a gradient: unused")
class HasAParameterToSpare(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.unused = nn.Parameter(torch.ones(2))


@caught_by(gradients.check_adds_to_gradients, "must add, not overwrite")
class Overwrites(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        net.zero_grad()
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(gradients.check_adds_to_gradients, "rule.B.* must add")
class GivesItsOwnParameterAllThatStands(KolenPollack):
    def assign_credit(self, net, x, y, loss_fn):
        credit = FeedbackRule.assign_credit(self, net, x, y, loss_fn)
        for name, W in self.weights(net).items():
            B = self.B[name]
            B.grad = W.grad.clone() if B.grad is None else B.grad + W.grad
        return credit


@caught_by(gradients.check_own_gradients_are_its_own, "rule.B.* shares memory with that of net")
class SharesItsGradients(KolenPollack):
    def assign_credit(self, net, x, y, loss_fn):
        credit = FeedbackRule.assign_credit(self, net, x, y, loss_fn)
        for name, W in self.weights(net).items():
            self.B[name].grad = W.grad
        return credit


@caught_by(hooks.check_hooks_on_parameters_run_once, "a register_hook hook on net.0.weight ran 2 times")
class ComputesGradientsAndHandsThemOver(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        output = net(x)
        loss, parameters = loss_fn(output, y), [p for p in net.parameters() if p.requires_grad]
        ledger = Ledger()
        ledger.add_gradients(parameters, torch.autograd.grad(loss, parameters))
        ledger.settle()
        return Credit(loss.detach(), output.detach())


@caught_by(hooks.check_hooks_on_parameters_run_once, "a register_hook hook on net.2.weight ran 0 times")
class WritesGradientsItself(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        weight = net[2].weight.requires_grad_(False)
        credit = super().assign_credit(net, x, y, loss_fn)
        weight.requires_grad_()
        weight.grad = torch.ones_like(weight)
        return credit


@caught_by(hooks.check_hooks_on_parameters_run_once, "a register_hook hook on net.0.weight ran 2 times")
class TeachesByHalves(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        output = net(x)
        loss = loss_fn(output, y)
        for _ in range(2):
            (loss / 2).backward(retain_graph=True)
        return Credit(loss.detach(), output.detach())


@caught_by(hooks.check_hooks_on_parameters_run_once, "halves the gradient of net.0.weight does not halve")
class AddsBehindTheHooks(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        credit = super().assign_credit(net, x, y, loss_fn)
        net[0].weight.grad += 1
        return credit


@caught_by(hooks.check_an_optimizer_may_step_in_hooks, "moves rule.B.0:weight differently")
class ReadsGradientsAfterTheBackward(KolenPollack):
    def assign_credit(self, net, x, y, loss_fn):
        self.requires_grad_(False)
        credit = FeedbackRule.assign_credit(self, net, x, y, loss_fn)
        self.requires_grad_()
        for name, W in self.weights(net).items():
            self.B[name].grad = None if W.grad is None else W.grad.clone()
        return credit


@caught_by(gradients.check_leaves_frozen_parameters_untaught, "frozen parameters got a gradient: 0.weight")
class TeachesFrozenLayers(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        frozen = [p.requires_grad_() for p in net.parameters() if not p.requires_grad]
        credit = super().assign_credit(net, x, y, loss_fn)
        for parameter in frozen:
            parameter.requires_grad_(False)
        return credit


@caught_by(gradients.check_leaves_frozen_parameters_untaught, "others got no gradient")
class StopsAtAFrozenLayer(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        output = x
        for layer in net:
            is_frozen = any(not p.requires_grad for p in layer.parameters())
            output = layer(output).detach() if is_frozen else layer(output)
        loss = loss_fn(output, y)
        if loss.requires_grad:
            loss.backward()
        return Credit(loss.detach(), output.detach())


@caught_by(gradients.check_teaches_the_net_it_is_given, "the first net got gradients")
class TeachesTheNetItWasMadeFor(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self._net = (net,)

    def assign_credit(self, net, x, y, loss_fn):
        return super().assign_credit(self._net[0], x, y, loss_fn)


@caught_by(gradients.check_teaches_the_net_it_is_given, "taught differently")
class KnowsParametersByIdentity(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self._known = {id(p) for p in net.parameters()}

    def assign_credit(self, net, x, y, loss_fn):
        credit = super().assign_credit(net, x, y, loss_fn)
        for parameter in net.parameters():
            if id(parameter) not in self._known:
                parameter.grad = None
        return credit


@caught_by(gradients.check_takes_any_batch_size, "a batch of 3 .* raises")
class KeepsNoiseOfTheFirstBatch(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self._noise = None

    def assign_credit(self, net, x, y, loss_fn):
        self._noise = torch.zeros_like(x) if self._noise is None else self._noise
        return super().assign_credit(net, x + self._noise, y, loss_fn)


@caught_by(gradients.check_takes_any_batch_size, "3 inputs gave 1 outputs")
class LooksAtTheFirstExampleOnly(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        return super().assign_credit(net, x[:1] if len(x) == 3 else x, y[:1] if len(x) == 3 else y, loss_fn)


class KnowsDicts(Rule):
    """Backpropagation that takes one tensor or a dict with one, and may do something else."""

    takes_structures = True

    def __init__(self, net, sample=None):
        super().__init__()

    def assign_credit(self, net, x, y, loss_fn):
        output = net(x)
        loss = loss_fn(output, y)
        loss.backward()
        return Credit(loss.detach(), self.given(net, output))

    def given(self, net, output):
        if isinstance(output, dict):
            return {name: part if part is None else part.detach() for name, part in output.items()}
        return output.detach()


@caught_by(gradients.check_takes_structures_or_refuses_them, "a dict, and output is a Tensor")
class GivesOneTensor(KnowsDicts):
    def given(self, net, output):
        return output["output"].detach() if isinstance(output, dict) else output.detach()


@caught_by(gradients.check_takes_structures_or_refuses_them, "is not bit for bit")
class GivesOtherNumbers(KnowsDicts):
    def given(self, net, output):
        return super().given(
            net, {**output, "output": output["output"] + 1} if isinstance(output, dict) else output
        )


@caught_by(gradients.check_takes_structures_or_refuses_them, "output in a dict must be detached")
class GivesAGraph(KnowsDicts):
    def given(self, net, output):
        return output if isinstance(output, dict) else output.detach()


@caught_by(gradients.check_takes_structures_or_refuses_them, "taught differently: net.0.weight")
class ForgetsWhatDictsTeach(KnowsDicts):
    def given(self, net, output):
        if isinstance(output, dict):
            net.zero_grad()
        return super().given(net, output)


@caught_by(
    gradients.check_takes_structures_or_refuses_them, "refused a dict of tensors, but filled .grad of net.0"
)
class RefusesDictsTooLate(KnowsDicts):
    def given(self, net, output):
        if isinstance(output, dict):
            raise biograd.UserMistake("a tensor, please")
        return output.detach()


@caught_by(
    gradients.check_takes_structures_or_refuses_them, "expected no error, and AttributeError was raised"
)
class FailsAtADict(KnowsDicts):
    def given(self, net, output):
        return output.detach()


# --- traces ---


@caught_by(traces.check_creation_leaves_no_trace, "drew from the global random number generator")
class DrawsWhenMade(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.register_buffer("B", torch.randn(3))


@caught_by(traces.check_creation_leaves_no_trace, "changed the buffers 1.running_mean")
class RunsTheNetWhenMade(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        with torch.no_grad():
            net(sample.expand(2, *sample.shape[1:]))


@caught_by(traces.check_creation_leaves_no_trace, "left on the net: .*_forward_hooks")
class HooksWhenMade(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        net.register_forward_hook(_do_nothing)


@caught_by(traces.check_creation_leaves_no_trace, "filled .grad of net.0.weight")
class TeachesWhenMade(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        for parameter in net.parameters():
            parameter.grad = torch.zeros_like(parameter)


def _do_nothing(*_):
    return None


class LeavesSomething(Backpropagation):
    """Backpropagation, and then something else."""

    def assign_credit(self, net, x, y, loss_fn):
        credit = super().assign_credit(net, x, y, loss_fn)
        self.leave(net, x)
        return credit


@caught_by(traces.check_leaves_no_trace, "attribute 0._forward_hooks")
class LeavesAHook(LeavesSomething):
    def leave(self, net, x):
        net[0].register_forward_hook(_do_nothing)


@caught_by(traces.check_leaves_no_trace, "hooks of 0.weight")
class LeavesAHookOnAParameter(LeavesSomething):
    def leave(self, net, x):
        net[0].weight.register_hook(_do_nothing)


@caught_by(traces.check_leaves_no_trace, "hooks after accumulation of 0.weight")
class LeavesAHookAfterAccumulation(LeavesSomething):
    def leave(self, net, x):
        net[0].weight.register_post_accumulate_grad_hook(_do_nothing)


@caught_by(traces.check_leaves_no_trace, "attribute 0.feedback")
class LeavesAnAttribute(LeavesSomething):
    def leave(self, net, x):
        net[0].feedback = "mine"


@caught_by(traces.check_leaves_no_trace, "attributes of 0.weight")
class LeavesAnAttributeOnAParameter(LeavesSomething):
    def leave(self, net, x):
        net[0].weight.feedback = "mine"


@caught_by(traces.check_leaves_no_trace, "attribute net.training")
class LeavesTheNetInAnotherMode(LeavesSomething):
    def leave(self, net, x):
        net.train(not net.training)


@caught_by(traces.check_leaves_no_trace, "requires_grad of 0.weight")
class FreezesALayer(LeavesSomething):
    def leave(self, net, x):
        net[0].weight.requires_grad_(False)


@caught_by(traces.check_leaves_no_trace, "values of 0.weight")
class UpdatesTheNetItself(LeavesSomething):
    def leave(self, net, x):
        net[0].weight.data.sub_(net[0].weight.grad)


@caught_by(traces.check_leaves_no_trace, "attribute 0._parameters")
class ReplacesAParameter(LeavesSomething):
    def leave(self, net, x):
        net[0].weight = nn.Parameter(net[0].weight.detach())


@caught_by(traces.check_leaves_no_trace, "changed the batch")
class ChangesTheInputs(LeavesSomething):
    def leave(self, net, x):
        x.zero_()


@caught_by(traces.check_leaves_no_trace, "made the inputs require gradients")
class MakesInputsRequireGradients(LeavesSomething):
    def leave(self, net, x):
        x.requires_grad_()


class _Idle(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@caught_by(traces.check_leaves_no_trace, "process-wide function modes")
class LeavesAMode(LeavesSomething):
    def leave(self, net, x):
        _Idle().__enter__()


@caught_by(
    traces.check_plain_backpropagation_goes_on, "changed what plain backpropagation gives for net.0.weight"
)
class TurnsGradientsAround(LeavesSomething):
    def leave(self, net, x):
        net[0].weight.register_hook(torch.neg)


@caught_by(
    traces.check_buffers_and_random_state_end_as_after_a_forward, "buffers do not end .*1.running_mean"
)
class RunsTheNetTwice(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        random_state = torch.get_rng_state()
        net(x)
        torch.set_rng_state(random_state)
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(traces.check_buffers_and_random_state_end_as_after_a_forward, "generator does not end")
class DrawsAfterTheForward(LeavesSomething):
    def leave(self, net, x):
        torch.rand(1)


@caught_by(traces.check_buffers_and_random_state_end_as_after_a_forward, "output is not that of net")
class ReturnsAnotherOutput(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        loss, output = super().assign_credit(net, x, y, loss_fn)
        return Credit(loss, output + 1)


@caught_by(traces.check_a_failing_loss_leaves_no_trace, "left behind: .*_forward_hooks")
class RemovesItsHookWhenAllGoesWell(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        hook = net.register_forward_hook(_do_nothing)
        credit = super().assign_credit(net, x, y, loss_fn)
        hook.remove()
        return credit


@caught_by(traces.check_a_failing_loss_leaves_no_trace, "swallowed")
class SwallowsExceptions(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        try:
            return super().assign_credit(net, x, y, loss_fn)
        except Exception:
            return Credit(torch.tensor(0.0), net(x).detach())


@caught_by(traces.check_a_failing_loss_leaves_no_trace, "left gradients: net.0.weight")
class TeachesBeforeTheLoss(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        net(x).sum().backward()
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(traces.check_refuses_another_net, "must raise UnsupportedNet; got KeyError")
class FailsOnAnotherNet(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self._sizes = {p.shape: p.numel() for p in net.parameters()}

    def assign_credit(self, net, x, y, loss_fn):
        for parameter in net.parameters():
            self._sizes[parameter.shape]
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(traces.check_refuses_another_net, "differently than if it had been")
class TeachesWhatItKnowsOfAnotherNet(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self._known = {p.shape for p in net.parameters()}

    def assign_credit(self, net, x, y, loss_fn):
        credit = super().assign_credit(net, x, y, loss_fn)
        for parameter in net.parameters():
            parameter.grad = parameter.grad if parameter.shape in self._known else None
        return credit


@caught_by(traces.check_refuses_another_net, "refused another net, but filled .grad of 0.weight|1.weight")
class RefusesTooLate(FeedbackAlignment):
    def assign_credit(self, net, x, y, loss_fn):
        loss_fn(net(x), y).backward()
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(traces.check_keeps_neither_net_nor_graph, "keeps the net alive: its module ''")
class KeepsTheNet(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self._net = [net]


@caught_by(traces.check_keeps_neither_net_nor_graph, "holds tensors in the memory of the net's 0.weight")
class KeepsAViewOfAWeight(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        weight = next(net.parameters()).detach()
        self.feedback = lambda: weight.t()


@caught_by(traces.check_keeps_neither_net_nor_graph, "with its graph")
class KeepsTheGraph(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        self._output = net(x)
        return super().assign_credit(net, x, y, loss_fn)


# --- state ---


@caught_by(states.check_is_a_complete_module, "made or replaced after the optimiser was")
class MakesParametersWhenFirstUsed(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        if not hasattr(self, "B"):
            self.B = nn.Parameter(torch.ones(2))
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(states.check_is_a_complete_module, "without a shape before the first step: B")
class HasALazyParameter(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.B = nn.UninitializedParameter()


@caught_by(states.check_is_a_complete_module, "what the rule saves change")
class SavesMoreAsItLearns(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        self.register_buffer("last", x.mean(0))
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(states.check_is_a_complete_module, "expected a biograd.Rule, got Plain")
class Plain(nn.Module):
    def __init__(self, net, sample=None):
        super().__init__()


class Counting(Backpropagation):
    """Alternates the sign of the update with each call: the counter is its state."""

    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.calls = 0

    def assign_credit(self, net, x, y, loss_fn):
        self.calls += 1
        sign = (-1) ** self.calls
        loss, output = super().assign_credit(net, x, y, lambda output, y: sign * loss_fn(output, y))
        return Credit(sign * loss, output)


@caught_by(states.check_saves_and_loads, "next steps are not bit for bit the same: net.0.weight")
class ForgetsItsCounter(Counting):
    pass


@caught_by(states.check_saves_and_loads, "that are no tensors: _extra_state")
class SavesAnInteger(Counting):
    def get_extra_state(self):
        return self.calls

    def set_extra_state(self, state):
        self.calls = state


@caught_by(states.check_copies, "changed the state of its copy: B")
class CopiesShareMemory(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.register_buffer("B", torch.zeros(1))

    def __deepcopy__(self, memo):
        twin = type(self)(None)
        twin.B = self.B
        return twin

    def assign_credit(self, net, x, y, loss_fn):
        self.B += 1
        return super().assign_credit(net, x, y, loss_fn)


@caught_by(states.check_copies, "a copy does not go on as the rule did")
class CopiesStartAnew(Counting):
    def __deepcopy__(self, memo):
        twin = type(self)(None)
        twin.calls = 1
        return twin


@caught_by(states.check_moves, "did not move with rule.to")
class StaysInSinglePrecision(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.register_buffer("B", torch.zeros(1))

    def _apply(self, fn, recurse=True):
        return self


@caught_by(states.check_moves, "after a move to torch.float64 on cpu the rule raises")
class HoldsAPlainTensor(Backpropagation):
    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self._B = torch.zeros(12, 12)

    def assign_credit(self, net, x, y, loss_fn):
        return super().assign_credit(net, x + x @ self._B, y, loss_fn)


@caught_by(states.check_moves, "the loss is nan")
class LosesItsWayInDoublePrecision(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        loss, output = super().assign_credit(net, x, y, loss_fn)
        return Credit(loss * torch.nan if x.dtype == torch.float64 else loss, output)


class Noisy(Backpropagation):
    """Adds noise to the loss: `_noise` says where it comes from."""

    def assign_credit(self, net, x, y, loss_fn):
        noise = self._noise()
        return super().assign_credit(net, x, y, lambda output, y: (1 + noise) * loss_fn(output, y))


@caught_by(states.check_draws_from_a_generator_of_its_own, "depend on the global random number generator")
class DrawsFromTheGlobalGenerator(Noisy):
    def _noise(self):
        return torch.rand(())


@caught_by(states.check_draws_from_a_generator_of_its_own, "the setting seed changes nothing")
class IgnoresItsSeed(Noisy):
    def __init__(self, net, sample=None, *, seed: int = 0):
        super().__init__(net, sample)

    def _noise(self):
        return torch.rand((), generator=torch.Generator().manual_seed(3))


@caught_by(states.check_instances_do_not_interfere, "when another one is at work")
class SharesItsGenerator(Noisy):
    generator: ClassVar[torch.Generator] = torch.Generator()

    def __init__(self, net, sample=None):
        super().__init__(net, sample)
        self.generator.manual_seed(3)

    def _noise(self):
        return torch.rand((), generator=self.generator)


# --- learning ---


@caught_by(learning.check_learns, "expected less than 0.6 of the first")
class ClimbsTheLoss(Backpropagation):
    def assign_credit(self, net, x, y, loss_fn):
        loss, output = super().assign_credit(net, x, y, lambda output, y: -loss_fn(output, y))
        return Credit(-loss, output)


@caught_by(learning.check_moves_hidden_layers, "hidden parameters do not move: 0.weight, 0.bias, 2.weight")
class SaysItTeachesHiddenLayers(Shallow):
    teaches_hidden_layers = True


@caught_by(learning.check_moves_hidden_layers, "says teaches_hidden_layers = False, but moves 0.weight")
class SaysItTeachesTheLastLayerOnly(Backpropagation):
    teaches_hidden_layers = False


@caught_by(learning.check_moves_hidden_layers, "says that these are untaught, but moves 0.weight")
class SaysItLeavesAMatrixAsItIs(Backpropagation):
    def untaught(self, net, x):
        return {"0.weight"}


@caught_by(learning.check_advises_on_optimizers, "must return a list of lines, got None")
class AdvisesNothing(Backpropagation):
    def check_optimizer(self, optimizer, steps):
        return None


@caught_by(learning.check_advises_on_optimizers, "changed the optimiser")
class ChangesTheOptimizer(Backpropagation):
    def check_optimizer(self, optimizer, steps):
        optimizer.param_groups[0]["lr"] *= 2
        return []


@caught_by(learning.check_describes_its_settings, "'scale' has no annotation")
class AnnotatesNothing(Backpropagation):
    def __init__(self, net, sample=None, *, scale=1.0):
        super().__init__(net, sample)


@caught_by(learning.check_describes_its_settings, "'scale' has no default")
class HasNoDefault(Backpropagation):
    def __init__(self, net, sample=None, *, scale: float):
        super().__init__(net, sample)


@caught_by(learning.check_describes_its_settings, "write `\\*,` before scale")
class TakesSettingsByPosition(Backpropagation):
    def __init__(self, net, sample=None, scale: float = 1.0):
        super().__init__(net, sample)


@caught_by(learning.check_describes_its_settings, "default_training must be a mapping")
class ListsItsTraining(Backpropagation):
    default_training = ("adamw",)


def test_a_rule_without_its_method_is_told_what_to_define():
    WithoutMethod = type("WithoutMethod", (Rule,), {})
    with pytest.raises(AssertionError, match=r"WithoutMethod must define assign_credit\(self, net"):
        check_rule(WithoutMethod)


def test_a_rule_that_returns_nothing_is_told_what_to_return():
    method = {"assign_credit": lambda *_: None}
    with pytest.raises(AssertionError, match=r"expected a Credit\(loss, output\), .* got NoneType"):
        check_rule(
            type("Silent", (Rule,), method | {"__init__": lambda self, net, sample: Rule.__init__(self)})
        )


@pytest.mark.parametrize(
    "factory", [nn.LSTM, dict, lambda net, sample: net], ids=["module", "plain class", "function"]
)
def test_what_is_no_rule_is_told_what_to_be(factory):
    with pytest.raises(AssertionError, match=r"biograd\.Rule"):
        check_rule(factory)


@pytest.mark.filterwarnings("ignore:.*moved the net alone")
@pytest.mark.parametrize(("check", "rule", "message"), BROKEN)
def test_a_broken_rule_is_caught(check, rule, message):
    with pytest.raises(AssertionError, match=message) as caught:
        check(Subject(rule))
    assert check.__name__ in caught.value.__notes__[0]


def test_every_check_has_a_broken_rule_that_it_catches():
    assert {param.values[0] for param in BROKEN} == set(all_checks())


def test_every_broken_rule_is_used():
    defined = {c for c in globals().values() if inspect.isclass(c) and c.__module__ == __name__}
    bases = {KnowsDicts, LeavesSomething, Counting, Noisy, _Idle}
    assert defined - bases == {param.values[1] for param in BROKEN}
