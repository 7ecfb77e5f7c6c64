"""Which revisions serve an endpoint, and whether the server that does it is up."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import EndpointNotFound, UnknownName
from mlops_magics.store import tables
from mlops_magics.store.processes import Identity

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["Health", "Variant", "health", "require", "variants"]

_PING_SECONDS = 1.0


@dataclass(frozen=True)
class Variant:
    """A revision with traffic.

    Attributes
    ----------
    percent : float
        Of the endpoint's requests.
    """

    revision: int
    number: int
    variant: str
    model: str
    version: str
    percent: float


@dataclass(frozen=True)
class Health:
    """The server's processes, as found.

    Attributes
    ----------
    up : bool
        Whether requests are answered.
    agent : bool
        Whether answers reach the inference table.
    reason : str or None
        Why it is not up.
    """

    up: bool
    agent: bool
    reason: str | None = None


def require(connection: Connection, endpoint: str) -> None:
    """Demand that an endpoint exists.

    Raises
    ------
    EndpointNotFound
        There is none of that name; the hint offers the nearest.
    """
    names = connection.execute(sa.select(tables.endpoints.c.name)).scalars().all()
    if endpoint not in names:
        unknown = UnknownName("endpoint", endpoint, names)
        raise EndpointNotFound(unknown.message, hint=unknown.hint)


def variants(connection: Connection, endpoint: str) -> list[Variant]:
    """Return the revisions that have traffic, the largest share first.

    Raises
    ------
    EndpointNotFound
        There is no such endpoint.
    """
    require(connection, endpoint)
    query = sa.select(tables.endpoints.c.traffic).where(tables.endpoints.c.name == endpoint)
    arms = list(connection.execute(query).scalar() or [])
    t = tables.revisions.c
    query = sa.select(t.id, t.number, t.model, t.version)
    rows = connection.execute(query.where(t.id.in_([arm["revision"] for arm in arms]))).all()
    known = {row.id: row for row in rows}
    found = [
        Variant(
            revision=arm["revision"],
            number=known[arm["revision"]].number,
            variant=arm["variant"],
            model=known[arm["revision"]].model,
            version=known[arm["revision"]].version,
            percent=arm["percent"],
        )
        for arm in arms
        if arm["revision"] in known
    ]
    return sorted(found, key=lambda variant: -variant.percent)


def health(workspace: Workspace) -> Health:
    """Look at the workspace's server: its processes, and whether it answers."""
    try:
        state: dict[str, Any] = json.loads((workspace.path / "server" / "server.json").read_bytes())
    except FileNotFoundError:
        return Health(False, False, "the server is not running")
    agent = _alive(state.get("agent"))
    if not _alive(state.get("gateway")) and not _alive(state.get("supervisor")):
        return Health(False, agent, "the server is not running")
    host = "127.0.0.1" if state["host"] in ("0.0.0.0", "::") else state["host"]  # noqa: S104 - compared, not bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{state['port']}/ping"
    # a proxy of the environment must not stand between a machine and itself
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_PING_SECONDS):
            return Health(True, agent)
    except OSError as exc:
        return Health(False, agent, f"the server does not answer: {exc}")


def _alive(identity: dict[str, Any] | None) -> bool:
    return identity is not None and Identity.from_dict(identity).alive()
