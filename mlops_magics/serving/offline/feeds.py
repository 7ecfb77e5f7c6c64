"""Feeds: append-only sources of a stream, read from a position on.

A position is a JSON value that says up to where rows were taken. Asked again with the same
position, a feed gives the same rows, and perhaps newer ones behind them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument, MlopsError, SourceUnreadable
from mlops_magics.serving.client import json_value
from mlops_magics.serving.offline.sources import FORMATS, Block, Cells, json_type, parse_lines
from mlops_magics.store import files

__all__ = ["Feed", "Taken", "engine_of", "open_feed", "split_table"]


@dataclass(frozen=True)
class Taken:
    """Rows that a feed gave.

    Attributes
    ----------
    block : Block
    types : dict
        Arrow types of its columns.
    untyped : frozenset
        Columns that come as cells.
    position : dict
        From where to take the next.
    """

    block: Block
    types: dict[str, Any]
    untyped: frozenset[str]
    position: dict[str, Any]


class Feed(Protocol):
    """An append-only source."""

    label: str

    def take(self, position: Mapping[str, Any], size: int) -> Taken | None:
        """Take at most so many rows behind a position; None when there is nothing new."""

    def close(self) -> None:
        """Release what it holds."""


def open_feed(source: Path | str, key: str | None) -> Feed:
    """Open an append-only source.

    Parameters
    ----------
    source : path or str
        A folder into which files are moved; a JSON-lines file that grows; or
        ``URL::TABLE``, a table of a database.
    key : str, optional
        Of a table: the column that increases.

    Raises
    ------
    SourceUnreadable
        There is no such source.
    InvalidArgument
        It is none that can be watched.
    """
    text = str(source)
    if "::" in text:
        if key is None:
            raise InvalidArgument(
                "a table is read in the order of a column that increases", hint="name it: --key id"
            )
        return _Table(text, key)
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        return _Folder(path)
    if files.ending(path.name) not in {(end, None) for end in (".jsonl", ".ndjson")}:
        raise InvalidArgument(
            f"{text} is nothing that can be watched",
            hint="a folder of files, a growing file.jsonl, or URL::TABLE with --key",
        )
    if not path.exists():
        raise SourceUnreadable(f"there is no file {path}", hint=files.near(path))
    return _Lines(path)


class _Folder:
    """Files that were moved into a folder; each is read once, whole, oldest first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)
        self._open: tuple[str, int, Any, Iterator[Block]] | None = None

    def take(self, position: Mapping[str, Any], size: int) -> Taken | None:
        """Take rows of the file that was begun, else of the next one."""
        done: list[str] = list(position.get("done", ()))
        name, start = position.get("file"), int(position.get("rows", 0))
        while True:
            if name is None:
                name, start = self._next(done), 0
            if name is None:
                return None
            try:
                source, blocks = self._blocks(name, start, size)
                block = next(blocks, None)
            except MlopsError as exc:
                self._open = None
                broken = Block(start, 1, {}, name, {0: exc.message}, {0: "null"})
                return Taken(broken, {}, frozenset(), {"done": [*done, name]})
            if block is None:
                done, name = [*done, name], None
                self._open = None
                continue
            end = block.first + block.rows
            self._open = (name, end, source, blocks)
            place = {"done": done, "file": name, "rows": end}
            return Taken(block, source.types, source.untyped, place)

    def close(self) -> None:
        """Nothing is held but a file that is read."""
        self._open = None

    def _next(self, done: list[str]) -> str | None:
        known = set(done)
        found = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name[0] in "._" or entry.name in known:
                    continue  # not yet moved to its name, or done
                if files.ending(entry.name)[0] in FORMATS and entry.is_file():
                    found.append((entry.stat().st_mtime_ns, entry.name))
        return min(found)[1] if found else None

    def _blocks(self, name: str, start: int, size: int) -> tuple[Any, Iterator[Block]]:
        if self._open is not None and self._open[:2] == (name, start):
            return self._open[2:]
        kind, _ = files.ending(name)
        source = FORMATS[kind](files.find(str(self.path / name)), name)
        return source, source.blocks(start, size, None)


