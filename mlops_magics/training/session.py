"""The session of a run: what is recorded at its start, and how it ends."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_magics.errors import InvalidArgument, MlopsError
from mlops_magics.store.workspace import Workspace, resolve
from mlops_magics.training.active import ActiveRun, dataset_input
from mlops_magics.training.autologging import autologging
from mlops_magics.training.facts import FOLDER, Facts

__all__ = ["run"]


@contextlib.contextmanager
def run(
    name: str,
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    source: str | None = None,
    notebook: Path | str | None = None,
    state: object = None,
    autolog: bool = True,
    dataset: Any = None,
    workspace: Workspace | None = None,
) -> Iterator[ActiveRun]:
    """Track what happens in the ``with`` block as an MLflow run.

    The run is MLflow's active run, so ``mlflow.log_metric`` and autologging arrive in it; inside
    another run it is that one's child. An exception leaves it FAILED, an interrupt KILLED; either
    way the exception goes on.

    Parameters
    ----------
    name : str
        The run's name.
    params, tags : mapping, optional
        Logged at the start.
    source : str, optional
        The code that runs, kept as an artifact: the cell's text.
    notebook : path, optional
        The notebook's file; a snapshot is kept.
    state : object, optional
        The verdict on hidden state (:func:`mlops_magics.training.history.judge`), kept as text.
    autolog : bool
        Let MLflow log parameters and training metrics of the libraries that are imported.
    dataset : str, Dataset, DataFrame, or a sequence of them, optional
        What the run trains on.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Yields
    ------
    ActiveRun
        To log to; its ``record`` is the run's record.

    Raises
    ------
    InvalidArgument, DatasetNotFound
        Before anything runs.
    TrackingUnavailable
        MLflow cannot be reached.

    Examples
    --------
    >>> import tempfile
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> with run("baseline", params={"depth": 6}, workspace=workspace) as active:
    ...     active.log_metrics({"roc_auc": 0.71})
    >>> active.record.status, active.record.metrics
    ('FINISHED', {'roc_auc': 0.71})
    """
    workspace = resolve(workspace)
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgument(f"{name!r} cannot be a run's name", hint="give it a few words")
    many = isinstance(dataset, (list, tuple))
    used = [each for each in (dataset if many else [dataset]) if each is not None]
    inputs = [dataset_input(workspace, each, "training") for each in used]
    tracking = workspace.tracking
    with tracking.mapped():
        mlflow = tracking.fluent()
        outer = mlflow.active_run()
        facts = Facts(workspace, source, notebook, state)
        started = mlflow.start_run(
            run_name=name,
            # a run of another experiment would not be its child
            experiment_id=outer.info.experiment_id if outer else tracking.experiment_id,
            nested=outer is not None,
            tags={**{str(key): str(value) for key, value in (tags or {}).items()}, **facts.tags()},
        )
    active = ActiveRun(workspace, started.info.run_id)
    status = "FINISHED"
    try:
        if params:
            active.log_params(params)
        if inputs:
            active.use(inputs)
        active.keep(facts.files())
        with autologging(mlflow) if autolog else contextlib.nullcontext():
            yield active
    except BaseException as exc:
        # SystemExit, KeyboardInterrupt, a cancelled task: somebody ended it, the code did not fail
        status = "FAILED" if isinstance(exc, Exception) else "KILLED"
        if isinstance(exc, KeyboardInterrupt):
            exc.add_note(f"run {active.run_id[:12]} keeps what it had logged, and is KILLED")
        # both are tried: a run left on MLflow's stack would take the next runs for its children
        for step in (
            functools.partial(_keep_error, active, exc),
            functools.partial(_end, mlflow, workspace, active.run_id, outer, status),
        ):
            try:
                step()
            except MlopsError as lost:
                # the reader must see the failure of the code, not that of the tracking server
                exc.add_note(f"MLflow does not hold all of run {active.run_id}: {lost.message}")
        raise
    _end(mlflow, workspace, active.run_id, outer, status)


def _keep_error(active: ActiveRun, exc: BaseException) -> None:
    text = f"{type(exc).__name__}: {exc}".strip().removesuffix(":")
    active.set_tags({"mlops.error": text[:4000]})
    lines = traceback.format_exception(exc)
    active.keep_text(f"{FOLDER}/error.txt", "".join(lines))


def _end(mlflow: Any, workspace: Workspace, run_id: str, outer: Any, status: str) -> None:
    """End this run, and those that the block has started inside and left open."""
    tracking = workspace.tracking
    stop = outer.info.run_id if outer else None
    ended = False
    with tracking.mapped():
        while (current := mlflow.active_run()) is not None and current.info.run_id != stop:
            mlflow.end_run(status)
            if current.info.run_id == run_id:
                ended = True
                break
        if not ended:  # the block has called mlflow.end_run() itself
            tracking.client.set_terminated(run_id, status)
