"""Triggers without waiting: a clock that the test moves, and runs that end at once."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from mlops_magics.pipelines import history
from mlops_magics.pipelines.triggers import catalogue, firings
from mlops_magics.pipelines.triggers.watch import Watch
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        self.now += seconds
        return self.now

    def set(self, text: str) -> float:
        self.now = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        return self.now


class Runs:
    """Launches runs that are rows of the database and end as they are told to."""

    def __init__(self) -> None:
        self.jobs: list[firings.Job] = []
        self.outcome = "FINISHED"
        self._lock = threading.Lock()

    def __call__(self, workspace, job, hold) -> None:
        with self._lock:
            self.jobs.append(job)
        if self.outcome == "left":  # the process was killed at once
            return
        run = begun(workspace, job)
        if self.outcome == "RUNNING":
            return
        if self.outcome == "FINISHED":
            history.change(workspace, run, status="FINISHED", ended=time.time())
            firings.end(workspace, job, run, None)
        else:
            history.change(workspace, run, status="FAILED", reason=self.outcome, ended=time.time())
            firings.fail(workspace, job, run, self.outcome, self.clock())


def begun(workspace, job) -> str:
    """Write the row of a pipeline run that has begun for a job."""
    run = history.new_id()
    now = time.time()
    with workspace.database.begin() as connection:
        connection.execute(
            tables.pipeline_runs.insert().values(
                id=run,
                pipeline=job.trigger.pipeline,
                path=str(job.trigger.path),
                parameters=dict(job.trigger.params),
                status="RUNNING",
                folder=str(workspace.path / "pipelines" / run),
                started=now,
                heartbeat=now,
                why=job.why,
            )
        )
    return run


def change_state(workspace, name, **values):
    t = tables.triggers
    with workspace.database.begin() as connection:
        state = connection.execute(t.select().where(t.c.name == name)).one().state
        connection.execute(t.update().where(t.c.name == name).values(state={**state, **values}))


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time() + 60)


@pytest.fixture
def runs(clock) -> Runs:
    found = Runs()
    found.clock = clock
    return found


@pytest.fixture
def place(project, database_url, monkeypatch) -> Workspace:
    """A workspace on each kind of database."""
    monkeypatch.setenv("MLOPS_DATABASE_URL", database_url)
    workspace = Workspace(project, settings=Settings.load(project))
    yield workspace
    workspace.database.close()


@pytest.fixture
def retrain(notebook):
    """A pipeline of one notebook that takes a parameter."""
    return notebook("retrain", "print(rows)", parameters="rows: int = 10")


@pytest.fixture
def add(workspace, retrain, clock):
    """Add a trigger to the workspace, by the test's clock; nobody watches it but the test."""

    def make(pipeline=None, space=None, **options):
        space = space or workspace
        made = catalogue.trigger(pipeline or retrain, start=False, workspace=space, **options)
        if made.kind in ("cron", "alert"):
            change_state(space, made.name, seen={"until": clock()})
        return made

    return make


@pytest.fixture
def watch(workspace, clock, runs) -> Watch:
    return Watch(workspace, now=clock, launch=runs)


@pytest.fixture
def fires(watch, clock, runs):
    """Let the watch look, twice; give the reasons of what ran."""

    def look():
        before = len(runs.jobs)
        for _ in range(2):
            clock.advance(31)
            watch.look()
            watch.start_due()
        return [job.reason for job in runs.jobs[before:]]

    return look
