"""ONNX: a scikit-learn model converted, and kept only where it answers as the native one.

skl2onnx converts, with converters of our own where its operators round to 32 bits or know no
missing text (``trees.py``, ``encoders.py``). All reference rows are then predicted by both.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.errors import MissingExtra
from mlops_magics.packaging import examples, signature
from mlops_magics.packaging.graph import joined
from mlops_magics.records import plain
from mlops_magics.store import onnx as runtime
from mlops_magics.store.onnx import Input, OnnxPredictor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DISTRIBUTIONS", "Outcome", "demand", "write"]

DISTRIBUTIONS = ("onnx", "onnxruntime")
TOLERANCE = 1e-6
"""Absolute, plus as much of the value; what single precision gives, and no decision hangs on."""

_CHUNK = 4096
_SHOWN = 10
_MATRIX = "X"
_PROGRAM = "predict_onnx.py"
_NUMBERS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}


@dataclass(frozen=True)
class Outcome:
    """What became of a conversion.

    Attributes
    ----------
    record : dict
        For ``mlops/onnx.json``; its ``verdict`` is ``equal``, ``differs`` or ``not converted``.
    flavors : mapping
        Sections for MLmodel.
    """

    record: dict[str, Any]
    flavors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def runtime(self) -> str:
        """What serves the package: ``onnx`` or ``native``."""
        return "onnx" if self.record["verdict"] == "equal" else "native"


def demand() -> None:
    """Raise now if what converts is not installed.

    Raises
    ------
    MissingExtra
    """
    try:
        import onnx  # noqa: F401  (asked whether it is there)
        import onnxruntime  # noqa: F401  (likewise)
        import skl2onnx  # noqa: F401  (likewise)
    except ImportError as exc:
        raise MissingExtra("onnx", "ONNX models") from exc


def write(
    folder: Path, model: Any, rows: pd.DataFrame, predict_fn: str, content: Mapping[str, Any]
) -> Outcome:
    """Convert a model into a package's folder, and keep it when it answers the same.

    Nothing fails: what cannot be converted is said in the record.

    Parameters
    ----------
    folder : Path
        Of the package; gets ``model.onnx`` when both answer the same.
    model : object
        The fitted native model.
    rows : DataFrame of shape (n_rows, n_features)
        All are compared.
    predict_fn : str
        What the package answers with.
    content : mapping
        The manifest's part with the signature and the categories.
    """
    base = {
        "skl2onnx": metadata.version("skl2onnx"),
        "onnxruntime": metadata.version("onnxruntime"),
    }
    try:
        _refuse_early(model, predict_fn, content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            serialized, proto, run, inputs, precision = _convert(model, content)
    except Exception as exc:  # converters and ONNX Runtime raise whatever they meet
        return Outcome({**base, "verdict": "not converted", "reason": _reason(exc)})
    outputs = [each.name for each in proto.graph.output]
    facts = {
        **base,
        "opset": {each.domain or "ai.onnx": each.version for each in proto.opset_import},
        "precision": precision,
        "inputs": [
            {"name": each.name, "columns": list(each.columns), "kind": each.kind} for each in inputs
        ],
        "output": outputs[1 if predict_fn == "predict_proba" else 0],
        "tolerance": {"absolute": TOLERANCE, "relative": TOLERANCE},
        "rows": len(rows),
    }
    if any(each.kind == "str" for each in inputs):
        facts["missing"] = runtime.MISSING
    try:
        compared = _compare(model, run, content, inputs, outputs, rows)
    except Exception as exc:  # likewise, when it runs
        return Outcome({**facts, "verdict": "not converted", "reason": _reason(exc)})
    if compared["verdict"] != "equal":
        return Outcome({**facts, **compared})
    (folder / runtime.MODEL).write_bytes(serialized)
    shutil.copyfile(Path(__file__).with_name(_PROGRAM), folder / "mlops" / _PROGRAM)
    section = {
        "data": runtime.MODEL,
        "onnx_version": metadata.version("onnx"),
        "providers": ["CPUExecutionProvider"],
    }
    return Outcome({**facts, **compared}, {"onnx": section})


class _Refused(Exception):
    """Why a model is not converted, in words for its card."""


def _reason(exc: Exception) -> str:
    if isinstance(exc, _Refused):
        return str(exc)
    missing = re.search(r"type '<class '([\w.]+)'>'", str(exc))
    if missing:
        return f"skl2onnx has no converter for {missing[1]}"
    first = str(exc).strip().splitlines()[0] if str(exc).strip() else ""
    return f"{type(exc).__name__}: {first}"[:500]


# --- conversion ---


def _refuse_early(model: Any, predict_fn: str, content: Mapping[str, Any]) -> None:
    """Raise for what skl2onnx would only stumble over."""
    kind = type(model)
    if kind.__module__.startswith("xgboost."):
        raise _Refused("XGBoost models are served by XGBoost itself")
    if not hasattr(model, "get_params"):
        name = getattr(model, "__name__", kind.__name__)
        raise _Refused(f"{name} is no scikit-learn model, and Python code cannot be converted")
    if predict_fn not in ("predict", "predict_proba"):
        raise _Refused(f"{predict_fn} has no counterpart; predict and predict_proba have")
    if content["signature"]["inputs"][0]["type"] == "tensor":
        raise _Refused("it takes arrays; a model of a DataFrame's columns can be converted")
    outputs = content["signature"]["outputs"]
    if len(outputs) != 1 or outputs[0]["type"] != "tensor":
        raise _Refused(f"{predict_fn} gives a table, not an array")


def _convert(model: Any, content: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return a model that ONNX Runtime takes, in the best precision that there is.

    Some of skl2onnx's operators exist in single precision only; the comparison shows whether that
    is enough.
    """
    try:
        return _running(model, content, "double")
    except _Refused:
        raise
    except Exception:  # whatever converters and ONNX Runtime raise; the first reason counts
        with contextlib.suppress(Exception):
            return _running(model, content, "single")
        raise


