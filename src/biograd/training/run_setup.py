"""Everything that a run trains with, made from its configuration and nothing else."""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from biograd import data, nets, penalties, rules
from biograd.credit.isolation import isolated
from biograd.data import Batches, DataSet, TensorBatches
from biograd.errors import NotFinite, UserMistake
from biograd.penalties.base import Penalty
from biograd.rules.base import Rule
from biograd.training import examples, losses, optimizers, precision, schedules, user_code
from biograd.training.config import RunConfig
from biograd.training.config_layers import SHARED
from biograd.training.schedules import Schedule
from biograd.training.seeding import derive

EVALUATION_BATCH = 256
"""Examples at once when nothing is taught, unless the training batch is larger."""


@dataclass(frozen=True)
class RunSetup:
    """What one run trains with.

    Attributes:
        config: from which all of it was made.
        device: where net, rule and batches are.
        net: initialised from the run's seed.
        rule: made for the net.
        penalty: made for the net; one that adds nothing where the configuration names none.
        optimizer: one group that holds the net's parameters and, unless they have an optimiser of their own,
            the rule's after them.
        feedback_optimizer: of the rule's parameters, None where they are in ``optimizer``.
        schedule: of the learning rate of ``optimizer``.
        feedback_schedule: the same, of ``feedback_optimizer``.
        training: batches in a new order every epoch.
        validation: batches in order, None without a validation part.
        test: batches in order, None where the test set is left unread.
        examples: what the examples are known by; see `biograd.training.examples.digest`.
        warnings: what the rule warns of in the optimiser.
    """

    config: RunConfig
    device: torch.device
    net: nn.Module
    rule: Rule
    penalty: Penalty
    optimizer: torch.optim.Optimizer
    feedback_optimizer: torch.optim.Optimizer | None
    schedule: Schedule
    feedback_schedule: Schedule | None
    training: Batches
    validation: Batches | None
    test: Batches | None
    examples: str | None
    warnings: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.config.epochs * len(self.training)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """All that move something."""
        both = (self.optimizer, self.feedback_optimizer)
        return [optimizer for optimizer in both if optimizer is not None]

    @property
    def schedules(self) -> list[Schedule]:
        """That of each of the `optimizers`."""
        return [schedule for schedule in (self.schedule, self.feedback_schedule) if schedule is not None]

    @property
    def loss_fn(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The configuration's loss, averaged over the batch; see `biograd.training.losses`."""
        return losses.find(self.config.loss)

    def inputs(self, x: Tensor) -> Tensor:
        """A batch in the precision of the net."""
        return precision.cast(x, self.config.precision)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context that a forward pass runs in."""
        return precision.autocast(self.config.precision, self.device)


def build(config: RunConfig, device: torch.device | None = None) -> RunSetup:
    """Make what a run trains with; the same configuration makes the same, bit for bit.

    Args:
        config: the run's.
        device: the one of the configuration's kind that this process trains on.

    Raises:
        UserMistake: the device is not there, or the parts do not fit one another.
        UnsupportedNet: the rule cannot teach this net.
        DataUnavailable: the data set is not there.
    """
    device = device or find_device(config)
    whole = examples.load_data(config)
    dataset = examples.as_task(config, whole)
    training, validation, test = _batches(config, dataset, device)
    net = make_net(config, dataset).to(device)
    rule = make_rule(config, net, precision.cast(training.sample(), config.precision)).to(device)
    penalty = make_penalty(config, net).to(device)
    optimizer, feedback_optimizer = make_optimizers(config, net, rule)
    schedule, feedback_schedule = (
        _make_schedule(config, one, len(training)) for one in (optimizer, feedback_optimizer)
    )
    assert schedule is not None
    steps = config.epochs * len(training) * schedule.mean_share
    with user_code.blamed("rule", config.rule.name):
        warnings = tuple(rule.check_optimizer(optimizer, steps))
    setup = RunSetup(
        config,
        device,
        net,
        rule,
        penalty,
        optimizer,
        feedback_optimizer,
        schedule,
        feedback_schedule,
        training,
        validation,
        test,
        examples.digest(config, whole),
        warnings,
    )
    _rehearse(setup)
    return setup


def _rehearse(setup: RunSetup) -> None:
    """Teach two examples, or as few as an epoch's last batch has, and forget them.

    Some of what a rule cannot teach, or a net cannot take, shows only when the net runs; so it is refused
    before a run has written anything. It is tried as in the first two epochs, which may differ.

    Raises:
        UserMistake: the net cannot be trained on so few examples at once, or a user's own net or rule fails.
        UnsupportedNet: the rule cannot teach the net.
    """
    net, name = setup.net, setup.config.rule.name
    *_, (x, y) = setup.training.epoch(0, start=len(setup.training) - 1)
    x, y = setup.inputs(x[:2]), y[:2]
    if user_code.is_users_own(setup.config.net.name):
        _rehearse_net(setup, x, y)
    with isolated(net, devices_of=x), setup.autocast(), user_code.blamed("rule", name, user_code.CHECK):
        rule = copy.deepcopy(setup.rule)
        for epoch in range(min(2, setup.config.epochs)):
            rule.begin_epoch(epoch)
            try:
                with _enough_examples():
                    credit = rule.assign_credit(net, x, y, setup.loss_fn)
            except NotFinite:
                return  # the run itself records how it ends
            user_code.require_credit(name, credit, net, rule, (len(x), setup.training.classes))
        with user_code.blamed("penalty", setup.config.penalty.name):
            copy.deepcopy(setup.penalty).add_gradient(net)


def _rehearse_net(setup: RunSetup, x: Tensor, y: Tensor) -> None:
    """Run a user's own net without the rule, so that what goes wrong is known to be the net's."""
    with (
        isolated(setup.net, devices_of=x),
        user_code.blamed("net", setup.config.net.name),
        _enough_examples(),
    ):
        with setup.autocast():
            output = setup.net(x)
            user_code.require_output(
                f"net {setup.config.net.name!r} gives", output, (len(x), setup.training.classes)
            )
            loss = setup.loss_fn(output, y)
        loss.backward()


@contextlib.contextmanager
def _enough_examples() -> Iterator[None]:
    """Say in the run's own terms that batch normalisation cannot take one example."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise UserMistake(
            "the last batch of an epoch has one example, too few for batch normalisation: change "
            "batch_size or validation_fraction"
        ) from None


