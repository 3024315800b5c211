"""Which versions of the user's files, and of the examples, a run is made of, and whether they are still there."""

from collections.abc import Mapping
from pathlib import Path

from biograd import records, user_files
from biograd.errors import DataUnavailable, UserMistake
from biograd.records import Environment, Place
from biograd.training import examples
from biograd.training.config import RunConfig
from biograd.training.config_layers import CHOICES

_MEND = "put the old version back, or give another folder, or remove that of the run to train it anew"


def of_files(config: RunConfig) -> dict[str, str]:
    """The user's own files that a configuration names, and those that they import, whole paths to SHA-256.

    They are identified as this process uses them. What only follows a run has no part.
    """
    choices = (*(getattr(config, key) for key in CHOICES), *config.observe)
    files = {user_files.file_of(name) for choice in choices for name in choice.files}
    return dict(sorted(item for file in files for item in user_files.contents(file).items()))


def refuse_other_files(config: RunConfig, files: Mapping[str, str]) -> None:
    """Refuse to train a configuration with other versions of its files than it was checked with, in another process.

    Raises:
        UserMistake: a file has changed since.
    """
    for file, found in of_files(config).items():
        if files.get(file, found) != found:
            raise UserMistake(f"{file} was changed while runs with it were waiting: put the old version back")


def refuse_changed_files(place: Path, config: RunConfig) -> None:
    """Refuse a run that was made with another version of one of the user's own files.

    Files that it did not record, as older runs did not, are passed over. One that lies elsewhere now is known by its
    name, as one of those that have it.

    Args:
        place: the folder of the run.
        config: its configuration.

    Raises:
        UserMistake: a file has changed since, or is gone.
    """
    now = of_files(config)
    for file, found in _last(place).get("files", {}).items():
        there = _there(file, now)
        if found not in there:
            change = "is gone" if there == {None} else "has changed"
            raise UserMistake(f"{file} {change} since the run in {place} began: {_MEND}")


def _there(file: str, now: Mapping[str, str]) -> set[str | None]:
    """The version of a file there is now; else those of its name; else what lies there and is not found by imports."""
    if file in now:
        return {now[file]}
    name = Path(file).name
    moved: set[str | None] = {found for other, found in now.items() if Path(other).name == name}
    return moved or {user_files.digest(Path(file))}


def refuse_changed_examples(place: Path, found: str | None) -> None:
    """Refuse a run whose data held other examples than are loaded now.

    Args:
        place: the folder of the run.
        found: what those that were loaded are known by.

    Raises:
        UserMistake: they are others.
    """
    was = _examples(place)
    if found is not None and was not in (None, found):
        raise UserMistake(f"the data has other examples than when the run in {place} began: {_MEND}")


def refuse_changed_data(runs: Mapping[Path, RunConfig]) -> None:
    """Refuse runs whose data has other examples now; each set is loaded once, and official files may be gone.

    Args:
        runs: folders, and what was trained there.

    Raises:
        UserMistake: a run had others, or the user's own data cannot be loaded.
    """
    known: dict[str, str | None] = {}
    for place, config in runs.items():
        if _examples(place):
            refuse_changed_examples(place, _found(config, known))


def _found(config: RunConfig, known: dict[str, str | None]) -> str | None:
    """What the examples of a configuration are known by as they are now, kept for the next one that has the same."""
    seed = None if examples.is_official(config) else config.seed
    key = repr((config.data, config.data_dir, seed))
    if key not in known:
        try:
            known[key] = examples.digest(config, examples.load_data(config))
        except DataUnavailable:
            known[key] = None
    return known[key]


def _examples(place: Path) -> str | None:
    """What the examples of a run were known by, where it says so."""
    last = _last(place)
    return last.get("examples") or last.get("examples_of_seed")


def _last(place: Path) -> Place:
    """Where a run went last; of one that was stopped before it said so, nothing is known."""
    if not records.exists(place / records.ENVIRONMENT):
        return {}
    environment = records.read_row(place / records.ENVIRONMENT, Environment)
    return [environment, *environment.get("resumed", [])][-1]
