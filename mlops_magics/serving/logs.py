"""The server's log files: bounded in size and number, and read from their ends.

Each process's output goes to a file of its own, whatever wrote it: our logging, a model's prints,
the dump of a native crash. The supervisor keeps the files small.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Entry", "Follower", "LogFiles", "entries"]

_SIZE = 10 * 1024 * 1024
_KEPT = 50  # files of workers that run no more
_BLOCK = 64 * 1024
_HEAD = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ([A-Z]+) ")


@dataclass(frozen=True)
class Entry:
    """What a process wrote at one moment: a line with those that belong to it.

    Attributes
    ----------
    time : float or None
        Seconds since 1970; None for what has none, such as what a library wrote by itself.
    process : str
        ``supervisor``, ``gateway``, ``agent``, ``r7-0``.
    level : str
        ``INFO``, ``WARNING``, ``ERROR``; empty without one.
    text : str
        The message, and the traceback or dump behind it.
    """

    time: float | None
    process: str
    level: str
    text: str


class LogFiles:
    """Keeps the files of a folder within their size and number.

    Parameters
    ----------
    folder : Path
        With ``NAME.log`` for each process.
    size : int
        Bytes at which a file is begun anew; the last so many bytes are kept as ``NAME.log.1``.
    """

    def __init__(self, folder: Path, size: int = _SIZE) -> None:
        self.folder = folder
        self._size = size

    def trim(self, running: Collection[str]) -> None:
        """Cut files that have grown too large; forget workers that ended long ago.

        Parameters
        ----------
        running : collection of str
            Names of processes whose files stay.
        """
        ended = []
        for path in self.folder.glob("*.log"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if status.st_size > self._size:
                _cut(path)
            if re.fullmatch(r"r\d+-\d+", path.stem) and path.stem not in running:
                ended.append((status.st_mtime, path))
        for _, path in sorted(ended)[:-_KEPT]:
            path.unlink(missing_ok=True)
            _previous(path).unlink(missing_ok=True)


def _cut(path: Path) -> None:
    """Begin a file anew in place: its writer has it open to append, and writes on."""
    fresh = path.with_name(f".{path.name}.1")
    with path.open("rb") as source, fresh.open("wb") as kept:
        os.fchmod(kept.fileno(), 0o600)
        shutil.copyfileobj(source, kept)
        # what was written since the copy began has been copied too: nothing in between
        os.truncate(path, 0)
    fresh.replace(_previous(path))


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def entries(path: Path, *, count: int | None = None, since: float | None = None) -> list[Entry]:
    """Read the last entries of a process's log, the newest last.

    Parameters
    ----------
    path : Path
        ``NAME.log``.
    count : int, optional
        Lines to read at most; default: all.
    since : float, optional
        Only entries from this moment on, in seconds since 1970.
    """
    found: list[Entry] = []
    for line in _tail(path, count):
        entry = _parse(path.stem, line)
        if entry.time is None and found:
            last = found[-1]
            found[-1] = Entry(last.time, last.process, last.level, f"{last.text}\n{entry.text}")
        else:
            found.append(entry)
    return [one for one in found if since is None or (one.time or 0.0) >= since]


def _tail(path: Path, count: int | None) -> list[bytes]:
    """Return the last lines of a file, and of its former part if it is too short."""
    lines: list[bytes] = []
    for part in (path, _previous(path)):
        missing = None if count is None else count - len(lines)
        if missing is not None and missing <= 0:
            break
        try:
            with part.open("rb") as file:
                lines = [*_last(file.fileno(), missing), *lines]
        except FileNotFoundError:
            continue
    return lines


def _last(descriptor: int, count: int | None) -> list[bytes]:
    end = os.fstat(descriptor).st_size
    start = end if count is not None else 0
    data = os.pread(descriptor, end, 0) if count is None else b""
    while start > 0 and data.count(b"\n") <= (count or 0):
        before = max(0, start - _BLOCK)
        data = os.pread(descriptor, start - before, before) + data
        start = before
    lines = data.splitlines()
    return lines if count is None else lines[-count:]


def _parse(process: str, line: bytes) -> Entry:
    head = _HEAD.match(line)
    if head is None:
        return Entry(None, process, "", line.decode("utf-8", "replace"))
    moment = time.mktime(time.strptime(head[1].decode(), "%Y-%m-%d %H:%M:%S")) + int(head[2]) / 1000
    return Entry(moment, process, head[3].decode(), line[head.end() :].decode("utf-8", "replace"))


class Follower:
    """Gives what is appended to a folder's files since the last look.

    Parameters
    ----------
    folder : Path
        Of the logs; what is there already is not given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places = {path: path.stat().st_size for path in folder.glob("*.log")}

    def read(self) -> Iterator[Entry]:
        """Give complete lines, file by file."""
        for path in sorted(self.folder.glob("*.log")):
            place = self._places.get(path, 0)
            try:
                with path.open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    if size < place:
                        place = 0  # it was begun anew
                    file.seek(place)
                    data = file.read(size - place)
            except FileNotFoundError:
                continue
            data = data[: data.rfind(b"\n") + 1]
            self._places[path] = place + len(data)
            for line in data.splitlines():
                yield _parse(path.stem, line)
