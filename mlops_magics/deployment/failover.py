"""Failover: a revision whose workers have all given up leaves its traffic to one that works.

The supervisor starts a worker that ends again a few times, then gives it up. What that means for
the endpoint is decided here, by the agent: a champion is followed by the revision that is warm, a
candidate is taken out. The revision is FAILED for good, with its reason; the ledger has both.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import plan, rollout, shares
from mlops_magics.errors import DeployConflict
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import Plan, PlannedRevision
from mlops_magics.store import ledger, tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.workspace import Workspace

__all__ = ["check"]

ACTOR = "agent"
_log = logging.getLogger(__name__)


def check(workspace: Workspace) -> list[str]:
    """Take traffic away from revisions that have failed; return the endpoints that changed.

    Asks the database only when a revision has failed.

    Parameters
    ----------
    workspace : Workspace
        Whose server's endpoints are looked at.

    Examples
    --------
    >>> check(workspace)
    []
    """
    folder = ServerFolder.of(workspace)
    planned = Plan.read(folder.plan)
    changed = []
    for name, endpoint in planned.endpoints.items():
        for share in endpoint.traffic:
            revision = planned.revisions.get(str(share.revision))
            reason = _given_up(folder, revision) if revision else None
            if reason is None:
                continue
            try:
                with workspace.database.begin() as connection:
                    done = _fail(connection, name, share.revision, share.variant, reason)
            except DeployConflict:
                continue  # somebody changes it just now; looked at again
            if done:
                _log.error("endpoint %s: revision %d has failed: %s", name, share.revision, reason)
                changed.append(name)
                break
    if changed:
        plan.project(workspace)
    return changed


def _given_up(folder: ServerFolder, revision: PlannedRevision) -> str | None:
    """Return why none of a revision's workers will come up again; None while one may."""
    states = [folder.state(revision.id, index) or {} for index in range(revision.workers)]
    if not states or any(state.get("state") != "failed" for state in states):
        return None
    return str(states[0].get("reason") or "its workers have failed")


def _fail(connection: Connection, name: str, revision: int, variant: str, reason: str) -> bool:
    row = shares.read(connection, name)
    t = tables.revisions
    found = connection.execute(sa.select(t).where(t.c.id == revision)).one()
    if row is None or revision not in [share["revision"] for share in row.traffic]:
        return False
    if found.status == "FAILED":
        return False
    now = time.time()
    why = f"revision {found.number} has failed: {reason}"
    if variant != shares.CHAMPION:
        rollout.roll_back(connection, name, row.generation, actor=ACTOR, reason=why, now=now)
    else:
        _follow(connection, row, found, why, now)
    connection.execute(
        sa.update(t)
        .where(t.c.id == revision)
        .values(status="FAILED", reason=reason[:2000], updated=now)
    )
    return True


def _follow(connection: Connection, row: Any, failed: Any, why: str, now: float) -> None:
    """Give a failed champion's traffic to the revision that is warm, if there is one."""
    t = tables.revisions
    warm = connection.execute(
        sa.select(t)
        .where(t.c.endpoint == row.name, t.c.status == "WARM", t.c.id != failed.id)
        .order_by(t.c.number.desc())
    ).first()
    details: dict[str, Any] = {
        "reason": why,
        "failed": failed.number,
        "model": f"{failed.model}/{failed.version}",
        "before": row.traffic,
    }
    if warm is not None:
        shares.flip(connection, row.name, warm.id, row.generation, now=now)
        shares.finish(connection, row.name, "ENDED", why, now=now)
        details["revision"] = warm.number
    ledger.append(
        connection,
        actor=ACTOR,
        action="fail" if warm is None else "rollback",
        subject=f"endpoint {row.name}",
        details=details,
    )
