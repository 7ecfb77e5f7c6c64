"""The catalogue of datasets: list, search, show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.cards import Badge, Card, Code, Grid, Spark, Time
from mlops_magics.records import Record, Table
from mlops_magics.store import datasets as store
from mlops_magics.store import tables
from mlops_magics.store.datasets import DatasetVersion
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Dataset", "Datasets", "Listed", "dataset", "datasets"]

_SHOWN = 60  # columns of a card


@dataclass(frozen=True)
class Dataset(DatasetVersion):
    """A dataset version as ``ingest`` and ``dataset`` return it.

    Attributes
    ----------
    unchanged : bool
        Whether ``ingest`` found the same content under this name already.
    latest : int
        The name's latest version.
    """

    unchanged: bool = False
    latest: int = 0

    @property
    def df(self) -> pd.DataFrame:
        """The rows, loaded anew at each call."""
        return self.read()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the reference as JSON values."""
        return {"ref": self.ref, **super().to_dict()}

    def card(self) -> Card:
        """Show the facts, and a line for each column."""
        facts: list[tuple[str, Any]] = [
            ("rows", self.rows),
            ("columns", self.columns),
            ("digest", Code(self.digest[:12])),
            ("source", _origin(self.source)),
            ("owner", self.owner),
            ("created", Time(self.created)),
        ]
        facts += [("about", self.description)] if self.description else []
        facts += [("tags", self.tags)] if self.tags else []
        notes = []
        if self.latest > 1:
            which = "" if self.latest > self.version else ", the latest"
            notes.append(
                f"Version {self.version} of {self.latest}{which}; one is named as "
                f"{self.name}/1, the latest as {self.name}."
            )
        if self.columns > _SHOWN:
            notes.append(f"{self.columns - _SHOWN} more columns are in .schema and .profile.")
        return Card(
            title=self.name,
            subtitle=f"version {self.version}",
            badge=Badge("unchanged: this content was here already") if self.unchanged else None,
            facts=facts,
            grids=[
                Grid(
                    columns=["column", "type", "missing", "values", "distribution"],
                    rows=[self._line(column) for column in self.schema[:_SHOWN]],
                )
            ],
            notes=notes,
        )

    def _line(self, column: Mapping[str, Any]) -> list[Any]:
        profile = self.profile.get("columns", {}).get(column["name"], {})
        nulls = profile.get("nulls", 0)
        return [
            column["name"],
            column["type"],
            f"{nulls / self.rows:.1%}" if nulls else "",
            _range(column, profile),
            Spark(_bars(profile)),
        ]


