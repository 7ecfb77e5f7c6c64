"""Firings in the database: each happens once, is claimed by one process, and has an end.

A firing is a row whose key no other of its trigger has. It is WAITING until an agent claims it, in
a transaction that changes it only if it still waits; RUNNING while a process works on it; then
FINISHED, FAILED or, when it gave way to another, SKIPPED. Who works on a firing holds the lock of
its file, which the kernel drops when the process dies: a RUNNING firing whose lock is free has been
left, and is taken over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.pipelines.triggers.condition import Seen, Watched
from mlops_magics.store.tables import firings, pipeline_runs, triggers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["Hold", "Job", "claim", "end", "fail", "fire", "record", "remember", "take_over"]

_BACKOFF, _LONGEST = 60.0, 3600.0  # seconds before a failed run is tried again, and at the most
_CRASHES = 2  # killed processes that are made good beside the retries: nobody's code has failed
_BY_HAND = "by hand "


class Hold:
    """The lock of a firing's file, which is also the log of its process.

    Attributes
    ----------
    firing : int
    path : Path
        The log.
    descriptor : int
        Keeps the lock; a process that inherits it keeps it too.
    """

    def __init__(self, firing: int, path: Path, descriptor: int) -> None:
        self.firing, self.path, self.descriptor = firing, path, descriptor

    @classmethod
    def take(cls, workspace: Workspace, firing: int) -> Hold | None:
        """Take the lock; None while somebody else has it."""
        path = workspace.directory("firings") / f"{firing}.log"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(firing, path, descriptor)

    def release(self) -> None:
        """Let go of it; who has inherited it holds it still."""
        os.close(self.descriptor)


@dataclass(frozen=True)
class Job:
    """A firing that this process has claimed.

    Attributes
    ----------
    firing : int
    trigger : Watched
    reason : str
    time : float
        When it fired.
    tries : int
        The how manieth this is, from 1.
    run : str or None
        The pipeline run of the try before.
    alerts : tuple of int
        The alerts that it is about.
    """

    firing: int
    trigger: Watched
    reason: str
    time: float
    tries: int
    run: str | None = None
    alerts: tuple[int, ...] = ()

    @property
    def why(self) -> dict[str, Any]:
        """What its run keeps of what asked for it."""
        return {
            "kind": self.trigger.kind,
            "reason": self.reason,
            "trigger": self.trigger.name,
            "firing": self.firing,
            "time": self.time,
            **({"alerts": list(self.alerts)} if self.alerts else {}),
        }

    @classmethod
    def read(cls, workspace: Workspace, firing: int) -> Job | None:
        """Read a firing that is RUNNING; None if it is not."""
        with workspace.database.read() as connection:
            row = connection.execute(
                _joined().where(firings.c.id == firing, firings.c.status == "RUNNING")
            ).one_or_none()
        return None if row is None else _job(workspace, row)


def record(workspace: Workspace, trigger: Watched, seen: Seen, now: float) -> int | None:
    """Write down that a trigger's condition holds, and what was seen with it.

    Returns
    -------
    int or None
        The firing; None when another agent was faster, or the trigger is gone or paused.
    """
    if seen.reason is None:
        raise ValueError("nothing has happened that could be recorded")
    rests = trigger.rests(now)
    with workspace.database.begin() as connection:
        state = _state_of(connection, trigger)
        if state is None:
            return None
        number = trigger.number + 1
        state |= {"number": number, "seen": dict(seen.seen), "problem": None}
        if not rests:
            state["fired"] = now
        _set_state(connection, trigger.id, state)
        values: dict[str, Any] = {"status": "WAITING", "outcome": None}
        if rests:
            values = {"status": "SKIPPED", "outcome": "within the cooldown after another run"}
        key = seen.key or f"no. {number}"
        values["alerts"] = list(seen.alerts) or None
        firing = _insert(workspace, connection, trigger.id, key, seen.reason, now, **values)
        if firing is not None and not rests and not trigger.overlap:
            _give_way(connection, trigger.id, firing, seen.alerts)
        return firing


def fire(workspace: Workspace, trigger: Watched, actor: str, now: float) -> int:
    """Write down that a person wants a run; neither pause nor cooldown holds it up."""
    with workspace.database.begin() as connection:
        row = connection.execute(
            sa.select(triggers.c.state).where(triggers.c.id == trigger.id).with_for_update()
        ).one()
        _set_state(connection, trigger.id, {**row.state, "fired": now})
        key = f"{_BY_HAND}{now:.6f} {os.urandom(4).hex()}"
        firing = _insert(
            workspace, connection, trigger.id, key, f"fired by {actor}", now, status="WAITING"
        )
    assert firing is not None  # the key is random
    return firing


def remember(
    workspace: Workspace,
    trigger: Watched,
    *,
    seen: Mapping[str, Any] | None = None,
    problem: str | None = None,
) -> None:
    """Keep what was seen that fires nothing, and why a trigger cannot look."""
    seen = dict(trigger.seen if seen is None else seen)
    if seen == trigger.seen and problem == trigger.problem:
        return
    with workspace.database.begin() as connection:
        state = _state_of(connection, trigger)
        if state is not None:
            _set_state(connection, trigger.id, {**state, "seen": seen, "problem": problem})


def claim(workspace: Workspace, now: float) -> list[tuple[Job, Hold]]:
    """Claim the firings that are due and may run; whoever gets them starts their processes."""
    query = (
        _joined()
        .where(triggers.c.workspace == workspace.id)
        .where(firings.c.status == "WAITING", firings.c.due <= now)
        .where((triggers.c.enabled == 1) | firings.c.key.startswith(_BY_HAND))
        .order_by(firings.c.due, firings.c.id)
    )
    with workspace.database.read() as connection:
        waiting = connection.execute(query).all()
    claimed = []
    for row in waiting:
        hold = Hold.take(workspace, row.firing)
        if hold is None:
            continue
        job = _job(workspace, row, tries=row.tries + 1)
        if _claim(workspace, job):
            claimed.append((job, hold))
        else:
            hold.release()
    return claimed


def take_over(workspace: Workspace, now: float) -> list[int]:
    """Give an end to the firings whose process is gone: by the run that it made, if it made one.

    Returns
    -------
    list of int
        Those that wait again.
    """
    query = _joined().where(triggers.c.workspace == workspace.id, firings.c.status == "RUNNING")
    with workspace.database.read() as connection:
        running = connection.execute(query).all()
    again = []
    for row in running:
        hold = Hold.take(workspace, row.firing)
        if hold is None:
            continue  # it works
        try:
            job = Job.read(workspace, row.firing)
            if job is not None and _adopt(workspace, job, now):
                again.append(job.firing)
        finally:
            hold.release()
    return again


def end(workspace: Workspace, job: Job, run: str | None, outcome: str | None) -> None:
    """Record that a firing's run has finished."""
    _change(workspace, job, status="FINISHED", run=run, outcome=outcome)


