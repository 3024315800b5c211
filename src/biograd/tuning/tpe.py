"""Trials that learn from each other: a tree-structured Parzen estimator, and pruning, by optuna.

For exploring, not for ranking: what a trial tries depends on which were done before it, so that a search is another
one on another number of machines.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from biograd import records
from biograd.errors import RunFailed, UserMistake, cut_short
from biograd.executor import LOOK_EVERY, Executor, Local, results
from biograd.progress import shown
from biograd.records import Result
from biograd.searched import Among, LogUniform
from biograd.tasks import METRICS, Metric
from biograd.training import Observer, resume, train
from biograd.training.examples import as_task, load_data
from biograd.training.folder import Taken
from biograd.training.observers.base import EpochEnded, Moment
from biograd.tuning.contender import TRIALS, Budget, Contender, Tpe, trial_folder

if TYPE_CHECKING:
    import optuna

    from biograd.training.trainer import Trainer

DATABASE = "optuna.db"
_IDENTITY = "optuna-study"
PATIENCE = 60.0
"""Seconds that a process gets to draw the settings of a trial."""
ATTEMPTS = 3
"""At a database before it is said to be out of reach."""


class _Work(NamedTuple):
    """The search of a contender, of which some process is to do a trial; which one, the storage says."""

    contender: Contender
    budget: Budget
    sampler: Tpe
    root: Path
    metric: Metric


def require_optuna() -> None:
    """Refuse where optuna is not installed.

    Raises:
        UserMistake: it is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserMistake(
            "the sampler tpe needs optuna: pip install 'biograd[tune]', or take sobol"
        ) from None


