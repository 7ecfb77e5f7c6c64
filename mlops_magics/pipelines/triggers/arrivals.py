"""Arrivals: new data, as rows, files, versions of a dataset, or predictions."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument, SourceUnreadable
from mlops_magics.pipelines.triggers.condition import Seen, Watched
from mlops_magics.pipelines.triggers.rows import FORMATS, Count, count
from mlops_magics.store import datasets, files, tables

if TYPE_CHECKING:
    from mlops_magics.store.files import File
    from mlops_magics.store.workspace import Workspace

__all__ = ["Data", "Predictions", "source_of"]

_EVERY = 5.0


def source_of(workspace: Workspace, text: str) -> dict[str, str]:
    """Tell whether a text names files or a dataset.

    Returns
    -------
    dict
        ``files``: a path, made absolute, a glob or a URL; or ``dataset``: a name.

    Raises
    ------
    SourceUnreadable
        A path that does not exist, or a pattern whose folder does not.
    DatasetNotFound
        Neither.
    """
    if "://" in text:
        if files.public(text) != text:
            raise InvalidArgument(
                f"{files.public(text)} is given with a secret, which a trigger would keep",
                hint="give the credentials to fsspec by its configuration or the environment",
            )
        return {"files": text}
    path = Path(text).expanduser().absolute()
    if not path.exists() and not _pattern(text) and "/" not in text and not path.suffix:
        datasets.resolve(workspace, text)
        return {"dataset": text}
    _check(path)
    return {"files": str(path)}


def _pattern(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _check(path: Path) -> None:
    """Refuse a path that is not there; of a pattern the folder, as its files may come later."""
    if not path.exists():
        parts = itertools.takewhile(lambda part: not _pattern(part), path.parts)
        base = Path(*parts) if _pattern(str(path)) else path
        if not base.exists():
            raise SourceUnreadable(f"there is no {base}", hint=files.near(base))


class Data:
    """``when``: ``source`` (of `source_of`), ``count`` (rows or files), ``least``."""

    every = _EVERY

    def __init__(self) -> None:
        # of files that have changed since the last firing; after a restart they are counted again
        self._counts: dict[int, dict[str, Count]] = {}

    def words(self, when: Mapping[str, Any]) -> str:
        """Say how much of what is waited for."""
        source = when["source"]
        if "dataset" in source:
            what = "rows" if when["count"] == "rows" else "versions"
            return f"{when['least']:,} new {what} of dataset {source['dataset']}"
        what = "rows in" if when["count"] == "rows" else "new or changed files of"
        return f"{when['least']:,} {'new ' * (when['count'] == 'rows')}{what} {source['files']}"

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Count what is there already."""
        if "dataset" in when["source"]:
            version = datasets.resolve(workspace, when["source"]["dataset"])
            return {"version": version.version, "rows": version.rows}
        if when["count"] == "files":
            return {"files": {file.name: dict(file.stamp()) for file in _find(when)}}
        return {"files": {file.name: count(file).to_dict() for file in _find(when)}}

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Fire if enough has come since it last fired."""
        if "dataset" in trigger.when["source"]:
            return self._dataset(workspace, trigger)
        if trigger.when["count"] == "files":
            there = {file.name: dict(file.stamp()) for file in _find(trigger.when)}
            before = trigger.seen["files"]
            new = sum(stamp != before.get(name) for name, stamp in there.items())
            what = f"new or changed files of {trigger.when['source']['files']}"
            return _judged(trigger, new, what, {"files": there})
        return self._rows(trigger)

    def _dataset(self, workspace: Workspace, trigger: Watched) -> Seen:
        version = datasets.resolve(workspace, trigger.when["source"]["dataset"])
        now = {"version": version.version, "rows": version.rows}
        if trigger.when["count"] == "files":
            new, what = version.version - int(trigger.seen["version"]), "new versions"
        else:
            new, what = version.rows - int(trigger.seen["rows"]), "new rows"
            if new < 0:  # it was made anew, smaller: what comes now is new
                return Seen(now)
        return _judged(trigger, new, f"{what} of dataset {version.name}", now)

    def _rows(self, trigger: Watched) -> Seen:
        counts = self._counts.setdefault(trigger.id, {})
        base = {name: Count(**one) for name, one in trigger.seen["files"].items()}
        there = {
            file.name: count(file, counts.get(file.name) or base.get(file.name))
            for file in _find(trigger.when)
        }
        self._counts[trigger.id] = there
        # by file: one that is taken away takes nothing from what has come in others
        new = sum(
            max(0, one.rows - (base[name].rows if name in base else 0))
            for name, one in there.items()
        )
        state = {"files": {name: one.to_dict() for name, one in there.items()}}
        return _judged(trigger, new, f"new rows in {trigger.when['source']['files']}", state)


class Predictions:
    """``when``: ``endpoint`` and ``least``, the rows that it has answered."""

    every = _EVERY

    def words(self, when: Mapping[str, Any]) -> str:
        """Say how many predictions are waited for."""
        return f"{when['least']:,} new predictions of endpoint {when['endpoint']}"

    def begin(self, workspace: Workspace, when: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Begin behind the newest prediction."""
        t = tables.predictions.c
        query = sa.select(sa.func.max(t.time)).where(t.endpoint == when["endpoint"])
        with workspace.database.read() as connection:
            newest = connection.execute(query).scalar()
        return {"until": float(newest or 0.0)}

    def look(self, workspace: Workspace, trigger: Watched, now: float) -> Seen:
        """Fire if enough were made since it last fired."""
        t = tables.predictions.c
        query = sa.select(sa.func.count(), sa.func.max(t.time)).where(
            t.endpoint == trigger.when["endpoint"],
            t.time > float(trigger.seen["until"]),
            t.status < 400,
            t.mirror_of.is_(None),  # a shadow's answers are to the same requests
        )
        with workspace.database.read() as connection:
            new, newest = connection.execute(query).one()
        what = f"new predictions of endpoint {trigger.when['endpoint']}"
        return _judged(trigger, int(new), what, {"until": newest})


def _judged(trigger: Watched, new: int, what: str, state: Mapping[str, Any]) -> Seen:
    least = int(trigger.when["least"])
    if new < least:
        return Seen(trigger.seen)
    return Seen(state, f"{new:,} {what}; {least:,} were waited for")


def _find(when: Mapping[str, Any]) -> list[File]:
    """Find the files that are there now; that there is none yet is no error."""
    text = when["source"]["files"]
    if "://" in text:
        return files.find(text)
    path = Path(text)
    _check(path)
    if path.is_dir() and when["count"] == "files":
        paths = (one for one in sorted(path.rglob("*")) if one.is_file())
        return [file for one in paths if not _hidden(one, path) for file in files.find(str(one))]
    with contextlib.suppress(SourceUnreadable):
        return files.find(text, tuple(FORMATS))
    return []


def _hidden(path: Path, folder: Path) -> bool:
    return any(part[0] in "._" for part in path.relative_to(folder).parts)
