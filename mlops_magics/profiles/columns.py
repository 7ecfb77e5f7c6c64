"""One column in numbers that add up: histogram and moments, or counts by category.

A numeric column's histogram has one bin more than edges at either side: bin ``0`` counts values
below the first edge, bin ``i`` values in ``[edges[i - 1], edges[i])``, the last bin values at or
above the last edge. Datetimes are seconds since 1970; texts are represented by their length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_magics.errors import InvalidArgument
from mlops_magics.profiles import values as read
from mlops_magics.profiles.edges import choose

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Categorical",
    "Column",
    "Numeric",
    "add",
    "codes",
    "count",
    "describe",
    "empty",
    "from_dict",
    "merge",
    "to_dict",
]

COMPLETE = 128  # up to so many categories are all counted by name
TOP = 50  # of more categories, the most frequent are counted by name
UNSEEN = 20  # unseen categories that a window keeps by name


@dataclass(frozen=True, kw_only=True)
class Column:
    """What every column's profile has.

    Attributes
    ----------
    type : str
        ``numeric``, ``boolean``, ``categorical``, ``datetime`` or ``text``.
    nulls : int
        Missing values; all rows where the whole column is missing.
    invalid : int
        Values that cannot be read as the column's type, and infinities.
    distinct : int or None
        Number of different values; unknown once profiles were merged.
    """

    type: str
    nulls: int = 0
    invalid: int = 0
    distinct: int | None = None

    @property
    def bins(self) -> NDArray[np.int64]:
        """Counts by bin; bins of two profiles on the same reference correspond."""
        raise NotImplementedError

    @property
    def count(self) -> int:
        """Values that are neither null nor invalid."""
        return int(self.bins.sum())


@dataclass(frozen=True, kw_only=True)
class Numeric(Column):
    """A numeric, datetime or text column: histogram and moments.

    Attributes
    ----------
    edges : tuple of float
        Ascending; see the module's text for the bins.
    counts : tuple of int
        ``len(edges) + 1`` counts.
    min, max, mean : float or None
        None when there is no value.
    m2 : float
        Sum of squared deviations from the mean.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    m2: float = 0.0

    @property
    def bins(self) -> NDArray[np.int64]:
        return np.asarray(self.counts, dtype=np.int64)

    @property
    def variance(self) -> float | None:
        """Sample variance; None below two values."""
        count = sum(self.counts)
        return self.m2 / (count - 1) if count > 1 else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None below two values."""
        return None if self.variance is None else math.sqrt(self.variance)


@dataclass(frozen=True, kw_only=True)
class Categorical(Column):
    """A categorical or boolean column: counts by category.

    Attributes
    ----------
    categories : tuple of str
        The reference's categories, most frequent first.
    counts : tuple of int
        One for each category.
    rest : int
        Values of none of the named categories, where not all are named.
    complete : bool
        Whether ``categories`` are all that the reference has; only then can a new one be told
        from a rare one.
    unseen : mapping of str to int
        Categories that a complete reference does not have.
    unseen_rest : int
        Values of further unseen categories, not kept by name.
    """

    categories: tuple[str, ...]
    counts: tuple[int, ...]
    rest: int = 0
    complete: bool = True
    unseen: Mapping[str, int] = field(default_factory=dict)
    unseen_rest: int = 0

    @property
    def bins(self) -> NDArray[np.int64]:
        """Counts by category, and last everything else."""
        other = self.rest + sum(self.unseen.values()) + self.unseen_rest
        return np.asarray([*self.counts, other], dtype=np.int64)


def describe(series: pd.Series) -> Numeric | Categorical:
    """Profile a column on bins chosen from its values."""
    kind = read.kind(series)
    if kind in ("numeric", "datetime"):
        return _histogram(series, kind, None)
    names, counts = read.texts(series)
    nulls, size = int(series.isna().sum()), sum(counts)
    if kind == "categorical" and len(names) > TOP and len(names) > 0.5 * size:
        return replace(_histogram(series, "text", None), distinct=len(names))
    kept = len(names) if len(names) <= COMPLETE else TOP
    return Categorical(
        type=kind,
        nulls=nulls,
        distinct=len(names),
        categories=tuple(names[:kept]),
        counts=tuple(counts[:kept]),
        rest=sum(counts[kept:]),
        complete=kept == len(names),
    )


def _histogram(series: pd.Series, kind: str, edges: tuple[float, ...] | None) -> Numeric:
    numbers, nulls = read.numbers(series, kind)
    values = np.sort(numbers[np.isfinite(numbers)])
    invalid = len(series) - nulls - len(values)
    distinct = None
    if edges is None:
        edges = choose(values)
        distinct = int(np.count_nonzero(np.diff(values))) + 1 if len(values) else 0
    size = len(values)
    counts = np.diff(np.searchsorted(values, edges, "left"), prepend=0, append=size)
    mean = float(values.mean()) if size else None
    return Numeric(
        type=kind,
        nulls=nulls,
        invalid=invalid,
        distinct=distinct,
        edges=edges,
        counts=tuple(counts.tolist()),
        min=float(values[0]) if size else None,
        max=float(values[-1]) if size else None,
        mean=mean,
        m2=0.0 if mean is None else float(np.square(values - mean).sum()),
    )


def codes(series: pd.Series, reference: Numeric | Categorical) -> NDArray[np.int16]:
    """Return the bin of each value of a column; after the bins come nulls, then invalid values."""
    size = len(reference.bins)
    missing = series.isna().to_numpy(dtype=bool)
    if isinstance(reference, Numeric):
        numbers, _ = read.numbers(series, reference.type)
        found = np.searchsorted(reference.edges, numbers, side="right")
        found[~np.isfinite(numbers)] = size + 1
    else:
        known = {name: place for place, name in enumerate(reference.categories)}
        places, names = read.names(series)
        # the last of all stands for the places of nulls, -1
        found = np.array([*(known.get(name, size - 1) for name in names), size])[places]
    return np.where(missing, size, found).astype(np.int16)


def count(series: pd.Series, reference: Numeric | Categorical) -> Numeric | Categorical:
    """Profile a column on a reference's bins."""
    if isinstance(reference, Numeric):
        return _histogram(series, reference.type, reference.edges)
    found = dict(zip(*read.texts(series), strict=True))
    counts = tuple(found.pop(name, 0) for name in reference.categories)
    zero = empty(reference, int(series.isna().sum()))
    assert isinstance(zero, Categorical)
    if not reference.complete:
        return replace(zero, counts=counts, rest=sum(found.values()))
    named = dict(list(found.items())[:UNSEEN])
    further = sum(found.values()) - sum(named.values())
    return replace(zero, counts=counts, unseen=named, unseen_rest=further)


