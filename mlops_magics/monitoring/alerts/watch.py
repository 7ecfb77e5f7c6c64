"""The watch: closed windows of an endpoint are judged, and what holds becomes an alert.

A window is judged once, whoever does it: in the transaction that moves the endpoint's ``until``
past it. Requests and columns have windows of their own: errors are judged when the asked span is
over, columns when there are enough rows beside, quality when enough labels have come.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.monitoring import backlog, traffic, windows
from mlops_magics.monitoring.alerts import conditions, states
from mlops_magics.monitoring.alerts.conditions import Finding
from mlops_magics.monitoring.alerts.judgement import Judgement, gone, lasting
from mlops_magics.monitoring.alerts.policy import Policy
from mlops_magics.monitoring.references import References
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["AlertWatch"]

GRACE = 2.0  # seconds after a window's end in which its requests may still be answered
DAY = 86400.0
CATCH_UP = 50  # windows of an endpoint in one look: others are watched too
DOWN_SECONDS = 60.0  # that a server may be away: it is started again within a few

_log = logging.getLogger(__name__)


class AlertWatch:
    """Looks after the endpoints of a workspace.

    Parameters
    ----------
    workspace : Workspace
    now : callable
        The clock: seconds since 1970.
    health : callable, optional
        Tells whether the workspace's server answers; default: it is asked.

    Examples
    --------
    >>> AlertWatch(workspace).look()
    []
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        now: Callable[[], float] = time.time,
        health: Callable[[Workspace], traffic.Health] = traffic.health,
    ) -> None:
        self.workspace = workspace
        self._now, self._health = now, health
        self._references = References()
        self._mark: tuple[float, Mapping[Any, int]] | None = None
        self._loaded = 0.0

    def look(self) -> list[int]:
        """Judge what can be judged now.

        Returns
        -------
        list of int
            The alerts that were opened.
        """
        now = self._now()
        e, w = tables.endpoints, tables.watches
        query = (
            sa.select(e.c.name, e.c.traffic, w.c.settings, w.c.until, w.c.state)
            .join_from(e, w, e.c.name == w.c.endpoint, isouter=True)
            .where(e.c.workspace == self.workspace.id)
            .order_by(e.c.name)
        )
        with self.workspace.database.read() as connection:
            rows = connection.execute(query).all()
        found: list[int] = []
        serving = [row for row in rows if row.traffic]
        if serving:
            self._note_loaded(now)
            up = self._health(self.workspace)
            for row in serving:
                if Policy.of(row.settings or {}).on:
                    found += self._look_at_server(row, up, now)
                    found += self._look_at(row.name, now)
        for row in rows:
            if not row.traffic and row.until is not None:
                self._rest(row.name, now)
        return found

    def _note_loaded(self, now: float) -> None:
        """Find out up to which moment the log has been loaded: all that was there, then."""
        if self._mark is None:
            self._mark = now, backlog.mark(self.workspace)
        if backlog.reached(self.workspace, self._mark[1]):
            self._loaded, self._mark = self._mark[0], None

    def _look_at(self, endpoint: str, now: float) -> list[int]:
        found: list[int] = []
        for _ in range(CATCH_UP):
            with self.workspace.database.read() as connection:
                row = _row(connection, endpoint)
                until = None if row is None else row.until
                if until is None or abs(now - until) > DAY:  # or the clock was put back
                    break
                policy = Policy.of(row.settings)
                end = until + policy.window
                if end + GRACE > min(now, self._loaded):
                    return found
                judged = Judgement(endpoint, policy, until, end, dict(row.state))
                judged.read(connection, self._references)
            found += self._write(judged, now)
        else:
            return found  # the rest at the next look
        self._begin(endpoint, until, math.floor(now / windows.SECONDS) * windows.SECONDS, now)
        return found

    def _write(self, judged: Judgement, now: float) -> list[int]:
        """Move past a window, with what was found in it, unless another agent was faster."""
        endpoint, persistence = judged.endpoint, judged.policy.persistence
        made = []
        with self.workspace.database.begin() as connection:
            row = _row(connection, endpoint, held=True)
            if row is None or row.until != judged.begin:
                return []
            held = lasting(judged.state, judged.found, persistence)
            present = states.opened(connection, endpoint, held=True)
            for kind, found in held.items():
                holding = states.Holding(
                    endpoint, found, judged.evidence[kind], judged.revision, judged.end
                )
                alert = states.hold(connection, holding, judged.policy, now)
                if alert is not None:
                    made.append((alert, *conditions.summary(found)))
            ended = [
                present[kind]
                for kind in judged.found
                if kind in present and gone(judged.state, kind, persistence)
            ]
            for one in ended:
                reason = f"not found in {persistence} windows"
                states.resolve(connection, one, actor=states.ACTOR, reason=reason, now=now)
            _save(connection, endpoint, now, until=judged.end, state=judged.state)
        for alert, severity, title in made:
            _log.warning("alert %d, %s of %s: %s", alert, severity, endpoint, title)
        for one in ended:
            _log.warning("alert %d of %s is resolved: %s", one.id, endpoint, one.title)
        return [alert for alert, _, _ in made]

    def _look_at_server(self, row: Any, health: traffic.Health, now: float) -> list[int]:
        """Open an alert when the server has not answered for a while, and resolve it."""
        state = row.state or {}
        down = state.get("down")
        if row.until is None or (health.up and down is None):
            return []
        if not health.up and down is not None and now - down < DOWN_SECONDS:
            return []
        alert = None
        with self.workspace.database.begin() as connection:
            held = _row(connection, row.name, held=True)
            if held is None:
                return []
            policy, state = Policy.of(held.settings), dict(held.state)
            present = states.opened(connection, row.name, held=True).get("server")
            if health.up:
                state.pop("down", None)
                if present is not None:
                    reason = "the server answers again"
                    states.resolve(connection, present, actor=states.ACTOR, reason=reason, now=now)
            elif state.setdefault("down", now) <= now - DOWN_SECONDS and present is None:
                since = float(state["down"])
                words = health.reason or "the server does not answer"
                evidence = {"window": {"since": since, "until": now}}
                found = [Finding("server", "", "critical", words)]
                holding = states.Holding(row.name, found, evidence, None, now)
                alert = states.hold(connection, holding, policy, now)
            _save(connection, row.name, now, state=state)
        if alert is not None:
            _log.warning("alert %d, critical of %s: %s", alert, row.name, health.reason)
        return [] if alert is None else [alert]

    def _begin(self, endpoint: str, before: float | None, begin: float, now: float) -> None:
        """Begin to watch an endpoint, or again after a long time."""
        with self.workspace.database.begin() as connection:
            row = _row(connection, endpoint, held=True)
            if row is None:
                connection.execute(
                    self.workspace.database.insert_or_ignore(tables.watches).values(
                        endpoint=endpoint, settings={}, until=begin, state={}, updated=now
                    )
                )
            elif row.until == before:
                _save(connection, endpoint, now, until=begin, state={})

    def _rest(self, endpoint: str, now: float) -> None:
        """Watch an endpoint no more that serves nothing."""
        with self.workspace.database.begin() as connection:
            held = _row(connection, endpoint, held=True)
            if held is None:
                return
            for row in states.opened(connection, endpoint, held=True).values():
                reason = "the endpoint serves nothing"
                states.resolve(connection, row, actor=states.ACTOR, reason=reason, now=now)
            _save(connection, endpoint, now, until=None, state={})


def _row(connection: Connection, endpoint: str, *, held: bool = False) -> Any:
    t = tables.watches
    query = sa.select(t).where(t.c.endpoint == endpoint)
    return connection.execute(query.with_for_update() if held else query).one_or_none()


def _save(connection: Connection, endpoint: str, now: float, **values: Any) -> None:
    t = tables.watches
    connection.execute(t.update().where(t.c.endpoint == endpoint).values(updated=now, **values))
