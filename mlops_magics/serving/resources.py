"""Resources: what a revision's workers use of cores and memory, read from the running processes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from mlops_magics.serving.folder import read_json
from mlops_magics.store.processes import Identity

if TYPE_CHECKING:
    from mlops_magics.serving.folder import ServerFolder

__all__ = ["Usage", "Usages"]

_FRESH_SECONDS = 1.0


@dataclass
class Usage:
    """What a revision's workers have used since somebody looked first.

    Attributes
    ----------
    cpu : float
        Seconds of cores, of ended workers too as far as they were seen.
    memory : int
        Bytes that they hold now.
    """

    cpu: float = 0.0
    memory: int = 0


@dataclass
class _Seen:
    identity: Identity
    process: psutil.Process
    cpu: float = 0.0


class Usages:
    """Reads the workers' processes, not more often than once a second.

    Counters only grow: what an ended worker was last seen with stays counted.

    Parameters
    ----------
    folder : ServerFolder
        Whose state files name the processes.
    """

    def __init__(self, folder: ServerFolder) -> None:
        self.folder = folder
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._usages: dict[int, Usage] = {}
        self._read_at = 0.0

    def read(self, workers: Mapping[int, int]) -> dict[int, Usage]:
        """Return each revision's usage.

        Parameters
        ----------
        workers : mapping of int to int
            How many workers a revision has, by its id.
        """
        now = time.monotonic()
        stale = now - self._read_at >= _FRESH_SECONDS
        if stale:
            self._read_at = now
        for revision, count in workers.items():
            if stale or revision not in self._usages:
                usage = self._usages.setdefault(revision, Usage())
                usage.memory = sum(self._look(usage, revision, index) for index in range(count))
        for key in [key for key in self._seen if key[0] not in workers]:
            del self._seen[key]
        return {revision: self._usages[revision] for revision in workers}

    def _look(self, usage: Usage, revision: int, index: int) -> int:
        """Add what one worker has used since the last look; return the bytes that it holds."""
        key = (revision, index)
        recorded = (read_json(self.folder.state_file(revision, index)) or {}).get("identity")
        if recorded is None:
            return 0
        seen, identity = self._seen.get(key), Identity.from_dict(recorded)
        try:
            if seen is None or seen.identity != identity:
                if not identity.alive():
                    return 0
                seen = self._seen[key] = _Seen(identity, psutil.Process(identity.pid))
            with seen.process.oneshot():
                times, memory = seen.process.cpu_times(), seen.process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return 0
        cpu = times.user + times.system
        usage.cpu += cpu - seen.cpu
        seen.cpu = cpu
        return int(memory)
