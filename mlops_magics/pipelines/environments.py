"""What is installed: the part of a step's circumstances that is the same for a whole run."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["FILE", "changes", "installed", "interpreter"]

FILE = "environment.json"
"""Name of the file in a run's folder that has its environment."""

_DISTRIBUTION = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(-py.+)?\.(dist-info|egg-info)")
_SHOWN = 3


def installed() -> dict[str, str]:
    """Return the version of Python and of every distribution that can be imported, by name.

    Read from the folders' names: the metadata themselves would take ten times as long.

    Examples
    --------
    >>> installed()["python"].split(".")[0]
    'CPython 3'
    """
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    found["platform"] = f"{sys.platform} {platform.machine()}"
    for place in reversed(sys.path):
        try:
            names = [entry.name for entry in os.scandir(place or ".")]
        except OSError:
            continue
        for name in sorted(names):
            match = _DISTRIBUTION.fullmatch(name)
            if match:
                found[re.sub(r"[-_.]+", "-", match["name"]).lower()] = match["version"]
    return found


def changes(before: Path, now: dict[str, str]) -> str:
    """Say how the environment differs from that of an earlier run.

    Parameters
    ----------
    before : Path
        The earlier run's folder.
    now : dict of str
        As :func:`installed` gives it.
    """
    try:
        former = json.loads((before / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return "environment changed"
    told = [
        f"{name} {former.get(name, 'missing')} → {now.get(name, 'missing')}"
        for name in sorted({*former, *now})
        if former.get(name) != now.get(name)
    ]
    more = ", …" if len(told) > _SHOWN else ""
    return f"environment changed: {', '.join(told[:_SHOWN])}{more}"


@cache
def interpreter(kernel: str) -> str | None:
    """Return what is known of a kernel's Python: ``this`` one, the kernel's command, or None.

    Looked up where Jupyter does, without importing its client.
    """
    from jupyter_core.paths import jupyter_path

    for place in (*jupyter_path("kernels"), str(Path(sys.prefix) / "share/jupyter/kernels")):
        try:
            content = json.loads((Path(place) / kernel / "kernel.json").read_text("utf-8"))
            command: list[Any] = content["argv"]
        except (OSError, ValueError, KeyError):
            continue
        program = str(command[0]) if command else ""
        known = {"python", "python3", f"python{sys.version_info[0]}.{sys.version_info[1]}"}
        if program in known or program == sys.executable:
            return "this"
        return program
    # without a specification of its own, the client offers the Python it runs in
    return "this" if kernel in {"python3", ""} else None
