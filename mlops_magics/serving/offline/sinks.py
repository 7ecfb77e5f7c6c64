"""Sinks: where scored rows go, so that a kill at any moment loses and doubles none.

A sink works in a folder beside the output. :meth:`Sink.settle` makes everything durable and
returns a state; :meth:`Sink.restore` goes back to exactly such a state, dropping what came
later. :meth:`Sink.seal` makes the whole, which is then moved to its place in one step.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops_magics.errors import InvalidArgument

__all__ = ["MARK", "Memory", "Sink", "csv_lines", "json_lines", "open_sink", "sync_folder"]

MARK = "_scored.json"
"""Lies in a folder of ours: it may be replaced by the next scoring."""

_GROUP = 131_072  # rows of a Parquet row group, at least


class Sink(Protocol):
    """Where tables of one schema are appended."""

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go back to a state; None is the empty beginning."""

    def append(self, table: pa.Table) -> None:
        """Add rows."""

    def settle(self) -> dict[str, Any]:
        """Make all rows durable; return the state to restore."""

    def seal(self) -> str:
        """Finish the whole, durably; return its name in the sink's folder."""

    def close(self) -> None:
        """Release files; what is not settled is dropped."""


def open_sink(kind: str, folder: Path, schema: pa.Schema) -> Sink:
    """Open a sink that works in a folder.

    Parameters
    ----------
    kind : str
        An output's ending; empty for a folder of Parquet parts.
    folder : Path
        For the unfinished; made if it is missing.
    schema : pyarrow.Schema
        Of all tables that will be appended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "":
        return _Parts(folder, schema)
    if kind in (".parquet", ".pq"):
        return _Parquet(folder, schema)
    if kind in (".csv", ".tsv"):
        separator = "\t" if kind == ".tsv" else ","
        return _Lines(folder, schema, lambda table, head: csv_lines(table, head, separator))
    if kind in (".jsonl", ".ndjson", ".json"):
        return _Lines(folder, schema, json_lines)
    raise InvalidArgument(
        f"{kind!r} is no ending of an output",
        hint="known: .parquet, .csv, .tsv, .jsonl; a name without ending is a folder of Parquet",
    )


class Memory:
    """Keeps the tables."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Begin empty."""

    def append(self, table: pa.Table) -> None:
        """Add rows."""
        self.tables.append(table)

    def settle(self) -> dict[str, Any]:
        """Nothing is durable here."""
        return {}

    def seal(self) -> str:
        """There is no file."""
        return ""

    def close(self) -> None:
        """Nothing is held."""