def empty(reference: Numeric | Categorical, nulls: int) -> Numeric | Categorical:
    """Return the profile of a column of nothing but nulls, on a reference's bins."""
    zeros = (0,) * len(reference.counts)
    if isinstance(reference, Numeric):
        return Numeric(type=reference.type, nulls=nulls, edges=reference.edges, counts=zeros)
    return Categorical(
        type=reference.type,
        nulls=nulls,
        categories=reference.categories,
        counts=zeros,
        complete=reference.complete,
    )


def add(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add counts by name."""
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def merge(name: str, parts: Sequence[Numeric | Categorical]) -> Numeric | Categorical:
    """Add the profiles of one column; see `Profile.merge_all`."""
    first = parts[0]
    nulls = sum(part.nulls for part in parts)
    invalid = sum(part.invalid for part in parts)
    if isinstance(first, Numeric):
        histograms = [part for part in parts if isinstance(part, Numeric)]
        if len(histograms) == len(parts) and all(part.edges == first.edges for part in histograms):
            return _merge_numeric(first, histograms, nulls, invalid)
    else:
        counted = [part for part in parts if isinstance(part, Categorical)]
        if len(counted) == len(parts) and all(p.categories == first.categories for p in counted):
            ranked = sorted(add(p.unseen for p in counted).items(), key=lambda kv: (-kv[1], kv[0]))
            return replace(
                first,
                nulls=nulls,
                distinct=None,
                counts=tuple(
                    np.sum([part.counts for part in counted], axis=0).astype(int).tolist()
                ),
                rest=sum(part.rest for part in counted),
                unseen=dict(ranked[:UNSEEN]),
                unseen_rest=sum(part.unseen_rest for part in counted)
                + sum(count for _, count in ranked[UNSEEN:]),
            )
    raise InvalidArgument(
        f"the profiles of column {name!r} were not made on the same reference",
        hint="make each with Profile.of(frame, reference)",
    )


def _merge_numeric(first: Numeric, parts: Sequence[Numeric], nulls: int, invalid: int) -> Numeric:
    table = np.array([part.counts for part in parts], dtype=np.int64)
    filled = [part for part in parts if part.mean is not None]
    mean, m2 = None, 0.0
    if filled:
        sizes = np.array([sum(part.counts) for part in filled], dtype=float)
        means = np.array([part.mean for part in filled], dtype=float)
        mean = float(sizes @ means / sizes.sum())
        m2 = float(sum(part.m2 for part in filled) + sizes @ np.square(means - mean))
    return replace(
        first,
        nulls=nulls,
        invalid=invalid,
        distinct=None,
        counts=tuple(table.sum(axis=0).tolist()),
        min=min((part.min for part in filled if part.min is not None), default=None),
        max=max((part.max for part in filled if part.max is not None), default=None),
        mean=mean,
        m2=m2,
    )


def to_dict(column: Numeric | Categorical, *, edges: bool) -> dict[str, Any]:
    """Return plain JSON values; without ``edges``, only what a reference does not have."""
    always = ("type", "edges", "categories", "complete") if edges else ()
    found: dict[str, Any] = {key: getattr(column, key) for key in always if hasattr(column, key)}
    for key, value in vars(column).items():
        # unknown, zero counts and no unseen categories are the defaults
        absent = value is None or value == {} or (key in _COUNTS and value == 0)
        if key not in _FIXED and not absent:
            found[key] = value
    return {key: list(v) if isinstance(v, tuple) else v for key, v in found.items()}


_COUNTS = ("nulls", "invalid", "rest", "unseen_rest")
_FIXED = ("type", "edges", "categories", "complete")


def from_dict(
    name: str, entry: Mapping[str, Any], reference: Numeric | Categorical | None
) -> Numeric | Categorical:
    """Read what `to_dict` wrote.

    Raises
    ------
    InvalidArgument
        There are neither edges nor a reference that fits.
    """
    values: Any = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
    if "edges" in values:
        return Numeric(**values)
    if "categories" in values:
        return Categorical(**values)
    if reference is None or len(values.get("counts", ())) != len(reference.counts):
        raise InvalidArgument(f"the profile of column {name!r} does not fit its reference")
    return replace(empty(reference, 0), **values)
