"""The spool: each answer's log line reaches the file before the answer leaves.

Lines are appended to ``spool/*.jsonl``; the agent loads them into the inference table. A write
is in the kernel's hands when it returns, so no acknowledged line is lost when a process dies;
``fsync`` follows in a thread, many writes at a time, against a loss of power.

While the database is away the spool grows, up to a limit; past it lines are refused as on a full
disk. Refusals are counted by reason.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Line", "Spool"]

_SEGMENT = 32 * 1024 * 1024
_LIMIT = 2 * 1024**3
_LOOK_SECONDS = 1.0
_SYNC_SECONDS = 0.2
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Line(msgspec.Struct, omit_defaults=True):
    """One request in the log.

    Attributes
    ----------
    id, client_id : str
        Ours, and the caller's if there was one.
    t : float
        Arrival, seconds since 1970.
    columns, rows, outputs : lists
        The decoded input in the signature's order, and one output for each row; None when the
        request was refused or failed.
    ms : float
        From the request's head to the answer's readiness.
    mirror_of : str
        Of a shadow's answer: the id of the request that was mirrored.
    trace_id : str
        Of the caller's trace, if it told one.
    """

    id: str
    client_id: str | None
    t: float
    endpoint: str
    revision: int | None
    version: str | None
    variant: str | None
    columns: Any
    rows: Any
    outputs: Any
    status: int
    ms: float
    error: str | None = None
    mirror_of: str | None = None
    trace_id: str | None = None


class Spool:
    r"""Appends lines to the newest segment.

    Parameters
    ----------
    folder : Path
        Where segments are kept.
    segment : int
        Bytes after which a new one is begun.
    limit : int
        Bytes that all segments may have together; those that the agent has loaded and deleted
        count no more.

    Attributes
    ----------
    failures : dict of str to int
        How many writes failed, by reason: ``limit``, ``disk`` (full, over a quota), ``sync``
        (written, but not known to be on the disk), ``other``.
    failing : bool
        Whether the last write failed.
    written : int
        Bytes written by this process.

    Examples
    --------
    >>> import tempfile
    >>> spool = Spool(Path(tempfile.mkdtemp()))
    >>> spool.append([b'{"id":"1"}'])
    >>> spool.path.read_text()
    '{"id":"1"}\n'
    >>> spool.close()
    """

    def __init__(self, folder: Path, segment: int = _SEGMENT, limit: int = _LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self.failures = dict.fromkeys(("limit", "disk", "sync", "other"), 0)
        self.failing = False
        self.written = 0
        self._segment = segment
        self._held = 0
        self._held_at = 0.0
        self._named = 0
        self._size = 0
        self._descriptor: int | None = None
        self._retired: deque[int] = deque()
        self._look()
        with contextlib.suppress(OSError):  # a full disk: tried again with the first line
            self._open()
        self._dirty = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._sync, name="spool-sync", daemon=True)
        self._thread.start()

    def append(self, lines: list[bytes]) -> None:
        """Write lines; all of them or, with an OSError, none.

        Raises
        ------
        OSError
            The limit is reached (``EDQUOT``), or the disk does not take them.
        """
        data = b"\n".join(lines) + b"\n"
        if self._held + len(data) > self.limit:
            self._look()
            if self._held + len(data) > self.limit:
                self.failures["limit"] += 1
                self.failing = True
                if self._size:
                    # only a segment that is followed by another is deleted once it is loaded
                    self._retire()
                    with contextlib.suppress(OSError):
                        self._open()
                raise OSError(errno.EDQUOT, f"the spool holds its limit of {self.limit} bytes")
        if self._size + len(data) > self._segment and self._size:
            self._retire()
        try:
            descriptor = self._open() if self._descriptor is None else self._descriptor
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError as exc:
            self.failures["disk" if exc.errno in _DISK else "other"] += 1
            self.failing = True
            if self._descriptor is not None:
                # never written to again: the agent may have read past the cut already, and would
                # pass over as many bytes of what came after it
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                self._retire()
            raise
        self._size += len(data)
        self._held += len(data)
        self.written += len(data)
        self.failing = False
        self._dirty.set()

    def state(self) -> dict[str, Any]:
        """Return what health and status tell: bytes held, the limit, failures by reason."""
        self._look()
        return {
            "bytes": self._held,
            "limit": self.limit,
            "failing": self.failing,
            "failures": dict(self.failures),
        }

    def _look(self) -> None:
        """Count what lies in the folder, at most once a second: the agent takes from it."""
        now = time.monotonic()
        if now - self._held_at < _LOOK_SECONDS:
            return
        self._held_at = now
        held = 0
        for path in self.folder.glob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # taken between listing and asking
                held += path.stat().st_size
        self._held = held

    def close(self) -> None:
        """Sync and close."""
        self._retire()
        self._closed = True
        self._dirty.set()
        self._thread.join()

    def _open(self) -> int:
        # sorts by time, also when the clock is set back: the agent takes a writer's last segment
        # for the one that is written to; the pid keeps a restarted gateway's apart
        self._named = max(time.time_ns(), self._named + 1)
        self.path = self.folder / f"{self._named:020d}-{os.getpid()}.jsonl"
        self._size = 0
        self._descriptor = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        return self._descriptor

    def _retire(self) -> None:
        """Be done with the segment; the thread syncs and closes it."""
        if self._descriptor is not None:
            self._retired.append(self._descriptor)
        self._descriptor = None
        self._size = 0
        self._dirty.set()

    def _sync(self) -> None:
        # only this thread closes: what it syncs cannot be another file under the same number
        while True:
            self._dirty.wait()
            self._dirty.clear()
            ending = self._closed
            current = self._descriptor
            if current is not None:
                self._fsync(current)
            while self._retired:
                descriptor = self._retired.popleft()
                self._fsync(descriptor)
                os.close(descriptor)
            if ending:
                return
            time.sleep(_SYNC_SECONDS)

    def _fsync(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError:
            self.failures["sync"] += 1