def find_device(config: RunConfig) -> torch.device:
    """The device of a configuration.

    Raises:
        UserMistake: it is not there, or cannot hold the configuration's precision.
    """
    device = torch.device(config.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserMistake(
            f"device {config.device!r} is not there: PyTorch sees {torch.cuda.device_count()} CUDA devices; "
            "use --device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserMistake("device 'mps' is not there; use --device cpu")
    if device.type == "mps" and config.precision != "float32":
        raise UserMistake(
            f"device 'mps' has no {config.precision} training here; use float32 or another device"
        )
    return device


def make_net(config: RunConfig, dataset: DataSet) -> nn.Module:
    """The net of a configuration, on the CPU, with the initial weights that its seed gives."""
    name, seed = config.net.name, derive(config.seed, "net")
    user_code.require_net(name, nets.REGISTRY.find(name))
    with user_code.blamed("net", name):
        net = nets.create(name, dataset.input_shape, dataset.outputs, seed=seed, **config.net.settings)
    user_code.require_trainable(name, net)
    return net.to(torch.float64 if config.precision == "float64" else torch.float32)


def make_rule(config: RunConfig, net: nn.Module, sample: Tensor) -> Rule:
    """The rule of a configuration for its net.

    A rule that draws random numbers gets a seed derived from the run's, unless it was given one.
    """
    name, settings = config.rule.name, dict(config.rule.settings)
    constructor = rules.REGISTRY.find(name)
    user_code.require_rule(name, constructor)
    if "seed" in inspect.signature(constructor).parameters:
        settings.setdefault("seed", derive(config.seed, "rule"))
    with user_code.blamed("rule", name, user_code.CHECK):
        return rules.create(name, net, sample=sample, **settings)


def make_penalty(config: RunConfig, net: nn.Module) -> Penalty:
    """The penalty of a configuration for its net."""
    name = config.penalty.name
    user_code.require_penalty(name, penalties.REGISTRY.find(name))
    with user_code.blamed("penalty", name):
        return penalties.create(name, net, **config.penalty.settings)


def make_optimizers(
    config: RunConfig, net: nn.Module, rule: Rule
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer | None]:
    """The optimiser of the net, and that of the rule's parameters where it is another.

    Raises:
        UserMistake: an optimiser cannot take the parameters, or the rule has none for its own optimiser.
    """
    of_net, of_rule = list(net.parameters()), list(rule.parameters())
    own = config.feedback_optimizer
    if own.name == SHARED:
        return optimizers.create(
            config.optimizer.name, [*of_net, *of_rule], **config.optimizer.settings
        ), None
    if not of_rule:
        raise UserMistake(
            f"rule {config.rule.label!r} learns no parameters of its own, so that feedback_optimizer {own.name!r} "
            "would move nothing: leave it out, or in a comparison give it in the tables [rules.LABEL] of those that do"
        )
    optimizer = optimizers.create(config.optimizer.name, of_net, **config.optimizer.settings)
    return optimizer, optimizers.create(own.name, of_rule, **own.settings)


def _make_schedule(
    config: RunConfig, optimizer: torch.optim.Optimizer | None, epoch_steps: int
) -> Schedule | None:
    name, settings = config.schedule.name, config.schedule.settings
    return optimizer and schedules.create(name, optimizer, config.epochs, epoch_steps, **settings)


def _batches(
    config: RunConfig, dataset: DataSet, device: torch.device
) -> tuple[Batches, Batches | None, Batches | None]:
    """Training, validation and test batches; those that only measure go in order, unaugmented."""
    seed, fraction = derive(config.seed, "validation"), config.validation_fraction
    rest, held_out = (
        data.carve_validation(dataset.train, fraction, seed) if fraction else (dataset.train, None)
    )
    order = derive(config.seed, "order")
    training = TensorBatches(
        rest, dataset.preprocessing, batch_size=config.batch_size, seed=order, device=device, train=True
    )
    measured = [
        TensorBatches(
            split,
            dataset.preprocessing,
            batch_size=max(config.batch_size, EVALUATION_BATCH),
            seed=order,
            device=device,
            train=False,
        )
        if split is not None
        else None
        for split in (held_out, dataset.test if config.read_test else None)
    ]
    return training, measured[0], measured[1]
