"""A finished run, made again from its folder to be looked at: net, rule and data, no optimiser."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biograd import records
from biograd.data import DataSet, TensorBatches
from biograd.errors import CheckpointError, UserMistake
from biograd.rules.base import Rule
from biograd.training import checkpoint, examples, folder, precision, versions
from biograd.training.answers import answer
from biograd.training.checkpoint_schema import Weights
from biograd.training.config import RunConfig
from biograd.training.run_setup import find_device, make_net, make_rule


@dataclass(frozen=True)
class Restored:
    """What a finished run ended with.

    Attributes:
        folder: of the run.
        config: of the run; its device is the one that it was restored to.
        device: where net and rule are.
        dataset: the run's, on the CPU, binary where one class stands against the rest.
        net: with the trained weights, in evaluation mode.
        rule: in the state that it was left in.
    """

    folder: Path
    config: RunConfig
    device: torch.device
    dataset: DataSet
    net: nn.Module
    rule: Rule

    @property
    def title(self) -> str:
        """What tables call the run, and its seed: ``bp/seed0``."""
        return f"{self.config.title}/seed{self.config.seed}"

    def predict(self, x: Any) -> Tensor:
        """The run's prediction for standardised inputs, ``(batch, outputs)``; differentiable in x.

        In float32, or float64 where the run trained in that.
        """
        with self.autocast():
            output = answer(self.rule.predict(self.net, self.inputs(x)), self.config.answers)
        return output.float() if output.dtype.itemsize < 4 else output

    def inputs(self, x: Any) -> Any:
        """A batch as the net takes it."""
        return examples.for_net(self.config, x)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context that a forward pass runs in."""
        return precision.autocast(self.config.precision, self.device)


def restored(
    run: str | os.PathLike[str],
    *,
    device: str | None = None,
    data_dir: str | None = None,
    objects: Mapping[str, Any] | None = None,
) -> Restored:
    """The net, rule and data of a finished run.

    They are made from ``config.json`` and filled from ``checkpoint.safetensors``; neither can hold code. Rules,
    nets and data sets that were given as ``path/to/file.py:Name`` are imported from there, as for `resume`.

    Args:
        run: the run's folder.
        device: where to put them; None for the device that the run was trained on.
        data_dir: where the data lies; None for where the run found it.
        objects: as for `resume`.

    Raises:
        UserMistake: it is no run's folder, the run is not done or is packed, the device or data are not there, or the
            user's own files, or the examples, have changed since.
        CheckpointError: the checkpoint is missing, damaged or of another configuration.
    """
    path = Path(run)
    config = configuration(path, device=device, data_dir=data_dir, objects=objects)
    file = path / records.CHECKPOINT
    state, fingerprint = checkpoint.weights(file)
    if fingerprint != RunConfig.load(path / records.CONFIG).digest():
        raise CheckpointError(f"{file} was made with another configuration than the run's")
    versions.refuse_changed_files(path, config)
    return _made(path, config, state)


def configuration(
    run: str | os.PathLike[str],
    *,
    device: str | None = None,
    data_dir: str | None = None,
    objects: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The configuration of a finished run, with the device and data folder that it is restored to.

    Arguments as for `restored`.

    Raises:
        UserMistake: it is no run's folder, the run is not done, or it is packed, without its weights.
    """
    path = Path(run)
    folder.require_run(path)
    _require_done(path)
    _require_weights(path)
    changes = {"device": device, "data_dir": data_dir}
    given = {key: value for key, value in changes.items() if value is not None}
    return RunConfig(**RunConfig.load(path / records.CONFIG).to_json() | given).with_objects(objects or {})


def _made(path: Path, config: RunConfig, state: Weights) -> Restored:
    whole = examples.load_data(config)
    versions.refuse_changed_examples(path, examples.digest(config, whole))
    place, dataset = find_device(config), examples.as_task(config, whole)
    net = make_net(config, dataset).to(place).eval()
    first = dataset.train.at(slice(1))
    sample = TensorBatches(
        first, dataset.preprocessing, dataset.task, batch_size=1, seed=0, device=place, train=False
    ).sample()
    rule = make_rule(config, net, examples.for_net(config, sample)).to(place)
    checkpoint.fill(net, state["net"], f"{path}: net")
    checkpoint.fill(rule, state.get("rule", {}), f"{path}: rule")
    return Restored(path, config, place, dataset, net, rule)


def _require_done(path: Path) -> None:
    run = records.Run.load(path)
    if run.status != "done":
        how = "biograd resume goes on with it" if run.result is None else "it has no weights to look at"
        raise UserMistake(f"{path}: the run is {run.status}: {how}")


def _require_weights(path: Path) -> None:
    if records.is_packed(path):
        raise UserMistake(
            f"{path} is packed, and weights are not: give the folder that the run was trained in"
        )
