"""Records: what every verb returns.

A record is a frozen dataclass that knows how to show itself: as text in a shell, as a card in a
notebook, as JSON for machines.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlops_magics.cards import Card, Grid

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Record", "Table", "plain"]

RecordT = TypeVar("RecordT", bound="Record")


@dataclasses.dataclass(frozen=True)
class Record:
    """Base of the dataclasses that the verbs return.

    A subclass adds fields, and :meth:`card` to say what a reader should see first. Fields whose
    ``metadata`` has ``hidden=True`` (a DataFrame, a workspace) stay out of :meth:`to_dict`.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Point(Record):
    ...     x: int
    >>> Point(3).to_dict()
    {'x': 3}
    >>> print(Point(3))
    Point
      x  3
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # IPython takes a class's own __repr__, which every dataclass has, before a base's
        # _repr_pretty_
        cls._repr_pretty_ = Record._repr_pretty_  # type: ignore[method-assign]  # the same method

    def card(self) -> Card:
        """Return what to show; the default lists the fields."""
        return Card(title=type(self).__name__, facts=list(self.to_dict().items()))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            field.name: plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata.get("hidden")
        }

    def __str__(self) -> str:
        return self.card().text()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("…" if cycle else str(self))

    def _repr_html_(self) -> str:
        return self.card().html()


@dataclasses.dataclass(frozen=True)
class Table(Record):
    """A record of records: iterable, indexable, and a DataFrame as ``.df``.

    A subclass sets :attr:`columns` (names of the items' fields to show) or overrides
    :meth:`cells`.
    """

    rows: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]

    @property
    def df(self) -> pd.DataFrame:
        """One row for each item, one column for each of its fields."""
        import pandas as pd

        return pd.DataFrame([_mapping(row) for row in self.rows])

    def title(self) -> str:
        """Return the card's title."""
        return type(self).__name__

    def empty(self) -> str:
        """Return what to say, and to do, when there is no row."""
        return "nothing here yet"

    def cells(self, row: Any) -> Mapping[str, Any]:
        """Return what to show of one item, by column title."""
        return _mapping(row)

    def card(self) -> Card:
        """Return a card with one grid."""
        shown = [self.cells(row) for row in self.rows]
        titles = list(dict.fromkeys(title for cells in shown for title in cells))
        grid = Grid(
            columns=titles, rows=[[cells.get(title) for title in titles] for cells in shown]
        )
        if not shown:
            return Card(title=self.title(), notes=[self.empty()])
        return Card(title=self.title(), subtitle=str(len(shown)), grids=[grid])


def _mapping(row: Any) -> dict[str, Any]:
    return row.to_dict() if isinstance(row, Record) else dict(row)


def plain(value: Any) -> Any:
    """Turn a value into what ``json.dumps`` takes; NaN and infinities become None.

    Examples
    --------
    >>> plain({"at": Path("/a"), "score": float("nan"), "pair": (1, 2)})
    {'at': '/a', 'score': None, 'pair': [1, 2]}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Record):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        return plain(value.tolist())
    return str(value)
