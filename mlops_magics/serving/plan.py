"""The plan: which revisions shall run, and which of them get an endpoint's traffic.

``plan.json`` is a projection of the database, written by ``deployment``; supervisor and gateway
only read it, so that serving goes on when the database is away.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops_magics.store.workspace import write_atomic

__all__ = ["Plan", "PlannedEndpoint", "PlannedRevision", "Share"]


class PlannedRevision(msgspec.Struct, frozen=True):
    """A revision whose workers shall run."""

    id: int
    endpoint: str
    number: int
    model: str
    version: str
    package: str
    workers: int = 1


class Share(msgspec.Struct, frozen=True):
    """A revision's share of an endpoint's traffic."""

    revision: int
    variant: str = "champion"
    percent: float = 100.0


class PlannedEndpoint(msgspec.Struct, frozen=True):
    """Where an endpoint's requests go."""

    traffic: list[Share]
    log: str = "durable"


class Plan(msgspec.Struct, frozen=True):
    """What the server shall do.

    Examples
    --------
    >>> Plan(generation=3).generation
    3
    """

    generation: int = 0
    revisions: dict[str, PlannedRevision] = {}
    endpoints: dict[str, PlannedEndpoint] = {}

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan; an empty one if there is no such file."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()

    def write(self, path: Path) -> None:
        """Replace the file."""
        write_atomic(path, msgspec.json.encode(self))


class PlanFile:
    """A plan that is read again when its file has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None

    def changed(self) -> Plan | None:
        """Return the plan if it is new since the last call."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp == self._seen:
            return None
        plan = Plan.read(self.path)
        self._seen = stamp
        return plan
