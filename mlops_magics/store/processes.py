"""Identity of a process: pid, start time and boot, so that a reused pid is never mistaken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
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
        Its start, seconds since 1970, as the kernel counts it.
    boot : float
        Start of the machine, whole seconds; another boot has other processes.

    Examples
    --------
    >>> Identity.of(os.getpid()).alive()
    True
    """

    pid: int
    started: float
    boot: float

    @classmethod
    def of(cls, pid: int | None = None) -> Identity:
        """Take a living process's identity; default: this one.

        Raises
        ------
        psutil.NoSuchProcess
            There is none of that pid.
        """
        process = psutil.Process(pid if pid is not None else os.getpid())
        return cls(process.pid, round(process.create_time(), 2), float(int(psutil.boot_time())))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Identity:
        """Read what :meth:`to_dict` wrote."""
        return cls(int(value["pid"]), float(value["started"]), float(value["boot"]))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON value."""
        return {"pid": self.pid, "started": self.started, "boot": self.boot}

    def alive(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        # the wall clock may be set while the machine runs: a second or two of tolerance
        if abs(self.boot - int(psutil.boot_time())) > 2:
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.started) < 2.5
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
