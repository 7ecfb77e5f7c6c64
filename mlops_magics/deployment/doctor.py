"""Check what the workspace stands on, and name the command that mends each part."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlops_magics.cards import Badge, Card, Code, Grid
from mlops_magics.deployment import environments
from mlops_magics.deployment.status import status
from mlops_magics.records import Record
from mlops_magics.serving import server
from mlops_magics.store.workspace import Workspace, resolve

__all__ = ["Check", "Diagnosis", "doctor"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name : str
        What was looked at.
    passed : bool
        Whether it is well.
    found : str
        What was found.
    fix : str or None
        The command, or the change, that mends it.
    """

    name: str
    passed: bool
    found: str
    fix: str | None = None


@dataclass(frozen=True)
class Diagnosis(Record):
    """All checks of a workspace.

    Attributes
    ----------
    checks : tuple of Check
        Those that failed first.
    """

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    @property
    def exit_status(self) -> int:
        """What ``mlops doctor`` leaves with: 1 when a check failed."""
        return 0 if self.healthy else 1

    def card(self) -> Card:
        """Show a line for each check."""
        rows = [
            [
                Badge("ok", "good") if check.passed else Badge("failed", "bad"),
                check.name,
                check.found,
                Code(check.fix) if check.fix and not check.passed else "",
            ]
            for check in self.checks
        ]
        failed = sum(not check.passed for check in self.checks)
        badge = Badge(f"{failed} failed", "bad") if failed else Badge("all well", "good")
        grid = Grid(["", "check", "found", "to mend"], rows)
        return Card(
            title="Doctor", subtitle=f"{len(self.checks)} checks", badge=badge, grids=[grid]
        )


def doctor(*, workspace: Workspace | None = None) -> Diagnosis:
    """Check Python, packages, file modes, database, MLflow, server and disk.

    Raises
    ------
    WorkspaceNotFound
        There is no workspace here or above.
    """
    workspace = resolve(workspace)
    checks = [_python(), *_packages(), _modes(workspace), *_services(workspace)]
    return Diagnosis(tuple(sorted(checks, key=lambda check: check.passed)))


def _python() -> Check:
    version = platform.python_version()
    passed = sys.version_info >= (3, 11)
    return Check("Python", passed, version, None if passed else "use Python 3.11 or newer")


def _packages() -> Iterator[Check]:
    from packaging.requirements import Requirement

    wrong = []
    wanted = importlib.metadata.requires("mlops-magics") or []
    for line in wanted:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version}, but {requirement.specifier} is needed")
    found = "; ".join(wrong) or f"all {len(wanted)} requirements met"
    yield Check("packages", not wrong, found, "pip install --upgrade mlops-magics")


def _modes(workspace: Workspace) -> Check:
    """Nobody but the owner may read tokens, databases, logs and the inference table's spool."""
    loose = [
        path
        for path in [workspace.path, *_private(workspace.path)]
        if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink()
    ]
    if not loose:
        return Check("file modes", True, "only the owner can read the workspace")
    shown = ", ".join(str(path.relative_to(workspace.path.parent)) for path in loose[:3])
    found = f"others can read {shown}" + (f" and {len(loose) - 3} more" if len(loose) > 3 else "")
    return Check("file modes", False, found, f"chmod -R go-rwx {workspace.path}")


def _private(folder: Path) -> Iterator[Path]:
    # artifacts are MLflow's own files, kept private by the folder that holds them
    for path in folder.iterdir():
        if path.name == "artifacts":
            continue
        yield path
        if path.is_dir() and path.name == "server":
            yield from path.rglob("*")


def _services(workspace: Workspace) -> Iterator[Check]:
    for part in status(workspace=workspace).parts:
        if part.healthy is not None:
            yield Check(part.name, part.healthy, part.value, part.fix)
    running = server.processes(workspace)
    if running:
        names = ", ".join(f"{name} (pid {one.pid})" for name, one in running.items())
        yield Check("server processes", True, names)
    port = workspace.settings.port
    if port and not running:
        owner = server.port_owner(port) if _taken(workspace.settings.host, port) else None
        found = f"{port} is free" if owner is None else f"{port} is taken by {owner}"
        fix = "end that process, or choose another port: MLOPS_PORT=…"
        yield Check("port", owner is None, found, fix)
    if kept := environments.built(workspace):
        found = f"{len(kept)} of their own, {sum(kept.values()) / 1e6:,.0f} MB"
        yield Check("environments", True, found)
    yield _orphans(workspace)


def _taken(host: str, port: int) -> bool:
    import socket

    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((host, port)) == 0


def _orphans(workspace: Workspace) -> Check:
    """Orphans: processes that name this workspace's server, and that the server does not know."""
    import psutil

    known = {one.pid for one in server.processes(workspace).values()}
    orphans = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = process.info["cmdline"] or []
        mine = str(workspace.path) in line and any(
            re.fullmatch(r"mlops_magics\.(serving|pipelines)\.\w+", word) for word in line
        )
        if mine and process.pid not in known and process.pid != os.getpid():
            orphans.append(process.pid)
    if not orphans:
        return Check("orphans", True, "no process left over from an earlier server")
    found = f"left over from an earlier server: {', '.join(map(str, orphans))}"
    return Check("orphans", False, found, f"kill {' '.join(map(str, orphans))}")
