"""Everything that a run trains with, made from its configuration and nothing else."""

import contextlib
import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biograd import data, nets, penalties, rules
from biograd.credit.chain.lesson import output_errors
from biograd.credit.isolation import isolated
from biograd.credit.structures import called
from biograd.data import Batches, DataSet, Split, Task, TensorBatches
from biograd.data.columns import named, on_each
from biograd.data.seeded import derive
from biograd.errors import NotFinite, UserMistake
from biograd.penalties.base import Penalty
from biograd.rules.base import Rule
from biograd.settings import describe
from biograd.tasks import measured
from biograd.training import compiled, examples, graphs, losses, optimizers, precision, schedules, user_code
from biograd.training.answers import OfAnswer, answer
from biograd.training.config import RunConfig
from biograd.training.config_layers import SHARED
from biograd.training.losses import Loss
from biograd.training.schedules import Schedule
from biograd.training.tally import Scores

EVALUATION_BATCH = 256
"""Examples at once when nothing is taught, unless the training batch is larger."""


@dataclass(frozen=True)
class RunSetup:
    """What one run trains with.

    Attributes:
        config: from which all of it was made.
        device: where net, rule and batches are.
        net: initialised from the run's seed.
        taught: what the rule is given to teach: the net, or what compiles it.
        rule: made for the net.
        penalty: made for the net; one that adds nothing where the configuration names none.
        optimizer: one group that holds the net's parameters and, unless they have an optimiser of their own,
            the rule's after them.
        feedback_optimizer: of the rule's parameters, None where they are in ``optimizer``.
        schedule: of the learning rate of ``optimizer``.
        feedback_schedule: the same, of ``feedback_optimizer``.
        task: what the net is to answer.
        loss_fn: the configuration's loss for it, averaged over the batch.
        training: batches in a new order every epoch.
        validation: batches in order, None without a validation part.
        test: batches in order, None where the test set is left unread.
        examples: what the examples are known by; see `biograd.training.examples.digest`.
        warnings: what the rule warns of in the optimiser, and where compiling gains nothing.
    """

    config: RunConfig
    device: torch.device
    net: nn.Module
    taught: nn.Module
    rule: Rule
    penalty: Penalty
    optimizer: torch.optim.Optimizer
    feedback_optimizer: torch.optim.Optimizer | None
    schedule: Schedule
    feedback_schedule: Schedule | None
    task: Task
    loss_fn: Loss
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

    def inputs(self, x: Any) -> Any:
        """A batch as the net takes it."""
        return examples.for_net(self.config, x)

    def targets(self, y: Tensor) -> Tensor:
        """The targets of a batch, numbers in the precision of the net."""
        return precision.cast(y, self.config.precision)

    def answer(self, output: Any) -> Tensor:
        """The tensor of the net's output that metrics judge."""
        return answer(output, self.config.answers)

    def metrics(self, part: str, scores: Scores | None) -> dict[str, float | None]:
        """The scores of a part of the data without their loss, as records call them; None where there are none."""
        return dict.fromkeys(measured(self.task.kind, part)) | (
            {} if scores is None else {f"{part}_{name}": value for name, value in scores.metrics.items()}
        )

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
    if config.compile == "graphs":
        graphs.graphs_on(device)
    whole = examples.load_data(config)
    dataset = examples.as_task(config, whole)
    require_task(config, dataset)
    examples.require_columns(config, dataset)
    training, validation, test = _batches(config, dataset, device)
    net = make_net(config, dataset).to(device)
    with _told_of_indices(config, net, dataset):
        rule = make_rule(config, net, examples.for_net(config, training.sample())).to(device)
    taught = compiled.taught_net(config, net, device, rule.nets)
    penalty = make_penalty(config, net).to(device)
    optimizer, feedback_optimizer = make_optimizers(config, net, rule)
    schedule, feedback_schedule = (
        _make_schedule(config, one, len(training)) for one in (optimizer, feedback_optimizer)
    )
    assert schedule is not None
    steps = config.epochs * len(training) * schedule.mean_share
    with user_code.blamed("rule", config.rule.name):
        warnings = (*rule.check_optimizer(optimizer, steps), *compiled.advice(config, net, device))
    setup = RunSetup(
        config,
        device,
        net,
        taught,
        rule,
        penalty,
        optimizer,
        feedback_optimizer,
        schedule,
        feedback_schedule,
        dataset.task,
        make_loss(config, dataset.task, device),
        training,
        validation,
        test,
        examples.digest(config, whole),
        warnings,
    )
    with _told_of_indices(config, net, dataset):
        _rehearse(setup)
    if config.compile is True:
        compiled.let_rule_look(setup, *_few_examples(setup))
    elif config.compile == "graphs":
        graphs.require_replayable(setup, *_first_batch(setup))
    return setup


