"""A pipeline's runs in MLflow: a parent, one child for each step, the executed notebook with it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_magics.store.workspace import Workspace
from mlops_magics.training.facts import process_tag

__all__ = ["begin", "begin_step", "end", "end_step", "nesting"]

_TEXT_LIMIT = 5000  # characters of a tag or parameter


def begin(
    workspace: Workspace, pipeline: str, run: str, path: Path, parameters: Mapping[str, Any]
) -> str:
    """Start the parent run; return its id."""
    tags = {"mlops.kind": "pipeline", "mlops.pipeline": pipeline, "mlops.pipeline_run": run}
    tags["mlops.pipeline_file"] = str(path)
    return _create(workspace, pipeline, tags, parameters)


def begin_step(
    workspace: Workspace, parent: str, step: str, run: str, parameters: Mapping[str, Any]
) -> str:
    """Start a step's child run; return its id."""
    tags = {"mlops.kind": "step", "mlops.step": step, "mlops.pipeline_run": run}
    tags["mlflow.parentRunId"] = parent
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
        tracking.client.set_terminated(run_id, status)


def end(workspace: Workspace, run_id: str, status: str) -> None:
    """End the parent run."""
    tracking = workspace.tracking
    with tracking.mapped():
        tracking.client.set_terminated(run_id, status)


def _create(
    workspace: Workspace, name: str, tags: Mapping[str, str], parameters: Mapping[str, Any]
) -> str:
    from mlflow.entities import Param

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
