"""How much of the server's log has not reached the inference table yet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mlops_magics.store import tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["folder", "key", "unloaded"]


def folder(workspace: Workspace) -> Path:
    """Return where the gateway writes its segments."""
    return workspace.path / "server" / "spool"


def key(workspace: Workspace, segment: Path) -> str:
    """Name a segment in the database, which several workspaces may share."""
    place = hashlib.sha256(str(workspace.path).encode()).hexdigest()[:12]
    return f"{place}/{segment.name}"


def unloaded(workspace: Workspace) -> int:
    """Return the bytes of the spool that the agent has still to load."""
    sizes = {}
    for segment in folder(workspace).glob("*.jsonl"):
        try:
            sizes[key(workspace, segment)] = segment.stat().st_size
        except FileNotFoundError:  # loaded and deleted between listing and asking
            continue
    if not any(sizes.values()):
        return 0
    query = sa.select(tables.spool.c.file, tables.spool.c.offset)
    with workspace.database.read() as connection:
        rows = connection.execute(query.where(tables.spool.c.file.in_(sizes))).all()
    offsets: dict[str, int] = {row.file: row.offset for row in rows}
    return sum(max(0, size - offsets.get(name, 0)) for name, size in sizes.items())
