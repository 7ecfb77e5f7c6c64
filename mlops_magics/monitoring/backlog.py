"""How much of the server's log has not reached the inference table yet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from mlops_magics.monitoring import traffic
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.monitoring.log import Request
    from mlops_magics.store.workspace import Workspace

__all__ = ["folder", "key", "mark", "reached", "settle", "unloaded"]


def folder(workspace: Workspace) -> Path:
    """Return where the gateway writes its segments."""
    return workspace.path / "server" / "spool"


def key(workspace: Workspace, segment: Path) -> str:
    """Name a segment in the database, which several workspaces may share."""
    return f"{workspace.id}/{segment.name}"


def unloaded(workspace: Workspace) -> int:
    """Return the bytes of the spool that the agent has still to load."""
    return _missing(workspace, _sizes(workspace))


def mark(workspace: Workspace) -> dict[Path, int]:
    """Return how far the log is written now, for `reached`."""
    return _sizes(workspace)


def reached(workspace: Workspace, mark: Mapping[Path, int]) -> bool:
    """Tell whether all is loaded that was written when a mark was taken.

    Examples
    --------
    >>> reached(workspace, mark(workspace))
    True
    """
    return not _missing(workspace, mark)


def settle(workspace: Workspace, timeout: float = 5.0) -> bool:
    """Wait until everything that is in the spool now is loaded.

    Parameters
    ----------
    workspace : Workspace
        Whose spool.
    timeout : float
        Seconds to wait at the most; no wait at all when no agent runs.

    Returns
    -------
    bool
        Whether all is loaded.
    """
    end = time.monotonic() + timeout
    wanted = _sizes(workspace)
    while _missing(workspace, wanted):
        if time.monotonic() > end or not traffic.health(workspace).agent:
            return not _missing(workspace, wanted)
        time.sleep(0.05)
    return True


def requests(connection: Connection, workspace: Workspace) -> Iterator[Request]:
    """Read what is in the spool and not in the inference table, as a transaction sees it.

    What the agent loads and deletes meanwhile may be missing: it is in the table by then.
    """
    from mlops_magics.monitoring import log  # brings pandas, which a status does not need

    for segment in sorted(folder(workspace).glob("*.jsonl")):
        query = sa.select(tables.spool.c.offset).where(
            tables.spool.c.file == key(workspace, segment)
        )
        offset = connection.execute(query).scalar() or 0
        try:
            with segment.open("rb") as file:
                file.seek(offset)
                for line in file:
                    if line.endswith(b"\n"):
                        with contextlib.suppress(msgspec.MsgspecError):  # the agent names it
                            yield log.decode(line)
        except FileNotFoundError:
            continue


def _sizes(workspace: Workspace) -> dict[Path, int]:
    sizes = {}
    for segment in folder(workspace).glob("*.jsonl"):
        try:
            sizes[segment] = segment.stat().st_size
        except FileNotFoundError:  # loaded and deleted between listing and asking
            continue
    return sizes


def _missing(workspace: Workspace, sizes: Mapping[Path, int]) -> int:
    """Bytes of these segments, up to these sizes, that are not loaded."""
    named = {key(workspace, path): (path, size) for path, size in sizes.items() if size}
    if not named:
        return 0
    query = sa.select(tables.spool.c.file, tables.spool.c.offset)
    with workspace.database.read() as connection:
        rows = connection.execute(query.where(tables.spool.c.file.in_(named))).all()
    offsets: dict[str, int] = {row.file: row.offset for row in rows}
    # a segment that is gone was loaded to its end
    return sum(
        max(0, size - offsets.get(name, 0)) for name, (path, size) in named.items() if path.exists()
    )
