"""Scratch: a workspace for one smoke run, in which it may do whatever the pipeline does.

It has the datasets, by reference, and a copy of the workspace's own MLflow, registry included, so
that a notebook finds what it looks for; of each endpoint the newest predictions with their labels.
Whatever the run registers, deploys or moves is there alone, and goes with it. A team's MLflow
server is not copied: the scratch registry is empty then, as before a first version.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import MlopsError
from mlops_magics.serving import server
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["environment", "scratch"]

_PREDICTIONS = 1000  # of each endpoint

# what would lead a process to the real ones
_ELSEWHERE = {
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_CONTEXT",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",
    "MLOPS_DATABASE_URL",
    "MLOPS_EXPERIMENT",
    "MLOPS_HOST",
    "MLOPS_PIPELINE_RUN",
    "MLOPS_PIPELINE_STEP",
    "MLOPS_PORT",
    "MLOPS_REGISTRY_URI",
    "MLOPS_TRACKING_URI",
    "MLOPS_WORKSPACE",
}


@contextlib.contextmanager
def scratch(workspace: Workspace) -> Iterator[Workspace]:
    """Make a scratch workspace; at the end its server is stopped and all of it removed.

    Parameters
    ----------
    workspace : Workspace
        What it is a copy of.
    """
    root = Path(tempfile.mkdtemp(dir=workspace.directory("smoke"), prefix="run-"))
    try:
        made = Workspace.create(root)
        made = Workspace(root, made.path, settings=Settings.load(root, environ={}))
        _copy_records(workspace, made)
        _copy_mlflow(workspace, made)
        try:
            yield made
        finally:
            with contextlib.suppress(MlopsError):  # without its folder the server ends by itself
                if server.find(made) is not None:
                    server.stop(made)
            made.database.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def environment(workspace: Workspace, made: Workspace) -> dict[str, str]:
    """Return the environment of the processes that work in a scratch workspace."""
    found = {key: value for key, value in os.environ.items() if key not in _ELSEWHERE}
    return found | {
        "MLOPS_WORKSPACE": str(made.path),
        "MLOPS_EXPERIMENT": workspace.tracking.experiment,
        "MLOPS_OWNER": workspace.actor,
    }


def _copy_records(workspace: Workspace, made: Workspace) -> None:
    with workspace.database.read() as source, made.database.begin() as target:
        for row in source.execute(sa.select(tables.datasets)):
            values = dict(row._mapping)
            # the rows stay where they are; they are never written again
            values["path"] = str(workspace.path / values["path"])
            target.execute(tables.datasets.insert().values(values))
        for row in source.execute(sa.select(tables.endpoints)):
            # known by name, served by nobody here
            serves: dict[str, Any] = {"traffic": [], "settings": {}, "workspace": made.id}
            values = dict(row._mapping) | serves
            target.execute(tables.endpoints.insert().values(values))
            _copy_predictions(source, target, row.name)


def _copy_predictions(source: Connection, target: Connection, endpoint: str) -> None:
    p, known = tables.predictions, tables.labels
    newest = (
        sa.select(p).where(p.c.endpoint == endpoint).order_by(p.c.time.desc()).limit(_PREDICTIONS)
    )
    rows = [dict(row._mapping) for row in source.execute(newest)]
    if not rows:
        return
    target.execute(p.insert(), rows)
    ids = [row["prediction_id"] for row in rows]
    found = source.execute(sa.select(known).where(known.c.prediction_id.in_(ids)))
    labels = [dict(row._mapping) for row in found]
    if labels:
        target.execute(known.insert(), labels)


def _copy_mlflow(workspace: Workspace, made: Workspace) -> None:
    if not workspace.tracking.embedded:
        return
    origin, copy = workspace.path / "mlflow.db", made.path / "mlflow.db"
    if not origin.is_file():
        return
    copy.touch(mode=0o600)
    with (
        contextlib.closing(sqlite3.connect(f"{origin.as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)  # a consistent picture, also while others write
        # what exists is read where it is; what is made goes elsewhere
        artifacts = made.directory("artifacts").as_uri()
        with contextlib.suppress(sqlite3.OperationalError), target:  # no tables yet
            target.execute("UPDATE experiments SET artifact_location = ?", (artifacts,))
