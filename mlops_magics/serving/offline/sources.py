"""Sources of rows to score: read in blocks, so that a source may be larger than memory.

Every source gives the same blocks from the same row on, which is what lets a scoring go on where
it was killed. A column of a block is an Arrow array when the source has types (Parquet, a
DataFrame), else cells as they were written: text (CSV) or JSON.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

import msgspec
import pyarrow as pa

from mlops_magics.errors import InvalidArgument, SchemaMismatch, SourceUnreadable
from mlops_magics.store import datasets, files
from mlops_magics.store.files import File, public

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["FORMATS", "Block", "Cells", "Source", "json_type", "open_source", "parse_lines"]

_INDEX = "__index_level_"  # an index that pandas has written is no column
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True)
class Cells:
    """A column's values as they were written; None where a row has none.

    Attributes
    ----------
    kind : {"text", "json"}
        Cells of a CSV file, or JSON values.
    values : list
        ``str`` or ``bytes``, or None.
    """

    kind: Literal["text", "json"]
    values: Sequence[Any]


@dataclass(frozen=True)
class Block:
    """Some rows that follow each other.

    Attributes
    ----------
    first : int
        The first row's number in the whole source, from 0.
    rows : int
    columns : dict
        In the source's order.
    where : str
        The file.
    faults : dict
        Place in the block and reason, of what is no row at all; its cells are None.
    broken : dict
        Place and text of the same.
    """

    first: int
    rows: int
    columns: dict[str, Any]
    where: str = ""
    faults: dict[int, str] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)


class Source(Protocol):
    """Rows that can be read in blocks, from any row on."""

    label: str
    rows: int | None
    """How many, where that is known before reading."""
    types: dict[str, Any]
    """Arrow types of the columns, in the source's order; of cells, what they are to become."""
    untyped: frozenset[str]
    """Columns that come as cells."""

    def identity(self) -> list[dict[str, Any]]:
        """Return JSON values that are others once the source has changed."""

    def blocks(self, start: int, size: int, wanted: Sequence[str] | None) -> Iterator[Block]:
        """Read from a row on, at most ``size`` rows at a time; only some columns, if named."""


def open_source(data: Any, workspace: Workspace) -> Source:
    """Open what can be scored.

    Parameters
    ----------
    data : DataFrame, pyarrow.Table, DatasetVersion or text
        A text is a file, a folder, a glob, an fsspec URL, or a dataset of the workspace.
    workspace : Workspace
        Whose datasets are meant.

    Raises
    ------
    SourceUnreadable
        Missing, forbidden or broken; of a format that is not known.
    DatasetNotFound
    InvalidArgument
        It is nothing of these.
    """
    if hasattr(data, "ref") and hasattr(data, "path"):
        data = data.ref
    if isinstance(data, pa.Table):
        return _Table(data)
    if hasattr(data, "columns") and hasattr(data, "iloc"):
        return _Table(_of_frame(data))
    if not isinstance(data, (str, Path)):
        raise InvalidArgument(
            f"cannot score an object of type {type(data).__name__}",
            hint="give a DataFrame, a dataset, a file, a folder, a glob or a URL",
        )
    text = str(data)
    if _names_dataset(text):
        version = datasets.resolve(workspace, text)
        found = [*files.find(version.path)]
        return _Parquet(found, version.ref)
    found = files.find(text, FORMATS)
    label = public(text) if "://" in text else text
    kinds = {files.ending(file.name) for file in found}
    if len({kind for kind, _ in kinds}) > 1:
        raise SourceUnreadable(
            f"{label} has files of several formats: {', '.join(sorted(k for k, _ in kinds))}",
            hint="score one format at a time, with a glob",
        )
    kind, packing = kinds.pop()
    if kind not in FORMATS or packing == "zip" or (packing and FORMATS[kind] is _Parquet):
        raise SourceUnreadable(
            f"{public(found[0].name)} has no ending that tells a format that can be scored",
            hint=f"known: {', '.join(FORMATS)}, those of text also as .gz, .bz2 or .xz",
        )
    return FORMATS[kind](found, label)


