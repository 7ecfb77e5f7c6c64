"""A cut: one column's values in a few parts, the same parts in testing and in production."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cut"]

MOST = 12  # parts of a column of categories: the most frequent
QUANTILES = 4  # parts of a column of numbers
MISSING = "missing"


@dataclass(frozen=True)
class Cut:
    """Parts of a column: by value, or between edges; missing values are a part of their own.

    Attributes
    ----------
    column : str
        Its name.
    values : tuple of str
        The most frequent values, as texts; empty where ``edges`` cut.
    edges : tuple of float
        Inner edges; a part has the values below its upper edge.

    Examples
    --------
    >>> cut = Cut.of(pd.Series(["JFK", "EWR", None, "JFK"], name="origin"))
    >>> cut.names, cut.parts(pd.Series(["EWR", "SFO", None])).tolist()
    (('JFK', 'EWR', 'missing'), [1, -1, 2])
    >>> Cut("hour", edges=(9.0, 17.0)).names
    ('below 9', '9 to 17', '17 or more', 'missing')
    """

    column: str
    values: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()

    @classmethod
    def of(cls, series: pd.Series) -> Cut:
        """Choose the parts: each frequent value, or of numbers of many values the quartiles."""
        name = str(series.name)
        numeric = pd.api.types.is_numeric_dtype(series.dtype)
        if numeric and not pd.api.types.is_bool_dtype(series.dtype) and series.nunique() > MOST:
            shares = np.arange(1, QUANTILES) / QUANTILES
            inner = np.unique(series.dropna().astype(float).quantile(shares))
            return cls(name, edges=tuple(float(f"{edge:.6g}") for edge in inner))
        counts = _texts(series).value_counts()
        ranked = sorted(counts.index, key=lambda value: (-counts[value], value))
        return cls(name, values=tuple(ranked[:MOST]))

    @property
    def names(self) -> tuple[str, ...]:
        """What each part is called."""
        if not self.edges:
            return (*self.values, MISSING)
        inner = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(self.edges)]
        return (f"below {self.edges[0]:g}", *inner, f"{self.edges[-1]:g} or more", MISSING)

    def parts(self, series: pd.Series) -> NDArray[np.int64]:
        """Return each value's part by its place in `names`; -1 for a value of none."""
        if not self.edges:
            places = {value: place for place, value in enumerate(self.values)}
            codes, uniques = pd.factorize(_texts(series), use_na_sentinel=True)
            known = np.array([*(places.get(value, -1) for value in uniques), len(self.values)])
            return np.asarray(known[codes], dtype=np.int64)
        numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        found = np.searchsorted(self.edges, numbers, side="right")
        unreadable = np.isnan(numbers) & series.notna().to_numpy()
        found = np.where(np.isnan(numbers), len(self.edges) + 1, found)
        return np.asarray(np.where(unreadable, -1, found), dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        kept: dict[str, Any] = {"column": self.column}
        return kept | ({"edges": list(self.edges)} if self.edges else {"values": list(self.values)})

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Cut:
        """Read what `to_dict` wrote."""
        return cls(value["column"], tuple(value.get("values", ())), tuple(value.get("edges", ())))


def _texts(series: pd.Series) -> pd.Series:
    """Return values as texts, missing ones left out; 1 and 1.0 are one value, as in JSON."""
    uniques = {value: _text(value) for value in series.dropna().unique()}
    return series.map(uniques)


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value)[:120]
