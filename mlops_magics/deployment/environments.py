"""Environments of their own: a version beside others that need other libraries.

Made by uv from the package's exact lock, under ``.mlops/environments/<digest>``: complete or
absent, and shared by all revisions that need the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.deployment import compatibility, installer, plan
from mlops_magics.errors import LockTimeout
from mlops_magics.serving import interpreters
from mlops_magics.store import tables

if TYPE_CHECKING:
    from mlops_magics.deployment.checks import Progress
    from mlops_magics.deployment.order import Order
    from mlops_magics.store.workspace import Workspace

__all__ = ["KINDS", "built", "of", "own", "prune"]

KINDS = ("shared", "own")

_LOCK, _SECONDS = "environments", 1800.0
_YOUNG = 3600.0


def of(workspace: Workspace, order: Order) -> dict[str, Any] | None:
    """Find the environment of a new revision: its own, or the server's if that will do.

    Returns
    -------
    dict or None
        ``python`` and ``digest`` of its own; ``notes`` of what differs in the server's.

    Raises
    ------
    DeployFailed
        Its own cannot be made, or the server's has other libraries.
    MissingExtra
        Its own needs uv.
    """
    if order.env == "own":
        return own(workspace, order.package, order.runtime, order.report)
    notes = compatibility.shared(workspace, order.package)
    return {"notes": notes} if notes else None


def own(workspace: Workspace, package: Path, runtime: str, report: Progress) -> dict[str, str]:
    """Make a package's own environment, unless it is there.

    Parameters
    ----------
    workspace : Workspace
        Which keeps it.
    package : Path
        The verified private copy.
    runtime : str
        ``onnx`` adds ONNX Runtime.
    report : callable
        Is told of the progress.

    Returns
    -------
    dict
        ``python``, the interpreter, and ``digest``, the environment's name.

    Raises
    ------
    DeployFailed
        uv cannot make it; its reason.
    MissingExtra
        uv is not installed.
    """
    uv = installer.find()
    wanted, lock = _wanted(package, runtime)
    python = _python_of(package)
    text = "\n".join([*wanted, "", *lock, "", python, platform.machine(), sys.platform])
    digest = hashlib.sha256(text.encode()).hexdigest()
    place = workspace.directory("environments")
    found = {"python": str(place / digest / "bin" / "python"), "digest": digest}
    with workspace.lock(_LOCK, timeout=_SECONDS):
        if not (place / digest).is_dir():
            report(0, None, "making its environment")
            _clear(place)  # nobody else is making one
            private = Path(tempfile.mkdtemp(dir=place, prefix=".make-"))
            try:
                environment = installer.make(uv, workspace.root, private, python, wanted, lock)
                environment.rename(place / digest)
            finally:
                shutil.rmtree(private, ignore_errors=True)
        os.utime(place / digest)  # young again: whoever prunes leaves it
    return found


def built(workspace: Workspace) -> dict[str, int]:
    """Return the bytes of each environment that is kept, by digest."""
    place = workspace.path / "environments"
    if not place.is_dir():
        return {}
    return {
        folder.name: sum(path.lstat().st_size for path in folder.rglob("*"))
        for folder in sorted(place.iterdir())
        if re.fullmatch(r"[0-9a-f]{64}", folder.name)
    }


def prune(workspace: Workspace) -> list[str]:
    """Delete the environments that no live revision needs, and return their digests.

    Younger ones than an hour stay: their revision may not be entered yet. While another is being
    made nothing is deleted.
    """
    place = workspace.path / "environments"
    if not place.is_dir():
        return []
    t = tables.revisions.c
    gone: list[str] = []
    with contextlib.suppress(LockTimeout), workspace.lock(_LOCK, timeout=0):
        with workspace.database.read() as connection:
            rows = connection.execute(sa.select(t.environment).where(t.status.in_(plan.LIVE)))
            needed = {(row.environment or {}).get("digest") for row in rows}
        _clear(place)
        for folder in place.iterdir():
            kept = folder.name in needed or not re.fullmatch(r"[0-9a-f]{64}", folder.name)
            if not kept and time.time() - folder.stat().st_mtime > _YOUNG:
                # first out of the way: what is there by its digest is whole
                folder.rename(aside := place / f".make-{folder.name}")
                shutil.rmtree(aside, ignore_errors=True)
                gone.append(folder.name)
    return sorted(gone)


def _clear(place: Path) -> None:
    """Remove what a process left that was killed while it made one; the lock is held."""
    for folder in place.glob(".make-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _wanted(package: Path, runtime: str) -> tuple[list[str], list[str]]:
    """Return what to install by name, and the exact versions that this must come to."""
    lock = (package / "mlops" / "requirements.lock").read_text("utf-8").splitlines()
    pinned = dict(compatibility.pins(lock))
    names = {*compatibility.requirements(package), *interpreters.NEEDED}
    if runtime == "onnx":
        names.add("onnxruntime")
    wanted = []
    for name in sorted(names):
        version = (
            pinned.get(name) or compatibility.requirements(package).get(name) or _installed(name)
        )
        wanted.append(f"{name}=={version}" if version else name)
    return wanted, [line for line in lock if line.strip()]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _python_of(package: Path) -> str:
    """Return the Python that the package was made with: ``3.11``."""
    text = (package / "python_env.yaml").read_text("utf-8")
    found = re.search(r"^python:\s*['\"]?(\d+\.\d+)", text, re.MULTILINE)
    return found[1] if found else ".".join(platform.python_version_tuple()[:2])