def _names_dataset(text: str) -> bool:
    path = Path(text).expanduser()
    if "://" in text or any(sign in text for sign in "*?[") or text.endswith("/"):
        return False
    return not path.exists() and files.ending(text)[0] not in FORMATS and not path.is_absolute()


class _Files:
    """Common to sources of files: they are read one after the other, in the order of names."""

    def __init__(self, found: Sequence[File], label: str) -> None:
        self.label = label
        self.files = list(found)
        self.rows: int | None = None
        self.types: dict[str, Any] = {}
        self.untyped: frozenset[str] = frozenset()

    def identity(self) -> list[dict[str, Any]]:
        """Return name, and size and time, of every file."""
        with _mapped(self.label):
            return [{"file": public(file.name), **file.stamp()} for file in self.files]


class _Parquet(_Files):
    def __init__(self, found: Sequence[File], label: str) -> None:
        super().__init__(found, label)
        self.counts: list[int] = []
        for file in self.files:
            with _opened(file) as parquet:
                types = {
                    field.name: field.type
                    for field in parquet.schema_arrow
                    if _INDEX not in field.name
                }
                self.counts.append(parquet.metadata.num_rows)
            if not self.types:
                self.types = types
            elif set(types) != set(self.types):
                differing = sorted(set(types) ^ set(self.types))
                raise SchemaMismatch(
                    f"{public(file.name)} and {public(self.files[0].name)} differ in the columns "
                    f"{', '.join(differing[:8])}"
                )
        self.rows = sum(self.counts)

    def blocks(self, start: int, size: int, wanted: Sequence[str] | None) -> Iterator[Block]:
        first = 0
        for file, count in zip(self.files, self.counts, strict=True):
            if first + count > start:
                yield from self._of_file(file, first, max(start - first, 0), size, wanted)
            first += count

    def _of_file(
        self, file: File, base: int, skip: int, size: int, wanted: Sequence[str] | None
    ) -> Iterator[Block]:
        names = [name for name in self.types if wanted is None or name in wanted]
        with _opened(file) as parquet:
            groups = list(range(parquet.num_row_groups))
            at = 0
            while groups and at + (rows := parquet.metadata.row_group(groups[0]).num_rows) <= skip:
                at += rows
                groups.pop(0)
            batches = parquet.iter_batches(size, row_groups=groups, columns=names)
            for batch in batches if names else ():
                if at + batch.num_rows > skip:
                    batch = batch.slice(max(skip - at, 0))
                    at = max(at, skip)
                    columns = {name: batch.column(name) for name in names}
                    yield Block(base + at, batch.num_rows, columns, public(file.name))
                at += batch.num_rows


class _Csv(_Files):
    separator = ","

    def __init__(self, found: Sequence[File], label: str) -> None:
        super().__init__(found, label)
        for file in self.files:
            with _text(file) as lines:
                names = next(csv.reader(lines, delimiter=self.separator, strict=True), [])
            if not names:
                raise SourceUnreadable(
                    f"{public(file.name)} is empty", hint="the first line names the columns"
                )
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise SchemaMismatch(f"{public(file.name)}: duplicate column {twice!r}")
            if not self.types:
                self.types = dict.fromkeys(names, pa.string())
            elif names != list(self.types):
                raise SchemaMismatch(
                    f"{public(file.name)} and {public(self.files[0].name)} differ in their "
                    "first lines, which name the columns"
                )
        self.untyped = frozenset(self.types)

    def blocks(self, start: int, size: int, wanted: Sequence[str] | None) -> Iterator[Block]:
        names = list(self.types)
        first = 0
        for file in self.files:
            with _text(file) as lines:
                reader = csv.reader(lines, delimiter=self.separator, strict=True)
                next(reader)
                rows = (row for row in reader if row)  # an empty line is no row
                if first < start:
                    first += sum(1 for _ in itertools.islice(rows, start - first))
                while taken := list(itertools.islice(rows, size)):
                    yield _block_of_csv(first, taken, names, wanted, public(file.name))
                    first += len(taken)


