"""States of alerts: opened once, kept up, opened again, resolved; each change in one transaction.

An endpoint has at most one alert of a kind that is not RESOLVED: whoever changes them holds the
endpoint's row of ``watches`` until the transaction ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.monitoring.alerts import conditions
from mlops_magics.monitoring.alerts.conditions import Finding
from mlops_magics.monitoring.alerts.policy import SEVERITIES, Policy
from mlops_magics.store import ledger, tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["ACTOR", "MENDED_BY_ROLLBACK", "Holding", "acknowledge", "hold", "opened", "resolve"]

ACTOR = "mlops"
"""Who acts when no person does."""

MENDED_BY_ROLLBACK = ("errors", "latency", "quality")
"""Kinds of alerts that another revision may be without; data are the same for all."""


@dataclass(frozen=True)
class Holding:
    """What holds in a window, of one kind.

    Attributes
    ----------
    endpoint : str
    found : sequence of Finding
        Of one kind, at least one.
    evidence : mapping
        What they have in common: window, revision, how sure.
    revision : int or None
        That served.
    time : float
        The window's end, seconds since 1970.
    """

    endpoint: str
    found: Sequence[Finding]
    evidence: Mapping[str, Any]
    revision: int | None
    time: float

    @property
    def kind(self) -> str:
        """One of `conditions.KINDS`."""
        return self.found[0].kind

    def values(self) -> dict[str, Any]:
        """Return what an alert's row keeps of it."""
        severity, title = conditions.summary(self.found)
        items = [
            {"item": one.item, "severity": one.severity, "words": one.words, **one.evidence}
            for one in self.found
        ]
        return {
            "severity": severity,
            "title": title,
            "evidence": {**self.evidence, "items": items},
            "revision": self.revision,
            "updated": self.time,
        }


def opened(connection: Connection, endpoint: str, *, held: bool = False) -> dict[str, Any]:
    """Return the rows of an endpoint's alerts that are not resolved, by kind.

    With ``held`` nobody else changes them until the transaction ends.
    """
    t = tables.alerts
    query = sa.select(t).where(t.c.endpoint == endpoint, t.c.status != "RESOLVED").order_by(t.c.id)
    rows = connection.execute(query.with_for_update() if held else query).all()
    return {row.key: row for row in rows}


def hold(connection: Connection, holding: Holding, policy: Policy, now: float) -> int | None:
    """Bring the alert of what holds up to date, or open one.

    Parameters
    ----------
    connection : Connection
        In a transaction that holds the endpoint's row of ``watches``.
    holding : Holding
        What holds, and has held for long enough.
    policy : Policy
        The endpoint's.
    now : float
        Seconds since 1970.

    Returns
    -------
    int or None
        The alert that was opened; None if there was one.
    """
    t = tables.alerts
    values = holding.values()
    present = opened(connection, holding.endpoint, held=True).get(holding.kind)
    silent = policy.silent(now)
    if present is not None and present.silenced and not silent:
        # what was kept quiet is opened as if it were new: delivered, and acted on
        resolve(connection, present, actor=ACTOR, reason="the silence is over", now=now)
        return _open(connection, holding, policy, now, silent=False)
    if present is None:
        present = _resting(connection, holding, policy, values["severity"], now)
        if present is None:
            return _open(connection, holding, policy, now, silent=silent)
        values |= {"status": "OPEN", "resolved": None, "actor": None, "reason": None}
        _enter(connection, ACTOR, "alert reopen", present, {"title": values["title"]})
    worse = SEVERITIES.index(values["severity"]) > SEVERITIES.index(present.severity)
    if worse:  # whoever has acknowledged it has not seen this
        values["status"] = "OPEN"
    connection.execute(
        t.update().where(t.c.id == present.id).values(count=present.count + 1, **values)
    )
    if worse and not silent:
        _deliver(connection, present.id, holding.kind, values["severity"], policy, now)
    return None


