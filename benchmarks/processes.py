"""Process trees: held still while others are measured, weighed, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psutil

__all__ = ["awake", "end", "hold", "release", "resident", "tree"]

SETTLE = 0.3


def tree(roots: Iterable[int]) -> list[psutil.Process]:
    """Return processes and all that they have started, parents first."""
    found: dict[int, psutil.Process] = {}
    for pid in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                found.setdefault(process.pid, process)
    return list(found.values())


def resident(processes: Iterable[psutil.Process]) -> int:
    """Return the bytes that processes hold in memory; what they share counts in each."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def hold(processes: Iterable[psutil.Process]) -> None:
    """Stop processes where they are: a server that is not measured takes no time at all."""
    _tell(processes, signal.SIGSTOP)


def release(processes: Iterable[psutil.Process]) -> None:
    """Let them go on, children first, so that no parent finds one that does not answer."""
    _tell(reversed(list(processes)), signal.SIGCONT)


@contextmanager
def awake(processes: Iterable[psutil.Process]) -> Iterator[None]:
    """Let held processes go on for a while, with time for their timers to catch up."""
    processes = list(processes)
    release(processes)
    try:
        time.sleep(SETTLE)
        yield
        time.sleep(SETTLE / 3)
    finally:
        hold(processes)


def end(processes: Iterable[psutil.Process], group: int | None = None) -> None:
    """Ask processes to end, wait a little, and end those that are left."""
    processes = list(processes)
    release(processes)
    if group is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
    _, left = psutil.wait_procs(processes, timeout=10)
    _tell(left, signal.SIGKILL)
    psutil.wait_procs(left, timeout=5)


def _tell(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)  # refuses a pid that is another process by now
