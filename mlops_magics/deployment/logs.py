"""Logs: what the server's processes have written, in order of time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.cards import Badge, Card
from mlops_magics.deployment.endpoints import not_found
from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import spans
from mlops_magics.records import Record, Table
from mlops_magics.serving import logs as files
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.store import tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["LogLine", "Logs", "follow", "logs"]

_PROCESSES = ("supervisor", "gateway", "agent")
_TONES: dict[str, Any] = {"ERROR": "bad", "CRITICAL": "bad", "WARNING": "warn"}
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class LogLine(Record):
    """What a process wrote at one moment.

    Attributes
    ----------
    time : float or None
        Seconds since 1970; None for output that has none.
    process : str
        ``supervisor``, ``gateway``, ``agent``, or a worker's name: ``r7-0``.
    level : str
        ``INFO``, ``WARNING``, ``ERROR``; empty for output of a model or a library.
    text : str
        The message, with the traceback behind it.
    """

    time: float | None
    process: str
    level: str
    text: str

    def card(self) -> Card:
        """Show the line as a shell shows it."""
        return Card(title=self.line())

    def line(self) -> str:
        """Return it as one text."""
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.time)) if self.time else ""
        return f"{clock:<19} {self.process:<10} {self.level:<7} {self.text}"


@dataclass(frozen=True)
class Logs(Table):
    """Lines of the server's logs, the newest last.

    Attributes
    ----------
    name : str or None
        The endpoint or process that was asked for.
    """

    name: str | None = None

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "\n".join(row.line() for row in self.rows)

    def title(self) -> str:
        return f"logs of {self.name}" if self.name else "logs"

    def empty(self) -> str:
        return "nothing was written; the server starts with: mlops deploy MODEL"

    def cells(self, row: LogLine) -> dict[str, Any]:
        clock = time.strftime("%m-%d %H:%M:%S", time.localtime(row.time)) if row.time else None
        return {
            "time": clock,
            "process": row.process,
            "level": Badge(row.level.lower(), _TONES.get(row.level, "neutral"))
            if row.level
            else None,
            "text": row.text,
        }


def logs(
    name: str | None = None,
    *,
    lines: int = 100,
    since: str | float | None = None,
    workspace: Workspace | None = None,
) -> Logs:
    """Read the logs of the server: supervisor, gateway, agent, and each worker.

    Parameters
    ----------
    name : str, optional
        An endpoint: its workers, and what the supervisor says of them; or one process, such as
        ``gateway`` or ``r7-0``.
    lines : int
        The newest to return.
    since : str or float, optional
        Only this span until now: ``"1h"``, or seconds.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound
        There is neither an endpoint nor a process of that name.

    Examples
    --------
    >>> print(logs(workspace=workspace))
    logs
      nothing was written; the server starts with: mlops deploy MODEL
    """
    workspace = resolve(workspace)
    if lines < 1:
        raise InvalidArgument(f"lines = {lines} is below 1")
    begin = None if since is None else time.time() - spans.seconds(since)
    chosen = _chosen(workspace, name)
    folder = ServerFolder.of(workspace).logs
    found = [
        entry
        for path in folder.glob("*.log")
        if chosen.has_file(path.stem)
        for entry in _dated(files.entries(path, count=chosen.depth(path.stem, lines), since=begin))
        if chosen.has(entry)
    ]
    # of one moment, in the order in which a file has them
    found.sort(key=lambda entry: entry.time or 0.0)
    rows = [LogLine(one.time, one.process, one.level, one.text) for one in found[-lines:]]
    return Logs(rows=rows, name=name)


def follow(name: str | None, workspace: Workspace) -> Iterator[LogLine]:
    """Give what is written from now on, until the caller has enough.

    Raises
    ------
    EndpointNotFound
        There is neither an endpoint nor a process of that name.
    """
    chosen = _chosen(workspace, name)
    follower = files.Follower(ServerFolder.of(workspace).logs)
    while True:
        read = False
        for entry in follower.read():
            if chosen.has_file(entry.process) and chosen.has(entry):
                read = True
                yield LogLine(entry.time, entry.process, entry.level, entry.text)
        if not read:
            chosen = _chosen(workspace, name)  # a deployment brings new workers
            time.sleep(_LOOK_SECONDS)


@dataclass(frozen=True)
class _Chosen:
    """Which processes are asked for; of an endpoint, its revisions."""

    process: str | None = None
    revisions: frozenset[int] | None = None

    def has_file(self, process: str) -> bool:
        if self.process is not None:
            return process == self.process
        if self.revisions is None or process == "supervisor":
            return True
        found = re.fullmatch(r"r(\d+)-\d+", process)
        return found is not None and int(found[1]) in self.revisions

    def has(self, entry: files.Entry) -> bool:
        """Whether an entry of such a file is meant: the supervisor tells of all workers."""
        if self.revisions is None or entry.process != "supervisor":
            return True
        told = re.match(r"r(\d+)-\d+ ", entry.text)
        return told is not None and int(told[1]) in self.revisions

    def depth(self, process: str, lines: int) -> int | None:
        """How many lines must be read to have so many of those meant."""
        return None if self.revisions is not None and process == "supervisor" else lines


def _chosen(workspace: Workspace, name: str | None) -> _Chosen:
    if name is None:
        return _Chosen()
    t = tables.revisions.c
    with workspace.database.read() as connection:
        known = connection.execute(sa.select(tables.endpoints.c.name)).scalars().all()
        ids = connection.execute(sa.select(t.id).where(t.endpoint == name)).scalars().all()
    if name in known:
        return _Chosen(revisions=frozenset(ids))
    if name in _PROCESSES or (ServerFolder.of(workspace).logs / f"{name}.log").is_file():
        return _Chosen(process=name)
    raise not_found(name, [*known, *_PROCESSES])


def _dated(entries: list[files.Entry]) -> Iterator[files.Entry]:
    """Give what has no time that of the entry before it, so that it stays in its place."""
    last: float | None = None
    for entry in entries:
        last = entry.time if entry.time is not None else last
        yield entry if entry.time is not None else files.Entry(last, entry.process, "", entry.text)
