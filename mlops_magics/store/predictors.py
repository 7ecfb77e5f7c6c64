"""Predictors: packages loaded to answer for whole DataFrames, or arrays.

Nothing here unpickles. A package is loaded only after its digest was verified, and only with the
types that its manifest lists; MLflow is not imported to load a scikit-learn package.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import (
    MissingExtra,
    ModelError,
    PackageCorrupt,
    SchemaMismatch,
    UntrustedTypes,
)
from mlops_magics.store import forests, packages

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Predictor",
    "callable_of",
    "cause_of",
    "check_count",
    "distinctive",
    "load",
    "plain_arrays",
]

_HEX64 = re.compile(r"[0-9a-f]{64}")


class Predictor:
    """A loaded model that answers for whole DataFrames, or for arrays if it was trained on them.

    Attributes
    ----------
    model : object
        What the flavour's loader gave: an estimator, a booster, a function's holder.
    manifest : dict
    signature : dict
        ``{"inputs": [...], "outputs": [...]}`` in MLflow's JSON form.
    columns : list of str
        Input columns in the model's order; none of a model that takes arrays.
    """

    def __init__(self, model: Any, manifest: Mapping[str, Any], call: Callable[..., Any]) -> None:
        self.model = model
        self.manifest = dict(manifest)
        self.signature: dict[str, Any] = self.manifest["signature"]
        inputs = [one for one in self.signature["inputs"] if one["type"] != "tensor"]
        self.columns = [str(column["name"]) for column in inputs]
        self._optional = {column["name"] for column in inputs if not column.get("required", True)}
        self._dates = {
            param["name"]
            for param in self.signature.get("params") or ()
            if param["type"] == "datetime"
        }
        self._categories: dict[str, list[Any]] = self.manifest.get("categories") or {}
        self._call = call

    def __repr__(self) -> str:
        return f"Predictor({self.manifest['flavor']}, {len(self.columns)} columns)"

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Predict for each row.

        Parameters
        ----------
        data : DataFrame of shape (n_rows, n_columns)
            At least the signature's required columns, in any order. A model that was packaged
            with an array takes an array of shape (n_rows, ...), or arrays by name.
        params : mapping, optional
            Values of the signature's parameters, dates as texts (RFC 3339).

        Returns
        -------
        ndarray or DataFrame
            One entry for each row, as the model's ``predict_fn`` gives it.
        """
        if self.columns:
            data = self._conform(data)
        return self._call(data, **self._values(params)) if params else self._call(data)

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: _moments(value) if name in self._dates else value
            for name, value in params.items()
        }

    def predict_array(self, block: Any) -> Any:
        """Predict for an array of shape (n_rows, n_columns) with all columns in their order."""
        return self._call(block)

    def _conform(self, data: pd.DataFrame) -> pd.DataFrame:
        if list(data.columns) != self.columns:
            absent = [name for name in self.columns if name not in data.columns]
            if absent:
                required = [name for name in absent if name not in self._optional]
                if required:
                    raise SchemaMismatch(
                        f"column {required[0]!r} is missing; "
                        f"the model needs: {', '.join(self.columns)}"
                    )
                data = data.assign(**dict.fromkeys(absent))
            data = data[self.columns]
        if self._categories:
            import pandas as pd

            # a model trained on categories needs the same codes again
            data = data.assign(
                **{
                    name: pd.Categorical(data[name], categories=values)
                    for name, values in self._categories.items()
                }
            )
        return data


def plain_arrays(model: Any) -> bool:
    """Tell whether a scikit-learn model needs nothing of a DataFrame but its numbers.

    So it is with scikit-learn's own estimators, alone or in a pipeline, that neither choose
    columns by name nor call a function of the user's.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer, StandardScaler
    >>> plain_arrays(make_pipeline(StandardScaler(), LinearRegression()))
    True
    >>> plain_arrays(make_pipeline(FunctionTransformer(), LinearRegression()))
    False
    """
    steps = getattr(model, "steps", None)
    if steps is not None:
        return all(plain_arrays(step) for _, step in steps if step not in (None, "passthrough"))
    kind = type(model)
    # others hold estimators of their own, whose needs are not looked at here
    holds = any(hasattr(model, name) for name in ("estimator", "estimators", "transformers"))
    by_name = kind.__name__ == "FunctionTransformer"
    return kind.__module__.startswith("sklearn.") and not holds and not by_name


def load(path: Path | str, *, digest: str | None = None, runtime: str = "native") -> Predictor:
    """Load a package to predict with.

    Parameters
    ----------
    path : path
        A private copy, as `fetch` gives.
    digest : str, optional
        What the package's digest must be; default: the folder's name, if it is one.
    runtime : {"native", "onnx"}
        What computes it: the model's own library, or ONNX Runtime.

    Raises
    ------
    PackageCorrupt
        The files are not what the digest says.
    UntrustedTypes
        The model file holds types that the manifest does not list.
    MissingExtra
        The model's library is not installed.
    """
    folder = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
    if digest is None and _HEX64.fullmatch(folder.name):
        digest = folder.name
    manifest = packages.verify(folder, digest)
    if runtime == "onnx":
        from mlops_magics.store import onnx

        return onnx.load(folder, manifest)
    loader = _LOADERS.get(manifest["loader"])
    if loader is None:
        raise PackageCorrupt(f"package {folder.name}: unknown loader {manifest['loader']!r}")
    model, call = loader(folder, manifest)
    return Predictor(model, manifest, call)


