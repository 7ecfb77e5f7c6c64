"""Rollback: an endpoint to its previous revision, or an alias to its previous version."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import checks, plan, shares
from mlops_magics.deployment.endpoints import Endpoint, endpoint, refuse_foreign, row_of
from mlops_magics.deployment.traffic import withdraw
from mlops_magics.errors import DeployError
from mlops_magics.serving import server
from mlops_magics.store import ledger, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.registry import Promotion
    from mlops_magics.store.workspace import Workspace

__all__ = ["rollback"]


def rollback(
    name: str, *, reason: str | None = None, workspace: Workspace | None = None
) -> Endpoint | Promotion:
    """Go back: ``NAME`` an endpoint's revision, ``NAME@ALIAS`` a registered alias.

    While a canary or shadow is beside an endpoint's champion, it is taken out, and the champion
    stays.

    Parameters
    ----------
    name : str
        An endpoint, or a model with an alias.
    reason : str, optional
        For the ledger.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound, ModelNotFound
        There is no such endpoint, model or alias.
    DeployError
        There is no revision to go back to.
    DeployConflict
        Another workspace runs the endpoint, or it was changed meanwhile.
    """
    workspace = resolve(workspace)
    if "@" in name:
        from mlops_magics.registry import rollback_alias

        model, _, alias = name.rpartition("@")
        return rollback_alias(model, alias, reason=reason, workspace=workspace)
    row = row_of(workspace, name)
    refuse_foreign(workspace, row)
    if shares.candidate_of(row) is not None:
        withdraw(workspace, row, reason)
        return endpoint(workspace, name)
    previous = _previous(workspace, row)
    generation = plan.project(workspace)
    server.start(workspace)
    # a warm revision is up already, unless the server was stopped in between
    checks.await_workers(workspace, previous.id, previous.workers, generation, _silent)
    with workspace.database.begin() as connection:
        before = shares.flip(connection, name, previous.id, row.generation, now=time.time())
        ledger.append(
            connection,
            actor=workspace.actor,
            action="rollback",
            subject=f"endpoint {name}",
            details={"reason": reason or "", "revision": previous.number, "before": before},
        )
    plan.await_applied(workspace, plan.project(workspace))
    return endpoint(workspace, name)


def _previous(workspace: Workspace, row: Any) -> Any:
    t = tables.revisions
    serving = row.traffic[0]["revision"] if row.traffic else None
    number = sa.select(t.c.number).where(t.c.id == serving).scalar_subquery()
    with workspace.database.read() as connection:
        # older than what serves: going back twice must not go forward again
        previous = connection.execute(
            sa.select(t)
            .where(t.c.endpoint == row.name, t.c.status == "WARM", t.c.number < number)
            .order_by(t.c.number.desc())
        ).first()
    if previous is None:
        raise DeployError(
            f"endpoint {row.name!r} has no previous revision to go back to",
            hint="deploy the version you want: mlops deploy MODEL/VERSION",
        )
    return previous


def _silent(done: float, total: float | None, note: str) -> None:
    """Tell nobody."""
