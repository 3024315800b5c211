"""The data set of a run, and what its examples are known by."""

from hashlib import sha256

from biograd import data
from biograd.data import DataSet
from biograd.data.seeded import derive
from biograd.training import user_code
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


def is_official(config: RunConfig) -> bool:
    """Whether the data is a set that is read from official files, the same for every seed."""
    card = data.describe(config.data.name).card
    return config.data.name in data.REGISTRY.built_in() and card is not None and card.source is not None


def digest(config: RunConfig, dataset: DataSet) -> str | None:
    """SHA-256 of all examples and how they are prepared, None for sets that come with biograd or are made up by it."""
    parts = [tensor for part in (dataset.train, dataset.test) for tensor in (part.inputs, part.targets)]
    if config.data.name in data.REGISTRY.built_in() and not is_official(config):
        return None
    found = sha256(repr(dataset.preprocessing).encode())
    for part in parts:
        found.update(f"{part.dtype}{tuple(part.shape)}".encode())
        found.update(part.contiguous().numpy(force=True).data)
    return found.hexdigest()
