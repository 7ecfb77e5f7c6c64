"""The plan's projection: what the database says, as the server reads it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mlops_magics.errors import DeployError, ServerNotRunning
from mlops_magics.serving import server
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import Plan, PlannedEndpoint, PlannedRevision, Share
from mlops_magics.store import tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["LIVE", "await_applied", "project"]

LIVE = ("STARTING", "SERVING", "WARM")
"""Revisions whose workers run."""


def project(workspace: Workspace) -> int:
    """Write the plan anew from the database; return its generation.

    The lock is held over reading and writing, so that an older picture never replaces a newer.
    """
    folder = ServerFolder.of(workspace)
    with workspace.lock("plan", timeout=30):
        with workspace.database.read() as connection:
            live = connection.execute(
                sa.select(tables.revisions).where(tables.revisions.c.status.in_(LIVE))
            ).all()
            named = connection.execute(sa.select(tables.endpoints)).all()
        plan = Plan(
            generation=Plan.read(folder.plan).generation + 1,
            revisions={
                str(row.id): PlannedRevision(
                    id=row.id,
                    endpoint=row.endpoint,
                    number=row.number,
                    model=row.model,
                    version=row.version,
                    package=row.package,
                    workers=row.workers,
                )
                for row in live
            },
            endpoints={
                row.name: PlannedEndpoint(
                    traffic=[Share(**share) for share in row.traffic],
                    log=(row.settings or {}).get("log", "durable"),
                )
                for row in named
                if row.traffic
            },
        )
        plan.write(folder.plan)
    return plan.generation


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
