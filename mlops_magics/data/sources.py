"""Where data come from: a DataFrame, files (also remote, packed, many), a database."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa

from mlops_magics.errors import (
    DataError,
    InvalidArgument,
    MissingExtra,
    SchemaMismatch,
    SourceUnreadable,
)
from mlops_magics.store import files
from mlops_magics.store.files import File, public

__all__ = ["FORMATS", "Source", "read"]

# without it, integers beyond 2**53 beside a missing value would be rounded
_EXACT = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


@dataclass(frozen=True)
class Source:
    """Rows as they came, and what to remember of where they came from.

    Attributes
    ----------
    data : DataFrame or pyarrow.Table
        The rows.
    origin : dict
        JSON values: kind, url, files, query; without passwords.
    """

    data: Any
    origin: dict[str, Any]


def read(source: Any, query: str | None = None) -> Source:
    """Read a source.

    Parameters
    ----------
    source : DataFrame, pyarrow.Table, path, glob, fsspec URL or SQLAlchemy URL
        A file's format is told by its name: see :data:`FORMATS`, each also packed
        (``.csv.gz``, ``.csv.zip``).
    query : str, optional
        SQL; required for a database, and only there.

    Raises
    ------
    SourceUnreadable
        Missing, forbidden or broken; a missing file's hint has the nearest names.
    InvalidArgument
        Not a source at all, or a query without a database.
    SchemaMismatch
        Files of one glob with different columns.
    """
    if isinstance(source, (pd.DataFrame, pa.Table)):
        if query is not None:
            raise InvalidArgument("a query needs a database URL, and the source is a table")
        kind = "DataFrame" if isinstance(source, pd.DataFrame) else "Arrow table"
        return Source(source, {"kind": kind})
    if not isinstance(source, (str, Path)):
        raise InvalidArgument(
            f"cannot ingest {_kind(source)}",
            hint="give a DataFrame, a path, a glob, or a URL",
        )
    text = str(source)
    if _database(text):
        return _read_database(text, query)
    if query is not None:
        raise InvalidArgument(
            f"a query needs a database URL, not {text!r}",
            hint="for example sqlite:///data.db or postgresql+psycopg://user@host/name",
        )
    return _read_files(text)


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"an object of type {type(value).__name__}"


# -- databases


def _database(text: str) -> bool:
    """Tell a SQLAlchemy URL by its dialect; fsspec's schemes are others."""
    if "://" not in text:
        return False
    from sqlalchemy.dialects import registry
    from sqlalchemy.exc import NoSuchModuleError

    try:
        registry.load(text.split("://")[0].replace("+", "."))
    except NoSuchModuleError:
        return "+" in text.split("://")[0]
    return True


def _read_database(url: str, query: str | None) -> Source:
    import sqlalchemy as sa
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    if not query or not query.strip():
        raise InvalidArgument(
            "a database needs a query", hint='for example query="SELECT * FROM flights"'
        )
    try:
        parsed = sa.make_url(url)
        shown = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            files.find(parsed.database)  # SQLite would make an empty database instead
        engine = sa.create_engine(parsed)
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("psycopg"):
            raise MissingExtra("postgresql", "PostgreSQL databases") from exc
        raise SourceUnreadable(
            f"the database driver {exc.name!r} is not installed", hint=f"pip install {exc.name}"
        ) from exc
    except (NoSuchModuleError, SQLAlchemyError) as exc:
        raise InvalidArgument(f"no SQLAlchemy dialect for {url.split('://')[0]}://") from exc
    try:
        with engine.connect() as connection:
            answer = connection.execute(sa.text(query))
            if not answer.returns_rows:
                raise InvalidArgument(
                    "the query gives no rows; nothing was changed", hint="give a SELECT"
                )
            frame = pd.DataFrame.from_records(answer.all(), columns=list(answer.keys()))
    except SQLAlchemyError as exc:
        reason = str(getattr(exc, "orig", None) or exc).strip().splitlines()[0]
        raise SourceUnreadable(f"{shown} did not answer the query: {reason}") from exc
    finally:
        engine.dispose()
    return Source(frame, {"kind": "SQL", "url": shown, "query": query})


# -- files


def _read_files(text: str) -> Source:
    found = files.find(text)
    shown = public(text) if "://" in text else str(Path(text).expanduser())
    frames: list[pd.DataFrame] = []
    for file in found:
        frame = _read_one(file)
        if frames and set(frame.columns) != set(frames[0].columns):
            differing = sorted(map(str, set(frame.columns) ^ set(frames[0].columns)))
            raise SchemaMismatch(
                f"{file.name} and {found[0].name} differ in the columns {', '.join(differing[:8])}",
                hint="ingest them as two datasets, or make their columns equal",
            )
        frames.append(frame)
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    formats = sorted({_format(file.name)[0].lstrip(".") for file in found})
    return Source(
        frame,
        {
            "kind": ", ".join(formats),
            "url": shown,
            "files": [public(file.name) for file in found],
        },
    )


