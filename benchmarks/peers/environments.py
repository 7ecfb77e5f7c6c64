"""The peers' environments: made once by uv from ``peers/NAME.txt``, kept in the user's cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Unavailable", "interpreter"]

OURS = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "threadpoolctl")
"""What the pickled model needs, in the very versions that pickled it."""


class Unavailable(Exception):
    """A peer that cannot be installed or started here."""


def interpreter(name: str, *, shared: Sequence[str] = OURS) -> str:
    """Return an environment's Python; the environment is made if it is not there.

    Packages that are ``shared`` are installed in our own versions; without any, the environment is
    what ``peers/NAME.txt`` says.

    Raises
    ------
    Unavailable
        It cannot be installed here.
    """
    if not name:
        return sys.executable
    pins = (Path(__file__).parent / f"{name}.txt").read_text()
    pins += "".join(f"{package}=={importlib.metadata.version(package)}\n" for package in shared)
    digest = hashlib.sha256((pins + sys.version).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "mlops-magics-bench" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"  installing {name} in {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run("venv", "--quiet", "--python", sys.executable, str(folder))
        requirements = folder / "requirements.txt"
        requirements.write_text(pins)
        _run("pip", "install", "--quiet", "--python", str(python), "-r", str(requirements))
        (folder / "ready").touch()
    return str(python)


def _run(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise Unavailable("uv is missing: pip install uv")
    ended = subprocess.run([uv, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise Unavailable(ended.stderr.strip().splitlines()[-1] if ended.stderr else "uv failed")
