"""Where the running notebook's file is: found, or said why not; never guessed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Located", "locate"]


@dataclass(frozen=True)
class Located:
    """A notebook's file, or the reason why it is not known.

    Attributes
    ----------
    path : Path or None
        An existing file.
    host : str
        Who runs the notebook: ``JupyterLab``, ``VS Code``, ``papermill``, ``Colab``, ``unknown``.
    reason : str
        Empty when the path is known.
    """

    path: Path | None
    host: str
    reason: str = ""


def locate(namespace: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Located:
    """Find the file of the notebook whose names these are.

    Parameters
    ----------
    namespace : mapping
        The notebook's namespace: VS Code puts ``__vsc_ipynb_file__`` there, Jupyter
        ``__session__``, papermill ``PAPERMILL_OUTPUT_PATH`` (with ``--inject-paths``).
    environ : mapping, optional
        Default: the process's environment, where Jupyter puts ``JPY_SESSION_NAME`` and pipelines
        put ``PAPERMILL_OUTPUT_PATH``.

    Examples
    --------
    >>> locate({}, {}).reason
    'nothing tells which notebook file this kernel runs'
    """
    environ = os.environ if environ is None else environ
    for host, name, value in (
        ("VS Code", "__vsc_ipynb_file__", namespace.get("__vsc_ipynb_file__")),
        ("papermill", "PAPERMILL_OUTPUT_PATH", _papermill(namespace, environ)),
        ("JupyterLab", "__session__", namespace.get("__session__")),
        ("JupyterLab", "JPY_SESSION_NAME", environ.get("JPY_SESSION_NAME")),
    ):
        if isinstance(value, (str, Path)) and str(value):
            return _checked(host, name, Path(value))
    if "google.colab" in sys.modules:
        return Located(None, "Colab", "Colab keeps the notebook in Drive, not in a file here")
    return Located(None, "unknown", "nothing tells which notebook file this kernel runs")


def _papermill(namespace: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    # the output notebook has the parameters that were injected; it is written as cells end
    for name in ("PAPERMILL_OUTPUT_PATH", "PAPERMILL_INPUT_PATH"):
        value = namespace.get(name) or environ.get(name)
        if value and Path(str(value)).is_file():
            return value
    return None


def _checked(host: str, name: str, path: Path) -> Located:
    if path.suffix != ".ipynb":
        return Located(None, host, f"{name} is {str(path)!r}: not a notebook, a console perhaps")
    if not path.is_file():
        return Located(
            None, host, f"{name} is {str(path)!r}, which is no file: unsaved, renamed or elsewhere"
        )
    return Located(path.resolve(), host)