@contextlib.contextmanager
def _told_of_indices(config: RunConfig, net: nn.Module, dataset: DataSet) -> Iterator[None]:
    """Add to what goes wrong in a table of vectors that numbers stay whole where the data is told so."""
    try:
        yield
    except UserMistake as mistake:
        looks_up = any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module in net.modules())
        is_told = isinstance(dataset.train.inputs, Mapping) or dataset.train.inputs.dtype == torch.int64
        if is_told or not looks_up or "Long" not in str(mistake):
            raise
        raise UserMistake(f"{mistake}{_on_indices(config)}", mistake.lines) from None


def _on_indices(config: RunConfig) -> str:
    """What to do where inputs should be indices; nothing where the data has no such setting."""
    settings = {setting.name for setting in describe(data.REGISTRY.find(config.data.name))}
    if "indices" not in settings:
        return ""
    return "; whole numbers to be looked up stay as they are with the data's setting indices (--data.indices true)"


def _rehearse(setup: RunSetup) -> None:
    """Teach two examples, or as few as an epoch's last batch has, and forget them.

    Some of what a rule cannot teach, or a net cannot take, shows only when the net runs; so it is refused
    before a run has written anything. It is tried as in the first two epochs, which may differ.

    Raises:
        UserMistake: the net cannot be trained on so few examples at once, or a user's own net or rule fails.
        UnsupportedNet: the rule cannot teach the net.
    """
    net, name = setup.net, setup.config.rule.name
    x, y = _few_examples(setup)
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
            user_code.require_credit(name, credit, net, rule, setup.task, y, setup.answer)
        with user_code.blamed("penalty", setup.config.penalty.name):
            copy.deepcopy(setup.penalty).add_gradient(net)


def _first_batch(setup: RunSetup) -> tuple[Any, Tensor]:
    x, y = next(iter(setup.training.epoch(0)))
    return setup.inputs(x), setup.targets(y)


def _few_examples(setup: RunSetup) -> tuple[Any, Tensor]:
    """Two of them, or as few as an epoch's last batch has."""
    *_, (x, y) = setup.training.epoch(0, start=len(setup.training) - 1)
    return setup.inputs(on_each(lambda column: column[:2], x)), setup.targets(y[:2])


def _rehearse_net(setup: RunSetup, x: Any, y: Tensor) -> None:
    """Run net and loss without the rule: the net has to answer the task, and what goes wrong is known to be theirs."""
    net, loss = setup.config.net.name, setup.config.loss.name
    told = _BY_KEYWORD if setup.config.by_keyword else _AS_ONE_DICT if isinstance(x, Mapping) else ""
    with (
        isolated(setup.net, setup.loss_fn, devices_of=x),
        user_code.blamed("net", net, told),
        _enough_examples(),
    ):
        with setup.autocast():
            output = called(setup.net, x)
            user_code.require_output(f"net {net!r} gives", setup.answer(output), setup.task, y)
            if net in nets.REGISTRY.built_in() and not user_code.is_users_own(loss):
                return  # they learn under a rule as they do here
            with user_code.blamed("loss", loss):
                read = output_errors(output, y, setup.loss_fn)[1]
        torch.autograd.backward([tensor for tensor, _ in read], [error for _, error in read])


_AS_ONE_DICT = (
    "the columns of an example reach it as one dict, by keyword with by_keyword (--by-keyword true)"
)
_BY_KEYWORD = (
    "the columns of an example reach it by keyword, as one dict without by_keyword (--by-keyword true)"
)


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
    device = device_named(config.device)
    if device.type == "mps" and config.precision != "float32":
        raise UserMistake(
            f"device 'mps' has no {config.precision} training here; use float32 or another device"
        )
    return device