def _read_one(found: File) -> pd.DataFrame:
    suffix, packing = _format(found.name)
    shown = public(found.name)
    try:
        with found.open() as file:
            return FORMATS[suffix](file, packing)
    except DataError as exc:
        raise type(exc)(f"{shown}: {exc.message}", hint=exc.hint) from exc
    except (FileNotFoundError, PermissionError, IsADirectoryError) as exc:
        raise SourceUnreadable(f"{shown} cannot be read: {exc.strerror or exc}") from exc
    except pd.errors.EmptyDataError as exc:
        raise DataError(f"{shown} is empty") from exc
    except Exception as exc:  # each format's reader raises its own kinds
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise SourceUnreadable(
            f"{shown} cannot be read as {suffix.lstrip('.')}: {reason}",
            hint="is it of another format, or cut short?",
        ) from exc


def _format(name: str) -> tuple[str, str | None]:
    suffix, packing = files.ending(name)
    if suffix not in FORMATS:
        raise SourceUnreadable(
            f"{public(name)} has no ending that tells its format",
            hint=f"known: {', '.join(FORMATS)}, each also as .gz or .zip; "
            "or read it yourself and ingest the DataFrame",
        )
    return suffix, packing


def _csv(separator: str) -> Callable[[IO[bytes], str | None], pd.DataFrame]:
    def read_csv(file: IO[bytes], packing: str | None) -> pd.DataFrame:
        content = io.BytesIO(_unpacked(file, packing))
        lines = io.TextIOWrapper(content, "utf-8-sig", newline="")
        header = next(csv.reader(lines, delimiter=separator), [])
        lines.detach()
        # pandas would rename the second one silently
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(
                f"the column name {twice[0]!r} is there {header.count(twice[0])} times",
                hint="rename or drop one of them",
            )
        content.seek(0)
        frame = pd.read_csv(
            content,
            sep=separator,
            encoding="utf-8-sig",
            low_memory=False,
            index_col=False,
        )
        if header and header[0] == "":
            unnamed = frame.columns[0]
            if frame[unnamed].tolist() != list(range(len(frame))):
                raise DataError("the first column has no name", hint="give it one in the file")
            frame = frame.drop(columns=unnamed)  # the index that to_csv has written
        return frame

    return read_csv


def _parquet(file: IO[bytes], packing: str | None) -> pd.DataFrame:
    import pyarrow.parquet as pq

    if packing:
        file = io.BytesIO(_unpacked(file, packing))
    # an index that pandas has written is made an index again, and left out
    return pq.read_table(file).to_pandas(types_mapper=_EXACT.get).reset_index(drop=True)


def _json_lines(file: IO[bytes], packing: str | None) -> pd.DataFrame:
    from pyarrow import json

    content = _unpacked(file, packing)
    if not content.strip():
        raise DataError("the file is empty")
    lines = not content.lstrip().startswith(b"[")
    if lines:
        # one block: a column's type is then told from all of its values
        options = json.ReadOptions(block_size=len(content))
        try:
            table = json.read_json(io.BytesIO(content), options)
            times = [field for field in table.schema if pa.types.is_timestamp(field.type)]
            if times:  # Arrow drops their zone; as text they are told like those of a CSV file
                schema = pa.schema([(field.name, pa.string()) for field in times])
                table = json.read_json(
                    io.BytesIO(content), options, json.ParseOptions(explicit_schema=schema)
                )
            return table.to_pandas(types_mapper=_EXACT.get)
        except (pa.ArrowInvalid, OverflowError):
            pass  # pandas takes more, at a tenth of the speed
    # dates and digits in texts are told later, for all formats alike
    return pd.read_json(io.BytesIO(content), lines=lines, dtype=False, precise_float=True)


def _unpacked(file: IO[bytes], packing: str | None) -> bytes:
    import bz2
    import gzip
    import lzma
    import zipfile

    if packing is None:
        return file.read()
    if packing == "zip":
        with zipfile.ZipFile(file) as archive:
            names = [
                name
                for name in archive.namelist()
                if not name.endswith("/") and not name.startswith("__MACOSX/")
            ]
            if len(names) != 1:
                raise SourceUnreadable(
                    f"the archive holds {len(names)} files, not one", hint="unpack it first"
                )
            return archive.read(names[0])
    unpack = {"gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}[packing]
    return unpack(file.read())


FORMATS: dict[str, Callable[[IO[bytes], str | None], pd.DataFrame]] = {
    ".csv": _csv(","),
    ".tsv": _csv("\t"),
    ".parquet": _parquet,
    ".pq": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
}
"""Readers by a file's ending."""
