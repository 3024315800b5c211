"""A run in MLflow: its settings as parameters, losses, accuracies and measurements as metrics by step."""

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from biograd import records
from biograd.errors import UserMistake
from biograd.training.observers.base import (
    EpochEnded,
    Measured,
    Moment,
    Observer,
    RunBegins,
    RunEnded,
    RunLeft,
)
from biograd.training.observers.scalars import of_epoch, of_measurements, of_test, require

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from biograd.training.trainer import Trainer

FILE = "mlflow.json"
"""The file that names the MLflow run of a run's folder, ``{"uri": …, "run_id": …}``; a resumed run goes on in it."""

_AT_ONCE = 100
"""Parameters that MLflow takes in one request."""

_PATIENCE = 10.0
"""Seconds in which a server has to answer before the run begins."""

_LONGEST = 500
"""Characters of a parameter's value that every version of MLflow takes."""


class MLflow(Observer):
    """Writes to a tracking server or a database, one run of MLflow's for each run of biograd.

    Args:
        uri: of the server or database; None for ``$MLFLOW_TRACKING_URI``, and where that is not set for ``mlflow.db``
            in the working folder, which ``mlflow ui`` shows when it is started there.
        experiment: under which the runs stand, made where there is none; None for ``$MLFLOW_EXPERIMENT_NAME``, else
            MLflow's own default.
    """

    def __init__(self, *, uri: str | None = None, experiment: str | None = None) -> None:
        require("mlflow", "mlflow")
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd()}/mlflow.db"
        self._experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        self._client: MlflowClient | None = None  # until the run begins, and when it has ended
        self._run_id = ""
        self._last: dict[str, int] = {}  # the last step that each metric was written at

    def notice(self, moment: Moment, run: "Trainer") -> None:
        """Write what has come; in the store before a checkpoint counts on it."""
        match moment:
            case RunBegins():
                self._begin(run)
            case Measured(rows):
                self._log(of_measurements(rows), run.position.step)
            case EpochEnded(row):
                self._log(of_epoch(row), row["step"])
            case RunEnded(result):
                self._log(of_test(result), result["steps"])
                self._close("FINISHED" if result["status"] == "done" else "FAILED")
            case RunLeft():
                self._close("KILLED")

    def _begin(self, run: "Trainer") -> None:
        file = run.folder / FILE
        there = records.read_json(file) if file.exists() else None
        uri = there["uri"] if there else self._uri
        client = _connected(uri)
        if there is None:
            self._run_id = self._created(client, run)
            records.write_json(file, {"uri": uri, "run_id": self._run_id})
            self._describe(client, run)
        else:
            self._run_id = there["run_id"]
            self._go_on(client, file)
        self._client = client

    def _created(self, client: "MlflowClient", run: "Trainer") -> str:
        config = run.config
        name = f"{config.title}-seed{config.seed}"
        tags = {"biograd.run": str(run.folder.resolve())}
        return client.create_run(self._experiment_id(client), run_name=name, tags=tags).info.run_id

    def _experiment_id(self, client: "MlflowClient") -> str:
        if self._experiment is None:
            return "0"
        found = client.get_experiment_by_name(self._experiment)
        return found.experiment_id if found else client.create_experiment(self._experiment)

    def _describe(self, client: "MlflowClient", run: "Trainer") -> None:
        """Write every setting of the run, so many at a time as go together."""
        from mlflow.entities import Param

        given = records.flatten(run.config.to_json()).items()
        settings = [Param(key, str(value)[:_LONGEST]) for key, value in given]
        for start in range(0, len(settings), _AT_ONCE):
            client.log_batch(self._run_id, params=settings[start : start + _AT_ONCE])

    def _go_on(self, client: "MlflowClient", file: Path) -> None:
        """Open the run again; what a killed process wrote after its checkpoint is not written twice.

        It has the same bits when it is done again.
        """
        from mlflow.exceptions import MlflowException

        try:
            metrics = client.get_run(self._run_id).data.metrics
        except MlflowException as error:
            reason = str(error).partition("\n")[0]
            raise UserMistake(f"{reason}; remove {file} to begin another run there") from error
        for tag in metrics:
            history = client.get_metric_history(self._run_id, tag)
            self._last[tag] = max(point.step for point in history)
        client.update_run(self._run_id, status="RUNNING")

    def _log(self, scalars: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        assert self._client is not None
        now = int(1000 * time.time())
        new = {tag: value for tag, value in scalars.items() if step > self._last.get(tag, -1)}
        self._client.log_batch(
            self._run_id, metrics=[Metric(tag, value, now, step) for tag, value in new.items()]
        )

    def _close(self, status: str) -> None:
        if self._client is not None:
            self._client.set_terminated(self._run_id, status)
            self._client = None


def _connected(uri: str) -> "MlflowClient":
    """A client of a store, which is made where it is a database that there is not.

    Raises:
        UserMistake: no server answers; MLflow itself would try for minutes.
    """
    with _quiet():
        from mlflow.tracking import MlflowClient

        if uri.startswith(("http://", "https://")):
            _require_answer(uri)
        return MlflowClient(tracking_uri=uri)


def _require_answer(uri: str) -> None:
    import requests

    try:
        requests.head(uri, timeout=_PATIENCE)
    except requests.exceptions.SSLError:  # it answers; whom to trust is for MLflow's own settings
        pass
    except (requests.ConnectionError, requests.Timeout):
        raise UserMistake(
            f"no MLflow server answers at {uri}: start one there, or give another --track.mlflow.uri"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what MLflow says of its tables and its dependencies from the terminal, and from sending word of its use."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
