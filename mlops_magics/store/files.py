"""Files that a text names: one, a glob's, a folder's, or those behind an fsspec URL."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from mlops_magics.errors import SourceUnreadable

if TYPE_CHECKING:
    from fsspec.core import OpenFile

__all__ = ["PACKED", "File", "ending", "find", "near", "public"]

PACKED = {".gz": "gzip", ".zip": "zip", ".bz2": "bz2", ".xz": "xz"}
"""Packings by a name's last ending."""


@dataclass(frozen=True)
class File:
    """A file that can be opened.

    Attributes
    ----------
    name : str
        Path or URL.
    open : callable
        Returns a context manager that gives a binary file.
    stamp : callable
        Returns JSON values that are others once the file has changed.
    """

    name: str
    open: Callable[[], OpenFile | IO[bytes]]
    stamp: Callable[[], dict[str, Any]]


def find(text: str, folder_of: Collection[str] = ()) -> list[File]:
    """Find the files that a text names, sorted by name.

    Parameters
    ----------
    text : str
        A path, a glob or an fsspec URL.
    folder_of : collection of str
        Endings, such as ``.parquet``, of the files that a folder stands for; when empty, a folder
        is refused.

    Raises
    ------
    SourceUnreadable
        There is none; the hint has the nearest names.
    """
    return _remote(text) if "://" in text else _local(text, folder_of)


def ending(name: str) -> tuple[str, str | None]:
    """Return a name's ending, and how it is packed.

    Examples
    --------
    >>> ending("flights.csv.gz"), ending("s3://bucket/2026.parquet?versionId=3")
    (('.csv', 'gzip'), ('.parquet', None))
    """
    path = PurePosixPath(urlsplit(name).path if "://" in name else name)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = PACKED.get(suffixes[-1]) if suffixes else None
    if packing:
        suffixes.pop()
    return suffixes[-1] if suffixes else ".csv" if packing == "zip" else "", packing


def public(url: str) -> str:
    """Drop what may be secret in a URL: user, password, and a signed query.

    Examples
    --------
    >>> public("https://ana:secret@host/data.csv?signature=7")
    'https://host/data.csv'
    """
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def near(path: Path) -> str:
    """Say which files there are instead of one that is not."""
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if folder == path.parent and close:
        return f"did you mean {' or '.join(repr(str(folder / name)) for name in close)}?"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"{folder.resolve()} has: {shown or 'nothing'}"


def _local(text: str, folder_of: Collection[str]) -> list[File]:
    path = Path(text).expanduser()
    if any(sign in text for sign in "*?[") and not path.exists():
        base = Path(path.anchor) if path.is_absolute() else Path()
        found = sorted(base.glob(str(path.relative_to(path.anchor))))
        paths = [each for each in found if each.is_file()]
        if not paths:
            raise SourceUnreadable(f"no file matches {text}", hint=near(path))
    elif path.is_dir():
        # as Spark and Arrow do: what begins with a dot or an underscore is no data
        paths = [
            each
            for each in sorted(path.rglob("*"))
            if ending(each.name)[0] in folder_of
            and each.is_file()
            and not any(part[0] in "._" for part in each.relative_to(path).parts)
        ]
        if not folder_of:
            raise SourceUnreadable(f"{path} is a folder", hint=f"give a glob: {path / '*.parquet'}")
        if not paths:
            raise SourceUnreadable(
                f"{path} has no file of a known format", hint=f"known: {', '.join(folder_of)}"
            )
    elif not path.exists():
        raise SourceUnreadable(f"there is no file {path}", hint=near(path))
    else:
        paths = [path]
    return [_of_path(each) for each in paths]


def _of_path(path: Path) -> File:
    def stamp() -> dict[str, Any]:
        state = path.stat()
        return {"size": state.st_size, "modified": state.st_mtime_ns}

    return File(str(path), lambda: path.open("rb"), stamp)


def _remote(text: str) -> list[File]:
    import fsspec

    try:
        found = fsspec.open_files(text, "rb", expand=True)
    except ImportError as exc:  # fsspec's message names the package for this scheme
        raise SourceUnreadable(f"{public(text)} cannot be read: {exc}") from exc
    except (OSError, ValueError) as exc:
        raise SourceUnreadable(f"{public(text)} cannot be read: {exc}") from exc
    if not found:
        raise SourceUnreadable(f"no file matches {public(text)}")
    return [_of_url(each) for each in found]


def _of_url(opened: OpenFile) -> File:
    return File(
        opened.full_name,
        lambda: opened,
        lambda: {"state": str(opened.fs.ukey(opened.path))},
    )
