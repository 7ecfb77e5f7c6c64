"""Pipeline runs in the database: every change of state is a transaction of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import MlopsError, PipelineError, RunNotFound
from mlops_magics.pipelines.result import PipelineRun, PipelineStep
from mlops_magics.store.processes import Identity
from mlops_magics.store.tables import pipeline_runs, pipeline_steps
from mlops_magics.store.workspace import Workspace

if TYPE_CHECKING:
    from mlops_magics.pipelines.specification import Pipeline

__all__ = [
    "begin",
    "change",
    "change_step",
    "claim",
    "close",
    "count_try",
    "heartbeat",
    "mark_crashed",
    "new_id",
    "note_child",
    "pipelines",
    "read",
    "recent",
    "runner",
]

BEAT = 2.0  # seconds between heartbeats
CRASHED_AFTER = 6.0  # seconds without one; who looks every two seconds marks within ten


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
    *,
    why: Mapping[str, Any] | None = None,
    release: str | None = None,
    taken: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Record a run that begins, its steps PENDING.

    `taken` has the columns of steps whose outcome is there already; a run in which all are has
    ended.
    """
    now = time.time()
    taken = taken or {}
    whole = len(taken) == len(pipeline.steps)
    names = dict.fromkeys(name for row in taken.values() for name in row)
    with workspace.database.begin() as connection:
        connection.execute(
            pipeline_runs.insert().values(
                id=run,
                pipeline=pipeline.name,
                path=str(pipeline.path),
                parameters=dict(parameters),
                status="FINISHED" if whole else "RUNNING",
                folder=str(folder),
                runner=Identity.of().to_dict(),
                started=now,
                ended=time.time() if whole else None,
                heartbeat=_now(workspace),
                why=None if why is None else dict(why),
                release=release,
            )
        )
        rows = [
            {
                **_UNTOUCHED,
                "run": run,
                "step": name,
                "status": "PENDING",
                "notebook": str(notebooks[name]),
                **taken.get(name, {}),
            }
            for name in pipeline.steps
        ]
        assert set(names) <= set(rows[0])  # all rows of one statement have the same columns
        connection.execute(pipeline_steps.insert(), rows)


_UNTOUCHED: dict[str, Any] = {
    "parameters": {},
    "outputs": {},
    "started": None,
    "ended": None,
    "key": None,
    "dependencies": None,
    "cached_from": None,
    "reason": None,
    "tries": 0,
}


def claim(workspace: Workspace, run: str) -> bool:
    """Take over a run that has ended before its last step; tell whether it was there to be taken.

    Of several who try, one succeeds. What had not finished is PENDING again.
    """
    steps = pipeline_steps.c
    with workspace.database.begin() as connection:
        claimed = connection.execute(
            pipeline_runs.update()
            .where(
                (pipeline_runs.c.id == run)
                & pipeline_runs.c.status.in_(["FAILED", "KILLED", "CRASHED"])
            )
            .values(
                status="RUNNING",
                reason=None,
                ended=None,
                runner=Identity.of().to_dict(),
                heartbeat=_now(workspace),
            )
        )
        if not claimed.rowcount:
            return False
        connection.execute(
            pipeline_steps.update()
            .where((steps.run == run) & steps.status.not_in(["FINISHED", "CACHED"]))
            .values(status="PENDING", error=None, started=None, ended=None, reason=None)
        )
    return True


def change(workspace: Workspace, run: str, **values: Any) -> None:
    """Change a run's columns."""
    with workspace.database.begin() as connection:
        connection.execute(pipeline_runs.update().where(pipeline_runs.c.id == run).values(values))


def change_step(workspace: Workspace, run: str, step: str, **values: Any) -> None:
    """Change a step's columns.

    Raises
    ------
    PipelineError
        Another process has taken the run over: this one must not go on.
    """
    key = (pipeline_steps.c.run == run) & (pipeline_steps.c.step == step)
    with workspace.database.begin() as connection:
        _check_owner(connection, run)
        connection.execute(pipeline_steps.update().where(key).values(values))


def count_try(workspace: Workspace, run: str, step: str) -> None:
    """Count that a step is started once more."""
    change_step(workspace, run, step, tries=pipeline_steps.c.tries + 1)


def note_child(workspace: Workspace, run: str, step: str, run_id: str) -> None:
    """Note a step's run in MLflow, whoever works on the pipeline's run."""
    key = (pipeline_steps.c.run == run) & (pipeline_steps.c.step == step)
    with workspace.database.begin() as connection:
        connection.execute(pipeline_steps.update().where(key).values(run_id=run_id))


def close(
    workspace: Workspace, run: str, status: str, reason: str | None, open_steps: str, why: str
) -> None:
    """End a run: steps under way get `open_steps` as status, those that never began SKIPPED."""
    s = pipeline_steps.c
    now = time.time()
    with workspace.database.begin() as connection:
        _check_owner(connection, run)
        connection.execute(
            pipeline_runs.update()
            .where(pipeline_runs.c.id == run)
            .values(status=status, reason=reason, ended=now)
        )
        connection.execute(
            pipeline_steps.update()
            .where((s.run == run) & (s.status == "RUNNING"))
            .values(status=open_steps, ended=now)
        )
        connection.execute(
            pipeline_steps.update()
            .where((s.run == run) & s.status.in_(["PENDING", "SKIPPED"]) & s.started.is_(None))
            .values(status="SKIPPED", reason=why)
        )