class _Parts:
    """A folder of Parquet files, one for each settled stretch."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder / "parts"
        self.folder.mkdir(exist_ok=True)
        self.schema = schema
        self._count = 0
        self._writer: Any = None
        self._open = folder / "part.open"

    def restore(self, state: Mapping[str, Any] | None) -> None:
        self._count = int(state["parts"]) if state else 0
        for path in sorted(self.folder.glob("part-*.parquet"))[self._count :]:
            path.unlink()

    def append(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = _parquet(self._open, self.schema)
        self._writer.write_table(table)

    def settle(self) -> dict[str, Any]:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            _sync(self._open)
            self._open.rename(self.folder / f"part-{self._count:05d}.parquet")
            sync_folder(self.folder)
            self._count += 1
        return {"parts": self._count}

    def seal(self) -> str:
        self.settle()
        if not self._count:
            self.append(self.schema.empty_table())
            self.settle()
        (self.folder / MARK).write_text("{}\n")
        sync_folder(self.folder)
        return self.folder.name

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _Parquet:
    """One Parquet file, and a journal of what went into it.

    A Parquet file without its foot cannot be read or continued; the settled stretches, kept as
    Arrow files, are written anew when a killed scoring goes on.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema
        self._final = folder / "whole.parquet"
        self._count = 0
        self._whole: Any = None
        self._journal: Any = None
        self._pending: list[pa.Table] = []

    def restore(self, state: Mapping[str, Any] | None) -> None:
        self._count = int(state["parts"]) if state else 0
        for path in sorted(self.folder.glob("*.arrow"))[self._count :]:
            path.unlink()
        for path in sorted(self.folder.glob("*.arrow")):
            with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
                for index in range(reader.num_record_batches):
                    self._write(pa.Table.from_batches([reader.get_batch(index)]))

    def append(self, table: pa.Table) -> None:
        if self._journal is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            path = self.folder / "journal.open"
            self._journal = pa.ipc.new_file(str(path), self.schema, options=options)
        self._journal.write_table(table)
        self._write(table)

    def settle(self) -> dict[str, Any]:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
            path = self.folder / "journal.open"
            _sync(path)
            path.rename(self.folder / f"{self._count:06d}.arrow")
            sync_folder(self.folder)
            self._count += 1
        return {"parts": self._count}

    def seal(self) -> str:
        self._flush()
        self._whole_writer().close()
        self._whole = None
        _sync(self._final)
        return self._final.name

    def close(self) -> None:
        for writer in (self._whole, self._journal):
            if writer is not None:
                writer.close()
        self._whole = self._journal = None

    def _write(self, table: pa.Table) -> None:
        self._pending.append(table)
        if sum(each.num_rows for each in self._pending) >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._whole_writer().write_table(pa.concat_tables(self._pending))
            self._pending = []

    def _whole_writer(self) -> Any:
        if self._whole is None:
            self._whole = _parquet(self._final, self.schema)
        return self._whole


def _parquet(path: Path, schema: pa.Schema) -> Any:
    """Open a Parquet file; looking for equal values among floats takes most of the time."""
    named = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return pq.ParquetWriter(path, schema, use_dictionary=named)


class _Lines:
    """A file of lines; what is not settled is cut off again."""

    def __init__(
        self, folder: Path, schema: pa.Schema, encode: Callable[[pa.Table, bool], bytes]
    ) -> None:
        self.schema, self._encode = schema, encode
        self._path = folder / "lines.open"
        self._file: IO[bytes] | None = None

    def restore(self, state: Mapping[str, Any] | None) -> None:
        size = int(state["bytes"]) if state else 0
        self._path.touch(mode=0o666, exist_ok=True)
        os.truncate(self._path, size)
        self._file = self._path.open("ab")
        if not size:
            self._file.write(self._encode(self.schema.empty_table(), True))

    def append(self, table: pa.Table) -> None:
        assert self._file is not None
        self._file.write(self._encode(table, False))

    def settle(self) -> dict[str, Any]:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"bytes": self._file.tell()}

    def seal(self) -> str:
        self.settle()
        self.close()
        return self._path.name

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def csv_lines(table: pa.Table, head: bool, separator: str = ",") -> bytes:
    r"""Return rows as CSV; what is no number, and null, is an empty cell.

    Examples
    --------
    >>> csv_lines(pa.table({"x": [0.5, float("nan")], "name": ["a,b", "c"]}), True)
    b'"x","name"\n0.5,"a,b"\n,"c"\n'
    """
    from pyarrow import csv

    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
        elif pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            texts = [msgspec.json.encode(value).decode() for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        columns[name] = column
    sink = io.BytesIO()
    options = csv.WriteOptions(include_header=head, delimiter=separator)
    csv.write_csv(pa.table(columns), sink, options)
    return sink.getvalue()


def json_lines(table: pa.Table, head: bool = False) -> bytes:
    r"""Return rows as JSON lines; what is no number becomes null.

    Examples
    --------
    >>> json_lines(pa.table({"x": [0.5, float("nan")]}))
    b'{"x":0.5}\n{"x":null}\n'
    """
    return b"".join(msgspec.json.encode(row) + b"\n" for row in table.to_pylist())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable."""
    _sync(path)
