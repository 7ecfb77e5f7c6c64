"""Looking at a pipeline's run from outside: as it was recorded, or as it goes on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument, RunNotFound
from mlops_magics.pipelines import history
from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.result import PipelineRun, PipelineStep
from mlops_magics.pipelines.validating import jsonschema
from mlops_magics.store.tables import pipeline_runs
from mlops_magics.store.workspace import Workspace, resolve

__all__ = ["executed", "follow", "pipeline_run"]

_LOOK = 0.5  # seconds between two looks at a run that goes on


def pipeline_run(run: str | None = None, *, workspace: Workspace | None = None) -> PipelineRun:
    """Return a pipeline's run: its steps, why each ran, and what failed with its circumstances.

    Parameters
    ----------
    run : str, optional
        Id of the run, or how it begins; default: the newest.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    RunNotFound
        There is none.
    InvalidArgument
        Several begin so.

    Examples
    --------
    >>> pipeline_run("20260101", workspace=workspace)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlops_magics.errors.RunNotFound: no pipeline run '20260101'...
    """
    space = resolve(workspace)
    history.mark_crashed(space)
    record = history.read(space, _id(space, run))
    if record.status != "RUNNING":
        return record
    steps = (
        dataclasses.replace(item, cells=_cells(executed(item.notebook)))
        if item.status == "RUNNING"
        else item
        for item in record.steps
    )
    return dataclasses.replace(record, steps=tuple(steps))


def follow(run: str | None = None, *, workspace: Workspace | None = None) -> Iterator[Event]:
    """Tell what happens in a run, whichever process runs it, until it ends.

    It is read from the database and from the notebooks, which are written as cells begin and end.

    Parameters
    ----------
    run : str, optional
        Id of the run, or how it begins; default: the newest.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Yields
    ------
    Event
        As the run's own process would tell; what has happened already comes first.
    """
    space = resolve(workspace)
    record = pipeline_run(run, workspace=space)
    names = [item.step for item in record.steps]
    yield Event("", "run", {"run": record.id, "pipeline": record.pipeline, "steps": names})
    seen = {name: _Seen() for name in names}
    while True:
        for item in record.steps:
            yield from seen[item.step].changes(item)
        if record.status != "RUNNING":
            return
        time.sleep(_LOOK)
        record = pipeline_run(record.id, workspace=space)


@dataclasses.dataclass
class _Seen:
    """What has been told of a step."""

    status: str = "PENDING"
    cells: tuple[int, int] | None = None
    printed: str = ""

    def changes(self, step: PipelineStep) -> Iterator[Event]:
        if step.status in {"PENDING", self.status}:
            if step.status == "RUNNING":
                yield from self._inside(step)
            return
        if self.status == "PENDING" and step.started is not None:
            yield Event(step.step, "begin", {"reason": step.reason, "started": step.started})
            self.status = "RUNNING"
        if self.status == "RUNNING":
            yield from self._inside(step)
        if step.status != "RUNNING":
            told = {"status": step.status, "error": step.error, "reason": step.reason}
            yield Event(step.step, "status", {**told, "ended": step.ended})
        self.status = step.status

    def _inside(self, step: PipelineStep) -> Iterator[Event]:
        notebook = executed(step.notebook)
        cells = _cells(notebook)
        if cells is not None and cells != self.cells:
            self.cells = cells
            at = {"state": "start", "index": cells[0] - 1, "total": cells[1]}
            yield Event(step.step, "cell", at)
        printed = _printed(notebook)
        if printed.startswith(self.printed) and printed != self.printed:
            text = printed.removeprefix(self.printed)
            yield Event(step.step, "output", {"text": text, "name": "stdout"})
        self.printed = printed


def _id(workspace: Workspace, run: str | None) -> str:
    ids = sa.select(pipeline_runs.c.id).order_by(pipeline_runs.c.started.desc())
    if run is not None:
        ids = ids.where(pipeline_runs.c.id.startswith(run, autoescape=True))
    with workspace.database.read() as connection:
        found = list(connection.scalars(ids.limit(2)))
    if not found:
        hint = "mlops pipeline run PATH" if run is None else "mlops pipeline show"
        what = "no pipeline has run yet" if run is None else f"no pipeline run {run!r}"
        raise RunNotFound(what, hint=hint)
    if run is not None and len(found) > 1 and run not in found:
        raise InvalidArgument(f"several pipeline runs begin with {run!r}", hint=", ".join(found))
    return str(found[0]) if run not in found else str(run)


def executed(path: str) -> Mapping[str, Any]:
    """Return an executed notebook as far as it got; it is replaced as a whole, never half."""
    jsonschema()
    import nbformat

    try:
        found: Mapping[str, Any] = nbformat.reads(Path(path).read_text("utf-8"), 4)
    except (OSError, ValueError):
        return {"cells": []}  # not written yet
    return found


def _cells(notebook: Mapping[str, Any]) -> tuple[int, int] | None:
    # as the input notebook counts: without the cell that papermill adds
    cells = [
        cell
        for cell in notebook["cells"]
        if "injected-parameters" not in cell["metadata"].get("tags", ())
    ]
    if not cells:
        return None
    states = [cell["metadata"].get("papermill", {}).get("status") for cell in cells]
    done = sum(state in {"completed", "failed"} for state in states)
    return min(done + 1, len(cells)), len(cells)


def _printed(notebook: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for cell in notebook["cells"]:
        for item in cell.get("outputs", ()):
            shown = item.get("text") or item.get("data", {}).get("text/plain", "")
            text = shown if isinstance(shown, str) else "".join(shown)
            parts.append(text if text.endswith("\n") or not text else f"{text}\n")
    return "".join(parts)
