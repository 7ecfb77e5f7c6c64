"""Identity of a process: pid, start time and boot, so that a reused pid is never mistaken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity:
    """One process, for good.

    Attributes
    ----------
    pid : int
        Process id.
    started : float
        Its start, seconds since the machine's: the wall clock may be set meanwhile.
    boot : str
        Linux's boot id, elsewhere the second of the machine's start; another boot has other
        processes.

    Examples
    --------
    >>> Identity.of(os.getpid()).alive()
    True
    """

    pid: int
    started: float
    boot: str

    @classmethod
    def of(cls, pid: int | None = None) -> Identity:
        """Take a living process's identity; default: this one.

        Raises
        ------
        psutil.NoSuchProcess
            There is none of that pid.
        """
        process = psutil.Process(pid if pid is not None else os.getpid())
        return cls(process.pid, _started(process), _boot())

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Identity:
        """Read what :meth:`to_dict` wrote."""
        return cls(int(value["pid"]), float(value["started"]), str(value["boot"]))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {"pid": self.pid, "started": self.started, "boot": self.boot}

    def alive(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        if not _same_boot(self.boot, _boot()):
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # the kernel tells the machine's start in whole seconds
            return abs(_started(process) - self.started) < 2.5
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: int) -> bool:
        """Send a signal if the very process lives; tell whether it was sent."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def _started(process: psutil.Process) -> float:
    return round(process.create_time() - psutil.boot_time(), 2)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return str(int(psutil.boot_time()))


def _same_boot(one: str, other: str) -> bool:
    if one.isdigit() and other.isdigit():
        return abs(int(one) - int(other)) <= 2  # a wall clock that is trimmed moves it a little
    return one == other
