"""Signatures: which columns a model takes and gives, in MLflow's JSON form.

Written here rather than by ``mlflow.models.infer_signature``, which marks every column required
and warns about each integer: a column without a null in the training data is required, one with
nulls is optional, and an integer stays an integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlops_magics.errors import DataError

__all__ = ["categories_of", "column_type", "input_columns", "output_columns"]


def input_columns(data: Any) -> list[dict[str, Any]]:
    """Describe a training frame's columns, or the arrays that a model was trained on.

    Parameters
    ----------
    data : DataFrame of shape (n_rows, n_features), array of shape (n_rows, ...), or arrays by name
        All rows that the model was trained on: one null makes a column optional.

    Raises
    ------
    DataError
        A column's or array's type has no counterpart in MLflow's signatures.

    Examples
    --------
    >>> frame = pd.DataFrame({"hour": [5, 6], "wind": [3.2, None]})
    >>> [(c["name"], c["type"], c["required"]) for c in input_columns(frame)]
    [('hour', 'long', True), ('wind', 'double', False)]
    >>> input_columns(np.zeros((5, 3)))[0]["tensor-spec"]
    {'dtype': 'float64', 'shape': [-1, 3]}
    """
    if isinstance(data, np.ndarray):
        return [_tensor(data)]
    if isinstance(data, dict):
        return [{**_tensor(array), "name": name} for name, array in data.items()]
    described = []
    for name in data.columns:
        if not isinstance(name, str):
            raise DataError(
                f"column {name!r} has a name that is no text",
                hint="name the columns: data.columns = [...]",
            )
        column = data[name]
        if isinstance(column, pd.DataFrame):
            raise DataError(f"column {name!r} occurs {column.shape[1]} times")
        described.append(
            {"type": column_type(column), "name": name, "required": not column.isna().any()}
        )
    return described


def _tensor(array: np.ndarray) -> dict[str, Any]:
    kind = array.dtype.kind
    if kind in "OUS":
        values = array.reshape(-1).tolist()
        if not all(isinstance(value, str) for value in values):
            raise DataError(
                f"an array of {array.dtype} holds other values than texts, which no signature "
                "can state",
                hint="give a DataFrame, or an array of numbers",
            )
    elif kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(f"an array of {array.dtype} has no counterpart in MLflow's signatures")
    spec = {
        "dtype": "object" if kind in "OUS" else array.dtype.name,
        "shape": [-1, *array.shape[1:]],
    }
    required = not (kind == "f" and np.isnan(array).any())
    return {"type": "tensor", "tensor-spec": spec, "required": required}


def column_type(column: pd.Series) -> str:
    """Return MLflow's name of a column's type.

    Examples
    --------
    >>> column_type(pd.Series(["EWR", None])), column_type(pd.Series([1], dtype="int16"))
    ('string', 'integer')
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return column_type(pd.Series(dtype.categories))
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_integer_dtype(dtype):
        small = dtype.itemsize < 4 or (dtype.itemsize == 4 and dtype.kind == "i")
        return "integer" if small else "long"
    if pd.api.types.is_float_dtype(dtype):
        return "float" if dtype.itemsize <= 4 else "double"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "datetime"
    if isinstance(dtype, pd.StringDtype):
        return "string"
    kind = pd.api.types.infer_dtype(column, skipna=True)
    known = {
        "string": "string",
        "empty": "string",
        "boolean": "boolean",
        "bytes": "binary",
        "integer": "long",
        "floating": "double",
        "mixed-integer-float": "double",
        "datetime": "datetime",
        "datetime64": "datetime",
        "date": "datetime",
    }
    if kind not in known:
        raise DataError(
            f"column {column.name!r} holds {kind} values ({dtype}), which no signature can state",
            hint=f"convert it, for example: data[{column.name!r}].astype(str)",
        )
    return known[kind]


def categories_of(data: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the categories of the columns of pandas' category type, as JSON values."""
    return {
        str(name): data[name].cat.categories.tolist()
        for name in data.columns
        if isinstance(data[name].dtype, pd.CategoricalDtype)
    }


def output_columns(values: Any) -> list[dict[str, Any]]:
    """Describe what a model gave for some rows.

    Raises
    ------
    DataError
        Neither an array nor a Series, a DataFrame or a list of values.

    Examples
    --------
    >>> output_columns(np.array([[0.2, 0.8]]))
    [{'type': 'tensor', 'tensor-spec': {'dtype': 'float64', 'shape': [-1, 2]}}]
    """
    if isinstance(values, pd.DataFrame):
        return input_columns(values)
    if isinstance(values, pd.Series):
        name = str(values.name) if values.name is not None else "prediction"
        return [{"type": column_type(values), "name": name, "required": True}]
    if isinstance(values, (list, tuple)):
        return [{"type": column_type(pd.Series(list(values))), "required": True}]
    if not isinstance(values, np.ndarray) or values.ndim == 0:
        raise DataError(
            f"the model gave a {type(values).__name__}, not one value for each row",
            hint="give back a NumPy array, a Series or a DataFrame with one entry for each row",
        )
    dtype = "object" if values.dtype.kind in "OUST" else str(values.dtype)
    spec = {"dtype": dtype, "shape": [-1, *values.shape[1:]]}
    return [{"type": "tensor", "tensor-spec": spec}]