def callable_of(model: Any, predict_fn: str = "predict") -> Callable[[Any], Any]:
    """Return what predicts for a DataFrame with a live model of any family.

    Examples
    --------
    >>> callable_of(lambda data: data["hour"] > 17).__name__
    '<lambda>'
    """
    if isinstance(model, FunctionType):
        return model
    kind = type(model)
    if kind.__module__.startswith("xgboost.") and kind.__name__ == "Booster":
        from xgboost import DMatrix

        return lambda data: model.predict(DMatrix(data, enable_categorical=True))
    found: Callable[[Any], Any] = getattr(model, predict_fn)
    return found


def distinctive(model: Any) -> Callable[[Any], Any]:
    """Return what tells a live model best from others: its probabilities, else its answers.

    Of a package loaded as code, ``model`` is the module that it was loaded as.
    """
    found: Callable[[Any], Any] | None = getattr(model, "predict_proba", None)
    if callable(found):
        return found
    entry: Callable[[Any], Any] | None = getattr(model, "mlops_predict", None)
    return entry if callable(entry) else callable_of(model)


def cause_of(exc: Exception, features: pd.DataFrame) -> str | None:
    """Return what a person can do about a live model's failure on a DataFrame, where it is known.

    Examples
    --------
    >>> import pandas as pd
    >>> cause_of(ValueError("Input X contains NaN."), pd.DataFrame({"wind": [None, 1.0]}))[:12]
    'NaN in: wind'
    """
    if type(exc).__name__ == "NotFittedError":
        return "it has not been fitted: fit it first, model.fit(train, target)"
    text = str(exc)
    if "NaN" in text or "missing values" in text or "null" in text:
        empty = [str(name) for name in features.columns[features.isna().any()]]
        if empty:
            shown = ", ".join(empty[:8]) + (", …" if len(empty) > 8 else "")
            return (
                f"NaN in: {shown}; fill them inside the model (a pipeline with SimpleImputer), "
                "or leave the rows out"
            )
    return None


def check_count(name: str, answers: Any, features: pd.DataFrame) -> None:
    """Refuse another number of answers than of rows.

    Raises
    ------
    ModelError
        The message says what the model was given.
    """
    count = len(answers) if getattr(answers, "ndim", 1) else 1
    if count == len(features):
        return
    columns = ", ".join(map(str, features.columns[:8])) + (", …" if features.shape[1] > 8 else "")
    hint = "it must answer for each row of the DataFrame that it is given"
    if count == features.shape[1]:
        column = str(features.columns[0])
        hint = (
            "one answer for each column: a text vectorizer takes a DataFrame's column names for "
            "its texts; choose the column inside the model: "
            f"make_column_transformer((TfidfVectorizer(), {column!r}))"
        )
    raise ModelError(
        f"{name} gave {count} answers for {len(features)} rows; it was given a DataFrame of "
        f"{features.shape[1]} columns: {columns}",
        hint=hint,
    )


def _moments(value: Any) -> Any:
    if isinstance(value, list):
        return [_moments(one) for one in value]
    return datetime.datetime.fromisoformat(value) if isinstance(value, str) else value


_Loaded = tuple[Any, Callable[..., Any]]


def _load_skops(folder: Path, manifest: Mapping[str, Any]) -> _Loaded:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    code = folder / "code"
    if code.is_dir() and str(code) not in sys.path:
        sys.path.append(str(code))
    try:
        with _no_bytecode():
            model = skops.io.load(folder / "model.skops", trusted=list(manifest["trusted_types"]))
    except UntrustedTypesFoundException as exc:
        raise UntrustedTypes(
            f"package {folder.name[:12]}: its model file holds types that its manifest does not "
            f"list: {exc}",
            hint="package the model again, naming them: mlops package MODEL --trust TYPE",
        ) from exc
    return model, getattr(forests.quicken(model), str(manifest["predict_fn"]))


def _load_xgboost(folder: Path, manifest: Mapping[str, Any]) -> _Loaded:
    try:
        import xgboost
    except ImportError as exc:
        raise MissingExtra("xgboost", "XGBoost models") from exc
    kind = str(manifest["class"])
    if kind == "Booster":
        booster = xgboost.Booster(model_file=str(folder / "model.ubj"))
        return booster, callable_of(booster)
    found = getattr(xgboost, kind, None)
    if not (isinstance(found, type) and issubclass(found, xgboost.XGBModel)):
        raise PackageCorrupt(f"package {folder.name}: {kind!r} is no XGBoost model class")
    model = found()
    model.load_model(folder / "model.ubj")
    return model, getattr(model, str(manifest["predict_fn"]))


def _load_python(folder: Path, manifest: Mapping[str, Any]) -> _Loaded:
    name = f"mlops_package_{_identifier(folder)}"
    spec = importlib.util.spec_from_file_location(name, folder / "function.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and get_type_hints look their module up there
    with _no_bytecode():
        spec.loader.exec_module(module)
    return module, module.mlops_predict


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """Write no ``__pycache__``: inside a verified package it would be a file nobody verified."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _identifier(folder: Path) -> str:
    """Return a short identifier made of a package folder's name."""
    return re.sub(r"\W", "_", folder.name)[:16]


_LOADERS: dict[str, Callable[[Path, Mapping[str, Any]], _Loaded]] = {
    "skops": _load_skops,
    "xgboost": _load_xgboost,
    "python": _load_python,
}
