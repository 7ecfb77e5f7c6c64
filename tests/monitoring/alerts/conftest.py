"""An endpoint that is watched by a clock that the test moves."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mlops_magics.monitoring.alerts import policy
from mlops_magics.monitoring.alerts.watch import AlertWatch
from mlops_magics.monitoring.traffic import Health
from mlops_magics.store import tables

from ..conftest import START, record, requests, revision
from .receiver import receiving

MINUTE = 60.0
UP = Health(True, True)


class Endpoint:
    """One endpoint, its traffic in minutes, and the watch that judges them."""

    def __init__(self, workspace, package) -> None:
        self.workspace, self.now, self.health = workspace, START, UP
        self.key = revision(workspace, package)
        self.watch = self.another()
        with workspace.database.begin() as connection:
            connection.execute(
                tables.watches.insert().values(
                    endpoint="flight-delay", settings={}, until=START, state={}, updated=START
                )
            )
        self.configure(window="1m", rows=100)

    def another(self) -> AlertWatch:
        """Another agent's watch."""
        return AlertWatch(self.workspace, now=self.clock, health=lambda _: self.health)

    def clock(self) -> float:
        """The agents' clock: windows of traffic have just closed."""
        return self.now + 3

    def configure(self, **given) -> None:
        t = tables.watches
        with self.workspace.database.begin() as connection:
            changed = policy.change(policy.read(connection, "flight-delay"), self.now, **given)
            connection.execute(t.update().values(settings=changed.settings()))

    def minute(self, count=300, *, look=True, **options) -> list[int]:
        """Let a minute of traffic pass, and be judged; give the alerts that were opened."""
        if count:
            options.setdefault("seed", int(self.now - START))
            record(self.workspace, requests(count, self.key, start=self.now, **options))
        self.now += MINUTE
        if not look:
            return []
        return self.watch.look()

    def alerts(self) -> list[sa.Row]:
        return self.rows(tables.alerts)

    def rows(self, table) -> list[sa.Row]:
        with self.workspace.database.read() as connection:
            return connection.execute(sa.select(table)).all()

    def ledger(self) -> list[str]:
        return [row.action for row in self.rows(tables.ledger)]


@pytest.fixture
def endpoint(place, package) -> Endpoint:
    """On each kind of database."""
    return Endpoint(place, package)


@pytest.fixture
def served(workspace, package) -> Endpoint:
    """On SQLite alone."""
    return Endpoint(workspace, package)


@pytest.fixture
def receiver():
    with receiving() as found:
        yield found