def fail(
    workspace: Workspace,
    job: Job,
    run: str | None,
    outcome: str,
    now: float,
    *,
    final: bool = False,
    crashed: bool = False,
) -> bool:
    """Record that a firing's run has failed; tell whether it is tried again.

    Parameters
    ----------
    workspace : Workspace
        Whose.
    job : Job
        The claimed firing.
    run : str or None
        The pipeline run, if one had begun.
    outcome : str
        What went wrong.
    now : float
        Seconds since 1970.
    final : bool
        Trying again would not help.
    crashed : bool
        Its process was killed.
    """
    left = job.trigger.retries + (_CRASHES if crashed else 0) - (job.tries - 1)
    if final or left < 1:
        _change(workspace, job, status="FAILED", run=run, outcome=outcome)
        return False
    wait = min(_LONGEST, _BACKOFF * 2 ** (job.tries - 1))
    if crashed and job.tries == 1:
        wait = 0.0
    text = f"try {job.tries}: {outcome}"
    _change(workspace, job, status="WAITING", run=run, outcome=text, due=now + wait)
    return True


def _joined() -> sa.Select[Any]:
    return sa.select(
        firings.c.id.label("firing"),
        firings.c.reason,
        firings.c.time,
        firings.c.tries,
        firings.c.run,
        firings.c.due,
        firings.c.alerts,
        *triggers.c,
    ).join_from(firings, triggers, firings.c.trigger == triggers.c.id)


def _job(workspace: Workspace, row: Any, tries: int | None = None) -> Job:
    return Job(
        firing=row.firing,
        trigger=Watched.of(workspace, row),
        reason=row.reason,
        time=row.time,
        tries=row.tries if tries is None else tries,
        run=row.run,
        alerts=tuple(row.alerts or ()),
    )


def _state_of(connection: Connection, trigger: Watched) -> dict[str, Any] | None:
    """Return a trigger's state, held until the transaction ends, if nobody has changed it."""
    row = connection.execute(
        sa.select(triggers.c.state, triggers.c.enabled)
        .where(triggers.c.id == trigger.id)
        .with_for_update()
    ).one_or_none()
    if row is None or not row.enabled:
        return None
    same = row.state["number"] == trigger.number and row.state["seen"] == trigger.seen
    return dict(row.state) if same else None


