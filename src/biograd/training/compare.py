"""Several rules and seeds under one budget; a comparison can be stopped at any time and goes on when called again."""

import contextlib
import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from biograd import records
from biograd.errors import RunFailed, UnsupportedNet, UserMistake, brief, cut_short
from biograd.executor import LOOK_EVERY, Executor, Local, Needs, results
from biograd.handed import Handed
from biograd.progress import shown
from biograd.records import Result
from biograd.rules import REGISTRY
from biograd.training import config_layers, folder, observers, versions
from biograd.training.config import RunConfig
from biograd.training.estimate import Pace, Workload, estimate, pace
from biograd.training.loop import resume, train
from biograd.training.needs import as_tried_here, needs_of
from biograd.training.objects import named
from biograd.training.run_setup import RunSetup, build
from biograd.training.shared_folder import await_records, require_shared
from biograd.user_files import told

BUDGET = (
    "data",
    "net",
    "loss",
    "answers",
    "epochs",
    "batch_size",
    "one_vs_rest",
    "validation_fraction",
    "read_test",
)
"""What all runs of a comparison must have in common."""


def grid(
    rules: Iterable[Any] | Mapping[str, Any] | None,
    seeds: Iterable[int] | int,
    flags: Mapping[str, Any] | None = None,
    file: str | os.PathLike[str] | None = None,
    *,
    source: str = "the configuration",
) -> list[RunConfig]:
    """One configuration a rule and seed, each under its rule's default training.

    Args:
        rules: names or classes of rules, or labels of the file's tables ``[rules.LABEL]``; None for all of those; or,
            by the label that runs are to have, names, classes, or tables of a name and settings:
            ``{"small": {"name": "fa", "scale": 0.1}}``.
        seeds: seeds that every rule gets; a number for as many, from the one of flags or file on.
        flags: as for `RunConfig.from_sources`.
        file: as there; what it says of one rule goes to that rule alone.
        source: what messages call the flags.

    Raises:
        UserMistake: a key or value is wrong, or a rule or seed is named twice.
    """
    layers = flags_by_rule(rules, flags, file)
    configs = [RunConfig.from_sources(layer, file, rule, source=source) for rule, layer in layers.items()]
    if isinstance(seeds, int):
        seeds = range(configs[0].seed, configs[0].seed + seeds)
    seeds = list(seeds)
    _refuse_twice("seed", seeds)
    return [
        RunConfig.from_sources({**layer, "seed": seed}, file, rule, source=source)
        for rule, layer in layers.items()
        for seed in seeds
    ]


