"""The drivers of a run: code, environment, middleware, infrastructure, as they were."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Code", "code", "environment", "git", "infrastructure"]

_LARGEST = 5_000_000  # bytes of a diff that are kept
_SECONDS = 10.0


@dataclass(frozen=True)
class Code:
    """Where the code stood in git.

    Attributes
    ----------
    commit, branch : str or None
        None outside of a repository, or before its first commit.
    dirty : bool or None
        Whether tracked files had changes that no commit has.
    untracked : tuple of str
        Files that git does not know and does not ignore.
    diff : str
        The uncommitted changes, as ``git apply`` takes them.
    note : str
        What could not be told.
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    untracked: tuple[str, ...] = ()
    diff: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return all but the diff as JSON values."""
        return {key: value for key, value in asdict(self).items() if key != "diff"}


def code(folder: Path) -> Code:
    """Ask git about the folder's repository.

    Parameters
    ----------
    folder : Path
        Any folder; outside of a repository the answer says so.
    """
    frozen = _frozen(folder)
    if frozen is not None:
        return frozen
    try:
        status = git(folder, "status", "--porcelain=v2", "--branch", "-z", "--no-renames")
    except FileNotFoundError:
        return Code(note="git is not installed")
    except subprocess.TimeoutExpired:
        return Code(note=f"git did not answer in {_SECONDS:g} s")
    if status is None:
        return Code(note=f"{folder} is in no git repository")
    commit, branch, changed, untracked = None, None, False, []
    for entry in status.split("\0"):
        if entry.startswith("# branch.oid "):
            commit = entry.removeprefix("# branch.oid ")
        elif entry.startswith("# branch.head "):
            branch = entry.removeprefix("# branch.head ")
        elif entry.startswith("? "):
            untracked.append(entry[2:])
        elif entry and not entry.startswith("#"):
            changed = True
    if commit == "(initial)":
        return Code(None, branch, True, tuple(untracked), note="the repository has no commit yet")
    diff, note = "", ""
    if changed:
        try:
            diff = git(folder, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD") or ""
        except subprocess.TimeoutExpired:
            note = f"git did not give the changes in {_SECONDS:g} s"
        if len(diff) > _LARGEST:
            note = f"the uncommitted changes are larger than {_LARGEST:,} bytes, the rest is cut"
            diff = diff[:_LARGEST]
    return Code(commit, branch, changed, tuple(untracked), diff, note)


def _frozen(folder: Path) -> Code | None:
    """Return where the code of a pipeline's release stood when it was frozen.

    Its copy lies inside of the project, whose repository has gone on since.
    """
    try:
        told = json.loads(os.environ.get("MLOPS_CODE") or "{}")
        if not folder.resolve().is_relative_to(told["folder"]):
            return None
        return Code(told["commit"], told["branch"], told["dirty"], note=told["note"])
    except (ValueError, KeyError, TypeError):
        return None


def git(folder: Path, *arguments: str) -> str | None:
    """Ask git about a folder's repository; None when it refuses.

    Raises
    ------
    FileNotFoundError
        It is not installed.
    subprocess.TimeoutExpired
        It does not answer.
    """
    # a foreign repository's settings must not start programs, and reading must not write
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=off", *arguments]
    answer = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    return answer.stdout.decode("utf-8", "replace") if answer.returncode == 0 else None


def environment() -> dict[str, Any]:
    """Return Python, platform, and every installed distribution with its version.

    Examples
    --------
    >>> "pandas" in environment()["packages"]
    True
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Return installed distributions by name, sorted.

    Told from the names of their folders, as PEP 376 and 427 fix them: reading the metadata of
    some hundred packages would take longer than many a run.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        found = _installed(folder, _modified(folder)) | found  # the first on the path counts
    return dict(sorted(found.items()))


def _modified(folder: str) -> float:
    try:
        return os.stat(folder or ".").st_mtime  # noqa: PTH116 - "" stands for the working folder
    except OSError:
        return 0.0


@functools.lru_cache(maxsize=32)
def _installed(folder: str, modified: float) -> dict[str, str]:
    path = Path(folder or ".")
    if not modified or not path.is_dir():
        return {}
    found = {}
    for entry in path.glob("*.dist-info"):
        name, _, version = entry.name.removesuffix(".dist-info").partition("-")
        found[name.lower().replace("_", "-")] = version
    return found


def infrastructure() -> dict[str, Any]:
    """Return machine, cores and memory that this process may use."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": cores,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
    }
