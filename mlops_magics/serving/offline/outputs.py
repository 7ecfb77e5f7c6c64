"""Outputs: where a scoring's rows and rejects end up, and the state to go on from.

Unfinished work lies in a hidden folder beside the output, ``.NAME.scoring``: the parts, and
``state.json``, which says up to which row they hold. A reader of the output sees the old content
or the new one, never a part of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mlops_magics.errors import InvalidArgument, LockTimeout
from mlops_magics.serving.offline.assembly import REJECTS
from mlops_magics.serving.offline.sinks import MARK, Sink, open_sink, sync_folder
from mlops_magics.store.workspace import write_atomic

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Output"]

KINDS = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")


class Output:
    """A file, or a folder of Parquet parts, with its rejects beside it.

    Parameters
    ----------
    to : path
        The ending tells the format; without one it is a folder.

    Raises
    ------
    InvalidArgument
        It cannot be written, or is a folder with other things in it.
    """

    def __init__(self, to: Path | str) -> None:
        text = str(to)
        if "://" in text:
            raise InvalidArgument(
                f"{text} is a URL; rows are written to files of this machine",
                hint="write a file, then copy it",
            )
        self.place = Path(text).expanduser().absolute()
        self.kind = "" if text.endswith("/") or self.place.is_dir() else self.place.suffix.lower()
        if self.kind and self.kind not in KINDS:
            raise InvalidArgument(
                f"{self.place.name} has no ending that tells a format to write",
                hint=f"known: {', '.join(KINDS)}; a name without ending is a folder of Parquet",
            )
        stem = self.place.stem if self.kind else self.place.name
        self.rejects = self.place.with_name(f"{stem}.rejects.parquet")
        self.work = self.place.with_name(f".{self.place.name}.scoring")
        if not self.place.parent.is_dir():
            raise InvalidArgument(
                f"there is no folder {self.place.parent}", hint=f"mkdir -p {self.place.parent}"
            )
        foreign = self.place.is_dir() and any(self.place.iterdir())
        if foreign and not (self.place / MARK).exists():
            raise InvalidArgument(
                f"{self.place} is a folder with other files in it",
                hint="name a new folder, or a file such as scores.parquet",
            )

    def __str__(self) -> str:
        return str(self.place)

    @contextlib.contextmanager
    def held(self, workspace: Workspace) -> Iterator[None]:
        """Keep others from scoring into the same place.

        Raises
        ------
        InvalidArgument
            Another process does so now.
        """
        name = f"score-{hashlib.sha256(str(self.place).encode()).hexdigest()[:16]}"
        try:
            with workspace.lock(name, timeout=0):
                yield
        except LockTimeout as exc:
            raise InvalidArgument(
                f"{workspace.holder(name)} is scoring into {self.place} now",
                hint="wait for it, or name another output",
            ) from exc

    def state(self) -> dict[str, Any] | None:
        """Return what was saved last; None when there is nothing to go on from."""
        try:
            found = json.loads((self.work / "state.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return dict(found)

    def save(self, state: Mapping[str, Any]) -> None:
        """Save a state; what was settled before is durable."""
        write_atomic(self.work / "state.json", json.dumps(state).encode())
        sync_folder(self.work)

    def sinks(self, schema: pa.Schema) -> tuple[Sink, Sink]:
        """Open where rows, and rejects, are gathered."""
        rows = open_sink(self.kind, self.work / "rows", schema)
        return rows, open_sink(".parquet", self.work / "rejects", REJECTS)

    def publish(self, sealed: str, rejected: str | None) -> None:
        """Move the sealed whole to its place; doing it again, after a kill, does no harm."""
        if rejected is None:
            self.rejects.unlink(missing_ok=True)
        else:
            _move(self.work / "rejects" / rejected, self.rejects)
        _move(self.work / "rows" / sealed, self.place)

    def discard(self) -> None:
        """Forget all unfinished work."""
        shutil.rmtree(self.work, ignore_errors=True)


def _move(source: Path, place: Path) -> None:
    if not source.exists():
        return  # done before the kill
    if place.is_dir():
        replaced = source.with_name("replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        place.rename(replaced)
    source.replace(place)
    sync_folder(place.parent)
