"""What the values of a column are: their kind, and they themselves as numbers or as names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["kind", "names", "numbers", "texts"]

LENGTH = 120  # characters of a category's name


def kind(series: pd.Series) -> str:
    """Return ``numeric``, ``boolean``, ``categorical`` or ``datetime``."""
    dtype = series.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if isinstance(dtype, pd.CategoricalDtype):
        return "categorical"
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return "numeric"
    inferred = pd.api.types.infer_dtype(series, skipna=True)
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        return "numeric"
    return {"boolean": "boolean", "date": "datetime", "datetime": "datetime"}.get(
        inferred, "categorical"
    )


def numbers(series: pd.Series, kind: str) -> tuple[NDArray[np.float64], int]:
    """Return a column's values in their order, and how many are null.

    Datetimes are seconds since 1970, texts their length; what is null or cannot be read so is NaN.
    """
    nulls = int(series.isna().sum())
    if kind == "text":
        values = np.full(len(series), np.nan)
        known = series.notna().to_numpy(dtype=bool)
        values[known] = series[known].astype(str).str.len().to_numpy(dtype=float)
    elif kind == "datetime":
        times = pd.to_datetime(series, errors="coerce", utc=True)
        past = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
        values = past.to_numpy(dtype=float, na_value=np.nan)
    elif pd.api.types.is_timedelta64_dtype(series.dtype):
        values = series.dt.total_seconds().to_numpy(dtype=float, na_value=np.nan)
    elif pd.api.types.is_numeric_dtype(series.dtype):
        values = (
            series.to_numpy()
            if isinstance(series.dtype, np.dtype)
            else series.to_numpy(dtype=float, na_value=np.nan)
        )
        values = (values.real if np.iscomplexobj(values) else values).astype(float)
    else:
        values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return values, nulls


def texts(series: pd.Series) -> tuple[list[str], list[int]]:
    """Return categories by falling frequency (ties by name), and their counts."""
    try:
        counted = series.value_counts(dropna=True, sort=False)
    except TypeError:  # values that have no hash: lists, arrays
        counted = series.dropna().map(repr).value_counts(sort=False)
    found: dict[str, int] = {}
    for value, count in zip(counted.index.tolist(), counted.tolist(), strict=True):
        if count:  # a categorical dtype lists what does not occur
            name = _category(value)
            found[name] = found.get(name, 0) + count
    ranked = sorted(found, key=lambda name: (-found[name], name))
    return ranked, [found[name] for name in ranked]


def names(series: pd.Series) -> tuple[NDArray[np.intp], list[str]]:
    """Return the categories of a column, and for each value which of them it is; -1 for nulls."""
    try:
        places, distinct = pd.factorize(series)
    except TypeError:  # values that have no hash: lists, arrays
        places, distinct = pd.factorize(series.map(repr, na_action="ignore"))
    return places, [_category(value) for value in distinct.tolist()]


def _category(value: object) -> str:
    # JSON and null values turn integers into floats; 1 and 1.0 are one category
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)[:LENGTH]