def device_named(name: str) -> torch.device:
    """A device by its name, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UserMistake: it is not there.
    """
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserMistake(
            f"device {name!r} is not there: PyTorch sees {torch.cuda.device_count()} CUDA devices; use --device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserMistake("device 'mps' is not there; use --device cpu")
    return device


def make_net(config: RunConfig, dataset: DataSet) -> nn.Module:
    """The net of a configuration, on the CPU, with the initial weights that its seed gives."""
    name, seed = config.net.name, derive(config.seed, "net")
    user_code.require_net(name, nets.REGISTRY.find(name))
    with user_code.blamed("net", name):
        net = nets.create(name, dataset.input_shape, dataset.outputs, seed=seed, **config.net.settings)
    user_code.require_trainable(name, net)
    net = net.to(torch.float64 if config.precision == "float64" else torch.float32)
    if name in nets.REGISTRY.built_in():
        _require_inputs_of(config, net, dataset)
    else:
        _rehearse_tokens(config, net, dataset)
    return net


def _require_inputs_of(config: RunConfig, net: nn.Module, dataset: DataSet) -> None:
    """Refuse a net that looks tokens up for other examples, and one that does not for tokens."""
    name = config.net.name
    looks_up = any(isinstance(module, nn.Embedding) for module in net.modules())
    has_tokens = dataset.train.inputs.dtype == torch.int64
    if looks_up and not has_tokens:
        raise UserMistake(
            f"net {name!r} looks tokens up, and an example of {dataset.name} is {dataset.input_shape} numbers: take a "
            f"text (--data text:FILE), or another net{_on_indices(config)}"
        )
    if has_tokens and not looks_up:
        raise UserMistake(
            f"net {name!r} takes numbers, and an example of {dataset.name} is {dataset.input_shape} tokens, to be "
            "looked up: take gpt, or a net of your own that begins with nn.Embedding"
        )
    if has_tokens:
        _require_known_tokens(name, net, dataset)


def _require_known_tokens(name: str, net: nn.Module, dataset: DataSet) -> None:
    """Refuse tokens that a net has no vector for."""
    tables = [module.num_embeddings for module in net.modules() if isinstance(module, nn.Embedding)]
    lowest, highest = torch.cat([dataset.train.inputs, dataset.test.inputs]).aminmax()
    if lowest < 0:
        raise UserMistake(f"{dataset.name} has an input {int(lowest)}, and tokens are numbered from 0")
    if highest >= min(tables):
        raise UserMistake(
            f"net {name!r} knows {min(tables)} tokens, as many as its outputs where it is told no other number, and "
            f"the inputs of {dataset.name} go up to {int(highest)}: give it the setting vocabulary, "
            f"{int(highest) + 1} or more"
        )


def _rehearse_tokens(config: RunConfig, net: nn.Module, dataset: DataSet) -> None:
    """Run a net of the user's own on the least and the greatest token; on the CPU, where a missing one is an error."""
    both = [named(part.inputs) for part in (dataset.train, dataset.test)]
    tokens = [name for name, column in both[0].items() if column.dtype == torch.int64]
    if not tokens:
        return
    ranges = [_range(name, torch.cat([columns[name] for columns in both])) for name in tokens]
    advice = f"the inputs of {dataset.name} go {', '.join(ranges)}"
    with isolated(net), torch.no_grad(), user_code.blamed("net", config.net.name, advice):
        for part in (dataset.train, dataset.test):
            extreme = [place for name in tokens for place in _extremes(named(part.inputs)[name])]
            try:
                called(net, examples.for_net(config, _prepared(dataset, part.at(extreme))))
            except TypeError:
                return  # it is called in the wrong way, as the rehearsal says


def _range(name: str, tokens: Tensor) -> str:
    lowest, highest = tokens.aminmax()
    return f"from {int(lowest)} to {int(highest)}{f' in {name!r}' if name else ''}"


def _extremes(inputs: Tensor) -> tuple[int, int]:
    """Which examples hold the least and the greatest number."""
    of_example = inputs.reshape(len(inputs), -1)
    return int(of_example.amin(1).argmin()), int(of_example.amax(1).argmax())


def _prepared(dataset: DataSet, split: Split) -> Any:
    """The inputs of a few examples, as a batch."""
    few = TensorBatches(
        split, dataset.preprocessing, dataset.task, batch_size=len(split), seed=0, device="cpu", train=False
    )
    return next(few.epoch(0))[0]


def make_rule(config: RunConfig, net: nn.Module, sample: Any) -> Rule:
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


def require_task(config: RunConfig, dataset: DataSet) -> None:
    """Refuse a rule that declares that it teaches other tasks than that of the data.

    Raises:
        UserMistake: it does; the line names some that would do.
    """
    kind, taught = dataset.task.kind, rules.declared(config.rule.name)["tasks"]
    if taught is not None and kind not in taught:
        others = [name for name in rules.REGISTRY.built_in() if kind in rules.declared(name)["tasks"]]
        raise UserMistake(
            f"rule {config.rule.label!r} teaches {' and '.join(taught)} alone, and the task of {dataset.name} is "
            f"{kind}: use another rule, such as {', '.join(others[:5])}"
        )


def make_loss(config: RunConfig, task: Task, device: torch.device) -> Loss:
    """The loss of a configuration for a task; one of the user's own reads all that the net gives."""
    with user_code.blamed("loss", config.loss.name):
        loss = losses.create(config.loss.name, task, **config.loss.settings)
    if config.answers is not None and losses.resolved(config.loss.name, task) in losses.REGISTRY.built_in():
        return OfAnswer(loss, config.answers)
    return loss.to(device) if isinstance(loss, nn.Module) else loss


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
    parts = dataset.parts(seed=config.seed, validation_fraction=config.validation_fraction)
    if not config.read_test:
        del parts["test"]
    sizes = {"train": config.batch_size}
    found = {
        part: TensorBatches(
            split,
            dataset.preprocessing,
            dataset.task,
            batch_size=sizes.get(part, max(config.batch_size, EVALUATION_BATCH)),
            seed=derive(config.seed, "order"),
            device=device,
            train=part == "train",
        )
        for part, split in parts.items()
    }
    return found["train"], found.get("validation"), found.get("test")
