"""How a project's dependencies are installed, told by the files that the project has."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_magics import __version__
from mlops_magics.errors import InvalidArgument

__all__ = ["Installation", "installation"]

_NAME = re.compile(r"[-_.]+")
_OWN = "mlops-magics"


@dataclass(frozen=True)
class Installation:
    """What a clean machine has to do before a project's notebooks run there.

    Attributes
    ----------
    python : str
        Version, ``3.12``.
    commands : tuple of str
        Lines for a shell, in the project's folder.
    source : str
        The file that they follow; empty when the project has none.
    """

    python: str
    commands: tuple[str, ...]
    source: str


def installation(root: Path) -> Installation:
    r"""Tell how a project is installed.

    A lock file (``uv.lock``, ``poetry.lock``) goes before ``requirements.txt``, which goes before
    what ``pyproject.toml`` asks for. What CI itself needs is added: nbval, and this package where
    the project does not name it.

    Parameters
    ----------
    root : Path
        The project's folder.

    Raises
    ------
    InvalidArgument
        A ``pyproject.toml`` or ``.python-version`` that cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> _ = (root / "requirements.txt").write_text("mlops_magics>=0.1\npandas\n")
    >>> installation(root).commands
    ('python -m pip install -r requirements.txt', 'python -m pip install nbval')
    """
    project = _project(root / "pyproject.toml")
    source, commands, named = "", [], ""
    if (root / "uv.lock").is_file():
        source = "uv.lock"
        commands = [
            "python -m pip install uv",
            "uv export --frozen --output-file requirements.lock.txt",
            "python -m pip install -r requirements.lock.txt",
        ]
    elif (root / "poetry.lock").is_file():
        source = "poetry.lock"
        commands = [
            "python -m pip install poetry",
            "POETRY_VIRTUALENVS_CREATE=false poetry install --no-interaction",
        ]
    elif (root / "requirements.txt").is_file():
        source = "requirements.txt"
        commands = ["python -m pip install -r requirements.txt"]
    elif "project" in project:
        source = "pyproject.toml"
        pins = " -c constraints.txt" if (root / "constraints.txt").is_file() else ""
        commands = [f"python -m pip install{pins} ."]
    if source:
        named = (root / source).read_text("utf-8", "replace")
    own = project.get("project", {}).get("name", "")
    further = ["nbval"]
    if _NAME.sub("-", str(own)).lower() != _OWN and not _mentions(named, _OWN):
        further.append(f"{_OWN}=={__version__}")
    commands.append(f"python -m pip install {' '.join(further)}")
    return Installation(_python(root), tuple(commands), source)


def _project(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise InvalidArgument(f"{path} cannot be read: {exc}") from exc


def _mentions(text: str, package: str) -> bool:
    """Tell whether a file of requirements, or a lock, names a package."""
    spelled = package.replace("-", "[-_.]+")
    return bool(re.search(rf"(?im)(^|[\"'\s]){spelled}($|[\"'\s\[<>=!~;@])", text))


def _python(root: Path) -> str:
    """Return the version that the project pins, else the one that runs here."""
    pinned = root / ".python-version"
    if not pinned.is_file():
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    text = pinned.read_text("utf-8", "replace").strip()
    if not re.fullmatch(r"3\.\d{1,2}(\.\d{1,2})?", text):
        raise InvalidArgument(
            f"{pinned} names no version of Python: {text[:40]!r}", hint="such as 3.12"
        )
    return text
