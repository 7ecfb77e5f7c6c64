"""Deliveries: where a stream's rows go, so that one delivered twice is there once.

Each batch has a number. A batch whose position was not saved before a kill comes again under the
same number, and takes the place of what was delivered then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from mlops_magics.errors import InvalidArgument, SchemaMismatch, StoreError
from mlops_magics.serving.offline.feeds import engine_of
from mlops_magics.serving.offline.sinks import json_lines, sync_folder

__all__ = ["Delivery", "open_delivery"]

POSITION = "source_row"
"""Key of rows that have none of their own: file and row number."""


class Delivery(Protocol):
    """Where batches go."""

    label: str
    rejected: str
    """Where rejects go."""

    def occupied(self) -> bool:
        """Tell whether something is there that a new stream would harm."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Drop what was delivered after a state."""

    def deliver(self, number: int, rows: pa.Table, rejects: pa.Table) -> dict[str, Any]:
        """Deliver a batch durably; return the state."""

    def close(self) -> None:
        """Release what it holds."""


def open_delivery(to: Path | str, key: str | None) -> Delivery:
    """Open where a stream's rows go.

    Parameters
    ----------
    to : path or str
        A folder (Parquet parts), a ``.jsonl`` file, or ``URL::TABLE``.
    key : str, optional
        Of a table: the column that is its primary key.

    Raises
    ------
    InvalidArgument
        It is nothing of these.
    """
    text = str(to)
    if "::" in text:
        return _Table(text, key or POSITION)
    path = Path(text).expanduser().absolute()
    if not path.parent.is_dir():
        raise InvalidArgument(f"there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    if path.suffix in (".jsonl", ".ndjson"):
        return _Lines(path)
    if path.suffix and not path.is_dir() and not text.endswith("/"):
        raise InvalidArgument(
            f"a stream cannot be written to {path.name}",
            hint="a folder (Parquet parts), a file.jsonl, or URL::TABLE",
        )
    return _Parts(path)


class _Parts:
    """A folder of Parquet files, one for each batch; a batch's number is its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)
        self._rejects = path.with_name(f"{path.name}.rejects")
        self.rejected = str(self._rejects)

    def occupied(self) -> bool:
        return self.path.is_dir() and any(self.path.iterdir())

    def restore(self, state: Mapping[str, Any]) -> None:
        for folder in (self.path, self._rejects):
            folder.mkdir(exist_ok=True)

    def deliver(self, number: int, rows: pa.Table, rejects: pa.Table) -> dict[str, Any]:
        for folder, table in ((self.path, rows), (self._rejects, rejects)):
            place = folder / f"part-{number:08d}.parquet"
            if not table.num_rows:
                place.unlink(missing_ok=True)
                continue
            unfinished = folder / f".{place.name}"
            with unfinished.open("wb") as file:
                pq.write_table(table, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(place)
            sync_folder(folder)
        return {}

    def close(self) -> None:
        """Nothing is held."""


class _Lines:
    """A JSON-lines file, and one of rejects; what is behind the saved length is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)
        self._rejects = path.with_name(f"{path.stem}.rejects.jsonl")
        self.rejected = str(self._rejects)

    def occupied(self) -> bool:
        return any(p.exists() and p.stat().st_size for p in (self.path, self._rejects))

    def restore(self, state: Mapping[str, Any]) -> None:
        lengths = state.get("bytes", [0, 0])
        for path, length in zip((self.path, self._rejects), lengths, strict=True):
            path.touch()
            if path.stat().st_size < length:
                raise SchemaMismatch(
                    f"{path} is shorter than this stream has left it",
                    hint="name another output; this stream's rows are not all there any more",
                )
            os.truncate(path, length)

    def deliver(self, number: int, rows: pa.Table, rejects: pa.Table) -> dict[str, Any]:
        lengths = []
        for path, table in ((self.path, rows), (self._rejects, rejects)):
            with path.open("ab") as file:
                if table.num_rows:
                    file.write(json_lines(table))
                    file.flush()
                    os.fsync(file.fileno())
                lengths.append(file.tell())
        return {"bytes": lengths}

    def close(self) -> None:
        """Nothing is held."""


class _Table:
    """A table with the key as primary key; a key that comes again takes the place of the former."""

    def __init__(self, text: str, key: str) -> None:
        self.engine, self.name, self.label = engine_of(text)
        self.key = key
        self.rejected = f"{self.label}_rejects"
        self._tables: dict[str, sa.Table] = {}

    def occupied(self) -> bool:
        """Say no: a table may have rows already."""
        return False

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to drop: the same keys will be written again."""

    def deliver(self, number: int, rows: pa.Table, rejects: pa.Table) -> dict[str, Any]:
        try:
            both = ((self.name, rows, self.key), (f"{self.name}_rejects", rejects, POSITION))
            made = [(self._table(*each), each[1], each[2]) for each in both if each[1].num_rows]
            with self.engine.begin() as connection:
                for table, delivered, key in made:
                    # of one key that is there twice, the later row
                    found = {row[key]: row for row in delivered.to_pylist()}
                    keys = list(found)
                    for start in range(0, len(keys), 500):
                        some = keys[start : start + 500]
                        connection.execute(sa.delete(table).where(table.c[key].in_(some)))
                    connection.execute(sa.insert(table), list(found.values()))
        except sa.exc.SQLAlchemyError as exc:
            reason = str(getattr(exc, "orig", None) or exc).strip().splitlines()[0]
            raise StoreError(f"{self.label} cannot be written: {reason}") from exc
        return {}

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def _table(self, name: str, rows: pa.Table, key: str) -> sa.Table:
        table = self._tables.get(name)
        if table is None:
            if sa.inspect(self.engine).has_table(name):
                table = sa.Table(name, sa.MetaData(), autoload_with=self.engine)
            else:
                columns = [
                    sa.Column(field.name, _type(field.type), primary_key=field.name == key)
                    for field in rows.schema
                ]
                table = sa.Table(name, sa.MetaData(), *columns)
                table.create(self.engine, checkfirst=True)
            self._tables[name] = table
        absent = [column for column in rows.column_names if column not in table.c]
        if absent:
            raise SchemaMismatch(
                f"table {name!r} has no column {absent[0]!r}",
                hint="add it, leave it out with --keep, or name a new table",
            )
        return table


def _type(kind: Any) -> Any:
    if pa.types.is_boolean(kind):
        return sa.Boolean()
    if pa.types.is_integer(kind):
        return sa.BigInteger()
    if pa.types.is_floating(kind):
        return sa.Double()
    if pa.types.is_timestamp(kind):
        return sa.DateTime()
    if pa.types.is_binary(kind):
        return sa.LargeBinary()
    return sa.Text()
