"""The agent: what the server does beside serving.

It loads the server's log into the inference table and folds it into windows.

``python -m mlops_magics.pipelines.agent WORKSPACE``, started and restarted by the supervisor. A
spool segment's offset moves in the transaction that writes its rows, so each line is loaded exactly
once, whatever kills the agent. While the database is away lines wait in the spool.

It also keeps the server's plan at what the database says, whoever was killed while changing it; and
beside the loading it does what recurs (`pipelines.attendance`): rollouts are advanced, aliases
followed, windows judged, alerts delivered, triggers fired, killed pipeline runs marked.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from mlops_magics.deployment import failover, plan
from mlops_magics.deployment.advance import advance
from mlops_magics.deployment.following import follow
from mlops_magics.errors import MlopsError
from mlops_magics.monitoring import backlog, log, windows
from mlops_magics.monitoring.references import References
from mlops_magics.pipelines import alerting, history
from mlops_magics.pipelines.attendance import Act, Attendance
from mlops_magics.pipelines.triggers.watch import Watch
from mlops_magics.pipelines.upkeep import Upkeep
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["Agent", "acts", "main"]

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
# who loads much at once loads it for less; and a burst of requests has the processors to itself
REST = 4.0  # times as long as the loading took
LONGEST_POLL = 1.0
RECONCILE_SECONDS = 2.0
BATCH_BYTES = 1024 * 1024  # a transaction must not keep others from the database for long
LONGEST_WAIT = 5.0
WATCH_SECONDS = 2.0  # between looks for pipeline runs whose process was killed

# one request's values must not stop all later ones; the database's own failures are mapped to
# MlopsError and tried again
_REFUSED = (sa.exc.StatementError, ValueError, TypeError, LookupError, ArithmeticError)


class Agent:
    """Loads a workspace's spool until it is told to stop.

    Parameters
    ----------
    workspace : Workspace
        Whose server's log is loaded, into whose database.

    Examples
    --------
    >>> import tempfile
    >>> agent = Agent(Workspace.create(tempfile.mkdtemp()))
    >>> agent.load()
    0
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._references = References()
        self._stop = threading.Event()
        self._reconcile_at = 0.0
        self._upkeep = Upkeep(workspace)

    def stop(self) -> None:
        """Ask `run` to load what is there and return."""
        self._stop.set()

    def run(self) -> None:
        """Load until stopped; what cannot be done now is logged and tried again."""
        wait, failing = POLL_SECONDS, False
        while True:
            last = self._stop.is_set()
            try:
                self._reconcile()
                begun = time.monotonic()
                self.load()
                spent = time.monotonic() - begun
                # after the loading: both write to the windows
                self._upkeep.tick()
            except (MlopsError, SQLAlchemyError, OSError) as exc:
                failing, wait = True, min(LONGEST_WAIT, wait * 2)
                reason = str(exc).splitlines()[0]
                logger.error("the log cannot be loaded, next try in %.1f s: %s", wait, reason)
            else:
                if failing:
                    logger.warning("the log is being loaded again")
                failing = False
                wait = min(LONGEST_POLL, max(POLL_SECONDS, REST * spent))
            if last:
                return
            self._stop.wait(wait)

    def _reconcile(self) -> None:
        """Complete what a killed process has left between the database and the server's plan."""
        if time.monotonic() >= self._reconcile_at:
            failover.check(self.workspace)
            plan.project(self.workspace)
            self._reconcile_at = time.monotonic() + RECONCILE_SECONDS

    def load(self) -> int:
        """Load all complete lines of all segments, and delete segments that are done with.

        Returns
        -------
        int
            Lines loaded.
        """
        segments = sorted(backlog.folder(self.workspace).glob("*.jsonl"))
        closed = _closed(segments)
        count = 0
        for segment in segments:
            # what is there now: of what comes meanwhile many lines are loaded at once, later
            there = segment.stat().st_size
            while loaded := self._load_some(segment, there):
                count += loaded
            if segment in closed:
                self._forget(segment)
        return count

    def watch(self) -> None:
        """Mark pipeline runs whose process was killed."""
        for run in history.mark_crashed(self.workspace):
            logger.warning("pipeline run %s is marked CRASHED: its process is gone", run)

    def _load_some(self, segment: Path, there: int) -> int:
        """Load the next lines of a segment in one transaction; return how many lines they are."""
        name = backlog.key(self.workspace, segment)
        offset = self._offset(name)
        if there <= offset:
            return 0
        lines = _read(segment, offset)
        if not lines:
            return 0
        requests, place = [], offset
        for line in lines:
            try:
                requests.append(log.decode(line))
            except msgspec.MsgspecError as exc:
                # it will not get better: named, and left behind
                logger.error("%s: a damaged line at byte %d: %s", segment.name, place, exc)
            place += len(line)
        try:
            self._write(name, offset, place, requests)
        except _REFUSED as exc:
            logger.error(
                "%s: bytes %d to %d are loaded singly: %r", segment.name, offset, place, exc
            )
            self._write_singly(name, offset, place, requests)
        return len(lines)

    def _write(self, name: str, offset: int, end: int, requests: Sequence[log.Request]) -> None:
        with self.workspace.database.begin() as connection:
            _advance(connection, name, offset, end)
            log.insert(connection, requests)
            windows.fold(connection, requests, self._references)

    def _write_singly(
        self, name: str, offset: int, end: int, requests: Sequence[log.Request]
    ) -> None:
        """Load what the database takes of lines of which it refused at least one."""
        with self.workspace.database.begin() as connection:
            _advance(connection, name, offset, end)
            for request in requests:
                try:
                    with connection.begin_nested():
                        log.insert(connection, [request])
                    with connection.begin_nested():
                        windows.fold(connection, [request], self._references)
                except _REFUSED as exc:
                    logger.error("request %s cannot be stored: %r", request.id, exc)

    def _offset(self, name: str) -> int:
        query = sa.select(tables.spool.c.offset).where(tables.spool.c.file == name)
        with self.workspace.database.read() as connection:
            return int(connection.execute(query).scalar() or 0)

    def _forget(self, segment: Path) -> None:
        """Delete a segment that nobody writes to, once it is loaded to its end."""
        name = backlog.key(self.workspace, segment)
        left = segment.stat().st_size - self._offset(name)
        if left > 0:  # less when a write that failed was cut off after it had been read
            logger.error("%s: %d bytes of an unfinished last line are lost", segment.name, left)
        segment.unlink()
        # after the file: a row without a file is harmless, names are never used again
        with self.workspace.database.begin() as connection:
            connection.execute(tables.spool.delete().where(tables.spool.c.file == name))