def acknowledge(
    connection: Connection, alert: int, *, actor: str, reason: str | None, now: float
) -> bool:
    """Mark an open alert as seen; tell whether it was open."""
    t = tables.alerts
    changed = connection.execute(
        t.update()
        .where(t.c.id == alert, t.c.status == "OPEN")
        .values(status="ACKNOWLEDGED", acknowledged=now, actor=actor, reason=reason)
    )
    if changed.rowcount:
        row = connection.execute(sa.select(t).where(t.c.id == alert)).one()
        _enter(connection, actor, "alert acknowledge", row, {"reason": reason or ""})
    return bool(changed.rowcount)


def resolve(
    connection: Connection, row: Any, *, actor: str, reason: str | None, now: float
) -> bool:
    """Mark an alert as over; tell whether it was not."""
    t = tables.alerts
    changed = connection.execute(
        t.update()
        .where(t.c.id == row.id, t.c.status != "RESOLVED")
        .values(status="RESOLVED", resolved=now, actor=actor, reason=reason)
    )
    if changed.rowcount:
        _enter(connection, actor, "alert resolve", row, {"reason": reason or ""})
        d = tables.deliveries
        connection.execute(
            d.update()
            .where(d.c.alert == row.id, d.c.kind == "rollback", d.c.status == "WAITING")
            .values(status="SKIPPED", outcome="the alert was resolved before", updated=now)
        )
    return bool(changed.rowcount)


def _resting(
    connection: Connection, holding: Holding, policy: Policy, severity: str, now: float
) -> Any:
    """Return the last alert of the kind if it ended within the cooldown and was as bad."""
    t = tables.alerts
    query = (
        sa.select(t)
        .where(t.c.endpoint == holding.endpoint, t.c.key == holding.kind)
        .where(t.c.status == "RESOLVED", t.c.resolved > now - policy.cooldown)
        .order_by(t.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None or row.silenced or row.revision != holding.revision:
        return None
    return row if SEVERITIES.index(row.severity) >= SEVERITIES.index(severity) else None


def _open(
    connection: Connection, holding: Holding, policy: Policy, now: float, *, silent: bool
) -> int:
    t = tables.alerts
    values = holding.values()
    made = connection.execute(
        t.insert()
        .values(
            endpoint=holding.endpoint,
            key=holding.kind,
            kind=holding.kind,
            status="OPEN",
            opened=now,
            count=1,
            silenced=int(silent),
            **values,
        )
        .returning(t.c.id)
    )
    alert = int(made.scalar_one())
    row = connection.execute(sa.select(t).where(t.c.id == alert)).one()
    _enter(
        connection, ACTOR, "alert open", row, {"title": row.title, "evidence": values["evidence"]}
    )
    if not silent:
        _deliver(connection, alert, holding.kind, row.severity, policy, now)
    return alert


def _deliver(
    connection: Connection, alert: int, kind: str, severity: str, policy: Policy, now: float
) -> None:
    """Ask for what is to be done about an alert; what was asked for is not asked for again."""
    t = tables.deliveries
    known = set(connection.execute(sa.select(t.c.sink).where(t.c.alert == alert)).scalars())
    for name, target in _sinks(kind, severity, policy):
        text = json.dumps(target, sort_keys=True)
        sink = f"{name} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
        if sink not in known:
            connection.execute(
                t.insert().values(
                    alert=alert,
                    sink=sink,
                    kind=name,
                    target=target,
                    status="WAITING",
                    tries=0,
                    due=now,
                    created=now,
                    updated=now,
                )
            )


def _sinks(kind: str, severity: str, policy: Policy) -> Iterator[tuple[str, dict[str, Any]]]:
    if policy.delivers(severity):
        for url in policy.webhooks:
            yield "webhook", {"url": url}
        for command in policy.commands:
            yield "command", {"arguments": list(command)}
    if kind in MENDED_BY_ROLLBACK and any(one["kind"] == "rollback" for one in policy.actions):
        yield "rollback", {}


def _enter(
    connection: Connection, actor: str, action: str, row: Any, details: Mapping[str, Any]
) -> None:
    ledger.append(
        connection,
        actor=actor,
        action=action,
        subject=f"endpoint {row.endpoint}",
        details={"alert": row.id, "kind": row.kind, "severity": row.severity, **details},
    )
