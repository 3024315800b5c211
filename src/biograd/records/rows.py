"""What the files of a run's folder hold: its configuration, environment, epochs, diagnostics and result."""

from typing import NotRequired

from typing_extensions import TypedDict

from biograd.records.schema import Count, Json, Number, Share, Time, row
from biograd.tasks import Kind


@row
class Choice(TypedDict):
    """What a name of the configuration stands for, and the settings that it was given."""

    name: str
    settings: NotRequired[Json]


@row
class Configuration(TypedDict):
    """``config.json``: what records need to know of it. `biograd.training.RunConfig` knows the rest, which is kept."""

    rule: Choice
    data: Choice
    net: Choice
    seed: Count
    label: NotRequired[str | None]
    """What tables call the run in place of the rule's name."""
    loss: NotRequired[Choice | str]
    """A name alone in older runs; ``auto`` for what is usual for the task."""
    epochs: NotRequired[Count]
    one_vs_rest: NotRequired[str | None]
    """The class that is told from the rest, where the task is binary."""
    read_test: NotRequired[bool | str]
    """Whether the run was to read the test set, ``every-epoch`` where it read it after each epoch too; runs that are
    older read it once."""
    observe: NotRequired[list[Choice]]
    """The user's own observers of the run."""


@row
class Place(TypedDict, total=False):
    """Where a run went: what a result depends on besides its configuration; what else there is to it is kept."""

    biograd: str
    commit: str | None
    dirty: bool | None
    python: str
    torch: str
    numpy: str | None
    platform: str
    cpu: str
    cores: Count
    threads: Count
    gpu: str | None
    cuda: str | None
    deterministic: bool
    cudnn_deterministic: bool
    cudnn_benchmark: bool
    matmul_precision: str
    task: Kind
    """What the net is to answer, as the data says; older runs tell classes apart."""
    files: dict[str, str]
    """The user's own files that the run is made of, and their SHA-256."""
    examples: str
    """SHA-256 of the examples of a data set that is read from official files."""
    examples_of_seed: str
    """The same of the user's own data, and of other packages', which may depend on the seed."""


@row
class Environment(Place, total=False):
    """``environment.json``: the place where the run began."""

    resumed: list[Place]
    """Each place where the run went on that was not like the place before."""


@row
class EpochRow(TypedDict):
    """A line of ``metrics.jsonl``: how training stood at the end of an epoch."""

    epoch: Count
    """From 1."""
    step: Count
    """Steps so far."""
    train_loss: Number | None
    """The mean over the epoch's examples, each as it was met; None where it was not finite."""
    train_accuracy: NotRequired[Share]
    train_r2: NotRequired[Number | None]
    """None where the targets are all alike."""
    train_mean_absolute_error: NotRequired[Number | None]
    train_precision_at_1: NotRequired[Share | None]
    train_bits_per_token: NotRequired[Number | None]
    train_token_accuracy: NotRequired[Share]
    validation_loss: NotRequired[Number | None]
    validation_accuracy: NotRequired[Share | None]
    validation_balanced_accuracy: NotRequired[Share | None]
    """The mean over classes of the share of each that is recognised."""
    validation_r2: NotRequired[Number | None]
    validation_mean_absolute_error: NotRequired[Number | None]
    validation_mean_average_precision: NotRequired[Share | None]
    validation_precision_at_1: NotRequired[Share | None]
    validation_bits_per_token: NotRequired[Number | None]
    validation_token_accuracy: NotRequired[Share | None]
    test_loss: NotRequired[Number | None]
    """On the test set as all below, in runs that read it after every epoch (``read_test`` = ``every-epoch``)."""
    test_accuracy: NotRequired[Share | None]
    test_balanced_accuracy: NotRequired[Share | None]
    test_r2: NotRequired[Number | None]
    test_mean_absolute_error: NotRequired[Number | None]
    test_mean_average_precision: NotRequired[Share | None]
    test_precision_at_1: NotRequired[Share | None]
    test_bits_per_token: NotRequired[Number | None]
    test_token_accuracy: NotRequired[Share | None]
    learning_rate: NotRequired[Number]
    """Of the last step."""
    seconds: Time
    """Of training so far, without validation, measurements and checkpoints."""


@row
class DiagnosticsRow(TypedDict):
    """A line of ``diagnostics.jsonl``: one quantity of one layer, before a step."""

    step: Count
    epoch: Count
    quantity: str
    layer: NotRequired[str | None]
    """The name of the parameter or block; None for a quantity of the whole measurement."""
    value: Number | None


@row
class Result(TypedDict):
    """``result.json``: how a run ended."""

    rule: str
    family: NotRequired[str]
    """What kind of rule it is, by which figures choose its colours; `Rule.family`."""
    label: NotRequired[str]
    """What tables call the run."""
    data: str
    net: str
    task: NotRequired[Kind]
    """What the net was to answer."""
    loss: NotRequired[str]
    """What was minimised, where the configuration leaves it to the task too."""
    seed: Count
    epochs: Count
    """That were finished."""
    status: str
    """``done``, or ``diverged``; runs that ended in any other way have no part in means either."""
    reason: str | None
    """Why it is not done."""
    train_loss: Number | None
    train_accuracy: Share | None
    """Accuracies are None where no class was to be told; the metrics of the task are there then."""
    train_r2: NotRequired[Number | None]
    train_mean_absolute_error: NotRequired[Number | None]
    train_precision_at_1: NotRequired[Share | None]
    train_bits_per_token: NotRequired[Number | None]
    train_token_accuracy: NotRequired[Share | None]
    validation_loss: Number | None
    validation_accuracy: Share | None
    validation_balanced_accuracy: NotRequired[Share | None]
    validation_r2: NotRequired[Number | None]
    validation_mean_absolute_error: NotRequired[Number | None]
    validation_mean_average_precision: NotRequired[Share | None]
    validation_precision_at_1: NotRequired[Share | None]
    validation_bits_per_token: NotRequired[Number | None]
    validation_token_accuracy: NotRequired[Share | None]
    test_loss: Number | None
    test_accuracy: Share | None
    test_balanced_accuracy: NotRequired[Share | None]
    test_r2: NotRequired[Number | None]
    test_mean_absolute_error: NotRequired[Number | None]
    test_mean_average_precision: NotRequired[Share | None]
    test_precision_at_1: NotRequired[Share | None]
    test_bits_per_token: NotRequired[Number | None]
    test_token_accuracy: NotRequired[Share | None]
    test_reads: Count
    """How often the test set was read."""
    stopped: NotRequired[str | None]
    """Who ended the run before its last epoch."""
    tested_weights: str | None
    """Which weights were tested: ``last``."""
    seconds: Time
    parameters: Count
    """Of the net."""
    steps: Count
    warnings: list[str]
    run: str
    """The run's folder."""