def _check_owner(connection: sa.Connection, run: str) -> None:
    query = sa.select(pipeline_runs.c.runner).where(pipeline_runs.c.id == run).with_for_update()
    runner = connection.scalar(query)
    if not runner or (runner["pid"] != os.getpid()) or not Identity.from_dict(runner).alive():
        raise PipelineError(
            f"run {run} was taken over by another process", hint="see it: mlops pipeline runs"
        )


@contextlib.contextmanager
def heartbeat(workspace: Workspace, run: str) -> Iterator[None]:
    """Tell the database every two seconds that this process still works on the run.

    Who was taken for dead, because no beat could be heard for some time, says so.
    """
    end = threading.Event()
    runs, steps = pipeline_runs.c, pipeline_steps.c
    open_: sa.ColumnElement[bool] = runs.status.in_(["RUNNING", "CRASHED"])

    def beat() -> None:
        while not end.wait(BEAT):
            # a beat that is missed is no failure; the runner's own next record would tell of one
            with contextlib.suppress(MlopsError), workspace.database.begin() as connection:
                _check_owner(connection, run)
                connection.execute(
                    pipeline_runs.update()
                    .where((runs.id == run) & open_)
                    .values(heartbeat=_now(workspace), status="RUNNING", reason=None, ended=None)
                )
                connection.execute(
                    pipeline_steps.update()
                    .where((steps.run == run) & (steps.status == "CRASHED"))
                    .values(status="RUNNING", ended=None)
                )

    thread = threading.Thread(target=beat, name="mlops-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _now(workspace: Workspace) -> sa.ColumnElement[float]:
    """Return the database's time: the clocks of machines that share one may differ."""
    if workspace.database.dialect == "sqlite":
        return sa.literal(time.time())  # a file of this machine
    return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)


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
            sa.select(runs.id, runs.runner, runs.heartbeat, _now(workspace).label("now")).where(
                runs.status == "RUNNING"
            )
        ).all()
    gone = [
        row.id
        for row in rows
        # a silent process that lives on this machine may be stopped, as in a debugger
        if row.now - row.heartbeat > CRASHED_AFTER
        and not (row.runner and Identity.from_dict(row.runner).alive())
    ]
    return [run for run in gone if _mark(workspace, run, time.time())]


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
                reason=sa.case(
                    (steps.status == "RUNNING", steps.reason), else_="the run crashed before it"
                ),
            )
        )
    return True


def read(workspace: Workspace, run: str) -> PipelineRun:
    """Return a run as the database has it.

    Raises
    ------
    RunNotFound
    """
    found = _read(workspace, pipeline_runs.c.id == run, 1)
    if not found:
        raise RunNotFound(f"no pipeline run {run!r}", hint="see them with: mlops pipeline runs")
    return found[0]


def pipelines(workspace: Workspace) -> list[str]:
    """Return the names of the pipelines that have run."""
    with workspace.database.read() as connection:
        return list(connection.scalars(sa.select(pipeline_runs.c.pipeline).distinct()))


def runner(workspace: Workspace, run: str) -> dict[str, Any] | None:
    """Return the identity of the process that works on a run, or did last."""
    query = sa.select(pipeline_runs.c.runner).where(pipeline_runs.c.id == run)
    with workspace.database.read() as connection:
        found: dict[str, Any] | None = connection.scalar(query)
    return found


def recent(
    workspace: Workspace,
    pipeline: str | None = None,
    statuses: Iterable[str] | None = None,
    limit: int = 1,
) -> list[PipelineRun]:
    """Return the newest runs, of one pipeline or of certain statuses if so asked."""
    condition: sa.ColumnElement[bool] = sa.true()
    if pipeline is not None:
        condition &= pipeline_runs.c.pipeline == pipeline
    if statuses is not None:
        condition &= pipeline_runs.c.status.in_(list(statuses))
    return _read(workspace, condition, limit)


def _read(workspace: Workspace, condition: sa.ColumnElement[bool], limit: int) -> list[PipelineRun]:
    runs = pipeline_runs.c
    query = sa.select(pipeline_runs).where(condition)
    query = query.order_by(runs.started.desc(), runs.id.desc()).limit(limit)
    with workspace.database.read() as connection:
        rows = connection.execute(query).all()
        steps = connection.execute(
            sa.select(pipeline_steps)
            .where(pipeline_steps.c.run.in_([row.id for row in rows]))
            .order_by(pipeline_steps.c.notebook)  # they are numbered in order
        ).all()
    by_run: dict[str, list[PipelineStep]] = {}
    for item in steps:
        columns = dict(item._mapping)
        by_run.setdefault(columns.pop("run"), []).append(PipelineStep(**columns))
    return [
        PipelineRun(
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
            steps=tuple(by_run.get(row.id, ())),
        )
        for row in rows
    ]
