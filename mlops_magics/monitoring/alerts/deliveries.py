"""Deliveries: an alert goes to each of its sinks once, and what came of it is written down.

A delivery is a row that is WAITING until an agent claims it, in a transaction that changes it only
if nobody else has. What fails is tried again, later and later, with the same idempotency key. A
claim holds for a while only: one whose agent was killed is taken over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import MlopsError
from mlops_magics.monitoring.alerts import command, webhook
from mlops_magics.store import secrets, tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Deliveries", "Doer", "Outcome", "key_of", "message"]

TRIES = 8
BACKOFF, LONGEST = 15.0, 3600.0  # seconds before the second try, twice as long each time, at most
LEASE = 300.0  # seconds after which an agent that has claimed one is taken to be gone

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What came of one try.

    Attributes
    ----------
    status : str
        DELIVERED, FAILED (for good), SKIPPED (not called for any more), or WAITING: to be tried
        again.
    text : str
        For a reader.
    """

    status: str
    text: str


Doer = Callable[["Workspace", Any, Mapping[str, Any], str], Outcome]
"""Does what a delivery asks for: the workspace, the alert's row, the target, the key."""


class Deliveries:
    """Carries out what alerts ask for.

    Parameters
    ----------
    workspace : Workspace
        Of whose endpoints.
    now : callable
        The clock: seconds since 1970.
    doers : mapping, optional
        By kind; default: webhooks and commands.

    Examples
    --------
    >>> Deliveries(workspace).deliver()
    0
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        now: Callable[[], float] = time.time,
        doers: Mapping[str, Doer] | None = None,
    ) -> None:
        self.workspace = workspace
        self._now = now
        self._doers = {"webhook": send, "command": run} if doers is None else dict(doers)

    def deliver(self) -> int:
        """Try what is due; return how many were tried."""
        tried = 0
        for row in self._due():
            tried += self._claim(row) and self._try(row)
        return tried

    def _due(self) -> Sequence[Any]:
        d, a, e = tables.deliveries, tables.alerts, tables.endpoints
        query = (
            sa.select(d)
            .join_from(d, a, d.c.alert == a.c.id)
            .join(e, a.c.endpoint == e.c.name)
            .where(e.c.workspace == self.workspace.id, d.c.kind.in_(self._doers))
            .where(d.c.status.in_(("WAITING", "SENDING")), d.c.due <= self._now())
            .order_by(d.c.id)
        )
        with self.workspace.database.read() as connection:
            return connection.execute(query).all()

    def _claim(self, row: Any) -> bool:
        now = self._now()
        d = tables.deliveries
        with self.workspace.database.begin() as connection:
            changed = connection.execute(
                d.update()
                .where(d.c.id == row.id, d.c.status == row.status, d.c.tries == row.tries)
                .values(status="SENDING", tries=row.tries + 1, due=now + LEASE, updated=now)
            )
            return bool(changed.rowcount)

    def _try(self, row: Any) -> bool:
        with self.workspace.database.read() as connection:
            query = sa.select(tables.alerts).where(tables.alerts.c.id == row.alert)
            alert = connection.execute(query).one()
        try:
            done = self._doers[row.kind](
                self.workspace, alert, row.target, key_of(self.workspace, alert, row.sink)
            )
        except Exception as exc:  # one sink's must not stop the others
            _log.exception("alert %d: %s", row.alert, row.kind)
            done = Outcome("WAITING", f"{type(exc).__name__}: {exc}")
        status, text = done.status, secrets.redactor.text(done.text)
        now = self._now()
        due = now
        if status == "WAITING":
            if row.tries + 1 >= TRIES:
                status, text = "FAILED", f"{text}; given up after {TRIES} tries"
            due = now + min(LONGEST, BACKOFF * 2**row.tries)
        d = tables.deliveries
        with self.workspace.database.begin() as connection:
            connection.execute(
                d.update()
                .where(d.c.id == row.id, d.c.status == "SENDING", d.c.tries == row.tries + 1)
                .values(status=status, outcome=text, due=due, updated=now)
            )
        level = logging.INFO if status in ("DELIVERED", "SKIPPED") else logging.WARNING
        _log.log(level, "alert %d: %s %s: %s", row.alert, row.kind, status, text)
        return True


def key_of(workspace: Workspace, alert: Any, sink: str) -> str:
    """Return a delivery's idempotency key: the same for each try, another for another alert."""
    text = f"{workspace.id} {alert.id} {alert.opened!r} {sink}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def message(alert: Any) -> dict[str, Any]:
    """Return what is told of an alert; chats show its ``text``."""
    names = ("id", "endpoint", "kind", "severity", "title", "status", "opened", "updated", "count")
    return {
        "schema": 1,
        "event": "alert",
        "text": f"{alert.severity}: {alert.endpoint}: {alert.title}",
        "alert": {**{name: getattr(alert, name) for name in names}, "evidence": alert.evidence},
    }


def send(workspace: Workspace, alert: Any, target: Mapping[str, Any], key: str) -> Outcome:
    """Post an alert to a webhook."""
    try:
        answer = webhook.post(
            target["url"], message(alert), key=key, allowed=workspace.settings.webhook_hosts
        )
    except webhook.Refused as exc:
        return Outcome("FAILED", str(exc))
    except MlopsError as exc:  # a secret that may be set later
        return Outcome("WAITING", exc.message)
    except OSError as exc:
        return Outcome("WAITING", f"cannot be reached: {exc}")
    if answer.accepted:
        return Outcome("DELIVERED", str(answer))
    return Outcome("FAILED" if answer.final else "WAITING", str(answer))


def run(workspace: Workspace, alert: Any, target: Mapping[str, Any], key: str) -> Outcome:
    """Give an alert to a command."""
    environment = {**os.environ, "MLOPS_WORKSPACE": str(workspace.path)}
    text = json.dumps({**message(alert), "key": key})
    try:
        status, said = command.run(target["arguments"], text, workspace.root, environment)
    except OSError as exc:
        return Outcome("FAILED", f"cannot be started: {exc.strerror or exc}")
    except command.Overdue as exc:
        return Outcome("WAITING", str(exc))
    said = f": {said}" if said else ""
    return Outcome("WAITING" if status else "DELIVERED", f"ended with status {status}{said}")