def _running(model: Any, content: Mapping[str, Any], precision: str) -> tuple[Any, ...]:
    """Convert; return serialised model, what it is, its running, its inputs, the precision."""
    proto, inputs = _converted(model, content, precision)
    serialized = proto.SerializeToString()
    return serialized, proto, runtime.session(serialized).run, inputs, precision


def _converted(model: Any, content: Mapping[str, Any], precision: str) -> tuple[Any, list[Input]]:
    """Convert; every column is then text or a number of that precision.

    The types of the signature come before.
    """
    from skl2onnx.common import data_types

    fitted = getattr(model, "best_estimator_", model)
    columns = content["signature"]["inputs"]
    kinds = {column["name"]: _kind(column) for column in columns}
    for name in content["categories"]:
        if kinds[name] != "str":
            raise _Refused(f"column {name!r} has categories that are no text")
    named = "str" in kinds.values() or _chooses_columns(fitted)
    number = data_types.DoubleTensorType if precision == "double" else data_types.FloatTensorType
    if named:
        initial = [
            (name, (data_types.StringTensorType if kind == "str" else number)([None, 1]))
            for name, kind in kinds.items()
        ]
    else:
        initial = [(_MATRIX, number([None, len(kinds)]))]
    proto = _by_skl2onnx(fitted, initial, precision)
    if "str" in kinds.values():
        inputs = [Input(name, (name,), kind) for name, kind in kinds.items()]
    else:
        inputs = [Input(_MATRIX, tuple(kinds), "float64")]
    return joined(proto, inputs, content["categories"], precision), inputs


