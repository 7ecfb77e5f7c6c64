"""Pipelines and executed notebooks that are behind a URL, as fsspec reads and writes it.

What is executed is always a local file: a pipeline is fetched into a private folder of the
workspace, named by its content; executed notebooks are written in the workspace and copied.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_magics.errors import InvalidArgument, SpecInvalid
from mlops_magics.pipelines.source import Source
from mlops_magics.store.files import public
from mlops_magics.store.workspace import Workspace, write_atomic

__all__ = ["copied", "fetch", "is_url"]


def is_url(path: object) -> bool:
    """Tell a URL from a path.

    Examples
    --------
    >>> is_url("s3://bucket/train.ipynb"), is_url("train.ipynb")
    (True, False)
    """
    return isinstance(path, str) and "://" in path


def fetch(url: str, workspace: Workspace) -> Path:
    """Fetch a notebook, or a pipeline with the notebooks and modules beside it.

    Parameters
    ----------
    url : str
        Of a notebook, of a ``pipeline.yaml``, or of a folder with one.
    workspace : Workspace
        Where the copy is kept.

    Returns
    -------
    Path
        The local file to run.

    Raises
    ------
    SpecInvalid
        Nothing can be read there, or a notebook is not inside the pipeline's folder.
    """
    system, path = _open(url, SpecInvalid)
    if PurePosixPath(path).suffix not in {".ipynb", ".yaml", ".yml"}:
        path = posixpath.join(path, "pipeline.yaml")
    folder, _, name = path.rpartition("/")
    content = {name: _read(system, path, url)}
    if not name.endswith(".ipynb"):
        for notebook in _notebooks(content[name], name, url):
            content[notebook] = _read(system, posixpath.join(folder, notebook), url)
        content |= _modules(system, folder, content)
    digest = hashlib.sha256()
    for key, data in sorted(content.items()):
        digest.update(f"{key}\0{len(data)}\0".encode() + data)
    local = workspace.directory("fetched", digest.hexdigest()[:32])
    for key, data in content.items():
        target = local / key
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(target, data)
    return local / name


@contextmanager
def copied(folder: Path, url: str | None) -> Iterator[None]:
    """Copy the notebooks of a folder to a URL at the end, also of a run that failed.

    Raises
    ------
    InvalidArgument
        Nothing can be written there. If the run failed, its error is raised with a note.
    """
    if url is None:
        yield
        return
    target = _open(url, InvalidArgument)  # before anything runs
    try:
        yield
    except BaseException as exc:
        try:
            _copy(folder, *target, url)
        except InvalidArgument as lost:
            exc.add_note(lost.message)
        raise
    _copy(folder, *target, url)


def _copy(folder: Path, system: Any, path: str, url: str) -> None:
    try:
        system.makedirs(path, exist_ok=True)
        for notebook in sorted(folder.glob("*.ipynb")):
            system.pipe_file(posixpath.join(path, notebook.name), notebook.read_bytes())
    except (OSError, ValueError, NotImplementedError) as exc:
        reason = str(exc) or type(exc).__name__
        raise InvalidArgument(
            f"the executed notebooks cannot be written to {public(url)}: {reason}",
            hint=f"they are in {folder}",
        ) from exc


def _open(url: str, error: type[SpecInvalid] | type[InvalidArgument]) -> tuple[Any, str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, OSError, ValueError) as exc:  # fsspec names the package that is missing
        raise error(f"{public(url)} cannot be used: {exc}") from exc
    return system, str(path).rstrip("/")


def _read(system: Any, path: str, url: str) -> bytes:
    try:
        return bytes(system.cat_file(path))
    except (OSError, ValueError) as exc:
        what = posixpath.basename(path)
        raise SpecInvalid(f"{what} at {public(url)} cannot be read: {exc}") from exc


def _notebooks(text: bytes, name: str, url: str) -> Iterator[str]:
    """Give the notebooks that a specification names; the rest of it is checked once it is local."""
    source = Source(Path(name), text.decode("utf-8", "replace"))
    content = source.content if isinstance(source.content, dict) else {}
    steps = content.get("steps")
    for step, entry in (steps if isinstance(steps, dict) else {}).items():
        notebook = entry.get("notebook") if isinstance(entry, dict) else None
        if not isinstance(notebook, str):
            continue
        place = PurePosixPath(posixpath.normpath(notebook))
        if place.is_absolute() or ".." in place.parts:
            raise source.error(
                f"step {step!r}: notebook {notebook!r} is outside of {public(url)}",
                ("steps", step, "notebook"),
                "a pipeline behind a URL has its notebooks in its own folder",
            )
        yield str(place)


def _modules(system: Any, folder: str, content: dict[str, bytes]) -> dict[str, bytes]:
    """Read the Python modules beside the notebooks, which may import them."""
    found = {}
    for place in {posixpath.dirname(name) for name in content}:
        try:
            entries = system.ls(posixpath.join(folder, place), detail=False)
        except (OSError, ValueError, NotImplementedError):
            continue  # a plain web server has no lists
        for entry in entries:
            name = posixpath.basename(str(entry))
            if name.endswith(".py"):
                module = posixpath.join(place, name)
                found[module] = bytes(system.cat_file(posixpath.join(folder, module)))
    return found
