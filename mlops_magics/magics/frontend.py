"""Where a notebook runs: with a person before it or headless, and in which file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["headless", "notebook_path"]


def headless(shell: Any) -> bool:
    """Tell whether nobody looks: papermill, nbconvert, nbval, CI, a pipe.

    Clients that cannot ask a person say so with each request (``allow_stdin``); a notebook that
    a person runs can.
    """
    if os.environ.get("CI"):
        return True
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return not sys.stderr.isatty()
    request = kernel.get_parent() or {}
    return not request.get("content", {}).get("allow_stdin", False)


def notebook_path(shell: Any) -> Path | None:
    """Return the notebook's own file, or None where the front end does not tell it.

    Jupyter's server (JupyterLab, Notebook 7) names it in the kernel's environment, VS Code in the
    namespace, a pipeline's runner in the environment.
    """
    told = (
        shell.user_ns.get("__vsc_ipynb_file__"),
        os.environ.get("MLOPS_NOTEBOOK"),
        os.environ.get("JPY_SESSION_NAME"),
    )
    for name in told:
        if name and Path(name).suffix == ".ipynb" and Path(name).is_file():
            return Path(name).resolve()
    return None
