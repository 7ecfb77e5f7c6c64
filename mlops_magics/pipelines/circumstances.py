"""The circumstances of a failure: how much memory the kernel had taken, in which environment."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import resource
import sys
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["environment", "memory"]

_ALWAYS = ("mlops-magics", "papermill", "ipykernel")
_MOST = 12  # packages that are told
_IMPORT = re.compile(r"^\s*(?:import|from)\s+([A-Za-z_]\w*)", re.M)


def memory() -> dict[str, int] | None:
    """Tell how much memory this process's kernel took at most, in bytes, and what there is.

    The kernel must have ended: the operating system keeps the peak of processes that were waited
    for, so nothing has to be measured while it runs. None when no process has ended yet.

    Examples
    --------
    >>> import subprocess, sys
    >>> _ = subprocess.run([sys.executable, "-c", "b'x' * 100_000_000"])
    >>> memory()["peak"] > 100_000_000
    True
    """
    import psutil

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if not peak:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return {"peak": peak * unit, "total": int(psutil.virtual_memory().total)}


def environment(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Tell Python, platform and the versions of what an executed notebook imports.

    Parameters
    ----------
    notebook : mapping
        As nbformat gives it.

    Returns
    -------
    dict
        ``python``, ``platform``, ``packages``: version by name; empty where the kernel has another
        Python than this process, whose packages are not known here.

    Examples
    --------
    >>> cell = {"cell_type": "code", "source": "import pandas as pd"}
    >>> sorted(environment({"cells": [cell]})["packages"])
    ['ipykernel', 'mlops-magics', 'pandas', 'papermill']
    """
    own = platform.python_version()
    language = notebook.get("metadata", {}).get("language_info", {})
    python = str(language.get("version") or own)
    found = {"python": python, "platform": platform.platform(terse=True)}
    if python != own:
        return {**found, "packages": {}}
    return {**found, "packages": _versions(_imported(notebook.get("cells", ())))}


def _imported(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return list(dict.fromkeys(name for text in sources for name in _IMPORT.findall(text)))


def _versions(modules: Iterable[str]) -> dict[str, str]:
    homes = importlib.metadata.packages_distributions()
    names = [name for module in modules for name in dict.fromkeys(homes.get(module, ()))]
    versions: dict[str, str] = {}
    for name in dict.fromkeys([*_ALWAYS, *names]):
        try:
            versions[name.lower().replace("_", "-")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a folder of the project, not a package
    return dict(list(versions.items())[:_MOST])
