"""Rows of files, counted without loading them, and of a file that grows only what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any

from mlops_magics.errors import MlopsError, SourceUnreadable
from mlops_magics.store import files
from mlops_magics.store.files import File, public

__all__ = ["FORMATS", "Count", "count"]


@dataclass(frozen=True)
class Count:
    """The rows of a file, and how to go on counting.

    Attributes
    ----------
    rows : int
    stamp : mapping
        Another one once the file has changed.
    lines, read : int
        Lines that have an end, without empty ones, and the bytes that they take.
    """

    rows: int
    stamp: Mapping[str, Any]
    lines: int = 0
    read: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON value."""
        return asdict(self)


def count(file: File, before: Count | None = None) -> Count:
    r"""Count a file's rows.

    Parameters
    ----------
    file : File
        Parquet, CSV, TSV or JSON lines; the last two also packed.
    before : Count, optional
        What was counted earlier; only what has been appended since is read.

    Raises
    ------
    SourceUnreadable
        It is gone, broken, or of another format.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "flights.csv"
    >>> _ = path.write_text("month,late\n1,0\n2,1\n")
    >>> count(files.find(str(path))[0]).rows
    2
    """
    suffix, packing = files.ending(file.name)
    if suffix not in FORMATS:
        raise SourceUnreadable(
            f"the rows of {public(file.name)} cannot be counted",
            hint=f"those of {', '.join(FORMATS)} can; or count files: --files",
        )
    try:
        stamp = file.stamp()
        if before is not None and before.stamp == stamp:
            return before
        with file.open() as opened:
            return FORMATS[suffix](opened, packing, stamp, before)
    except MlopsError:
        raise
    except Exception as exc:  # each format's reader raises its own kinds
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise SourceUnreadable(
            f"{public(file.name)} cannot be read as {suffix.lstrip('.')}: {reason}"
        ) from exc


def _parquet(
    file: IO[bytes], packing: str | None, stamp: Mapping[str, Any], before: Count | None
) -> Count:
    import pyarrow.parquet as pq

    if packing is not None:
        raise SourceUnreadable("a Parquet file is packed inside, not as a whole")
    return Count(int(pq.read_metadata(file).num_rows), stamp)


def _lines(*, header: bool) -> Callable[..., Count]:
    def counted(
        file: IO[bytes], packing: str | None, stamp: Mapping[str, Any], before: Count | None
    ) -> Count:
        lines = read = 0
        if packing is not None:
            from fsspec.compression import compr

            file = compr[packing](file, mode="rb")
        elif before is not None and _goes_on(file, before.read):
            lines, read = before.lines, before.read
        size, quoted, pending = read, False, b""
        for line in file:
            size += len(line)
            # a quoted text may have line ends inside
            quoted ^= header and line.count(b'"') % 2 == 1
            pending += line.strip()[:1]
            if line.endswith(b"\n") and not quoted:
                lines += bool(pending)
                read, pending = size, b""
        # the last line may be without its end; if it is being written, it is one row all the same
        rows = lines + bool(pending)
        return Count(max(0, rows - header), stamp, lines, read)

    return counted


def _goes_on(file: IO[bytes], read: int) -> bool:
    """Go to where counting had come, if the file still has the end of a line there."""
    if read == 0:
        return False
    file.seek(read - 1)
    if file.read(1) == b"\n":
        return True
    file.seek(0)
    return False


FORMATS: dict[str, Callable[..., Count]] = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": _lines(header=True),
    ".tsv": _lines(header=True),
    ".jsonl": _lines(header=False),
    ".ndjson": _lines(header=False),
}
"""How to count, by a file's ending."""
