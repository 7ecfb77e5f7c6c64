"""What values and code name: files, datasets, models and runs, with digests of their content."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from mlops_magics.errors import MlopsError
from mlops_magics.store import files, tables
from mlops_magics.store.workspace import Workspace, write_atomic

__all__ = ["Inputs", "Named"]

_SMALL = 1 << 20  # bytes; smaller files are read each time, of larger ones the digest is kept
_MOST = 2000  # files of one folder: more are not read
_RUN = re.compile(r"[0-9a-f]{32}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_MODEL = re.compile(r"models:/([^/@]+)(?:/([^/@]+)|@([^/@]+))")
_DATASET = re.compile(r"([^/@\s]+)(?:/(\d+)|@[0-9a-f]{6,64})?")


@dataclass
class Named:
    """What was found.

    Attributes
    ----------
    digests : dict of str
        By ``file NAME``, ``dataset NAME``, ``model NAME`` or ``run NAME``.
    unknown : list of str
        What is named and cannot be compared: the step must run.
    """

    digests: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def add(self, other: Named) -> None:
        """Take in what else was found."""
        self.digests |= other.digests
        self.unknown += other.unknown


class Inputs:
    """Looks up what texts name, each file and table once.

    Parameters
    ----------
    workspace : Workspace
        Whose datasets, models and runs.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._kept = _Digests(workspace.directory("pipelines") / "digests.json")
        self._versions: dict[str, dict[int, tuple[str, str]]] | None = None

    def refresh(self) -> None:
        """Forget what was read from the database; files are looked at each time."""
        self._versions = None

    def keep(self) -> None:
        """Keep digests of large files for the next time."""
        self._kept.write()

    def of_values(self, values: Mapping[str, Any], folder: Path, declared: Iterable[str]) -> Named:
        """Find what a step's parameters name.

        Parameters
        ----------
        values : mapping
            JSON values by parameter.
        folder : Path
            From which relative paths count.
        declared : iterable of str
            What the step's specification lists, whose content is known that way.
        """
        found = Named()
        for name, value in values.items():
            for text in _texts(value):
                if text in declared:
                    continue
                known = self._digest(text, folder, run=name == "run" or name.endswith("_run"))
                if known is not None:
                    found.digests[f"{known[0]} {text}"] = known[1]
                elif _URL.match(text) and not text.startswith(("models:", "runs:")):
                    found.unknown.append(f"parameter {name} names {files.public(text)}")
        return found

    def of_code(
        self,
        texts: Iterable[str],
        paths: Iterable[str],
        folders: Iterable[str],
        folder: Path,
    ) -> Named:
        """Find what code names: datasets and models by any text, files by those that it reads."""
        found = Named()
        for text in texts:
            known = self._dataset(text) or self._model(text)
            if known is not None:
                found.digests[f"{known[0]} {text}"] = known[1]
        for text in paths:
            if re.match(r"(https?|s3|gs|gcs|az|abfs|ftp|hf)://", text):
                found.unknown.append(f"its code reads {files.public(text)}")
            elif (path := _path(text, folder)) and path.is_file():
                found.digests[f"file {text}"] = self._kept.of(path)
        for text in folders:
            known_folder = self._folder(text, folder)
            if known_folder is not None:
                found.digests[f"file {text}"] = known_folder
        return found

    def of_declared(self, declared: Iterable[str], folder: Path) -> Named:
        """Find what a step's specification declares: a path, a glob, an fsspec URL, a dataset."""
        found = Named()
        for text in declared:
            known = self._digest(text, folder)
            if known is None and any(sign in text for sign in "*?["):
                known = ("file", self._folder(text, folder) or "none")
            if known is None and "://" in text:
                try:
                    stamps = [(one.name, one.stamp()) for one in files.find(text)]
                    known = ("file", _digest(repr(stamps).encode()))
                except (MlopsError, OSError) as exc:
                    found.unknown.append(f"input {files.public(text)} cannot be looked at: {exc}")
                    continue
            found.digests[f"{known[0]} {text}" if known else f"file {text}"] = (
                known[1] if known else "none"
            )
        return found

    def of_outputs(self, outputs: Mapping[str, Any], folder: Path) -> dict[str, str]:
        """Return the digests of what a step's outputs name, by which it is seen whether it is gone.

        A run or model version names itself.
        """
        found = {}
        for value in outputs.values():
            for text in _texts(value):
                known = self._digest(text, folder)
                if known is not None:
                    found[f"{known[0]} {text}"] = known[1]
        return found

    def _digest(self, text: str, folder: Path, run: bool = False) -> tuple[str, str] | None:
        """Return kind and digest of what a text names, if it names something."""
        known = self._dataset(text) or self._model(text) or self._run(text, run)
        if known is not None:
            return known
        path = _path(text, folder)
        if path is not None and path.is_file():
            return "file", self._kept.of(path)
        folder_digest = self._folder(text, folder) if path is not None else None
        return None if folder_digest is None else ("file", folder_digest)

    def _folder(self, text: str, folder: Path) -> str | None:
        """Return the digest of a folder's or glob's files; hidden ones do not count."""
        if "://" in text:
            return None
        base, paths = folder, []
        try:
            if any(sign in text for sign in "*?["):
                pattern = Path(text).expanduser()
                base = Path(pattern.anchor) if pattern.is_absolute() else folder
                found = base.glob(str(pattern.relative_to(pattern.anchor)))
            else:
                path = _path(text, folder)
                if path is None or not path.is_dir() or folder.is_relative_to(path.resolve()):
                    return None
                base, found = path, path.rglob("*")
            for each in found:
                inside = each.relative_to(base).parts
                if each.is_file() and not any(part[0] == "." for part in inside if part != ".."):
                    paths.append(each)
                if len(paths) > _MOST:
                    return None
        except (OSError, ValueError, NotImplementedError):
            return None
        if not paths:
            return None
        content = [(str(each.relative_to(base)), self._kept.of(each)) for each in sorted(paths)]
        return _digest(repr(content).encode())

    def _dataset(self, text: str) -> tuple[str, str] | None:
        match = _DATASET.fullmatch(text)
        if match is None:
            return None
        if self._versions is None:
            self._versions = _versions(self.workspace)
        known = self._versions.get(match[1])
        if not known:
            return None
        if "@" in text:
            prefix = text.partition("@")[2]
            chosen = next((each for each in known.values() if each[0].startswith(prefix)), None)
        else:
            chosen = known.get(int(match[2]) if match[2] else max(known))
        # a version whose file is gone is none
        return ("dataset", chosen[0]) if chosen and Path(chosen[1]).is_file() else None

    def _model(self, text: str) -> tuple[str, str] | None:
        match = _MODEL.fullmatch(text)
        if match is None:
            return None
        from mlops_magics.store.identities import model_version

        version = model_version(self.workspace, match[1], match[2], match[3])
        return None if version is None else ("model", version)

    def _run(self, text: str, named: bool) -> tuple[str, str] | None:
        """Return a run's id: for a whole one, if it exists; for a name, of the newest."""
        if not named and not _RUN.fullmatch(text):
            return None
        from mlops_magics.store.identities import run_id

        known = run_id(self.workspace, text)
        return None if known is None else ("run", known)


