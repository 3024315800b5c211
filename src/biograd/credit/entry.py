"""What every call of a rule begins with: looks for what would make it wrong without a word.

Most looks are taken in the first calls alone, and wait for the device; later calls cost next to nothing.
"""

import itertools
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from biograd.credit.chain.lesson import output_errors
from biograd.credit.eager import LOOKS_FIRST
from biograd.credit.isolation import isolated
from biograd.credit.known_losses import has_labels, known_loss
from biograd.credit.loss_terms import require_honoured
from biograd.credit.structures import (
    batch_size,
    map_tensors,
    require_tensor_for,
    require_tensor_from,
    require_tensors_in,
    tensors_in,
)
from biograd.credit.weighting import Weight, Weighting
from biograd.errors import UnsupportedNet, UserMistake

FIRST_CALLS = 5
"""How many calls may show what the loss is: one whose error is zero, or of one example, does not."""
_ALIKE = 0.1
"""How far apart two derivatives of one loss may be, as a part of their length."""


class Entry:
    """What a rule remembers of its calls, to notice mistakes; no part of what it saves."""

    def __init__(self) -> None:
        self._looks_left = FIRST_CALLS
        # versions of the parameters of rule and net at the last call; None once the rule's were seen to move
        self._own: dict[int, int] | None = {}
        self._net: dict[int, int] = {}
        self._gradients_left, self._stepped = FIRST_CALLS, dict[int, int]()
        self._watched: list[tuple[weakref.ref[nn.Parameter], int]] = []  # those of both, with their versions
        # where the net was when rule and net fitted
        self._beside: tuple[torch.dtype, torch.device] | None = None

    def rule_moves(self) -> None:
        """Take note that the rule is moved, so that the next call looks at it beside its net again."""
        self._beside = None

    def begin(
        self, rule: Any, net: nn.Module, x: Any, weight: Weight, *, teaches_own: bool = True
    ) -> Weighting:
        """Check what a call is given, before anything is computed.

        Args:
            rule: which is called, a `biograd.Rule`.
            net: what it is to teach.
            x: the batch; one tensor, unless the rule takes structures of them.
            weight: see `biograd.Rule.assign_credit`.
            teaches_own: whether the call teaches parameters of the rule's own.

        Returns:
            What is to multiply all that the call teaches.

        Raises:
            UserMistake: a batch that the rule does not take, or a weight that fits no batch of this size.
            UnsupportedNet: the rule has another dtype, or is on another device, than the net; or a compiler takes in
                the first call.
        """
        if not rule.takes_structures:
            require_tensor_for(type(rule).__name__, x)
        if not torch.compiler.is_compiling():
            self._look_beside(rule, net)
            if self._own is not None:
                self._watch_own_parameters(rule, net, teaches_own)
            if self._gradients_left:
                self._watch_own_gradients(rule, net)
        elif self._looks_left == FIRST_CALLS:
            raise UnsupportedNet(LOOKS_FIRST)
        return Weighting(weight, batch_size(x))

    def look(self, rule: Any, output: Any, y: Any, loss_fn: Callable[..., Tensor]) -> None:
        """Look at the output, and in the first calls at the loss.

        Args:
            rule: which is called, a `biograd.Rule`.
            output: of the net.
            y: the targets.
            loss_fn: the loss.

        Raises:
            UnsupportedNet: an output that the rule does not take.
            UserMistake: the loss is a sum over the batch; or a multiple of a known one, for a rule that is not linear.
        """
        if rule.takes_structures:
            require_tensors_in(output)
        else:
            require_tensor_from("the net", output)
        if not self._looks_left or torch.compiler.is_compiling():
            return
        self._looks_left -= 1
        if not _are_of_the_same_examples(output, y):
            return
        errors = _errors(output, y, loss_fn)
        if not any(error.any() for error in errors) or not all(error.isfinite().all() for error in errors):
            return
        if _is_sum(errors, output, y, loss_fn):
            raise UserMistake(
                "the loss is a sum over the batch (a batch beside itself doubles it), and rules expect a mean over "
                "examples: give it reduction='mean', or divide by len(y) and not by a number that stays; scale by "
                "assign_credit(…, weight=)"
            )
        if not rule.scales_with_loss and isinstance(output, Tensor) and isinstance(y, Tensor):
            self._look_for_a_known_loss(rule, errors[0], output, y, loss_fn)
        if batch_size(output) != 1:
            self._looks_left = 0

    def _look_for_a_known_loss(
        self, rule: Any, error: Tensor, output: Tensor, y: Tensor, loss_fn: Callable[..., Tensor]
    ) -> None:
        """Refuse a multiple of a known loss; say once that hidden layers which see labels see nothing of another."""
        known = known_loss(error, output, y, loss_fn)
        if known is None:
            if rule.aims_at_labels and has_labels(output, y):
                require_honoured(y, loss_fn)
                warnings.warn(
                    f"hidden layers of {type(rule).__name__} aim at the label and see nothing of this loss: if it is a "
                    "cross-entropy with weights, smoothing or ignored labels inside, give nn.CrossEntropyLoss or "
                    "functools.partial(F.cross_entropy, …), which they can read",
                    stacklevel=5,
                )
            return
        elsewhere = output + torch.linspace(-2, 2, output.numel(), device=output.device).to(output).view_as(
            output
        )
        again = known_loss(_errors(elsewhere, y, loss_fn)[0], elsewhere, y, loss_fn)
        if not known.is_customary and again is not None and abs(again.times / known.times - 1) < 1e-2:
            times = f"{known.times:.4g}"
            raise UserMistake(
                f"the loss is {times} × {known.name}, and {type(rule).__name__} does not learn so many times as much "
                f"from it: give the loss as it is, and assign_credit(…, weight={times}), the scale of a gradient "
                "scaler or the like"
            )

    def _watch_own_gradients(self, rule: nn.Module, net: nn.Module) -> None:
        """Say once that the net's gradients were emptied after a step and those of the rule were not."""
        self._gradients_left -= 1
        before, self._stepped = self._stepped, _versions(net)
        has_stepped = before.keys() == self._stepped.keys() and before != self._stepped
        kept = next((name for name, p in rule.named_parameters() if p.grad is not None), None)
        if has_stepped and kept is not None and all(p.grad is None for p in net.parameters()):
            self._gradients_left = 0
            warnings.warn(
                f"the gradients of the net were emptied, and that of {kept!r} of {type(rule).__name__} was not, to "
                "which this call adds: call optimizer.zero_grad(), or rule.zero_grad() too",
                stacklevel=4,
            )

    def _look_beside(self, rule: nn.Module, net: nn.Module) -> None:
        first = first_parameter(net)
        if first is not None and self._beside != (first.dtype, first.device):
            _require_beside(rule, net, first)
            self._beside = first.dtype, first.device

    def _watch_own_parameters(self, rule: nn.Module, net: nn.Module, teaches_own: bool) -> None:
        """Say once that an optimiser moved the net and nothing moved what the rule learns."""
        if self._watched and self._are_as_watched(net):
            return  # what was seen at the last look, which says the same again
        own, here = _versions(rule), _versions(net)
        if not own:
            self._own = None
            return
        before, net_before = self._own or {}, self._net
        is_same = own.keys() == before.keys() and here.keys() == net_before.keys()
        if is_same and own != before:
            self._own = None
        elif is_same and here != net_before:
            self._own, self._gradients_left = None, 0
            name = next(name for name, p in rule.named_parameters() if p.requires_grad)
            warnings.warn(
                f"{type(rule).__name__} has parameters that learn ({name!r}, …), and the first step moved the net "
                "alone: give the optimiser [*net.parameters(), *rule.parameters()]",
                stacklevel=4,
            )
        elif teaches_own:
            self._own, self._net = own, here
            first = first_parameter(net)
            self._watched = [
                (weakref.ref(p), p._version)
                for p in (first, *rule.parameters(), *net.parameters())
                if p is not None
            ]

    def _are_as_watched(self, net: nn.Module) -> bool:
        """Whether the net begins with the parameter that it had at the last look, and no parameter moved since."""
        if self._watched[0][0]() is not first_parameter(net):
            return False
        for parameter, version in self._watched:
            there = parameter()
            if there is None or there._version != version:
                return False
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watched": []}  # copies watch parameters of their own


