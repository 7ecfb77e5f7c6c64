"""The plan: which revisions shall run, and which of them get an endpoint's traffic.

``plan.json`` is a projection of the database, written by ``deployment``; supervisor and gateway
only read it, so that serving goes on when the database is away.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlops_magics.store.workspace import write_atomic

__all__ = ["SHADOW", "LogPolicy", "Plan", "PlannedEndpoint", "PlannedRevision", "Share"]

SHADOW = "shadow"
"""The variant whose answers nobody gets."""


class PlannedRevision(msgspec.Struct, frozen=True):
    """A revision whose workers shall run.

    Attributes
    ----------
    runtime : str
        ``native`` or ``onnx``; empty: what the package's manifest says.
    python : str
        The interpreter of an environment of its own; empty: the server's.
    """

    id: int
    endpoint: str
    number: int
    model: str
    version: str
    package: str
    workers: int = 1
    runtime: str = ""
    python: str = ""


class Share(msgspec.Struct, frozen=True):
    """A revision's share of an endpoint's traffic.

    Attributes
    ----------
    variant : str
        ``champion``, ``canary`` or ``shadow``.
    percent : float
        Of the requests: the champion's and the canary's add up to 100. Of a shadow: how many of
        all requests are mirrored to it.
    """

    revision: int
    variant: str = "champion"
    percent: float = 100.0


class LogPolicy(msgspec.Struct, frozen=True):
    """What the inference table keeps of an endpoint's requests.

    Attributes
    ----------
    mode : str
        ``durable``: written before the answer leaves; when that cannot be done, answers go on
        without a prediction id, counted. ``strict``: 503 instead. ``off``: nothing is kept.
    fraction : float
        Of the requests, those that are kept; chosen by request id.
    mask : list of str
        Input columns whose values are kept as null.
    """

    mode: str = "durable"
    fraction: float = 1.0
    mask: list[str] = []


class PlannedEndpoint(msgspec.Struct, frozen=True):
    """Where an endpoint's requests go, and what is kept of them."""

    traffic: list[Share]
    log: LogPolicy = LogPolicy()


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
