"""Ingestion: from a source to a dataset version."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mlops_magics.data import schema
from mlops_magics.data.catalogue import Dataset
from mlops_magics.errors import InvalidArgument, StoreError
from mlops_magics.records import plain
from mlops_magics.store import datasets as store
from mlops_magics.store import ledger, tables
from mlops_magics.store.workspace import Workspace, resolve, write_atomic

__all__ = ["ingest"]

_ATTEMPTS = 5  # others may take the same version number; each attempt sees one more


def ingest(
    source: Any,
    name: str,
    *,
    query: str | None = None,
    owner: str | None = None,
    tags: Mapping[str, str] | None = None,
    description: str | None = None,
    workspace: Workspace | None = None,
) -> Dataset:
    """Keep a source's rows as a version of a dataset.

    The same content is the same version, whatever the order of rows and columns, the file format
    and layout, or the index; see :mod:`mlops_magics.store.content` for the types that are kept.

    Parameters
    ----------
    source : DataFrame, path, glob, fsspec URL or SQLAlchemy URL
        CSV, TSV, Parquet or JSON lines, also packed (``.csv.zip``).
    name : str
        The dataset's name; letters, digits, ``.``, ``_`` and ``-``.
    query : str, optional
        SQL, for a database.
    owner : str, optional
        Default: who acts.
    tags : mapping, optional
        Added to those of an unchanged version.
    description : str, optional
        What the rows are.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Returns
    -------
    Dataset
        With ``unchanged`` true when this content was a version already.

    Raises
    ------
    SourceUnreadable
        The source is missing or broken.
    DataError
        It has no rows, or columns that a table cannot hold.
    InvalidArgument
        A name, tag or query that cannot be used.

    Examples
    --------
    >>> import os, tempfile, pandas as pd
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> first = ingest(pd.DataFrame({"x": [1, 2, 3]}), "numbers", workspace=workspace)
    >>> again = ingest(pd.DataFrame({"x": [3, 2, 1]}), "numbers", workspace=workspace)
    >>> first.ref, first.rows, again.ref, again.unchanged
    ('numbers/1', 3, 'numbers/1', True)
    """
    workspace = resolve(workspace)
    _check_name(name)
    labels = _check_tags(tags)
    # here, and not above: these load pandas
    from mlops_magics.data import sources
    from mlops_magics.store.content import Content

    rows = sources.read(source, query)
    content = Content.of(rows.data)
    unchanged = _refresh(workspace, name, content.digest, owner, labels, description)
    if unchanged is not None:
        return unchanged

    from mlops_magics.profiles import Profile

    path = workspace.directory("data") / f"{content.digest}.parquet"
    # Arrow packs and the disk syncs without Python's lock: the profile is made meanwhile
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(_write, path, content.table)
        profile = Profile.of(content.frame()).to_dict()
        columns = schema.infer(content.table)
        written.result()
    values = {
        "name": name,
        "digest": content.digest,
        "path": str(path.relative_to(workspace.path)),
        "rows": content.table.num_rows,
        "columns": content.table.num_columns,
        "schema": plain(columns),
        "profile": plain(profile),
        "source": plain(rows.origin),
        "owner": owner or workspace.actor,
        "description": description or "",
        "tags": labels,
        "created": time.time(),
    }
    for _ in range(_ATTEMPTS):
        # another process may take the number, or ingest the same content, in between
        with contextlib.suppress(IntegrityError):
            _insert(workspace, values)
        found = _refresh(workspace, name, content.digest, None, {}, None)
        if found is not None:
            return Dataset(**{**vars(found), "unchanged": found.created != values["created"]})
    raise StoreError(
        f"no version number for {name!r} in {_ATTEMPTS} attempts",
        hint="other processes ingest under this name; try again",
    )


def _check_name(name: object) -> None:
    usable = (
        isinstance(name, str)
        and 0 < len(name) <= 200
        and name[0].isalnum()
        and all(sign.isalnum() or sign in "._-" for sign in name)
    )
    if not usable:
        raise InvalidArgument(
            f"{name!r} cannot be a dataset's name",
            hint="use letters, digits, '.', '_' and '-', for example flights-2013",
        )


def _check_tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    if tags is not None and not isinstance(tags, Mapping):
        raise InvalidArgument(f"tags are {tags!r}, not a mapping", hint='write {"key": "value"}')
    return {str(key): str(value) for key, value in (tags or {}).items()}


def _write(path: Path, table: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists():
        return
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def _insert(workspace: Workspace, values: dict[str, Any]) -> None:
    table = tables.datasets
    with workspace.database.begin() as connection:
        last = connection.execute(
            sa.select(sa.func.max(table.c.version)).where(table.c.name == values["name"])
        ).scalar()
        version = int(last or 0) + 1
        connection.execute(sa.insert(table).values(**values, version=version))
        ledger.append(
            connection,
            actor=workspace.actor,
            action="ingest",
            subject=f"{values['name']}/{version}",
            details={name: values[name] for name in ("digest", "rows", "columns", "source")},
        )


def _refresh(
    workspace: Workspace,
    name: str,
    digest: str,
    owner: str | None,
    tags: Mapping[str, str],
    description: str | None,
) -> Dataset | None:
    """Find the version with this content, and note what is said anew about it."""
    table = tables.datasets
    where = sa.and_(table.c.name == name, table.c.digest == digest)
    said: dict[str, Any] = {}
    if owner:
        said["owner"] = owner
    if description:
        said["description"] = description
    with workspace.database.begin() if said or tags else workspace.database.read() as connection:
        row = connection.execute(sa.select(table).where(where)).first()
        if row is None:
            return None
        if tags:
            said["tags"] = {**row.tags, **tags}
        if said:
            connection.execute(sa.update(table).where(where).values(**said))
            row = connection.execute(sa.select(table).where(where)).one()
        latest = connection.execute(
            sa.select(sa.func.max(table.c.version)).where(table.c.name == name)
        ).scalar_one()
    version = store.from_row(workspace, row)
    return Dataset(**vars(version), unchanged=True, latest=int(latest))
