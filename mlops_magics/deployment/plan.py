"""The plan's projection: what the database says, as the server reads it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from mlops_magics.errors import DeployConflict, DeployError, LockTimeout, ServerNotRunning
from mlops_magics.serving import server
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import LogPolicy, Plan, PlannedEndpoint, PlannedRevision, Share
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["LIVE", "await_applied", "bury", "deploying", "log_policy", "project", "retention"]

LIVE = ("STARTING", "SERVING", "CANARY", "SHADOW", "WARM", "DRAINING")
"""Revisions whose workers run."""

DRAIN_SECONDS = 5.0
"""A candidate that was taken out has so long to answer what it has begun."""


def project(workspace: Workspace) -> int:
    """Bring the plan to what the database says of this workspace; return its generation.

    The lock is held over reading and writing, so that an older picture never replaces a newer. The
    agent calls it too, so that what a killed process has left half done is completed.
    """
    folder = ServerFolder.of(workspace)
    _bury(workspace)
    _retire(workspace)
    revisions, endpoints = tables.revisions, tables.endpoints
    with workspace.lock("plan", timeout=30):
        with workspace.database.read() as connection:
            named = connection.execute(
                sa.select(endpoints).where(endpoints.c.workspace == workspace.id)
            ).all()
            live = connection.execute(
                sa.select(revisions)
                .where(revisions.c.status.in_(LIVE) | revisions.c.id.in_(routed(named)))
                .where(revisions.c.endpoint.in_([row.name for row in named]))
            ).all()
        before = Plan.read(folder.plan)
        plan = Plan(
            generation=before.generation,
            revisions={
                str(row.id): PlannedRevision(
                    id=row.id,
                    endpoint=row.endpoint,
                    number=row.number,
                    model=row.model,
                    version=row.version,
                    package=row.package,
                    # one that has failed with nothing to follow it answers 503
                    workers=row.workers if row.status in LIVE else 0,
                    runtime=row.runtime or "",
                    python=(row.environment or {}).get("python", ""),
                )
                for row in live
            },
            endpoints={
                row.name: PlannedEndpoint(
                    traffic=[Share(**share) for share in row.traffic],
                    log=log_policy(row.settings),
                )
                for row in named
                if row.traffic
            },
        )
        if plan != before:
            plan = msgspec.structs.replace(plan, generation=before.generation + 1)
            plan.write(folder.plan)
    return plan.generation


def routed(endpoints: Iterable[Any]) -> list[int]:
    """Return the revisions that have traffic, by the endpoints' rows."""
    return [int(share["revision"]) for row in endpoints for share in row.traffic]


def log_policy(settings: dict[str, Any] | None) -> LogPolicy:
    """Return what an endpoint's settings say of its inference log.

    Examples
    --------
    >>> log_policy({"log": {"mode": "durable", "fraction": 0.1}}).fraction
    0.1
    """
    found = (settings or {}).get("log") or {}
    if isinstance(found, str):  # as endpoints of version 0.1 have it
        found = {"mode": found}
    known = {key: value for key, value in found.items() if key in LogPolicy.__struct_fields__}
    return LogPolicy(**known)


def retention(settings: dict[str, Any] | None) -> float | None:
    """Return for how many seconds an endpoint's rows are kept; None: for ever."""
    found = (settings or {}).get("log") or {}
    return None if isinstance(found, str) else found.get("retention")


@contextlib.contextmanager
def deploying(workspace: Workspace, endpoint: str) -> Iterator[None]:
    """Hold an endpoint against other deployments, until this one or its process ends.

    Raises
    ------
    DeployConflict
        Another deployment to it is under way.
    """
    with contextlib.ExitStack() as stack:
        name = _lock_name(endpoint)
        try:
            # not refused at once: whoever cleans up holds it for a moment
            stack.enter_context(workspace.lock(name, timeout=0.2))
        except LockTimeout as exc:
            raise DeployConflict(
                f"another deployment to {endpoint!r} is under way, by {workspace.holder(name)}",
                hint=f"wait for it, then see: mlops endpoints {endpoint}",
            ) from exc
        yield


def _lock_name(endpoint: str) -> str:
    return f"deploy-{endpoint}"


def bury(connection: Connection, endpoint: str) -> None:
    """Mark revisions FAILED that were being deployed; the caller holds the deployment's lock."""
    connection.execute(
        sa.update(tables.revisions)
        .where(tables.revisions.c.endpoint == endpoint)
        .where(tables.revisions.c.status == "STARTING")
        .values(status="FAILED", reason="the deploying process ended", updated=time.time())
    )


def _bury(workspace: Workspace) -> None:
    """Clean up after deployments whose process has ended."""
    revisions, endpoints = tables.revisions, tables.endpoints
    with workspace.database.read() as connection:
        starting = connection.execute(
            sa.select(revisions.c.endpoint)
            .distinct()
            .join(endpoints, endpoints.c.name == revisions.c.endpoint)
            .where(revisions.c.status == "STARTING", endpoints.c.workspace == workspace.id)
        ).scalars()
        names = list(starting)
    for name in names:
        with (
            contextlib.suppress(LockTimeout),  # it is under way
            workspace.lock(_lock_name(name), timeout=0),
            workspace.database.begin() as connection,
        ):
            bury(connection, name)


def _retire(workspace: Workspace) -> None:
    """Let go of candidates that have drained; their reason stays."""
    revisions, endpoints = tables.revisions.c, tables.endpoints.c
    ours = sa.select(endpoints.name).where(endpoints.workspace == workspace.id)
    drained = (
        revisions.status == "DRAINING",
        revisions.updated < time.time() - DRAIN_SECONDS,
        revisions.endpoint.in_(ours),
    )
    with workspace.database.read() as connection:
        found = connection.execute(sa.select(revisions.id).where(*drained)).first()
    if found is not None:
        with workspace.database.begin() as connection:
            connection.execute(sa.update(tables.revisions).where(*drained).values(status="RETIRED"))


def await_applied(workspace: Workspace, generation: int, timeout: float = 15.0) -> None:
    """Wait until the gateway serves by a plan.

    Raises
    ------
    DeployError
        It does not, in time.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            if server.state(workspace)["generation"] >= generation:
                return
        except ServerNotRunning:
            pass  # the gateway may be on its way up again
        if time.monotonic() >= end:
            raise DeployError(
                f"the gateway has not taken up plan {generation} within {timeout:g} s",
                hint="see why: mlops doctor",
            )
        time.sleep(0.02)