def _advance(connection: Connection, name: str, offset: int, end: int) -> None:
    """Move a segment's offset, if it still is where it was read."""
    t = tables.spool
    moved = connection.execute(
        t.update().where(t.c.file == name, t.c.offset == offset).values(offset=end)
    )
    if moved.rowcount == 0:
        if offset:
            raise MlopsError(f"another agent is loading {name}")
        connection.execute(t.insert().values(file=name, offset=end))


def _read(segment: Path, offset: int) -> list[bytes]:
    """Read complete lines from an offset: about a megabyte, or one line if that is longer."""
    with segment.open("rb") as file:
        file.seek(offset)
        data = file.read(BATCH_BYTES)
        if b"\n" not in data:
            data += file.readline()
    end = data.rfind(b"\n") + 1
    return data[:end].splitlines(keepends=True)


def _closed(segments: Sequence[Path]) -> set[Path]:
    """Tell which segments get no more lines: a newer one of the same writer, or no writer."""
    newest: dict[str, Path] = {}
    for segment in sorted(segments):
        newest[segment.stem.rpartition("-")[2]] = segment
    return {
        segment
        for segment in segments
        for writer in [segment.stem.rpartition("-")[2]]
        if newest[writer] != segment or not _runs(writer)
    }


def _runs(writer: str) -> bool:
    if not writer.isdigit():
        return True
    try:
        os.kill(int(writer), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def acts(agent: Agent) -> list[Act]:
    """Return what the agent does beside loading the log."""
    workspace = agent.workspace
    return [
        Act("advance rollouts", lambda: advance(workspace)),
        Act("follow aliases", lambda: follow(workspace)),
        Act("look for killed pipeline runs", agent.watch, every=WATCH_SECONDS),
        *alerting.acts(workspace),
        *Watch(workspace).acts,
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent of the workspace that the first argument names, until SIGTERM."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each look at the server
    path = Path(arguments[0]).resolve()
    inside = (path / "workspace").is_file()
    agent = Agent(Workspace(path.parent, path) if inside else Workspace.find(path))
    attendance = Attendance(acts(agent))

    def stop(number: int, frame: FrameType | None) -> None:
        attendance.stop()
        agent.stop()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    logger.info("agent %d loads %s", os.getpid(), backlog.folder(agent.workspace))
    attendance.start()
    agent.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
