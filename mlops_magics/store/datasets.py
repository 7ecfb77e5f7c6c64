"""Dataset versions: where the other stages find the rows that a name stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import DatasetNotFound, InvalidArgument, SourceUnreadable, UnknownName
from mlops_magics.records import Record
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DatasetVersion", "find_digest", "read", "resolve"]

_REF = re.compile(r"(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<digest>[0-9a-f]{6,64}))?")
_SHOWN = 12  # versions that an error names


@dataclass(frozen=True)
class DatasetVersion(Record):
    """The facts of one dataset version.

    Attributes
    ----------
    ref : str
        ``name/version``.
    digest : str
        Of the content, 64 hexadecimal digits.
    path : str
        The Parquet file, absolute.
    rows, columns : int
        The table's size.
    schema : list of dict
        For each column: name, type, nullable, and min and max, or categories.
    profile : dict
        ``Profile.to_dict()`` of all rows.
    source : dict
        Where the rows came from.
    created : float
        Seconds since 1970.
    """

    name: str
    version: int
    digest: str
    path: str
    rows: int
    columns: int
    schema: list[dict[str, Any]]
    profile: dict[str, Any] = field(repr=False)
    source: dict[str, Any]
    owner: str
    description: str
    tags: dict[str, str]
    created: float

    @property
    def ref(self) -> str:
        """The name and version that resolve to exactly this."""
        return f"{self.name}/{self.version}"

    def read(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Load the rows, or some columns of them.

        Raises
        ------
        SourceUnreadable
            The file is gone or broken.
        UnknownName
            A column that the dataset does not have.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        known = [column["name"] for column in self.schema]
        for name in columns or ():
            if name not in known:
                raise UnknownName("column", name, known)
        try:
            # read as one file: a folder named key=value would be taken as a column
            frame: pd.DataFrame = pq.ParquetFile(self.path).read(columns=columns).to_pandas()
        except (OSError, pa.ArrowException) as exc:
            raise SourceUnreadable(
                f"the file of dataset {self.ref} cannot be read: {exc}",
                hint="ingest its source again: the same content gets the same file",
            ) from exc
        return frame

    def mlflow_input(self, context: str = "training") -> Any:
        """Return the version as an ``mlflow.entities.DatasetInput`` that a run can hold."""
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        kinds = {column["name"]: column["type"] for column in self.schema}
        spec = [
            {"type": _MLFLOW_TYPES.get(kind, "string"), "name": name, "required": True}
            for name, kind in kinds.items()
        ]
        return DatasetInput(
            Dataset(
                name=self.name,
                digest=self.digest[:32],  # MLflow takes 36 characters
                source_type="local",
                source=json.dumps({"uri": Path(self.path).as_uri()}),
                schema=json.dumps({"mlflow_colspec": spec}),
                profile=json.dumps({"num_rows": self.rows, "digest": self.digest}),
            ),
            [InputTag("mlflow.data.context", context), InputTag("mlops.dataset", self.ref)],
        )


_MLFLOW_TYPES = {
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
    "text": "string",
    "datetime": "datetime",
    "datetime (UTC)": "datetime",
}


def resolve(workspace: Workspace, ref: str) -> DatasetVersion:
    """Find the version that a reference names.

    Parameters
    ----------
    workspace : Workspace
        Where to look.
    ref : str
        ``NAME`` (the latest version), ``NAME/VERSION`` or ``NAME@DIGEST`` with at least six
        digits of the digest.

    Raises
    ------
    DatasetNotFound
        No such name, version or digest; the hint has the nearest.
    InvalidArgument
        Not a reference.
    """
    match = _REF.fullmatch(ref.strip()) if isinstance(ref, str) else None
    if match is None:
        raise InvalidArgument(
            f"{ref!r} is no dataset reference",
            hint="write NAME, NAME/VERSION or NAME@DIGEST (six digits or more)",
        )
    table = tables.datasets
    query = sa.select(table).where(table.c.name == match["name"])
    if match["version"]:
        query = query.where(table.c.version == int(match["version"]))
    if match["digest"]:
        query = query.where(table.c.digest.startswith(match["digest"]))
    with workspace.database.read() as connection:
        row = connection.execute(query.order_by(table.c.version.desc()).limit(1)).first()
        if row is not None:
            return from_row(workspace, row)
        known = connection.execute(sa.select(table.c.name).distinct()).scalars().all()
        versions = connection.execute(
            sa.select(table.c.version, table.c.digest)
            .where(table.c.name == match["name"])
            .order_by(table.c.version.desc())
        ).all()
    if versions:
        shown = [
            f"{match['name']}/{version}" + (f" @{digest[:12]}" if match["digest"] else "")
            for version, digest in versions[:_SHOWN]
        ]
        more = ", …" if len(versions) > _SHOWN else ""
        raise DatasetNotFound(f"no dataset {ref!r}", hint=f"there is {', '.join(shown)}{more}")
    raise DatasetNotFound(
        f"no dataset {match['name']!r}",
        hint=UnknownName("dataset", match["name"], known).hint
        if known
        else f"make it: mlops ingest SOURCE {match['name']}",
    )


def read(workspace: Workspace, ref: str) -> pd.DataFrame:
    """Load the rows of the version that a reference names."""
    return resolve(workspace, ref).read()


def find_digest(workspace: Workspace, digest: str) -> DatasetVersion | None:
    """Find the newest version with exactly this content, under whatever name."""
    table = tables.datasets
    query = sa.select(table).where(table.c.digest == digest).order_by(table.c.created.desc())
    with workspace.database.read() as connection:
        row = connection.execute(query.limit(1)).first()
    return from_row(workspace, row) if row is not None else None


def from_row(workspace: Workspace, row: Any) -> DatasetVersion:
    """Turn a row of the table ``datasets`` into the record."""
    fields = dict(row._mapping)
    fields.pop("id")
    # kept relative, so that a project's folder can be moved
    fields["path"] = str(workspace.path / fields["path"])
    return DatasetVersion(**fields)