class _Lines:
    """A JSON-lines file that grows; a line counts once its end was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)

    def take(self, position: Mapping[str, Any], size: int) -> Taken | None:
        """Take complete lines."""
        start, first = int(position.get("bytes", 0)), int(position.get("rows", 0))
        lines: list[bytes] = []
        try:
            with self.path.open("rb") as file:
                length = os.fstat(file.fileno()).st_size
                if length < start:
                    raise SourceUnreadable(
                        f"{self.path} was cut short: {start:,} bytes of it were read, and it has "
                        f"{length:,}",
                        hint="a stream follows files that only grow; give the new one another "
                        "name, and its stream another output",
                    )
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n") or len(lines) == size:
                        break
                    lines.append(line)
        except OSError as exc:
            raise SourceUnreadable(f"{self.path} cannot be read: {exc.strerror}") from exc
        if not lines:
            return None
        end = start + sum(map(len, lines))
        lines = [line for line in lines if not line.isspace()]
        block = parse_lines(first, lines, None, str(self.path))
        types = {name: json_type([cells]) for name, cells in block.columns.items()}
        place = {"bytes": end, "rows": first + len(lines)}
        return Taken(block, types, frozenset(types), place)

    def close(self) -> None:
        """Nothing is held."""


_HOLES = 10_000  # keys that are waited for
_PATIENCE = 600  # seconds after which a key that was passed over is given up: it was rolled back


class _Table:
    """A table whose key increases.

    A transaction that took its key early may commit late: keys that were passed over are looked
    for again, until it is clear that they will not come.
    """

    def __init__(self, text: str, key: str) -> None:
        self.engine, name, self.label = engine_of(text)
        self.key = key
        url = self.engine.url
        if url.get_backend_name() == "sqlite" and url.database:
            files.find(url.database)  # SQLite would make an empty database instead
        try:
            self.table = sa.Table(name, sa.MetaData(), autoload_with=self.engine)
        except sa.exc.NoSuchTableError as exc:
            raise SourceUnreadable(f"{self.label}: there is no table {name!r}") from exc
        except sa.exc.SQLAlchemyError as exc:
            raise SourceUnreadable(f"{self.label} cannot be read: {_reason(exc)}") from exc
        if key not in self.table.c:
            raise InvalidArgument(
                f"{self.label} has no column {key!r}",
                hint=f"it has: {', '.join(self.table.c.keys())}",
            )
        self.types = {column.name: _type_of(column) for column in self.table.c}

    def take(self, position: Mapping[str, Any], size: int) -> Taken | None:
        """Take rows with greater keys, and those that came late."""
        after = position.get("after")
        now = time.time()
        holes = {
            int(hole): float(since)
            for hole, since in position.get("holes", {}).items()
            if now - since < _PATIENCE
        }
        column = self.table.c[self.key]
        behind = sa.true() if after is None else column > after
        condition = sa.or_(behind, column.in_(list(holes))) if holes else behind
        query = sa.select(self.table).where(condition).order_by(column).limit(size)
        try:
            with self.engine.connect() as connection:
                rows = connection.execute(query).all()
        except sa.exc.SQLAlchemyError as exc:
            raise SourceUnreadable(f"{self.label} cannot be read: {_reason(exc)}") from exc
        if not rows:
            return None
        keys = [row._mapping[self.key] for row in rows]
        came = set(keys)
        holes = {hole: since for hole, since in holes.items() if hole not in came}
        if all(isinstance(each, int) for each in keys):
            before = after
            for each in keys:
                if before is not None and each > before:
                    missing = range(before + 1, each)[-_HOLES:]
                    holes.update(dict.fromkeys(missing, now))
                before = each if before is None else max(before, each)
        newest = keys[-1] if after is None else max(after, keys[-1])
        holes = dict(list(holes.items())[-_HOLES:])
        first = int(position.get("rows", 0))
        columns = {
            name: Cells("json", [msgspec.json.encode(_plain(row[at])) for row in rows])
            for at, name in enumerate(self.types)
        }
        place = {"after": newest, "holes": holes, "rows": first + len(rows)}
        block = Block(first, len(rows), columns, self.label)
        return Taken(block, self.types, frozenset(self.types), place)

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def split_table(text: str) -> tuple[str, str]:
    """Split ``URL::TABLE``.

    Examples
    --------
    >>> split_table("sqlite:///flights.db::arrivals")
    ('sqlite:///flights.db', 'arrivals')
    """
    url, _, name = text.rpartition("::")
    if "://" not in url or not name:
        raise InvalidArgument(
            f"{text!r} names no table", hint="for example sqlite:///flights.db::arrivals"
        )
    return url, name


def engine_of(text: str) -> tuple[sa.Engine, str, str]:
    """Return the engine and table of ``URL::TABLE``, and how to show it: without a password."""
    url, name = split_table(text)
    try:
        parsed = sa.make_url(url)
        engine = sa.create_engine(parsed)
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as exc:
        raise InvalidArgument(f"{url.split('://')[0]}:// is no database: {exc}") from exc
    return engine, name, f"{parsed.render_as_string(hide_password=True)}::{name}"


def _plain(value: Any) -> Any:
    import decimal

    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return json_value(value)


def _type_of(column: sa.Column[Any]) -> Any:
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return pa.string()
    found = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return found.get(kind, pa.float64() if kind.__name__ == "Decimal" else pa.string())


def _reason(exc: Exception) -> str:
    return str(getattr(exc, "orig", None) or exc).strip().splitlines()[0]