def _range(column: Mapping[str, Any], profile: Mapping[str, Any]) -> str:
    if "distinct" in column and "categories" not in column:
        top = profile.get("categories") or []
        shown = ", ".join(str(name)[:24] for name in top[:3])
        return f"{column['distinct']:,} different" + (f": {shown}, …" if shown else "")
    if column.get("min") is not None and column.get("max") is not None:
        low, high = (_bound(column[side]) for side in ("min", "max"))
        return low if low == high else f"{low} to {high}"
    names = [str(name)[:24] for name in profile.get("categories") or column.get("categories", [])]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _bound(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    # a time's zeros after the full second say nothing
    return str(value).replace(".000000", "")


def _bars(profile: Mapping[str, Any]) -> list[float]:
    """Return at most 24 bars: the first categories, or a histogram in equal steps.

    A profile's bins may be quantiles; drawn with equal widths they would look flat.
    """
    counts = [float(count) for count in profile.get("counts", ())]
    edges = [float(edge) for edge in profile.get("edges", ())]
    if len(edges) < 2:
        return counts[:24]
    inner = counts[1:-1]
    steps = min(24, len(inner))
    width = (edges[-1] - edges[0]) / steps
    bars = [0.0] * steps
    for count, low, high in zip(inner, edges, edges[1:], strict=False):
        for step in range(steps):
            left = edges[0] + step * width
            overlap = min(high, left + width) - max(low, left)
            bars[step] += count * max(0.0, overlap) / (high - low)
    # what lies outside of the edges is shown at the ends
    return [bars[0] + counts[0], *bars[1:-1], bars[-1] + counts[-1]] if steps > 1 else bars


def _origin(source: Mapping[str, Any]) -> str:
    parts = [str(source.get("url") or source.get("kind") or "unknown")]
    if len(source.get("files", ())) > 1:
        parts.append(f"({len(source['files'])} files)")
    if source.get("query"):
        query = " ".join(str(source["query"]).split())
        parts.append(query if len(query) <= 80 else query[:79] + "…")
    return " ".join(parts)


@dataclass(frozen=True)
class Listed(Record):
    """A line of the catalogue: a dataset's latest version."""

    name: str
    version: int
    digest: str
    rows: int
    columns: int
    owner: str
    description: str
    tags: dict[str, str]
    created: float


@dataclass(frozen=True)
class Datasets(Table):
    """The latest version of each dataset."""

    search: str | None = None

    def title(self) -> str:
        """Return the card's title."""
        return f"Datasets with {self.search!r}" if self.search else "Datasets"

    def empty(self) -> str:
        """Return what to do when there is none."""
        if self.search:
            return f"No dataset has {self.search!r} in name, column, tag, owner or description."
        return "No dataset yet; make one: mlops ingest SOURCE NAME"

    def cells(self, row: Listed) -> Mapping[str, Any]:
        """Return what to show of one dataset."""
        cells: dict[str, Any] = {
            "name": row.name,
            "version": row.version,
            "rows": row.rows,
            "columns": row.columns,
            "owner": row.owner,
            "created": Time(row.created),
        }
        if any(other.tags for other in self.rows):
            cells["tags"] = row.tags or ""
        if any(other.description for other in self.rows):
            cells["about"] = row.description
        return cells


def datasets(search: str | None = None, *, workspace: Workspace | None = None) -> Datasets:
    """List the datasets, each with its latest version, newest first.

    Parameters
    ----------
    search : str, optional
        Only those with this text in name, a column's name, tags, owner or description; in
        capitals or not.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from mlops_magics.data import ingest
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> _ = ingest(pd.DataFrame({"carrier": ["UA", "AA"]}), "flights", workspace=workspace)
    >>> [found.name for found in datasets("CARRIER", workspace=workspace)]
    ['flights']
    """
    workspace = resolve(workspace)
    table = tables.datasets
    latest = (
        sa.select(table.c.name, sa.func.max(table.c.version).label("version"))
        .group_by(table.c.name)
        .subquery()
    )
    names = list(Listed.__dataclass_fields__)
    query = (
        sa.select(*(table.c[name] for name in names), table.c.schema)
        .join(latest, (table.c.name == latest.c.name) & (table.c.version == latest.c.version))
        .order_by(table.c.created.desc())
    )
    with workspace.database.read() as connection:
        found = connection.execute(query).all()
    rows = []
    for row in found:
        fields = dict(row._mapping)
        columns = [column["name"] for column in fields.pop("schema")]
        listed = Listed(**fields)
        texts = [listed.name, listed.owner, listed.description, *columns]
        texts += [f"{key}={value}" for key, value in listed.tags.items()]
        if not search or search.lower() in "\n".join(texts).lower():
            rows.append(listed)
    return Datasets(rows=rows, search=search)


def dataset(ref: str, *, workspace: Workspace | None = None) -> Dataset:
    """Show one dataset version; its rows are in ``.df``.

    Parameters
    ----------
    ref : str
        ``NAME`` (the latest version), ``NAME/VERSION`` or ``NAME@DIGEST``.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    DatasetNotFound
        There is none; the hint has the nearest name.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from mlops_magics.data import ingest
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> _ = ingest(pd.DataFrame({"x": [1, 2]}), "numbers", workspace=workspace)
    >>> dataset("numbers/1", workspace=workspace).df["x"].sum()
    np.int64(3)
    """
    workspace = resolve(workspace)
    version = store.resolve(workspace, ref)
    table = tables.datasets
    with workspace.database.read() as connection:
        latest = connection.execute(
            sa.select(sa.func.max(table.c.version)).where(table.c.name == version.name)
        ).scalar_one()
    return Dataset(**vars(version), latest=int(latest))
