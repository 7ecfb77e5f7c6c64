"""The verbs: list alerts, show one, acknowledge and resolve."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import AlertNotFound, InvalidArgument, UnknownName
from mlops_magics.monitoring import traffic
from mlops_magics.monitoring.alerts import states
from mlops_magics.monitoring.alerts.records import Alert, Alerts, shown_target
from mlops_magics.store import tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["STATUSES", "acknowledge_alert", "alert", "alerts", "resolve_alert"]

STATUSES = {
    "active": ("OPEN", "ACKNOWLEDGED"),
    "open": ("OPEN",),
    "acknowledged": ("ACKNOWLEDGED",),
    "resolved": ("RESOLVED",),
    "all": ("OPEN", "ACKNOWLEDGED", "RESOLVED"),
}
"""What can be asked for, and which alerts that is."""


def alerts(
    endpoint: str | None = None,
    *,
    status: str = "active",
    limit: int = 100,
    workspace: Workspace | None = None,
) -> Alerts:
    """List alerts: what is wrong now, or what was.

    Parameters
    ----------
    endpoint : str, optional
        Of that endpoint only.
    status : {"active", "open", "acknowledged", "resolved", "all"}
        Active: open or acknowledged.
    limit : int
        The newest to return.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is no endpoint of that name.
    UnknownName, InvalidArgument
        No such status; ``limit`` below 1.

    Examples
    --------
    >>> print(alerts("flight-delay", workspace=workspace))
    Alerts of flight-delay
      nothing is wrong that is known; former ones: mlops alerts list --status all
    """
    if status not in STATUSES:
        raise UnknownName("status", str(status), STATUSES)
    if limit < 1:
        raise InvalidArgument(f"limit = {limit} is below 1")
    workspace = resolve(workspace)
    t = tables.alerts
    query = sa.select(t).where(t.c.status.in_(STATUSES[status])).order_by(t.c.id.desc())
    with workspace.database.read() as connection:
        if endpoint is not None:
            traffic.require(connection, endpoint)
            query = query.where(t.c.endpoint == endpoint)
        rows = connection.execute(query.limit(limit)).all()
        found = _records(workspace, connection, rows)
    return Alerts(rows=found, endpoint=endpoint, status=status)


def alert(number: int, *, workspace: Workspace | None = None) -> Alert:
    """Show one alert with its evidence, what was delivered, and the runs that it caused.

    Parameters
    ----------
    number : int
        Which.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    Alert
        ``.requests`` has the rows behind it, ``.notebook`` the cell that made the model.

    Raises
    ------
    AlertNotFound

    Examples
    --------
    >>> alert(7, workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.AlertNotFound: no alert 7
      → see them: mlops alerts list --status all
    """
    workspace = resolve(workspace)
    with workspace.database.read() as connection:
        return _records(workspace, connection, [_find(connection, number)])[0]


def acknowledge_alert(
    number: int, *, reason: str | None = None, workspace: Workspace | None = None
) -> Alert:
    """Say that an alert has been seen: it is shown no more as open, until it is resolved.

    Parameters
    ----------
    number : int
        Which.
    reason : str, optional
        For the alert and the ledger.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    AlertNotFound
    InvalidArgument
        It is resolved.

    Examples
    --------
    >>> acknowledge_alert(7, workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.AlertNotFound: no alert 7
      → see them: mlops alerts list --status all
    """
    workspace = resolve(workspace)
    now = time.time()
    with workspace.database.begin() as connection:
        row = _find(connection, number)
        if row.status == "RESOLVED":
            raise InvalidArgument(f"alert {number} is resolved")
        states.acknowledge(connection, row.id, actor=workspace.actor, reason=reason, now=now)
    return alert(number, workspace=workspace)


def resolve_alert(
    number: int, *, reason: str | None = None, workspace: Workspace | None = None
) -> Alert:
    """Say that an alert is over; if it is not, it is opened again by the windows to come.

    Parameters
    ----------
    number : int
        Which.
    reason : str, optional
        For the alert and the ledger.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    AlertNotFound

    Examples
    --------
    >>> resolve_alert(7, workspace=workspace)
    Traceback (most recent call last):
    mlops_magics.errors.AlertNotFound: no alert 7
      → see them: mlops alerts list --status all
    """
    workspace = resolve(workspace)
    now = time.time()
    with workspace.database.begin() as connection:
        row = _find(connection, number)
        w = tables.watches
        held = sa.select(w.c.state).where(w.c.endpoint == row.endpoint).with_for_update()
        state = connection.execute(held).scalar()
        states.resolve(connection, row, actor=workspace.actor, reason=reason, now=now)
        if state:
            # it must last again before it is opened again
            items = {**state.get("items", {}), row.kind: {}}
            connection.execute(
                w.update()
                .where(w.c.endpoint == row.endpoint)
                .values(state={**state, "items": items})
            )
    return alert(number, workspace=workspace)


def _find(connection: Connection, number: int) -> Any:
    t = tables.alerts
    row = None
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**63:
        row = connection.execute(sa.select(t).where(t.c.id == number)).one_or_none()
    if row is None:
        raise AlertNotFound(f"no alert {number!r}", hint="see them: mlops alerts list --status all")
    return row


def _records(workspace: Workspace, connection: Connection, rows: Sequence[Any]) -> list[Alert]:
    ids = [row.id for row in rows]
    d = tables.deliveries
    query = sa.select(d).where(d.c.alert.in_(ids)).order_by(d.c.id)
    delivered: dict[int, list[dict[str, Any]]] = {}
    for one in connection.execute(query):
        delivered.setdefault(one.alert, []).append(
            {
                "kind": one.kind,
                "target": shown_target(one.kind, one.target),
                "status": one.status,
                "tries": one.tries,
                "time": one.updated,
                "outcome": one.outcome,
            }
        )
    runs = _runs(connection, rows)
    return [
        Alert(
            id=row.id,
            endpoint=row.endpoint,
            kind=row.kind,
            severity=row.severity,
            title=row.title,
            status=row.status,
            opened=row.opened,
            updated=row.updated,
            count=row.count,
            evidence=row.evidence,
            silenced=bool(row.silenced),
            acknowledged=row.acknowledged,
            resolved=row.resolved,
            actor=row.actor,
            reason=row.reason,
            deliveries=delivered.get(row.id, []),
            runs=runs.get(row.id, []),
            workspace=workspace,
        )
        for row in rows
    ]


def _runs(connection: Connection, rows: Sequence[Any]) -> dict[int, list[dict[str, Any]]]:
    """Return what triggers have made of alerts, by alert."""
    if not rows:
        return {}
    f, t, r = tables.firings, tables.triggers, tables.pipeline_runs
    begin = min(row.opened for row in rows)
    query = (
        sa.select(f.c.id, f.c.alerts, f.c.status, f.c.run, t.c.name, t.c.pipeline, r.c.status)
        .select_from(f.join(t, f.c.trigger == t.c.id).outerjoin(r, f.c.run == r.c.id))
        .where(
            t.c.kind == "alert",
            f.c.status != "SKIPPED",
            f.c.time >= begin,
        )
        .order_by(f.c.id)
    )
    found: dict[int, list[dict[str, Any]]] = {}
    for firing, alerts, fired, run, trigger, pipeline, status in connection.execute(query):
        for one in alerts or ():
            found.setdefault(one, []).append(
                {
                    "run": run,
                    "pipeline": pipeline,
                    "status": status or fired,
                    "trigger": trigger,
                    "firing": firing,
                }
            )
    return found
