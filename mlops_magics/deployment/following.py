"""Following: an endpoint goes where its model's alias goes.

The server's agent asks the registry once a second where the alias of each following endpoint
stands. When it has been moved, by whomever and with whichever tool, the version that it names is
brought up and checked like any deployment, then swapped in. One that does not pass leaves the old
one serving, is told, and is not tried again until the alias moves again.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import order, plan, shares
from mlops_magics.deployment.advance import ACTOR
from mlops_magics.deployment.deploy import carry_out
from mlops_magics.errors import (
    DatabaseUnavailable,
    DeployConflict,
    LockTimeout,
    MlopsError,
    ModelNotFound,
    ServerError,
    TrackingUnavailable,
)
from mlops_magics.store import ledger, models, tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["follow"]

_log = logging.getLogger(__name__)

# these pass: the same version is tried again
_BUSY = (DeployConflict, LockTimeout, ServerError)
_AWAY = (TrackingUnavailable, DatabaseUnavailable)


def follow(workspace: Workspace) -> list[str]:
    """Bring each following endpoint to where its alias stands; return what was done."""
    t = tables.endpoints
    with workspace.database.read() as connection:
        rows = connection.execute(sa.select(t).where(t.c.workspace == workspace.id)).all()
    done = []
    for row in rows:
        following = (row.settings or {}).get("follow")
        if following and row.traffic:
            try:
                said = _follow(workspace, row, following)
            except _BUSY as exc:
                _log.info("%s: tried again in a moment: %s", row.name, exc.message)
                continue
            if said is not None:
                _log.warning("%s: %s", row.name, said)
                done.append(said)
    return done


def _follow(workspace: Workspace, row: Any, following: dict[str, Any]) -> str | None:
    named = f"{following['model']}@{following['alias']}"
    try:
        ref = models.resolve(workspace, named)
    except ModelNotFound as exc:
        if following.get("problem"):
            return None  # said already
        _note(workspace, row.name, following, following["version"], exc.message)
        return exc.message
    if ref.version == following["version"]:
        if following.get("problem") and not following.get("failed"):
            _note(workspace, row.name, following, ref.version, None)  # the alias is back
        return None
    try:
        package = models.fetch(workspace, ref)
        order.check_package(package)
        with workspace.database.read() as connection:
            serving = connection.execute(
                sa.select(tables.revisions).where(tables.revisions.c.id == shares.champion_of(row))
            ).one()
        carry_out(
            workspace,
            order.Order(
                ref=ref,
                package=package,
                endpoint=row.name,
                workers=serving.workers,
                latency_budget=following.get("latency_budget"),
                log={},
                candidacy=None,
                follow=following["alias"],
                actor=ACTOR,
                why={"reason": f"{named} was moved from version {following['version']}"},
                report=lambda done, total, note: None,
                runtime=order.runtime_of(package, None),
                env=following.get("env", "shared"),
            ),
        )
    except (*_BUSY, *_AWAY):
        raise
    except MlopsError as exc:
        _note(workspace, row.name, following, ref.version, exc.message, failed=True)
        return f"version {ref.version} does not serve: {exc.message}"
    return f"follows {named} to version {ref.version}"


def _note(
    workspace: Workspace,
    name: str,
    following: dict[str, Any],
    version: str,
    problem: str | None,
    *,
    failed: bool = False,
) -> None:
    """Keep what stands in the way, for `endpoints` and the ledger."""
    with workspace.database.begin() as connection:
        row = shares.read(connection, name)
        if row is None or (row.settings or {}).get("follow") != following:
            return  # somebody has deployed meanwhile
        kept = {**following, "version": version, "problem": problem, "failed": failed}
        connection.execute(
            sa.update(tables.endpoints)
            .where(tables.endpoints.c.name == name)
            .values(settings={**row.settings, "follow": kept})
        )
        if problem is not None:
            ledger.append(
                connection,
                actor=ACTOR,
                action="follow",
                subject=f"endpoint {name}",
                details={
                    "alias": f"{following['model']}@{following['alias']}",
                    "version": version,
                    "failed": problem,
                    "serving": row.traffic,
                    "at": time.time(),
                },
            )
    plan.project(workspace)