def flags_by_rule(
    rules: Iterable[Any] | Mapping[str, Any] | None,
    flags: Mapping[str, Any] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """The flags of each rule by its label or name, with which `RunConfig.from_sources` takes it; as for `grid`.

    Raises:
        UserMistake: a key or value is wrong, or a rule is named twice.
    """
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    shared = {key: named(key, value) for key, value in given.items()}  # once, since objects are read for it
    chosen = _chosen(labels(file) if rules is None else rules)
    settings = config_layers.flat(shared.pop("rule", {}))
    if "name" in settings:
        raise UserMistake(f"flags name the rule {brief(settings['name'])}: name it among the rules")
    if settings and len(chosen) > 1:
        raise UserMistake(
            f"settings of a rule ({brief(settings)}) cannot hold for {len(chosen)} rules; put them in a file"
        )
    return {
        rule: _named(rule, {**shared, **own, "rule": {**settings, **own.get("rule", {})}}, file)
        for rule, own in chosen.items()
    }


def _chosen(rules: Iterable[Any] | Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The layer of each rule, by its label or name."""
    if isinstance(rules, Mapping):
        labelled = {label: config_layers.flat(named("rule", rule)) for label, rule in rules.items()}
        _refuse_twice("rule", list(labelled))
        return {label: {"rule": rule, "label": label} for label, rule in labelled.items()}
    given = [config_layers.flat(named("rule", rule)) for rule in rules]
    _refuse_twice("rule", [rule.get("name") for rule in given])
    return {rule["name"]: {} if _is_only_a_name(rule) else {"rule": rule} for rule in given}


def _is_only_a_name(rule: Mapping[str, Any]) -> bool:
    """Whether a rule may be the label of a table in a file."""
    return list(rule) == ["name"] and not isinstance(rule["name"], Handed)


def labels(file: str | os.PathLike[str] | None) -> list[str]:
    """The labels of a file's tables ``[rules.LABEL]``, none without a file.

    Raises:
        UserMistake: the file cannot be read, a key in it is wrong, or it names a rule that has no table.
    """
    if file is None:
        return []
    shared, tables = _read(file)
    rule = shared.get("rule", {}).get("name")
    if tables and rule is not None and all(table["rule"]["name"] != rule for table in tables.values()):
        raise UserMistake(
            f"{file} names the rule {rule!r}, which none of its tables is for: give it a table "
            f"[{config_layers.TABLES}.{rule}], leave it out, or name the rules that are compared"
        )
    return list(tables)


def _read(file: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The layers of a file, what is shared and each table."""
    return config_layers.read(file, list(RunConfig.model_fields))


def _named(rule: str, layer: dict[str, Any], file: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The flags of one rule, with its name unless it is the label of a table, which names the rule itself."""
    tables = [] if file is None else list(_read(file)[1])
    if rule in tables or "name" in layer["rule"]:
        return layer
    try:
        REGISTRY.find(rule)
    except UserMistake as error:
        named = f"{error}; tables of {file}: {', '.join(tables)}" if tables else str(error)
        raise UserMistake(named, error.lines) from None
    return {**layer, "rule": {**layer["rule"], "name": rule}}


def _refuse_twice(kind: str, values: list[Any]) -> None:
    if not values or any(values.count(value) > 1 for value in values):
        raise UserMistake(f"a comparison needs at least one {kind}, and none twice; got {brief(values)}")


def compare(
    configs: Sequence[RunConfig],
    directory: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> list[Result]:
    """Train every configuration that is not trained yet, each in a folder of its own below ``directory``.

    Finished runs are kept, unfinished ones resumed, and a run that diverges is recorded while the others
    go on. The same call in several processes shares the work; see `train_all`.

    Args:
        configs: what to train, under one budget.
        directory: which may hold the runs of an earlier call; a packed file will do if it holds them all, finished.
        executor: what runs them, each with its configuration's threads; None for this process, one after another.
        progress: as for `train`.

    Returns:
        The content of each ``result.json``, in the order of ``configs``, those that diverged included.

    Raises:
        UserMistake: budgets differ, a run in ``directory`` has another configuration, or a rule cannot
            teach the net; nothing has been trained then.
        RunFailed: records cannot be written.
    """
    root = Path(directory)
    if records.exists(root / records.CONFIG):
        raise UserMistake(f"{root} is the folder of a single run: give another one for the comparison")
    places = {_place(root, config): config for config in configs}
    if len(places) < len(configs):
        raise UserMistake(
            "two configurations have the same rule or label, and seed; give them labels of their own, as tables "
            "[rules.LABEL] of a --config file"
        )
    _check_budget(configs)
    return train_all(places, executor=executor, progress=progress)


def train_all(
    places: Mapping[Path, RunConfig],
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
    announce: Callable[[Workload], object] | None = None,
    kinds: Mapping[Path, str] | None = None,
) -> list[Result]:
    """Train what is not trained yet, whatever the budgets; the rest is as for `compare`.

    Several processes, of one machine or of many that share the folders, may do so at once: each trains what none of
    the others does, and waits at the end for theirs, so that all return the same.

    Args:
        places: the folder of each run, and what is trained there.
        executor: as for `compare`.
        progress: as for `train`.
        announce: is called before the first run with what there is to train, where anything is; a few steps of each
            kind of run are timed for it.
        kinds: what kind of run each is, of which one is tried before any is trained; None where runs that differ in
            their seeds alone are of one kind.

    Returns:
        The content of each ``result.json``, in the order of ``places``.

    Raises:
        UserMistake: a folder holds a run of another configuration, or a rule cannot teach its net; nothing
            has been trained then.
        RunFailed: records cannot be written.
    """
    executor = executor or Local()
    _check(places, executor, announce, kinds)
    found: dict[Path, Result] = {}
    while waiting := {place: config for place, config in places.items() if place not in found}:
        tried = _here(waiting, progress) if executor.is_here else _elsewhere(waiting, executor, progress)
        finished = {place: result for place, result in tried.items() if result is not None}
        found |= finished
        if len(finished) < len(waiting):
            time.sleep(LOOK_EVERY)
    return [found[place] for place in places]


def _here(places: Mapping[Path, RunConfig], progress: bool | None) -> dict[Path, Result | None]:
    return {place: _run(place, config, progress) for place, config in places.items()}


def _elsewhere(
    places: Mapping[Path, RunConfig], executor: Executor, progress: bool | None
) -> dict[Path, Result | None]:
    """Train in other processes what is neither finished nor taken; say here, once, what each would warn of."""
    there = {place: _result(place) for place in places}
    finished = {place: result for place, result in there.items() if result is not None}
    free = {place: places[place] for place in places if place not in finished and not folder.is_taken(place)}
    for place, config in free.items():
        _require_sendable(config)
        records.make_folder(place.parent)
    work = [(place, config, versions.of_files(config)) for place, config in free.items()]
    with shown("runs", len(finished), len(places), progress) as bar:
        found = results(executor, _run_in_worker, work, lambda done: bar.reach(len(finished) + done), _needs)
    await_records(place for place, result in zip(free, found, strict=True) if result is not None)
    told = (warning for result in found if result is not None for warning in result["warnings"])
    for warning in dict.fromkeys(told):
        warnings.warn(warning, stacklevel=4)
    return {**there, **dict(zip(free, found, strict=True))}


def _result(place: Path) -> Result | None:
    """How a run ended; None where it has not."""
    file = place / records.RESULT
    return records.read_row(file, Result) if records.exists(file) else None


def _require_sendable(config: RunConfig) -> None:
    """Refuse objects that no other process could be given.

    Raises:
        UserMistake: one was made within a function, say.
    """
    for key, name in config.objects.items():
        try:
            pickle.dumps(name)
        except Exception as error:  # whatever the object raises
            raise UserMistake(
                f"the {key} {brief(name)} cannot be sent to another process ({cut_short(str(error), 80)}): define it "
                "at the top of a file, name it as path/to/file.py:Name, or train in this process"
            ) from error


def _needs(run: tuple[Path, RunConfig, dict[str, str]]) -> Needs:
    return needs_of(run[1], str(run[0]))


def _run_in_worker(run: tuple[Path, RunConfig, dict[str, str]]) -> Result | None:
    place, config, files = run
    require_shared(place)
    versions.refuse_other_files(config, files)
    with told(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the result holds them
        return _run(place, config, progress=False)


def _place(root: Path, config: RunConfig) -> Path:
    return root / f"{config.title}-seed{config.seed}"


def _run(place: Path, config: RunConfig, progress: bool | None) -> Result | None:
    """The result of a run, which is trained as far as that is needed; None while another process trains it."""
    try:
        if _has_begun(place):
            return resume(place, progress=progress, objects=config.objects)
        return train(config, place, progress=progress)
    except folder.Taken:
        return None
    except RunFailed:
        if (result := _result(place)) is None:
            raise
        return result


def _has_begun(place: Path) -> bool:
    return records.exists(place / records.CONFIG)


def _check(
    places: Mapping[Path, RunConfig],
    executor: Executor,
    announce: Callable[[Workload], object] | None,
    given: Mapping[Path, str] | None,
) -> None:
    """Find every mistake before the first run; of runs of a kind, one is tried."""
    waiting = {place: config for place, config in places.items() if not is_finished(place, config)}
    versions.refuse_changed_data({place: config for place, config in places.items() if _has_begun(place)})
    unfinished = list(waiting.values())
    for place, config in waiting.items():
        _warn_of_trackers(place, config)
    for choice in (one for config in unfinished for one in (*config.observe, *config.track)):
        observers.create(choice.name, **choice.settings)
    kinds = {
        place: given[place] if given else config.model_copy(update={"seed": 0}).digest()
        for place, config in waiting.items()
    }
    paces: dict[str, Pace] = {}
    for kind, config in {kinds[place]: config for place, config in waiting.items()}.items():
        start, setup = time.perf_counter(), tried(as_tried_here(config, executor))
        if announce is not None:
            paces[kind] = pace(setup, time.perf_counter() - start)
    if announce is not None and paces:
        announce(estimate(waiting, {place: paces[kind] for place, kind in kinds.items()}))


def tried(config: RunConfig) -> RunSetup:
    """What a run trains with; of a net that its rule cannot teach, the line says which rule it is."""
    try:
        return build(config)
    except UnsupportedNet as error:
        raise UnsupportedNet(f"rule {config.title!r}: {error}") from error


def _warn_of_trackers(place: Path, config: RunConfig) -> None:
    """Say that a run that has begun goes on with the trackers that it began with."""
    if _has_begun(place):
        there = RunConfig.load(place / records.CONFIG).track
        if there != config.track:
            names = ", ".join(one.label for one in there) or "none"
            warnings.warn(f"{place} goes on with the trackers that it began with: {names}", stacklevel=5)


def _check_budget(configs: Sequence[RunConfig]) -> None:
    for config in configs[1:]:
        for key in BUDGET:
            first, here = getattr(configs[0], key), getattr(config, key)
            if config.decisive().get(key) != configs[0].decisive().get(key):
                titles = f"rules {configs[0].title!r} and {config.title!r}"
                values = f"{cut_short(str(first), 80)} and {cut_short(str(here), 80)}"
                raise UserMistake(
                    f"{titles} would not be compared under one budget: {key} is {values}; set {key} for all of "
                    "them, or make them cells of a study"
                )


def _differences(there: RunConfig, here: RunConfig) -> str:
    """What two configurations differ in: ``epochs (5 there, 10 here)``."""
    was, now = (records.flatten(one.decisive(anywhere=True)) for one in (there, here))
    return ", ".join(
        f"{name} ({_shown(was, name)} there, {_shown(now, name)} here)"
        for name in {**was, **now}
        if was.get(name) != now.get(name)
    )


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return "its default" if settings.get(name) is None else brief(settings[name])


def is_finished(place: Path, config: RunConfig) -> bool:
    """Whether the run is there with a result; another process may have begun it a moment ago.

    Raises:
        UserMistake: the folder holds a run with another configuration, or of another version of the user's own files,
            or anything else.
    """
    if not _has_begun(place):
        with contextlib.suppress(folder.Taken):
            folder.refuse_used(place)
            return False
    there = RunConfig.load(place / records.CONFIG)
    if there.decisive(anywhere=True) != config.decisive(anywhere=True):
        raise UserMistake(
            f"{place} holds a run with another {_differences(there, config)}; give another folder, or the same settings"
        )
    versions.refuse_changed_files(place, config)
    return records.exists(place / records.RESULT)