def do_trials(
    searched: Sequence[Contender],
    budget: Budget,
    sampler: Tpe,
    root: Path,
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> None:
    """Do the trials that are left of every contender; several processes that share folder and storage share them.

    A trial that a killed process has left is gone on with, from its checkpoint.

    Raises:
        UserMistake: the data is wrong, or the storage cannot be reached.
    """
    executor = executor or Local()
    works = [_Work(one, budget, sampler, root, _metric(one)) for one in searched]
    while left := [work for work in works for _ in range(budget.trials - _finished(work))]:
        with shown("trials", 0, len(left), progress) as bar:
            done = results(executor, _do_one, left, bar.reach)
        if not all(done):
            time.sleep(LOOK_EVERY)


def _do_one(work: _Work) -> bool:
    """Train one trial that is not done and that nobody is at; whether there was any."""
    study = _study(work)
    with contextlib.closing(_at_hand(study, work)) as trials:
        for trial in trials:
            try:
                result = _trained(trial, study, work)
            except Taken:
                continue
            _tell(study, trial.number, result, work.metric)
            return True
    return False


def _tell(study: "optuna.Study", number: int, result: Result, metric: Metric) -> None:
    """Tell optuna how a trial ended, unless another process that found it done has just told the same."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    value = records.number(result, f"validation_{metric.name}")
    with contextlib.suppress(UpdateFinishedTrialError):
        if result["status"] != "done" or value is None:
            study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        elif result.get("stopped"):
            study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            study.tell(number, value, skip_if_finished=True)


def _at_hand(study: "optuna.Study", work: _Work) -> "Generator[optuna.trial.FrozenTrial, None, None]":
    """The trials that are under way, since their process may be dead, then a new one while there are to be more."""
    from optuna.trial import TrialState

    begun = study.get_trials(deepcopy=False)
    for one in begun[: work.budget.trials]:
        if one.state == TrialState.RUNNING and (_is_asked(one, work) or _is_left(one)):
            yield _asked(study, one.number, work)
    if len(begun) < work.budget.trials:
        new = study.ask()
        if new.number < work.budget.trials:
            yield _asked(study, new.number, work)
        else:  # another process asked for the last one in the same moment
            study.tell(new, state=TrialState.FAIL)


def _is_asked(trial: "optuna.trial.FrozenTrial", work: _Work) -> bool:
    """Whether all of its settings are drawn, which its process does one by one."""
    return trial.params.keys() >= work.contender.space.keys()


def _is_left(trial: "optuna.trial.FrozenTrial") -> bool:
    """Whether it began so long ago that its process, if it has not drawn all settings, is dead."""
    begun = trial.datetime_start
    return begun is not None and (datetime.now() - begun).total_seconds() > PATIENCE


def _asked(study: "optuna.Study", number: int, work: _Work) -> "optuna.trial.FrozenTrial":
    """A trial with all of its settings, of which those that are missing are drawn."""
    from optuna.trial import Trial

    trial = Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
    for name, over in work.contender.space.items():
        if isinstance(over, Among):
            trial.suggest_categorical(name, over.values)
        else:
            trial.suggest_float(name, over.low, over.high, log=isinstance(over, LogUniform))
    return study.get_trials(deepcopy=False)[number]


def _trained(trial: "optuna.trial.FrozenTrial", study: "optuna.Study", work: _Work) -> Result:
    """The result of a trial, however it ends.

    Raises:
        Taken: another process is at it.
    """
    folder = trial_folder(work.contender, work.root, trial.number)
    observers = [Pruner(trial, study, work.metric)]
    try:
        if records.exists(folder / records.CONFIG):
            return resume(folder, progress=False, observers=observers)
        config = work.contender.trial(trial.params, work.budget)
        return train(config, folder, progress=False, observers=observers)
    except RunFailed:
        if not records.exists(folder / records.RESULT):
            raise
        return records.read_row(folder / records.RESULT, Result)


class Pruner(Observer):
    """Tells optuna how a trial stands after each epoch but the last, and ends it where optuna would.

    Args:
        trial: whose run it is.
        study: that it belongs to.
        metric: what is told.
    """

    def __init__(self, trial: "optuna.trial.FrozenTrial", study: "optuna.Study", metric: Metric) -> None:
        from optuna.trial import Trial

        self._trial = Trial(study, trial._trial_id)
        self._metric = metric

    def notice(self, moment: Moment, run: "Trainer") -> str | None:
        """Report the end of an epoch, once; a trial that goes on from a checkpoint may come by again."""
        if not isinstance(moment, EpochEnded) or moment.row["epoch"] >= run.config.epochs:
            return None
        value, epoch = records.number(moment.row, f"validation_{self._metric.name}"), moment.row["epoch"]
        told = self._trial.storage.get_trial(self._trial._trial_id).intermediate_values
        if value is not None and epoch not in told:
            self._trial.report(value, epoch)
        return "worse than half of the trials before it" if self._trial.should_prune() else None


def _study(work: _Work) -> "optuna.Study":
    """The contender's study, made where there is none yet.

    Raises:
        UserMistake: the storage cannot be reached.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = work.root / TRIALS / work.contender.label
    storage = url(work.sampler, folder)
    is_pruned = work.sampler.pruner == "median"

    def made() -> "optuna.Study":
        return optuna.create_study(
            storage=opened(storage),
            study_name=_identity(folder),
            sampler=optuna.samplers.TPESampler(seed=work.budget.seed + len(records.folders(folder))),
            pruner=optuna.pruners.MedianPruner() if is_pruned else optuna.pruners.NopPruner(),
            direction="minimize" if work.metric.smaller_is_better else "maximize",
            load_if_exists=True,
        )

    try:
        return _once_more(made)
    except Exception as error:  # whatever the database's driver raises
        raise UserMistake(
            f"the storage {storage} cannot be used: {cut_short(str(error), 120)}; give the URL of a database that "
            "runs, postgresql://USER@HOST/NAME, and install its driver"
        ) from error


def url(sampler: Tpe, folder: Path) -> str:
    """Where the trials of a contender are kept, whose folder this is."""
    return sampler.storage or f"sqlite:///{folder / DATABASE}"


def opened(address: str) -> "optuna.storages.RDBStorage":
    """A storage that leaves no connection open between two questions."""
    import optuna
    from sqlalchemy.pool import NullPool

    return optuna.storages.RDBStorage(address, engine_kwargs={"poolclass": NullPool})


def _once_more(made: "Callable[[], optuna.Study]") -> "optuna.Study":
    """A study, for which processes that begin side by side all try to make the tables of a new database."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError

    for _ in range(ATTEMPTS):
        with contextlib.suppress(StorageInternalError, DBAPIError):
            return made()
        time.sleep(LOOK_EVERY)
    return made()


def _identity(folder: Path) -> str:
    """What the study is called in its storage: drawn by the first process, and read by all others.

    So two folders never share a study, wherever they are mounted.
    """
    file, mine = folder / _IDENTITY, folder / f".{_IDENTITY}.{secrets.token_hex(4)}.tmp"
    if not file.exists():
        mine.write_text(f"biograd-{secrets.token_hex(16)}")
        with contextlib.suppress(FileExistsError):
            os.link(mine, file)
        mine.unlink()
    return file.read_text()


def _finished(work: _Work) -> int:
    trials = _study(work).get_trials(deepcopy=False)
    return sum(trial.state.is_finished() for trial in trials[: work.budget.trials])


def _metric(contender: Contender) -> Metric:
    """By which trials are told apart, as the task of the data has it."""
    config = contender.config({})
    return METRICS[as_task(config, load_data(config)).task.kind][0]
