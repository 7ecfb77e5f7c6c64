"""What has fired: why each run ran, and what came of it; and a firing by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument
from mlops_magics.pipelines.triggers import firings as store
from mlops_magics.pipelines.triggers.catalogue import find
from mlops_magics.pipelines.triggers.condition import Watched
from mlops_magics.pipelines.triggers.records import Firing, Firings
from mlops_magics.serving import server
from mlops_magics.store import tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["fire_trigger", "firings"]


def fire_trigger(name: str, *, start: bool = True, workspace: Workspace | None = None) -> Firing:
    """Fire a trigger now, whatever it waits for, also while it is paused.

    Parameters
    ----------
    name : str
        Which.
    start : bool
        Start the workspace's server, unless it runs: its agent starts the run.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    TriggerNotFound

    Examples
    --------
    >>> fire_trigger("nightly", workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.TriggerNotFound: no trigger 'nightly'
      → there is no trigger yet
    """
    workspace = resolve(workspace)
    row = find(workspace, name)
    if start:
        server.start(workspace)
    firing = store.fire(workspace, Watched.of(workspace, row), workspace.actor, time.time())
    query = _history(workspace).where(tables.firings.c.id == firing)
    with workspace.database.read() as connection:
        return _firing(workspace, connection.execute(query).one())


def firings(
    name: str | None = None, *, limit: int = 50, workspace: Workspace | None = None
) -> Firings:
    """List what has fired: why each run ran, and what came of it.

    Parameters
    ----------
    name : str, optional
        Of that trigger only.
    limit : int
        The newest to return.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    TriggerNotFound

    Examples
    --------
    >>> print(firings(workspace=workspace))
    Firings
      nothing has fired yet; what is waited for: mlops trigger list
    """
    workspace = resolve(workspace)
    if limit < 1:
        raise InvalidArgument(f"limit = {limit} is below 1")
    query = _history(workspace).order_by(tables.firings.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(tables.triggers.c.id == find(workspace, name).id)
    with workspace.database.read() as connection:
        found = connection.execute(query).all()
    return Firings(rows=[_firing(workspace, row) for row in found], name=name)


def _history(workspace: Workspace) -> sa.Select[Any]:
    f, t, r = tables.firings, tables.triggers, tables.pipeline_runs
    joined = f.join(t, f.c.trigger == t.c.id).outerjoin(r, f.c.run == r.c.id)
    return (
        sa.select(
            *(
                f.c[name]
                for name in (
                    "id",
                    "time",
                    "reason",
                    "status",
                    "tries",
                    "run",
                    "outcome",
                    "alerts",
                )
            ),
            t.c.name,
            t.c.pipeline,
            t.c.kind,
            r.c.release,
            r.c.started,
            r.c.ended,
        )
        .select_from(joined)
        .where(t.c.workspace == workspace.id)
    )


def _firing(workspace: Workspace, row: Any) -> Firing:
    return Firing(
        id=row.id,
        trigger=row.name,
        pipeline=row.pipeline,
        kind=row.kind,
        time=row.time,
        reason=row.reason,
        status=row.status,
        tries=row.tries,
        run=row.run,
        release=row.release,
        seconds=None if row.ended is None else row.ended - row.started,
        outcome=row.outcome,
        log=str(workspace.path / "firings" / f"{row.id}.log"),
        alerts=row.alerts or (),
    )
