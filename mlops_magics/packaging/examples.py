"""Examples inside a package: input example, golden predictions, reference profile."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from mlops_magics.records import plain

__all__ = ["golden_rows", "outputs_of", "reference_frame", "same_outputs", "split"]

GOLDEN = 20
REFERENCE = 50_000


UNNAMED = "input"
"""The column that a single array stands in, where rows are written as a table."""


def split(data: Any) -> dict[str, Any]:
    """Return rows in MLflow's ``dataframe_split`` form: columns, and data as JSON values.

    Of arrays, a row's entry is a nested list.

    Examples
    --------
    >>> split(pd.DataFrame({"hour": [5], "wind": [float("nan")]}))
    {'columns': ['hour', 'wind'], 'data': [[5, None]]}
    >>> split(np.array([[1, 2], [3, 4]]))
    {'columns': ['input'], 'data': [[[1, 2]], [[3, 4]]]}
    """
    if not isinstance(data, pd.DataFrame):
        named = data if isinstance(data, dict) else {UNNAMED: data}
        listed = [plain(array.tolist()) for array in named.values()]
        return {"columns": list(named), "data": [list(row) for row in zip(*listed, strict=True)]}
    text = data.to_json(orient="split", index=False, date_format="iso", double_precision=15)
    parsed: dict[str, Any] = json.loads(text)
    return {"columns": parsed["columns"], "data": parsed["data"]}


def take(data: Any, rows: Any) -> Any:
    """Return rows by their places, of a DataFrame, an array or arrays by name."""
    if isinstance(data, pd.DataFrame):
        return data.iloc[rows].reset_index(drop=True)
    if isinstance(data, dict):
        return {name: array[rows] for name, array in data.items()}
    return data[rows]


def count(data: Any) -> int:
    """Count rows, of a DataFrame, an array or arrays by name."""
    return len(next(iter(data.values()))) if isinstance(data, dict) else len(data)


def golden_rows(data: Any, rows: int = GOLDEN, seed: int = 0) -> Any:
    """Choose rows that exercise a model: nulls, rare categories, extremes, then chance.

    Parameters
    ----------
    data : DataFrame of shape (n_rows, n_features), array, or arrays by name
        The training features.
    rows : int
        At most so many.
    seed : int
        Of the random ones.
    """
    chosen: dict[int, None] = {}
    for name in data.columns if isinstance(data, pd.DataFrame) else ():
        column = data[name]
        missing = column.isna().to_numpy()
        if missing.any():
            chosen[int(missing.argmax())] = None
        if pd.api.types.is_numeric_dtype(column.dtype):
            numbers = column.to_numpy(dtype=float, na_value=np.nan)
            if not np.isnan(numbers).all():
                chosen[int(np.nanargmax(numbers))] = None
        else:
            counts = column.value_counts()
            counts = counts[counts > 0]
            if len(counts):
                rarest = (column == counts.index[-1]).to_numpy(dtype=bool, na_value=False)
                chosen[int(rarest.argmax())] = None
    # half of the rows are ordinary ones, however many columns there are
    special = list(chosen)[: rows // 2]
    order = np.random.default_rng(seed).permutation(count(data))[:rows]
    places = list(dict.fromkeys([*special, *order.tolist()]))[:rows]
    return take(data, sorted(places))


def outputs_of(values: Any) -> list[Any]:
    """Return predictions as JSON values, one entry for each row.

    Examples
    --------
    >>> outputs_of(np.array([[0.25, 0.75]])), outputs_of(pd.Series(["late"]))
    ([[0.25, 0.75]], ['late'])
    """
    if isinstance(values, pd.DataFrame):
        rows = json.loads(values.to_json(orient="records", date_format="iso", double_precision=15))
        return list(rows)
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return list(plain(listed))


def same_outputs(first: Any, second: Any) -> bool:
    """Tell whether two lists of predictions agree: labels equal, numbers to 1e-9 relatively."""
    left, right = outputs_of(first), outputs_of(second)
    if left == right:
        return True
    try:
        a, b = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    except (ValueError, TypeError):
        return False
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)


def reference_frame(data: Any, predicted: Any, classes: list[Any] | None) -> pd.DataFrame:
    """Return training features and the predictions on them, the latter as ``prediction``.

    Parameters
    ----------
    data : DataFrame of shape (n_rows, n_features), array, or arrays by name
        The training features, or a sample of them; of arrays only the predictions are taken.
    predicted : array-like
        The model's output for these rows; of probabilities, the last class's where there are two,
        else the most probable class.
    classes : list, optional
        Names of the probabilities' columns.
    """
    values = _one_column(predicted, classes)
    frame = data.copy(deep=False) if isinstance(data, pd.DataFrame) else pd.DataFrame()
    if values is not None and "prediction" not in frame.columns:
        frame["prediction"] = values
    return frame


def _one_column(predicted: Any, classes: list[Any] | None) -> Any:
    if isinstance(predicted, pd.DataFrame):
        return predicted.iloc[:, 0].to_numpy() if predicted.shape[1] == 1 else None
    values = np.asarray(predicted)
    if values.ndim == 1:
        return values
    if values.ndim == 2 and values.shape[1] <= 2:
        return values[:, -1]
    if values.ndim == 2 and classes and len(classes) == values.shape[1]:
        return np.asarray([str(name) for name in classes])[values.argmax(axis=1)]
    return None
