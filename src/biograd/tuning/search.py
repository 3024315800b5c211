"""A search: equally many trials for every rule, a choice on validation data, fresh seeds of what was chosen."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from biograd import records
from biograd.errors import RunFailed, UserMistake
from biograd.executor import Executor
from biograd.records import SEARCH, Result, Search, TrialRow
from biograd.records.trials import ADVICE
from biograd.training import RunConfig, config_layers, train_all
from biograd.training.compare import flags_by_rule
from biograd.training.config import given_by
from biograd.training.estimate import Workload
from biograd.tuning import tpe
from biograd.tuning.contender import TRIALS, Budget, Contender, Sobol, trial_folder
from biograd.tuning.space import Point, point, required

Announce = Callable[[Workload], object]


class Chosen(NamedTuple):
    """What a search came to.

    Attributes:
        contender: what was searched.
        trial: the best by validation, with its settings.
    """

    contender: Contender
    trial: TrialRow

    @property
    def point(self) -> Point:
        """The settings that were chosen."""
        return self.trial["settings"]


def contenders(
    rules: Sequence[Any] | Mapping[str, Any] | None,
    flags: Mapping[str, Any] | None = None,
    file: str | os.PathLike[str] | None = None,
    *,
    source: str = "the configuration",
) -> list[Contender]:
    """One contender a rule, from what `biograd.training.grid` takes.

    Raises:
        UserMistake: as there, and as `Contender.of`.
    """
    found = []
    for rule, layer in flags_by_rule(rules, flags, file).items():
        given = given_by(layer, file, rule, source=source)
        # Once with its sources apart, so that a mistake is told in the words of where it was made.
        RunConfig.from_sources(
            config_layers.merged(required(given), given_by(layer)), file, rule, source=source
        )
        found.append(Contender.of(given))
    return found


def tune(
    searched: Sequence[Contender],
    budget: Budget,
    directory: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
    announce: Announce | None = None,
) -> list[Result]:
    """Search, choose, and train what was chosen from fresh seeds; the test set is read by these last runs alone.

    Trials lie in ``directory/trials/LABEL/NUMBER``, the runs of what was chosen in ``directory/LABEL-seedN``. Finished
    runs are kept and unfinished ones resumed; several processes on any machines that share the directory do one search
    (see `biograd.training.train_all`), and the numbers are the same however many they are.

    Args:
        searched: of which each gets the same budget.
        budget: how much.
        directory: new, or that of an earlier call with the same budget; more contenders may come to it.
        executor: who trains; None for this process.
        progress: as for `biograd.training.train`.
        announce: is told what there is to train, of trials and then of chosen settings.

    Returns:
        The results of the chosen settings, contender by contender, seed by seed.

    Raises:
        UserMistake: the directory holds another search, two contenders have one label, or a configuration is wrong;
            nothing has been trained then.
        RunFailed: every trial of a contender diverged, or records cannot be written.
    """
    root = Path(directory)
    found = choose(searched, budget, root, executor=executor, progress=progress, announce=announce)
    places = {
        root / f"{chosen.contender.label}-seed{seed}": final_config(chosen, budget, seed)
        for chosen in found
        for seed in fresh_seeds(budget)
    }
    return train_all(places, executor=executor, progress=progress, announce=announce)


def choose(
    searched: Sequence[Contender],
    budget: Budget,
    root: Path,
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
    announce: Announce | None = None,
) -> list[Chosen]:
    """The trials of `tune`, and the best of each contender.

    Raises:
        RunFailed: every trial of a contender diverged.
    """
    do_trials(searched, budget, root, executor=executor, progress=progress, announce=announce)
    return [best_of(one, budget, root) for one in searched]


def do_trials(
    searched: Sequence[Contender],
    budget: Budget,
    root: Path,
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
    announce: Announce | None = None,
) -> None:
    """The trials of `tune`, of contenders who may all fail."""
    labels = [one.label for one in searched]
    if len(set(labels)) < len(labels) or not labels:
        raise UserMistake(
            f"a search needs a rule or more, each with a label of its own; got {', '.join(labels)}"
        )
    if not isinstance(budget.sampler, Sobol):
        tpe.require_optuna()
    for one in searched:
        _describe(one, budget, root / TRIALS / one.label)
    if isinstance(budget.sampler, Sobol):
        places = trial_places(searched, budget, root)
        kinds = {place: place.parent.name for place in places}
        train_all(places, executor=executor, progress=progress, announce=announce, kinds=kinds)
    else:
        tpe.do_trials(searched, budget, budget.sampler, root, executor=executor, progress=progress)


def best_of(contender: Contender, budget: Budget, root: Path) -> Chosen:
    """The best of a contender's finished trials.

    Raises:
        RunFailed: all of them diverged.
    """
    trials = records.read_trials(root / TRIALS / contender.label)
    best = trials.best
    if best is None:
        raise RunFailed(
            f"{contender.label}: none of {len(trials.done)} trials ended with a value to choose by; their records are "
            f"in {root / TRIALS / contender.label}"
        )
    return Chosen(contender, best)


def trial_places(searched: Sequence[Contender], budget: Budget, root: Path) -> dict[Path, RunConfig]:
    """What is trained where; trial by trial, so that an early stop leaves all contenders with equally many."""
    return {
        trial_folder(one, root, index): one.trial(point(one.space, budget.seed, index), budget)
        for index in range(budget.trials)
        for one in searched
    }


def final_config(chosen: Chosen, budget: Budget, seed: int) -> RunConfig:
    """What is trained of a chosen setting."""
    epochs = budget.final_epochs or budget.epochs
    own = {} if epochs is None else {"epochs": epochs}
    return chosen.contender.config(chosen.point, seed=seed, **own)


def fresh_seeds(budget: Budget) -> range:
    """The seeds of what was chosen, none of which a trial had."""
    return range(budget.seed + 1, budget.seed + 1 + budget.seeds)


def _describe(contender: Contender, budget: Budget, folder: Path) -> None:
    """Write what is searched, or see that it is what is searched there already.

    Raises:
        UserMistake: it is another search.
    """
    here = _search(contender, budget)
    if records.exists(folder / SEARCH):
        there = records.read_row(folder / SEARCH, Search, ADVICE)
        for key, value in here.items():
            if there.get(key) != value:
                raise UserMistake(
                    f"{folder} holds a search with {key} {there.get(key)}, and now {key} is {value}: give another "
                    "folder, or the same budget; a search that grows after the test set was read would be none"
                )
        return
    records.make_folder(folder)
    records.write_json(folder / SEARCH, here)


def _search(contender: Contender, budget: Budget) -> Search:
    return {
        "rule": contender.label,
        "sampler": budget.sampler.name,
        "trials": budget.trials,
        "epochs": contender.trial(point(contender.space, budget.seed, 0), budget).epochs,
        "seed": budget.seed,
        "space": {name: str(over) for name, over in contender.space.items()},
    }