def _by_skl2onnx(model: Any, initial: list[Any], precision: str) -> Any:
    import skl2onnx

    from mlops_magics.packaging import encoders, trees

    own = {**trees.converters(), **encoders.converters()} if precision == "double" else {}
    convert = functools.partial(
        skl2onnx.convert_sklearn,
        model,
        name="model",
        initial_types=initial,
        target_opset={"": 19, "ai.onnx.ml": 3},
        custom_conversion_functions={kind: pair[0] for kind, pair in own.items()},
        custom_shape_calculators={kind: pair[1] for kind, pair in own.items()},
    )
    if not hasattr(model, "classes_"):
        return convert()
    try:
        return convert(options={id(model): {"zipmap": False}})
    except NameError:  # a classifier without probabilities
        return convert()


def _kind(column: Mapping[str, Any]) -> str:
    """Return the type of a column in the graph; one that can be missing is a float."""
    if column["type"] == "string":
        return "str"
    if column["type"] == "boolean":
        return "bool" if column.get("required", True) else "float64"
    if column["type"] not in _NUMBERS:
        raise _Refused(f"column {column['name']!r} is of type {column['type']}")
    found = _NUMBERS[column["type"]]
    return found if column.get("required", True) or "float" in found else "float64"


def _chooses_columns(model: Any) -> bool:
    from sklearn.compose import ColumnTransformer

    parts = [model, *model.get_params(deep=True).values()]
    return any(isinstance(each, ColumnTransformer) for each in parts)


# --- comparison ---


def _compare(
    model: Any,
    run: Any,
    content: Mapping[str, Any],
    inputs: list[Input],
    outputs: list[str],
    rows: pd.DataFrame,
) -> dict[str, Any]:
    """Compare both on all rows: the value, or the label and the probabilities.

    ``outputs`` names the graph's, in this order.
    """
    fitted = hasattr(model, "classes_")
    methods = {"predict": outputs[0]}
    if fitted and hasattr(model, "predict_proba"):
        methods["predict_proba"] = outputs[1]
    differs = np.zeros(len(rows), dtype=bool)
    greatest, disagreements = 0.0, 0
    answers: dict[str, tuple[Any, Any]] = {}
    for method, output in methods.items():
        native = np.asarray(getattr(model, method)(rows))
        described = {**content["signature"], "outputs": signature.output_columns(native)}
        predictor = OnnxPredictor(run, {**content, "signature": described}, inputs, output)
        parts = [
            predictor.predict(rows.iloc[start : start + _CHUNK])
            for start in range(0, len(rows), _CHUNK)
        ]
        found = np.concatenate(parts)
        answers[method] = native, found
        if method == "predict" and fitted:
            unequal = native != found
            disagreements = int(unequal.sum())
        else:
            gap = _gaps(native, found)
            greatest = max(greatest, float(gap[np.isfinite(gap)].max(initial=0.0)))
            allowed = TOLERANCE + TOLERANCE * np.abs(np.where(np.isfinite(native), native, 0.0))
            unequal = (gap > allowed).reshape(len(rows), -1).any(axis=1)
        differs |= unequal
    places = np.flatnonzero(differs)
    shown = [
        {
            "row": plain(rows.index[place]),
            "inputs": examples.split(rows.iloc[[place]])["data"][0],
            "native": {name: plain(pair[0][[place]].tolist()[0]) for name, pair in answers.items()},
            "onnx": {name: plain(pair[1][[place]].tolist()[0]) for name, pair in answers.items()},
        }
        for place in places[:_SHOWN]
    ]
    return {
        "verdict": "differs" if len(places) else "equal",
        "methods": list(methods),
        "greatest_difference": greatest,
        "label_disagreements": disagreements if fitted else None,
        "rows_that_differ": len(places),
        "differences": shown,
    }


def _gaps(native: Any, found: Any) -> Any:
    """Return the differences; infinite where only one is a number."""
    with np.errstate(invalid="ignore"):
        gap = np.abs(native - found)
    gap[(native == found) | (np.isnan(native) & np.isnan(found))] = 0.0
    gap[np.isnan(gap)] = np.inf
    return gap
