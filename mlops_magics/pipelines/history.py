"""Pipeline runs in the database: every change of state is a transaction of its own."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import RunNotFound, StoreError
from mlops_magics.pipelines.result import PipelineRun, PipelineStep
from mlops_magics.store.processes import Identity
from mlops_magics.store.tables import pipeline_runs, pipeline_steps
from mlops_magics.store.workspace import Workspace

if TYPE_CHECKING:
    from mlops_magics.pipelines.specification import Pipeline

__all__ = ["begin", "change", "change_step", "heartbeat", "mark_crashed", "new_id", "read"]

BEAT = 2.0  # seconds between heartbeats
CRASHED_AFTER = 7.0  # seconds without one; who looks every two seconds marks within ten


def new_id() -> str:
    """Return an id for a run; ids sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def begin(
    workspace: Workspace,
    run: str,
    pipeline: Pipeline,
    parameters: Mapping[str, Any],
    folder: Path,
    notebooks: Mapping[str, Path],
    run_id: str | None,
    *,
    why: Mapping[str, Any] | None = None,
    release: str | None = None,
) -> None:
    """Record a run that begins, all its steps PENDING."""
    now = time.time()
    with workspace.database.begin() as connection:
        connection.execute(
            pipeline_runs.insert().values(
                id=run,
                pipeline=pipeline.name,
                path=str(pipeline.path),
                parameters=dict(parameters),
                status="RUNNING",
                folder=str(folder),
                run_id=run_id,
                runner=Identity.of().to_dict(),
                started=now,
                heartbeat=now,
                why=None if why is None else dict(why),
                release=release,
            )
        )
        connection.execute(
            pipeline_steps.insert(),
            [
                {"run": run, "step": name, "status": "PENDING", "notebook": str(notebooks[name])}
                for name in pipeline.steps
            ],
        )


def change(workspace: Workspace, run: str, **values: Any) -> None:
    """Change a run's columns."""
    with workspace.database.begin() as connection:
        connection.execute(pipeline_runs.update().where(pipeline_runs.c.id == run).values(values))


def change_step(workspace: Workspace, run: str, step: str, **values: Any) -> None:
    """Change a step's columns."""
    key = (pipeline_steps.c.run == run) & (pipeline_steps.c.step == step)
    with workspace.database.begin() as connection:
        connection.execute(pipeline_steps.update().where(key).values(values))


@contextlib.contextmanager
def heartbeat(workspace: Workspace, run: str) -> Iterator[None]:
    """Tell the database every two seconds that this process still works on the run."""
    end = threading.Event()

    def beat() -> None:
        while not end.wait(BEAT):
            # a beat that is missed is no failure; the runner's own next record would tell of one
            with contextlib.suppress(StoreError):
                change(workspace, run, heartbeat=time.time())

    thread = threading.Thread(target=beat, name="mlops-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def mark_crashed(workspace: Workspace) -> list[str]:
    """Mark runs as CRASHED whose process is gone and has been silent for some seconds.

    Returns
    -------
    list of str
        The runs that were marked.
    """
    runs = pipeline_runs.c
    with workspace.database.read() as connection:
        rows = connection.execute(
            sa.select(runs.id, runs.runner, runs.heartbeat).where(runs.status == "RUNNING")
        ).all()
    now = time.time()
    gone = [
        row.id
        for row in rows
        # a silent process that lives on this machine may be stopped, as in a debugger
        if now - row.heartbeat > CRASHED_AFTER
        and not (row.runner and Identity.from_dict(row.runner).alive())
    ]
    return [run for run in gone if _mark(workspace, run, now)]


def _mark(workspace: Workspace, run: str, now: float) -> bool:
    """Mark a run and its steps, unless it has ended by itself since it was read."""
    steps = pipeline_steps.c
    with workspace.database.begin() as connection:
        marked = connection.execute(
            pipeline_runs.update()
            .where((pipeline_runs.c.id == run) & (pipeline_runs.c.status == "RUNNING"))
            .values(status="CRASHED", reason="the process that ran it is gone", ended=now)
        )
        if not marked.rowcount:
            return False
        connection.execute(
            pipeline_steps.update()
            .where((steps.run == run) & steps.status.in_(["RUNNING", "PENDING"]))
            .values(
                status=sa.case((steps.status == "RUNNING", "CRASHED"), else_="SKIPPED"),
                ended=sa.case((steps.status == "RUNNING", now), else_=None),
            )
        )
    return True


def read(workspace: Workspace, run: str) -> PipelineRun:
    """Return a run as the database has it.

    Raises
    ------
    RunNotFound
    """
    with workspace.database.read() as connection:
        row = connection.execute(
            sa.select(pipeline_runs).where(pipeline_runs.c.id == run)
        ).one_or_none()
        if row is None:
            raise RunNotFound(f"no pipeline run {run!r}")
        steps = connection.execute(
            sa.select(pipeline_steps)
            .where(pipeline_steps.c.run == run)
            .order_by(pipeline_steps.c.notebook)  # they are numbered in order
        ).all()
    return PipelineRun(
        id=row.id,
        pipeline=row.pipeline,
        status=row.status,
        reason=row.reason,
        path=row.path,
        parameters=row.parameters,
        folder=row.folder,
        run_id=row.run_id,
        started=row.started,
        ended=row.ended,
        why=row.why,
        release=row.release,
        steps=tuple(
            PipelineStep(
                step=item.step,
                status=item.status,
                notebook=item.notebook,
                parameters=item.parameters,
                outputs=item.outputs,
                error=item.error,
                run_id=item.run_id,
                started=item.started,
                ended=item.ended,
                key=item.key,
                dependencies=item.dependencies,
                cached_from=item.cached_from,
                reason=item.reason,
                tries=item.tries,
            )
            for item in steps
        ),
    )
