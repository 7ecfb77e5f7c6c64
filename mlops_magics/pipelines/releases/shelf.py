"""The shelf: which releases a workspace has, which is current, and their copies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import ReleaseNotFound, UnknownName
from mlops_magics.pipelines.releases.freezing import Frozen
from mlops_magics.store import tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["current", "frozen_of", "prepared", "rows"]


def rows(workspace: Workspace, pipeline: str | None = None) -> list[Any]:
    """Return the releases' rows, the newest first; of one pipeline, or of all."""
    t = tables.releases
    query = sa.select(t).where(t.c.workspace == workspace.id)
    if pipeline is not None:
        query = query.where(t.c.pipeline == pipeline)
    query = query.order_by(t.c.created.desc(), t.c.number.desc())
    with workspace.database.read() as connection:
        return list(connection.execute(query).all())


def current(workspace: Workspace, pipeline: str) -> Any:
    """Return the row of a pipeline's current release; None if there is none."""
    return next((row for row in rows(workspace, pipeline) if row.status == "CURRENT"), None)


def frozen_of(workspace: Workspace, row: Any) -> Frozen:
    """Return the copy that belongs to a release's row.

    Raises
    ------
    ReleaseCorrupt
        Its manifest does not have its digest.
    """
    kept = row.manifest
    folder = workspace.path / row.folder
    frozen = Frozen(folder, kept["manifest"], kept["facts"], Path(kept["base"]))
    frozen.check(row.digest)
    return frozen


def prepared(workspace: Workspace, release: str) -> Frozen:
    """Return a release's copy, checked, and ready to be run.

    Raises
    ------
    ReleaseNotFound
        There is no release of that id.
    ReleaseCorrupt
        A file of it was changed.
    """
    found = {row.id: row for row in rows(workspace)}
    if release not in found:
        near = UnknownName("release", release, found)
        raise ReleaseNotFound(near.message, hint=near.hint)
    frozen = frozen_of(workspace, found[release])
    frozen.prepare()
    return frozen
