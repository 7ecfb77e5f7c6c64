"""Encoders and imputers: scikit-learn's, for text and numbers with missing values.

ONNX's text has no missing value, so one character that no text has stands for it (`MISSING`).
What an encoder gives for a category is looked up in a table that the encoder itself has filled,
so that infrequent, dropped, missing and unknown categories are as it has them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mlops_magics.packaging.graph import ML, Graph
from mlops_magics.store.onnx import MISSING

__all__ = ["converters"]

_UNKNOWN = "\ufffe"
_EXACT = 2.0**53


def _encoder(scope: Any, operator: Any, container: Any) -> None:
    graph = Graph(scope, operator, container)
    model, columns = graph.model, graph.columns()
    if len(columns) != len(model.categories_):
        raise NotImplementedError(f"{len(columns)} columns for {len(model.categories_)} encoders")
    ends = np.cumsum(_widths(model))
    parts = []
    for index, ((column, text), categories) in enumerate(
        zip(columns, model.categories_, strict=True)
    ):
        width = _widths(model)[index]
        if width:
            table = _table(model, index, categories, text)[:, ends[index] - width : ends[index]]
            code = (_text_code if text else _number_code)(graph, column, categories)
            parts.append(graph.node("Gather", graph.constant(table), code, axis=0))
    if not parts:
        raise NotImplementedError("no category at all")
    graph.give(parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1))


def _widths(model: Any) -> list[int]:
    found = getattr(model, "_n_features_outs", None)
    if found is None:  # one column, whatever the category
        if getattr(model, "target_type_", "") == "multiclass":
            raise NotImplementedError("encodings of more than two classes")
        found = [1] * len(model.categories_)
    return [int(each) for each in found]


def _table(model: Any, index: int, categories: Any, text: bool) -> Any:
    """Return what the encoder gives for each category of one column, and last for an unknown one.

    Where an unknown category is an error there is no last row: looking it up fails as well.
    """
    known = [next(iter(each)) for each in model.categories_]
    rows = [[*known[:index], each, *known[index + 1 :]] for each in categories]
    if getattr(model, "handle_unknown", "ignore") != "error":  # TargetEncoder knows its mean
        other = _UNKNOWN if text else _other_number(categories)
        rows.append([*known[:index], other, *known[index + 1 :]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.transform(_as_fitted(model, rows))
    found = found.toarray() if hasattr(found, "toarray") else found
    return np.asarray(found, dtype=float)


def _as_fitted(model: Any, rows: list[list[Any]]) -> Any:
    """Return rows in the form in which the encoder was fitted, each category as it knows it."""
    import pandas as pd

    columns = []
    for values in zip(*rows, strict=True):
        text = any(isinstance(each, str) for each in values)
        columns.append(pd.Series(list(values), dtype=object if text else None))
    frame = pd.concat(columns, axis=1)
    names = getattr(model, "feature_names_in_", None)
    return frame.to_numpy() if names is None else frame.set_axis(names, axis=1)


def _other_number(categories: Any) -> float:
    numbers = np.asarray(categories, dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.max() + 1.0) if len(numbers) else 0.0


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _text_code(graph: Graph, column: str, categories: Any) -> str:
    keys = [MISSING if _missing(each) else each for each in categories]
    if not all(isinstance(each, str) for each in keys):
        raise NotImplementedError("categories that are not all text")
    code = graph.node(
        "LabelEncoder",
        column,
        domain=ML,
        keys_strings=[str(each) for each in keys],
        values_int64s=list(range(len(keys))),
        default_int64=len(keys),
    )
    return graph.node("Reshape", code, graph.constant(np.array([-1])))


def _number_code(graph: Graph, column: str, categories: Any) -> str:
    from onnx import TensorProto

    numbers = np.asarray(categories, dtype=float)
    if (np.abs(numbers[~np.isnan(numbers)]) >= _EXACT).any():
        raise NotImplementedError("categories beyond 2^53")
    column = graph.double(column)
    known = numbers[~np.isnan(numbers)]
    hits = graph.node("Equal", column, graph.constant(known.reshape(1, -1)))
    hits = graph.node("Cast", hits, to=TensorProto.INT64)
    if len(known) < len(numbers):  # a missing value is the last category
        missing = graph.node("Cast", graph.node("IsNaN", column), to=TensorProto.INT64)
        hits = graph.node("Concat", hits, missing, axis=1)
    # one column more, which wins when none is hit
    count = len(numbers)
    total = graph.node("ReduceSum", hits, graph.constant(np.array([1])), keepdims=1)
    none = graph.node("Sub", graph.constant(np.array([[1]])), total)
    hits = graph.node("Concat", hits, none, axis=1)
    order = graph.constant(np.arange(count + 1).reshape(-1, 1))
    code = graph.node("MatMul", hits, order)
    return graph.node("Reshape", code, graph.constant(np.array([-1])))


def _encoder_shapes(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    rows = operator.inputs[0].get_first_dimension()
    operator.outputs[0].type = DoubleTensorType([rows, sum(_widths(operator.raw_operator))])


def _imputer(scope: Any, operator: Any, container: Any) -> None:
    from onnx import TensorProto

    graph = Graph(scope, operator, container)
    model, text = graph.model, graph.text
    rows = graph.matrix()
    if text:
        is_missing = graph.node("Equal", rows, graph.constant(_text_marker(model)))
        fill = np.array([each if isinstance(each, str) else None for each in model.statistics_])
        if any(each is None for each in fill):
            raise NotImplementedError("a column of text that was empty in training")
        kept = np.arange(len(fill))
    else:
        if _missing(model.missing_values):
            is_missing = graph.node("IsNaN", rows)
        else:
            marker = graph.constant(np.array([float(model.missing_values)]))
            is_missing = graph.node("Equal", rows, marker)
        fill = np.asarray(model.statistics_, dtype=float)
        kept = np.flatnonzero(~np.isnan(fill))
    filled = graph.node("Where", is_missing, graph.constant(fill), rows)
    if len(kept) < len(fill):  # columns without a value in training are left out
        filled = graph.node("Gather", filled, graph.constant(kept), axis=1)
    if model.indicator_ is not None:
        if text:
            raise NotImplementedError("add_indicator with text")
        places = graph.constant(np.asarray(model.indicator_.features_, dtype=np.int64))
        marks = graph.node("Gather", is_missing, places, axis=1)
        marks = graph.node("Cast", marks, to=TensorProto.DOUBLE)
        filled = graph.node("Concat", filled, marks, axis=1)
    graph.give(filled)


def _text_marker(model: Any) -> list[str]:
    marker = model.missing_values
    return [MISSING if _missing(marker) else str(marker)]


def _imputer_shapes(operator: Any) -> None:
    from skl2onnx.common import data_types

    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    text = isinstance(operator.inputs[0].type, data_types.StringTensorType)
    width = len(model.statistics_)
    if not text:
        width -= int(np.isnan(np.asarray(model.statistics_, dtype=float)).sum())
    if model.indicator_ is not None:
        width += len(model.indicator_.features_)
    kind = data_types.StringTensorType if text else data_types.DoubleTensorType
    operator.outputs[0].type = kind([rows, width])


def converters() -> dict[type, tuple[Any, Any]]:
    """Return converter and shape calculator by transformer's type."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    return {
        TargetEncoder: (_encoder, _encoder_shapes),
        OneHotEncoder: (_encoder, _encoder_shapes),
        OrdinalEncoder: (_encoder, _encoder_shapes),
        SimpleImputer: (_imputer, _imputer_shapes),
    }
