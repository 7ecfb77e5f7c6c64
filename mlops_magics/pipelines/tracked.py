"""A pipeline's runs in MLflow: a parent, one child for each step, the executed notebook with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_magics.pipelines import history
from mlops_magics.pipelines.result import PipelineRun
from mlops_magics.store.tracking import quiet_environment
from mlops_magics.store.workspace import Workspace

__all__ = [
    "begin",
    "begin_step",
    "complete",
    "complete_later",
    "end",
    "end_step",
    "environment",
    "nesting",
]

_TEXT_LIMIT = 5000  # characters of a tag or parameter
_STATUSES = {"CRASHED": "FAILED", "SKIPPED": "FINISHED"}  # as MLflow has them


def begin(workspace: Workspace, run: PipelineRun) -> str:
    """Start the parent run; return its id."""
    tags = {"mlops.kind": "pipeline", "mlops.pipeline": run.pipeline, "mlops.pipeline_run": run.id}
    tags["mlops.pipeline_file"] = run.path
    return _create(workspace, run.pipeline, tags, run.parameters)


def begin_step(
    workspace: Workspace,
    parent: str,
    step: str,
    run: str,
    parameters: Mapping[str, Any],
    cached_from: str | None = None,
) -> str:
    """Start a step's child run; return its id."""
    tags = {"mlops.kind": "step", "mlops.step": step, "mlops.pipeline_run": run}
    tags["mlflow.parentRunId"] = parent
    if cached_from is not None:
        tags["mlops.cached_from"] = cached_from
    return _create(workspace, step, tags, parameters)


def nesting(child: str) -> dict[str, str]:
    """Environment by which MLflow puts a step's own runs under the step's run."""
    try:
        given = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT") or "{}")
    except ValueError:
        given = {}  # MLflow itself passes over what it cannot read
    return {"MLFLOW_RUN_CONTEXT": json.dumps({**given, "mlflow.parentRunId": child})}


def end_step(
    workspace: Workspace,
    run_id: str,
    status: str,
    notebooks: list[Path],
    outputs: Mapping[str, Any],
) -> None:
    """End a step's run with its executed notebooks and outputs; numbers are metrics as well."""
    from mlflow.entities import Metric, RunTag

    tracking = workspace.tracking
    tags = [RunTag(f"mlops.output.{name}", _text(value)) for name, value in outputs.items()]
    with tracking.mapped():
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, 0)
            for name, value in outputs.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        ]
        tracking.client.log_batch(run_id, metrics=metrics, tags=tags)
        for notebook in notebooks:
            if notebook.is_file():
                tracking.client.log_artifact(run_id, str(notebook))
        tracking.client.set_terminated(run_id, _STATUSES.get(status, status))


def end(workspace: Workspace, run_id: str, status: str) -> None:
    """End the parent run."""
    tracking = workspace.tracking
    with tracking.mapped():
        tracking.client.set_terminated(run_id, _STATUSES.get(status, status))


def complete(workspace: Workspace, run: str, *, going_on: bool = False) -> str:
    """Bring MLflow to what the database says of a run; return the parent run's id.

    The database is written first, so MLflow may lack what a killed process could not tell it: runs
    of steps that have ended, or the end of runs that look as if they were still going on. With
    `going_on` the run is taken up again: its parent is RUNNING.
    """
    tracking = workspace.tracking
    record = history.read(workspace, run)
    parent = record.run_id
    if parent is None:
        parent = begin(workspace, record)
        history.change(workspace, run, run_id=parent)
    with tracking.mapped():
        query = f"tags.`mlops.pipeline_run` = '{run}' and tags.`mlops.kind` = 'step'"
        found = tracking.client.search_runs([tracking.experiment_id], query, max_results=1000)
    open_ = {each.info.run_id for each in found if each.info.status == "RUNNING"}
    for step in record.steps:
        if step.status == "CACHED" and step.run_id is None:
            child = begin_step(workspace, parent, step.step, run, step.parameters, step.cached_from)
            end_step(workspace, child, "FINISHED", [], step.outputs)
            history.note_child(workspace, run, step.step, child)
        elif step.run_id in open_ and step.status in {"FINISHED", "CACHED"}:
            assert step.run_id is not None
            open_.remove(step.run_id)
            end_step(workspace, step.run_id, "FINISHED", [Path(step.notebook)], step.outputs)
    for child in open_:
        end(workspace, child, "KILLED")
    if going_on:
        with tracking.mapped():
            tracking.client.update_run(parent, status="RUNNING")
    elif record.status != "RUNNING":
        end(workspace, parent, record.status)
    return parent


def complete_later(workspace: Workspace, run: str) -> None:
    """Do that in a process of its own, which this one does not wait for.

    MLflow takes seconds to load, and all that a run without any step to execute does is to look.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_magics.pipelines.tracked", run],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **environment(workspace)},
    )
    threading.Thread(target=process.wait, daemon=True).start()  # reaps it, should this one live on


def environment(workspace: Workspace) -> dict[str, str]:
    """Environment in which a process finds this workspace, its database and its MLflow."""
    found = {
        **quiet_environment(),
        "MLOPS_WORKSPACE": str(workspace.path),
        "MLFLOW_TRACKING_URI": workspace.tracking.uri,
        "MLFLOW_REGISTRY_URI": workspace.tracking.registry_uri,
        "MLFLOW_EXPERIMENT_NAME": workspace.tracking.experiment,
    }
    if workspace.settings.database_url:
        found["MLOPS_DATABASE_URL"] = workspace.settings.database_url
    return found


def _create(
    workspace: Workspace, name: str, tags: Mapping[str, str], parameters: Mapping[str, Any]
) -> str:
    from mlflow.entities import Param

    from mlops_magics.training.facts import process_tag

    tracking = workspace.tracking
    with tracking.mapped():
        found = tracking.client.create_run(
            tracking.experiment_id,
            # by the runner's process a run that was never ended is known to be abandoned
            tags={**tags, **process_tag(), "mlflow.user": workspace.actor},
            run_name=name,
        )
        run_id = str(found.info.run_id)
        params = [Param(key, _text(value)) for key, value in parameters.items()]
        if params:
            tracking.client.log_batch(run_id, params=params)
    return run_id


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_TEXT_LIMIT]


if __name__ == "__main__":
    complete(Workspace.find(), sys.argv[1])