def _block_of_csv(
    first: int,
    taken: list[list[str]],
    names: Sequence[str],
    wanted: Sequence[str] | None,
    where: str,
) -> Block:
    faults, broken = {}, {}
    for place, row in enumerate(taken):
        if len(row) != len(names):
            faults[place] = f"{len(row)} values for {len(names)} columns"
            broken[place] = ",".join(row)
            taken[place] = [""] * len(names)
    listed = zip(names, zip(*taken, strict=True), strict=True)
    columns = {
        name: Cells("text", values) for name, values in listed if wanted is None or name in wanted
    }
    return Block(first, len(taken), columns, where, faults, broken)


class _Tsv(_Csv):
    separator = "\t"


class _JsonLines(_Files):
    def __init__(self, found: Sequence[File], label: str) -> None:
        super().__init__(found, label)
        # any line may have a key, or a kind of value, that no line before it had
        found_cells: dict[str, set[type]] = {}
        self.rows = 0
        for block in self.blocks(0, 8192, None):
            self.rows += block.rows
            for name, cells in block.columns.items():
                found_cells.setdefault(name, set()).update(_kinds(cells))
        self.types = {name: _type_of(kinds) for name, kinds in found_cells.items()}
        self.untyped = frozenset(self.types)

    def blocks(self, start: int, size: int, wanted: Sequence[str] | None) -> Iterator[Block]:
        first = 0
        for file in self.files:
            with _mapped(public(file.name)), _unpacked(file) as stream:
                lines = (line for line in stream if not line.isspace())
                if first < start:
                    first += sum(1 for _ in itertools.islice(lines, start - first))
                while taken := list(itertools.islice(lines, size)):
                    yield parse_lines(first, taken, wanted, public(file.name))
                    first += len(taken)


def json_type(cells: Sequence[Cells]) -> pa.DataType:
    """Return the Arrow type that holds all values of JSON cells; text, when there is no better."""
    return _type_of(set().union(*map(_kinds, cells)))


def _kinds(cells: Cells) -> set[type]:
    values = msgspec.json.decode(b"[" + b",".join(filter(None, cells.values)) + b"]")
    return set(map(type, values))


def _type_of(kinds: set[type]) -> pa.DataType:
    kinds = kinds - {type(None)}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()


def parse_lines(
    first: int, lines: Sequence[bytes], wanted: Sequence[str] | None = None, where: str = ""
) -> Block:
    r"""Take JSON objects apart, one a line.

    Examples
    --------
    >>> block = parse_lines(0, [b'{"x": 1}\n', b'{"x": 1, "x": 2}\n', b'[]\n'])
    >>> block.columns["x"].values, block.faults
    ([b'1', None, None], {1: "duplicate key 'x'", 2: 'the row is no JSON object'})
    """
    from mlops_magics.serving import protocol
    from mlops_magics.serving.validation import Invalid

    faults, broken = {}, {}
    cells: dict[str, list[bytes | None]] = {}
    for place, line in enumerate(lines):
        try:
            found: Mapping[str, msgspec.Raw] = _object.decode(line)
            if line.count(b":") != len(found):
                protocol.refuse_duplicates(line)
        except (msgspec.DecodeError, RecursionError, Invalid) as exc:
            if isinstance(exc, Invalid):
                faults[place] = str(exc)
            elif isinstance(exc, msgspec.ValidationError):
                faults[place] = "the row is no JSON object"
            else:
                faults[place] = "the row is no valid JSON"
            broken[place] = line.decode("utf-8", "replace").strip()
            continue
        for name, raw in found.items():
            column = cells.get(name)
            if column is None:
                if wanted is not None and name not in wanted:
                    continue
                column = cells[name] = [None] * len(lines)
            column[place] = bytes(raw)
    columns = {name: Cells("json", values) for name, values in cells.items()}
    return Block(first, len(lines), columns, where, faults, broken)


FORMATS: dict[str, type[_Parquet] | type[_Csv] | type[_JsonLines]] = {
    ".parquet": _Parquet,
    ".pq": _Parquet,
    ".csv": _Csv,
    ".tsv": _Tsv,
    ".jsonl": _JsonLines,
    ".ndjson": _JsonLines,
    ".json": _JsonLines,
}
"""Sources by a file's ending."""


