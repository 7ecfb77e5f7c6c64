"""Interpreters: how a worker runs in an environment of its own, with this server's code.

Such an environment has the model's libraries and what a worker imports, but not us: a worker takes
our code from the server that it belongs to, so that both always speak the same way.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["NEEDED", "environ"]

NEEDED = ("msgspec", "numpy", "pandas", "psutil", "pyarrow")
"""Distributions that a worker imports, beside the model's own."""


def environ(folder: Path) -> dict[str, str]:
    """Return the variables for an interpreter that shall find our code, and nothing else of ours.

    Parameters
    ----------
    folder : Path
        Gets a folder ``code`` with a link to the package that runs now.
    """
    code = folder / "code"
    code.mkdir(mode=0o700, parents=True, exist_ok=True)
    link, package = code / "mlops_magics", Path(__file__).parents[1]
    if not link.is_symlink() or link.readlink() != package:
        fresh = code / f".link-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(package)
        fresh.replace(link)
    unwanted = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX")
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    return {**kept, "PYTHONPATH": str(code)}
