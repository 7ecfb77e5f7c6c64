"""Package a model: from a live object to a verified folder and a logged model in MLflow."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_magics.errors import (
    InvalidArgument,
    ModelError,
    SignatureMissing,
    UnknownName,
)
from mlops_magics.packaging import examples, folder, logged, onnx, signature
from mlops_magics.packaging.flavors import Written, flavor_of
from mlops_magics.packaging.record import Package, existing, report_given
from mlops_magics.records import plain
from mlops_magics.store import datasets, evidence, foreign, models, predictors, runs
from mlops_magics.store.workspace import Workspace, resolve

__all__ = ["Package", "check", "package"]


def package(
    model: Any,
    *,
    name: str | None = None,
    run: str | None = None,
    data: pd.DataFrame | np.ndarray | Mapping[str, np.ndarray] | str | None = None,
    target: str | None = None,
    predict_fn: str = "predict",
    report: Any = None,
    trust: Sequence[str] = (),
    runtime: str = "native",
    workspace: Workspace | None = None,
) -> Package:
    """Write a model as a package, verify that it predicts the same, and log it in MLflow.

    Parameters
    ----------
    model : object
        A fitted scikit-learn estimator or pipeline, an XGBoost model, a Python function of a
        DataFrame, or an object with ``predict(data)`` whose class and attributes are source. Or a
        reference: ``runs:/RUN/NAME`` or ``models:/m-…`` to what a script has logged with MLflow
        itself, or the path of a ``.skops`` file. What is a package already is given as it is.
    name : str, optional
        In MLflow; default: the name that it was logged with, else the type's.
    run : str, optional
        MLflow's run that trained it: id, its beginning, or name; default: the one that logged it,
        MLflow's active run, or a new one.
    data : DataFrame of shape (n_rows, n_columns), array, arrays by name, or str, optional
        The training rows, or a dataset's reference; default: the dataset of the run. A model
        that was trained on an array of shape (n_rows, ...) is packaged with it, and takes arrays.
    target : str, optional
        A column of ``data`` that is no feature.
    predict_fn : str
        The method that predicts.
    report : TestReport or mapping, optional
        Of this model; default: the run's, if it is of this model.
    trust : sequence of str
        Types that loading may construct beyond scikit-learn's, NumPy's and SciPy's own.
    runtime : {"native", "onnx"}
        With ``onnx`` it is converted too, both are compared on the reference rows, and ONNX
        Runtime serves it where they answer the same; where not, the card says why.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    Package

    Raises
    ------
    UnsupportedModel
        No flavour can write it without pickle.
    UntrustedTypes
        It holds types that ``trust`` does not name.
    SignatureMissing
        There are no training rows to take the signature from.
    EvidenceMissing
        The report given is of another model.
    MissingExtra
        What converts to ONNX is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> flowers = load_iris(as_frame=True)
    >>> model = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)
    >>> packed = package(model, name="iris", data=flowers.data, workspace=workspace)
    >>> packed.flavor, packed.uri.startswith("models:/m-")
    ('sklearn', True)
    """
    workspace = resolve(workspace)
    if runtime not in ("native", "onnx"):
        raise InvalidArgument(f"runtime = {runtime!r} is neither 'native' nor 'onnx'")
    if runtime == "onnx":
        onnx.demand()
    if run is not None:
        run = runs.find(workspace, run).info.run_id
    uri = model if isinstance(model, str) else getattr(model, "uri", None)
    pack = functools.partial(
        _package, workspace, data=data, target=target, report=report, runtime=runtime
    )
    if not isinstance(uri, str):
        return pack(model, name, run, predict_fn, trust)
    found = foreign.find(workspace, uri)
    if isinstance(found, models.ModelRef):
        if models.DIGEST_TAG in found.tags:
            kept = existing(workspace, found, report)
            if runtime == "native" or kept.onnx is not None:
                return kept
            return _package_again(workspace, kept, data, target, report)
        name, run = name or found.name, run or found.run_id or None
        if report is None and found.run_id:  # also when it is packaged under another run
            report = evidence.read_report(workspace, found.run_id, found.model_id)
    with foreign.opened(workspace, found, trust) as live:
        return pack(live, name, run, predict_fn, trust, report=report)


def _package_again(
    workspace: Workspace,
    kept: Package,
    data: pd.DataFrame | str | None,
    target: str | None,
    report: Any,
) -> Package:
    """Package what is a package already once more, converted."""
    loaded = predictors.load(kept.path)
    manifest = loaded.manifest
    # a function was loaded as the module that its source is
    model = loaded.model if manifest["loader"] != "python" else loaded.model.mlops_predict
    known = report or evidence.read_report(workspace, kept.run_id, kept.model_id)
    return _package(
        workspace,
        model,
        kept.name,
        kept.run_id,
        kept.predict_fn,
        manifest["trusted_types"],
        data=data,
        target=target or manifest["target"],
        report=known,
        runtime="onnx",
    )


def _package(
    workspace: Workspace,
    model: Any,
    name: str | None,
    run: str | None,
    predict_fn: str,
    trust: Sequence[str],
    *,
    data: Any,
    target: str | None,
    report: Any,
    runtime: str,
) -> Package:
    flavor = flavor_of(model)
    name = _checked_name(name or _default_name(model))
    features = training_features(workspace, model, data, target, run)
    private = Path(tempfile.mkdtemp(dir=workspace.directory("packages"), prefix=".write-"))
    try:
        (private / "mlops").mkdir()
        written = flavor.write(model, private, predict_fn, tuple(trust))
        draft = _describe(private, written, model, features, predict_fn, runtime)
        draft.content.update(flavor=flavor.name, loader=flavor.loader, target=target)
        folder.write_environment(private, draft.written.distributions)
        with logged.run_of(workspace, run, f"package {name}") as run_id:
            found = _report_of(workspace, run_id, report, model)
            if found is not None:
                folder.write_json(private / "mlops" / "report.json", found)
            model_id, digest = logged.log(workspace, draft, name=name, run_id=run_id, report=found)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    path = workspace.directory("packages") / digest
    return Package.of(path, name=name, model_id=model_id, run_id=run_id, report=found)


def check(
    model: Any,
    *,
    data: Any = None,
    target: str | None = None,
    run: str | None = None,
    workspace: Workspace | None = None,
) -> None:
    """Raise now what `package` would raise for lack of a flavour or of training rows.

    Raises
    ------
    UnsupportedModel, SignatureMissing, UnknownName
        As `package`.
    """
    flavor_of(model)
    training_features(resolve(workspace), model, data, target, run)


def training_features(
    workspace: Workspace,
    model: Any,
    data: Any,
    target: str | None,
    run: str | None = None,
) -> Any:
    """Return the columns that the model was trained on, in its order, or its arrays.

    Raises
    ------
    SignatureMissing
        No data were given, and the run names no dataset of the workspace.
    UnknownName
        The target, or a feature of the model, is no column of the data.
    """
    if data is None:
        data = logged.dataset_of(workspace, run)
        if data is None:
            raise SignatureMissing(
                f"{type(model).__name__} cannot be packaged without its training rows: they give "
                "the signature, the input example and the reference profile",
                hint="name them: --data train   (in Python: data=train)",
            )
    if isinstance(data, str):
        data = datasets.read(workspace, data)
    if isinstance(data, (np.ndarray, Mapping)):
        return _arrays(data, target)
    if not isinstance(data, pd.DataFrame):
        raise InvalidArgument(f"data is a {type(data).__name__}, not a DataFrame or a dataset")
    if data.empty:
        raise SignatureMissing("the training data have no rows, so the signature is unknown")
    if target is not None and target not in data.columns:
        raise UnknownName("column", target, map(str, data.columns))
    # a Booster says its columns' names otherwise than an estimator
    names = getattr(model, "feature_names_in_", None)
    names = getattr(model, "feature_names", None) if names is None else names
    if names is None or callable(names):
        return data.drop(columns=[target]) if target else data
    for each in names:
        if each not in data.columns:
            raise UnknownName(
                "column", str(each), map(str, data.columns), hint="the model was trained with it"
            )
    return data[list(names)]


def _arrays(data: Any, target: str | None) -> Any:
    if target is not None:
        raise InvalidArgument(f"target = {target!r}: an array has no columns by name")
    named = dict(data) if isinstance(data, Mapping) else {"": data}
    lengths = set()
    for name, array in named.items():
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise InvalidArgument(f"data[{name!r}] is no array of rows")
        lengths.add(len(array))
    if len(lengths) > 1:
        raise InvalidArgument("the arrays differ in their numbers of rows")
    if lengths in (set(), {0}):
        raise SignatureMissing("the training data have no rows, so the signature is unknown")
    return named if isinstance(data, Mapping) else data


def _describe(
    private: Path,
    written: Written,
    model: Any,
    features: Any,
    predict_fn: str,
    runtime: str,
) -> logged.Draft:
    """Write examples and reference profile, and what they say of the model."""
    call = predictors.callable_of(model, predict_fn)
    golden = examples.golden_rows(features)
    sample = features
    total = examples.count(features)
    if total > examples.REFERENCE:
        chosen = np.random.default_rng(0).choice(total, examples.REFERENCE, replace=False)
        sample = examples.take(features, chosen)
    try:
        answers = call(golden)
        predicted = call(sample)
    except Exception as exc:  # whatever the user's own model raises
        raise ModelError(
            f"{predict_fn} fails on the training rows: {type(exc).__name__}: {exc}",
            hint=(predictors.cause_of(exc, golden) if isinstance(golden, pd.DataFrame) else None)
            or "give the columns that it was trained on, and --target for the one to leave out",
        ) from exc
    if isinstance(golden, pd.DataFrame):
        predictors.check_count(predict_fn, answers, golden)
    elif np.ndim(answers) == 0 or len(answers) != examples.count(golden):
        raise ModelError(f"{predict_fn} did not give one answer for each row of the array")
    outputs = examples.outputs_of(answers)
    classes = getattr(model, "classes_", None)
    listed = None if classes is None else list(plain(list(classes)))
    folder.write_examples(private, golden, outputs)
    folder.write_reference(private, examples.reference_frame(sample, predicted, listed))
    framed, inputs = isinstance(features, pd.DataFrame), signature.input_columns(features)
    content = {
        "task": _task(model, listed),
        "predict_fn": predict_fn,
        "classes": listed,
        "signature": {
            "inputs": inputs,
            "outputs": signature.output_columns(answers),
            **({"params": list(written.params)} if written.params else {}),
        },
        "categories": signature.categories_of(features) if framed else {},
        "data": {
            "rows": total,
            "columns": features.shape[1] if framed else len(inputs),
            "reference_rows": examples.count(sample),
        },
    }
    content["runtime"] = "native"
    if runtime == "onnx":
        rows = sample
        if framed and sample is not features:
            # by the rows' own labels, so that one that differs is found again
            labelled = golden.set_axis([f"golden {place}" for place in range(len(golden))])
            rows = pd.concat([features.iloc[chosen], labelled])
        outcome = onnx.write(private, model, rows, predict_fn, content)
        folder.write_json(private / "mlops" / "onnx.json", outcome.record)
        content["runtime"] = outcome.runtime
        if outcome.flavors:
            written = dataclasses.replace(
                written,
                flavors={**written.flavors, **outcome.flavors},
                distributions=(*written.distributions, *onnx.DISTRIBUTIONS),
            )
    return logged.Draft(private, written, content, golden, outputs)


def _task(model: Any, classes: list[Any] | None) -> str:
    if classes is not None:
        return "binary" if len(classes) == 2 else "multiclass"
    if not hasattr(model, "fit"):
        return ""
    from sklearn.base import is_regressor

    return "regression" if is_regressor(model) else ""


def _report_of(workspace: Workspace, run_id: str, report: Any, model: Any) -> dict[str, Any] | None:
    """Return the test report of exactly this model, given or kept in its run."""
    call = predictors.distinctive(model)
    if report is not None:
        return report_given(workspace, report, call)
    found = evidence.read_report(workspace, run_id)
    return found if found is not None and evidence.is_of(found, call) else None


def _default_name(model: Any) -> str:
    own = getattr(model, "__name__", None) or type(model).__name__
    own = re.sub(r"\W", "", own)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", own).lower().strip("-")


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,127}", name):
        raise InvalidArgument(
            f"{name!r} cannot be a model's name",
            hint="letters, digits, spaces, '-' and '_', beginning with a letter or digit",
        )
    return name