class _Digests:
    """Digests of large files, kept by what the file system tells of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] | None = None
        self._new = False

    def of(self, path: Path) -> str:
        """Return the digest of a file's content."""
        state = path.stat()
        if state.st_size < _SMALL:
            return _digest(path.read_bytes())
        stamp = [state.st_size, state.st_mtime_ns, state.st_ino, state.st_dev]
        known = self._read().get(str(path.resolve()))
        if known is not None and known[1:] == stamp:
            return str(known[0])
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()[:24]
        # written just now, it may be written again within the same tick of the clock
        if path.stat().st_mtime_ns == state.st_mtime_ns and _age(state) > 2:
            self._read()[str(path.resolve())] = [found, *stamp]
            self._new = True
        return found

    def write(self) -> None:
        """Keep what is new."""
        if self._new:
            write_atomic(self._path, msgspec.json.encode(self._read()))
            self._new = False

    def _read(self) -> dict[str, list[Any]]:
        if self._known is None:
            try:
                self._known = msgspec.json.decode(
                    self._path.read_bytes(), type=dict[str, list[Any]]
                )
            except (OSError, msgspec.MsgspecError):
                self._known = {}
        return self._known


def _age(state: os.stat_result) -> float:
    import time

    return time.time() - state.st_mtime


def _versions(workspace: Workspace) -> dict[str, dict[int, tuple[str, str]]]:
    t = tables.datasets.c
    found: dict[str, dict[int, tuple[str, str]]] = {}
    with workspace.database.read() as connection:
        for row in connection.execute(sa.select(t.name, t.version, t.digest, t.path)):
            found.setdefault(row.name, {})[row.version] = (
                row.digest,
                str(workspace.path / row.path),
            )
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _path(text: str, folder: Path) -> Path | None:
    """Return the path that a text names, if something is there."""
    text = text.removeprefix("file://")
    if not text.strip("./ ") or "://" in text or "\0" in text or len(text) > 1000:
        return None
    try:
        path = folder / Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