class _Table:
    """An Arrow table; of a DataFrame, columns of mixed values are cells."""

    label = "a DataFrame"

    def __init__(self, table: pa.Table | dict[str, Any]) -> None:
        columns = (
            dict(zip(table.column_names, table.columns, strict=True))
            if isinstance(table, pa.Table)
            else table
        )
        if isinstance(table, pa.Table) and len(columns) < table.num_columns:
            twice = next(n for n in table.column_names if table.column_names.count(n) > 1)
            raise SchemaMismatch(f"duplicate column {twice!r}")
        self.columns = columns
        self.types = {
            name: pa.string() if isinstance(column, Cells) else column.type
            for name, column in columns.items()
        }
        self.untyped = frozenset(n for n, column in columns.items() if isinstance(column, Cells))
        self.rows: int | None = max((_length(column) for column in columns.values()), default=0)

    def identity(self) -> list[dict[str, Any]]:
        """Return the content's own digest; it has neither name nor time."""
        import hashlib

        digest = hashlib.sha256()
        for name, column in self.columns.items():
            digest.update(name.encode())
            if isinstance(column, Cells):
                digest.update(msgspec.json.encode(list(column.values)))
                continue
            plain = pa.table({"": column}).combine_chunks()
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, plain.schema) as writer:
                writer.write_table(plain)
            digest.update(sink.getvalue())
        return [{"rows": self.rows, "sha256": digest.hexdigest()}]

    def blocks(self, start: int, size: int, wanted: Sequence[str] | None) -> Iterator[Block]:
        names = [name for name in self.columns if wanted is None or name in wanted]
        for first in range(start, self.rows or 0, size):
            end = min(first + size, self.rows or 0)
            columns = {name: _slice(self.columns[name], first, end) for name in names}
            yield Block(first, end - first, columns)


def _length(column: Any) -> int:
    return len(column.values) if isinstance(column, Cells) else len(column)


def _slice(column: Any, first: int, end: int) -> Any:
    if isinstance(column, Cells):
        return Cells(column.kind, column.values[first:end])
    part = column.slice(first, end - first)
    return part.combine_chunks() if isinstance(part, pa.ChunkedArray) else part


def _of_frame(frame: Any) -> dict[str, Any]:
    from mlops_magics.serving.client import json_values

    columns: dict[str, Any] = {}
    for index, name in enumerate(frame.columns):
        series = frame.iloc[:, index]
        if str(name) in columns:
            raise SchemaMismatch(f"duplicate column {str(name)!r}")
        try:
            columns[str(name)] = pa.array(series, from_pandas=True)
        except (pa.ArrowException, TypeError, OverflowError):
            # values of several kinds: as the client would send them to an endpoint
            values = [msgspec.json.encode(value) for value in json_values(series)]
            columns[str(name)] = Cells("json", values)
    return columns


@contextmanager
def _mapped(label: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise SourceUnreadable(f"{label} is gone") from exc
    except UnicodeDecodeError as exc:
        raise SourceUnreadable(f"{label} is no UTF-8") from exc
    except csv.Error as exc:
        raise SourceUnreadable(f"{label}: malformed CSV: {exc}") from exc
    except (OSError, EOFError, pa.ArrowException) as exc:
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise SourceUnreadable(f"{label} cannot be read: {reason}") from exc


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with _mapped(public(file.name)), file.open() as stream, pq.ParquetFile(stream) as parquet:
        names = parquet.schema_arrow.names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SchemaMismatch(f"{public(file.name)}: duplicate column {twice!r}")
        yield parquet


@contextmanager
def _unpacked(file: File) -> Iterator[IO[bytes]]:
    import bz2
    import gzip
    import lzma

    _, packing = files.ending(file.name)
    opener: Any = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}.get(str(packing))
    with file.open() as stream:
        if opener is None:
            yield stream
        else:
            with opener(stream, "rb") as unpacked:
                yield unpacked


@contextmanager
def _text(file: File) -> Iterator[IO[str]]:
    with _mapped(public(file.name)), _unpacked(file) as stream:
        yield io.TextIOWrapper(stream, "utf-8-sig", newline="")
