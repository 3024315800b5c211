"""The data set of a run, and what its examples are known by."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from biograd import data
from biograd.credit.structures import Inputs
from biograd.data import DataSet
from biograd.data.columns import named
from biograd.data.seeded import derive
from biograd.errors import UserMistake
from biograd.training import precision, user_code
from biograd.training.config import RunConfig


def load_data(config: RunConfig) -> DataSet:
    """The data set of a configuration, with all of its classes.

    Raises:
        UserMistake: a setting is wrong, or the user's own code fails.
        DataUnavailable: the data set is not there.
    """
    seed = derive(config.seed, "data")
    with user_code.blamed("data set", config.data.name):
        return data.load(config.data.name, directory=config.data_dir, seed=seed, **config.data.settings)


def as_task(config: RunConfig, dataset: DataSet) -> DataSet:
    """The data set made binary where the configuration says so."""
    return dataset if config.one_vs_rest is None else dataset.one_vs_rest(config.one_vs_rest)


def for_net(config: RunConfig, x: Any) -> Any:
    """Inputs as the net takes them: in its precision, and columns by keyword where the configuration says so."""
    x = precision.cast(x, config.precision)
    return Inputs(**x) if config.by_keyword else x


def require_columns(config: RunConfig, dataset: DataSet) -> None:
    """Refuse to hand on by keyword what has no names.

    Raises:
        UserMistake: the configuration says so, and inputs are one tensor, or a name cannot be handed on.
    """
    if config.by_keyword and not isinstance(dataset.train.inputs, Mapping):
        raise UserMistake(
            f"by_keyword gives a net the columns of its inputs by name, and those of {dataset.name} are one tensor: "
            "leave it out"
        )
    if config.by_keyword and "self" in dataset.train.inputs:
        raise UserMistake(
            f"by_keyword gives a net the columns of its inputs by name, and one of {dataset.name} is called 'self', as "
            "the net itself is: give it another name"
        )


def is_official(config: RunConfig) -> bool:
    """Whether the data is a set that is read from official files, the same for every seed."""
    card = data.describe(config.data.name).card
    return config.data.name in data.REGISTRY.built_in() and card is not None and card.source is not None


def digest(config: RunConfig, dataset: DataSet) -> str | None:
    """SHA-256 of all examples and how they are prepared, None for sets that come with biograd or are made up by it."""
    if config.data.name in data.REGISTRY.built_in() and not is_official(config):
        return None
    found = sha256(repr(dataset.preprocessing).encode())
    for part in (dataset.train, dataset.test):
        for name, tensor in (*named(part.inputs).items(), ("", part.targets)):
            found.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().numpy(force=True).data)
    return found.hexdigest()