def _set_state(connection: Connection, trigger: int, state: Mapping[str, Any]) -> None:
    connection.execute(triggers.update().where(triggers.c.id == trigger).values(state=dict(state)))


def _insert(
    workspace: Workspace,
    connection: Connection,
    trigger: int,
    key: str,
    reason: str,
    now: float,
    **values: Any,
) -> int | None:
    insert = workspace.database.insert_or_ignore(firings).values(
        trigger=trigger, key=key, reason=reason, time=now, due=now, tries=0, **values
    )
    found = connection.execute(insert.returning(firings.c.id)).scalar()
    return None if found is None else int(found)


def _give_way(connection: Connection, trigger: int, firing: int, alerts: tuple[int, ...]) -> None:
    """Let firings that have not begun give way to a newer one: one run is for all of them."""
    waiting = (
        (firings.c.trigger == trigger)
        & (firings.c.id != firing)
        & (firings.c.status == "WAITING")
        & ~firings.c.key.startswith(_BY_HAND)
    )
    before = connection.execute(sa.select(firings.c.alerts).where(waiting)).scalars()
    merged = sorted({*alerts, *(one for given in before for one in given or ())})
    if merged:
        changed = firings.update().where(firings.c.id == firing)
        connection.execute(changed.values(alerts=merged))
    told = sa.func.coalesce(firings.c.outcome + "; ", "")
    connection.execute(
        firings.update()
        .where(waiting)
        .values(status="SKIPPED", outcome=told + f"gave way to firing {firing}")
    )


def _claim(workspace: Workspace, job: Job) -> bool:
    with workspace.database.begin() as connection:
        if not job.trigger.overlap and _busy(workspace, connection, job):
            return False
        claimed = connection.execute(
            firings.update()
            .where(firings.c.id == job.firing, firings.c.status == "WAITING")
            .where(firings.c.tries == job.tries - 1)
            .values(status="RUNNING", tries=job.tries)
        )
        return bool(claimed.rowcount)


def _busy(workspace: Workspace, connection: Connection, job: Job) -> bool:
    """Whether the pipeline runs, started by a trigger or by a person.

    Its triggers are held until the transaction ends: of two firings that are claimed at once the
    second sees the first.
    """
    pipeline = job.trigger.pipeline
    same = (triggers.c.workspace == workspace.id) & (triggers.c.pipeline == pipeline)
    held = sa.select(triggers.c.id).where(same).order_by(triggers.c.id).with_for_update()
    ids = connection.execute(held).scalars().all()
    running = sa.select(firings.c.id).where(
        firings.c.trigger.in_(ids), firings.c.status == "RUNNING"
    )
    if connection.execute(running.limit(1)).first() is not None:
        return True
    t = pipeline_runs.c
    runs = sa.select(t.path, t.folder).where(t.pipeline == pipeline, t.status == "RUNNING")
    return any(
        # another workspace may share the database, with a pipeline of that name
        row.path == str(job.trigger.path) or Path(row.folder).is_relative_to(workspace.path)
        for row in connection.execute(runs)
    )


def _adopt(workspace: Workspace, job: Job, now: float) -> bool:
    t = pipeline_runs.c
    query = (
        sa.select(t.id, t.status, t.reason, t.why)
        .where(t.pipeline == job.trigger.pipeline, t.why["firing"].as_integer() == job.firing)
        .order_by(t.started.desc())
    )
    with workspace.database.read() as connection:
        rows = connection.execute(query).all()
    # SQLite gives the number of a firing that was removed with its trigger to another one
    run = next((row for row in rows if row.why.get("time") == job.time), None)
    if run is not None and run.status == "RUNNING":
        return False  # its killed process is noticed within seconds
    if run is not None and run.status in ("FINISHED", "SKIPPED"):
        end(workspace, job, run.id, run.reason)
        return False
    if run is not None and run.status == "KILLED":  # a person's decision
        return fail(workspace, job, run.id, run.reason or "killed", now, final=True)
    if run is None or run.id == job.run:  # how the try before ended, or this one the same
        return fail(workspace, job, job.run, "its process was killed", now, crashed=True)
    crashed = run.status == "CRASHED"
    return fail(workspace, job, run.id, run.reason or run.status, now, crashed=crashed)


def _change(workspace: Workspace, job: Job, **values: Any) -> None:
    with workspace.database.begin() as connection:
        connection.execute(
            firings.update()
            .where(firings.c.id == job.firing, firings.c.status == "RUNNING")
            .where(firings.c.tries == job.tries)
            .values(values)
        )
