"""The census: a server's processes as the operating system tells of them.

State files say which processes a server has. A process that is killed can leave a child that no
file names yet; the command line, which names module and workspace, finds it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from mlops_magics.store.processes import Identity

__all__ = ["Found", "census"]

_MODULE = re.compile(r"mlops_magics\.(?:serving|pipelines)\.(\w+)")
_NAMES = {"supervision": "supervisor", "gateway": "gateway", "agent": "agent"}


@dataclass(frozen=True)
class Found:
    """A process of a workspace's server.

    Attributes
    ----------
    name : str
        ``supervisor``, ``gateway``, ``agent`` or a worker's, as ``r7-0``.
    identity : Identity
        The process.
    """

    name: str
    identity: Identity


def census(workspace: Path) -> list[Found]:
    """Find the living processes of a workspace's server, the oldest first; this one aside.

    What a process has forked is not counted: it has its parent's command line, and ends with it.

    Parameters
    ----------
    workspace : Path
        The folder ``.mlops``, as processes are given it.

    Examples
    --------
    >>> census(Path("/no/such/.mlops"))
    []
    """
    found: dict[int, tuple[str, int, float]] = {}
    for process in psutil.process_iter():
        try:
            # without this one's children either: between fork and exec they look like it
            mine = process.ppid() == os.getpid() and _is_fork(process)
            if mine or process.pid == os.getpid():
                continue
            name = _name(process.cmdline(), str(workspace))
            if name is not None and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = (name, process.ppid(), process.create_time())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return list(_originals(found))


def _originals(found: dict[int, tuple[str, int, float]]) -> Iterator[Found]:
    for pid, (name, parent, _) in sorted(found.items(), key=lambda item: item[1][2]):
        if parent in found and found[parent][0] == name:
            continue
        try:
            yield Found(name, Identity.of(pid))
        except psutil.NoSuchProcess:
            continue


def _is_fork(process: psutil.Process) -> bool:
    return process.cmdline() == psutil.Process().cmdline()


def _name(command: list[str], workspace: str) -> str | None:
    """Name a process by its command line; None if it is not of that workspace's server.

    Examples
    --------
    >>> _name(["python", "-m", "mlops_magics.serving.worker", "/w", "7", "0", "/p"], "/w")
    'r7-0'
    """
    modules = [match[1] for word in command if (match := _MODULE.fullmatch(word))]
    if not modules or workspace not in command:
        return None
    if modules[-1] == "worker":
        place = command.index(workspace)
        return "r" + "-".join(command[place + 1 : place + 3])
    return _NAMES.get(modules[-1])