def first_parameter(net: nn.Module) -> nn.Parameter | None:
    """That of ``net.parameters()``, which takes several times as long to begin."""
    waiting: list[nn.Module | None] = [net]
    while waiting:
        module = waiting.pop()
        if module is not None:
            for parameter in module._parameters.values():
                if parameter is not None:
                    return parameter
            waiting += reversed(module._modules.values())
    return None


def _versions(module: nn.Module) -> dict[int, int]:
    """Of all of ``module.parameters()`` that learn, which takes several times as long to go through."""
    found, waiting, seen = dict[int, int](), [module], set[int]()
    while waiting:
        part = waiting.pop()
        seen.add(id(part))
        for p in part._parameters.values():
            if p is not None and p.requires_grad:
                found[id(p)] = p._version
        waiting += [child for child in part._modules.values() if child is not None and id(child) not in seen]
    return found


def _require_beside(rule: nn.Module, net: nn.Module, first: nn.Parameter) -> None:
    """Refuse a rule that was left in another dtype or on another device than its net."""
    mine = next(
        (t for t in itertools.chain(rule.parameters(), rule.buffers()) if t.is_floating_point()), None
    )
    if mine is not None and (mine.dtype, mine.device) not in {(p.dtype, p.device) for p in net.parameters()}:
        raise UnsupportedNet(
            f"{type(rule).__name__} is in {mine.dtype} on {mine.device}, and the net in {first.dtype} on "
            f"{first.device}: move the rule as you moved the net, rule.to(device, dtype)"
        )


def _are_of_the_same_examples(output: Any, y: Any) -> bool:
    """Whether all tensors of output and targets have an example a row, so that a batch can be laid beside itself."""
    of_targets, of_output = ([*tensors_in(value)] for value in (y, output))
    sizes = {batch_size(tensor) for tensor in (*of_targets, *of_output)}
    return bool(of_targets) and len(sizes) == 1 and None not in sizes


def _errors(output: Any, y: Any, loss_fn: Callable[..., Tensor]) -> list[Tensor]:
    """The loss's derivatives by the tensors of the output that it reads."""
    with isolated(loss_fn, devices_of=output):
        return [error for _, error in output_errors(map_tensors(Tensor.clone, output), y, loss_fn)[1]]


def _is_sum(errors: list[Tensor], output: Any, y: Any, loss_fn: Callable[..., Tensor]) -> bool:
    """Whether the batch beside itself leaves the derivative by each output as it is, where a mean's is halved.

    Losses that set examples against one another (contrastive ones) are neither.
    """
    try:
        twice = _errors(_beside_itself(output), _beside_itself(y), loss_fn)
        apart = [one[: len(error)] - error for one, error in zip(twice, errors, strict=True)]
    except Exception:  # a loss for batches of one size
        return False
    return bool(_length(apart) < _ALIKE * _length(errors))


def _beside_itself(batch: Any) -> Any:
    return map_tensors(lambda tensor: torch.cat([tensor.detach()] * 2), batch)


def _length(tensors: list[Tensor]) -> Tensor:
    """Of all of them as one vector."""
    return torch.linalg.vector_norm(torch.cat([tensor.flatten().double() for tensor in tensors]))
