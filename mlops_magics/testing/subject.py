"""The subject of a test: any model, live or packaged, as truth and predictions of rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_magics.errors import InvalidArgument, ModelError, SchemaMismatch, UnsupportedModel
from mlops_magics.store import foreign, models, predictors
from mlops_magics.testing.bootstrap import Estimate
from mlops_magics.testing.metrics import Floats, Outcome

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Subject", "latency", "outcome_of", "subject_of", "task_of"]


@dataclass(frozen=True)
class Subject:
    """A model under test.

    Attributes
    ----------
    name : str
        How reports call it.
    model : object
        The live model; of a package, what its loader gave.
    columns : list of str or None
        Columns that it takes; None: all but the target.
    predictor : Predictor or None
        Of a package.
    ref : ModelRef or None
        Of a package or logged model, its record in MLflow.
    path : Path or None
        Of a package, its files.
    """

    name: str
    model: Any
    columns: list[str] | None
    predictor: predictors.Predictor | None = None
    ref: models.ModelRef | None = None
    path: Path | None = None

    @property
    def digest(self) -> str:
        """The package's digest; empty for a live object."""
        return "" if self.ref is None else str(self.ref.tags.get(models.DIGEST_TAG, ""))

    @property
    def registered(self) -> str | None:
        """The registered model that it is a version of."""
        return self.ref.name if self.ref is not None and self.ref.version else None

    def features(self, data: pd.DataFrame, target: str) -> pd.DataFrame:
        """Return the columns that the model takes.

        Raises
        ------
        SchemaMismatch
            One is missing.
        """
        if self.columns is None:
            return data.drop(columns=[target])
        missing = [name for name in self.columns if name not in data.columns]
        if missing:
            raise SchemaMismatch(
                f"the data have no column {missing[0]!r}, which {self.name} was trained with",
                hint=f"it takes: {', '.join(self.columns)}",
            )
        return data[self.columns]

    @property
    def labels(self) -> Callable[[Any], Any]:
        """What gives labels or values: ``predict``, whatever the package serves."""
        if self.predictor is not None and self.predictor.manifest["loader"] == "python":
            return self.predictor.predict
        return predictors.callable_of(self.model)

    @property
    def probabilities(self) -> Callable[[Any], Any] | None:
        """What gives probabilities, if anything does."""
        found: Callable[[Any], Any] | None = getattr(self.model, "predict_proba", None)
        return found if callable(found) else None


def subject_of(workspace: Workspace, model: Any) -> Subject:
    """Take a live object, a package or a reference as the subject of a test.

    Raises
    ------
    UnsupportedModel
        The object cannot predict.
    ModelNotFound, PackageCorrupt
        The reference names nothing, or nothing that can be trusted.
    """
    uri = model if isinstance(model, str) else getattr(model, "uri", None)
    if isinstance(uri, str):
        found = foreign.find(workspace, uri)
        if isinstance(found, models.ModelRef) and models.DIGEST_TAG in found.tags:
            path = models.fetch(workspace, found)
            predictor = models.load(path)
            return Subject(str(found), predictor.model, predictor.columns, predictor, found, path)
        with foreign.opened(workspace, found) as live:
            subject = subject_of(workspace, live)
        if isinstance(found, models.ModelRef):
            subject = replace(subject, ref=found)
        return subject
    if not callable(getattr(model, "predict", None)) and not (
        callable(model) and not isinstance(model, type)
    ):
        raise UnsupportedModel(
            f"{type(model).__module__}.{type(model).__qualname__} is no model: it has no predict",
            hint="what works: an object with predict(data), a function of a DataFrame, a package, "
            "or a reference such as flight-delay@champion",
        )
    names = getattr(model, "feature_names_in_", None)
    names = getattr(model, "feature_names", None) if names is None else names
    columns = None if names is None or callable(names) else [str(name) for name in names]
    # a pipeline is known by what predicts at its end
    steps = getattr(model, "steps", None)
    last = steps[-1][1] if isinstance(steps, list) and steps else model
    name = getattr(model, "__name__", None) or type(last).__name__
    return Subject(str(name), model, columns)


def task_of(subject: Subject, truth: pd.Series, task: str | None) -> tuple[str, list[Any]]:
    """Return the task and its classes, as asked for or as model and truth show.

    Examples
    --------
    >>> late = pd.Series([True, False])
    >>> task_of(Subject("rule", len, None), late, None)
    ('binary', [False, True])
    """
    if task not in {None, "binary", "multiclass", "classification", "regression"}:
        raise InvalidArgument(
            f"{task!r} is no task", hint="known: binary, multiclass, classification, regression"
        )
    found = getattr(subject.model, "classes_", None)
    classes = list(np.asarray(found).tolist()) if found is not None else None
    if task == "regression" or (task is None and classes is None and _is_measure(truth)):
        return "regression", []
    if classes is None:
        classes = sorted(truth.unique().tolist())
    if len(classes) == 1:
        raise InvalidArgument(
            f"the target {truth.name!r} has only one value, {classes[0]!r}",
            hint="held-out rows must have both classes",
        )
    kind = "binary" if len(classes) == 2 else "multiclass"
    if task == "binary" and kind != task:
        raise InvalidArgument(f"the target {truth.name!r} has {len(classes)} classes, not two")
    return ("multiclass" if task == "multiclass" else kind), classes


def _is_measure(truth: pd.Series) -> bool:
    numeric = pd.api.types.is_numeric_dtype(truth.dtype)
    if not numeric or pd.api.types.is_bool_dtype(truth.dtype):
        return False
    whole = pd.api.types.is_integer_dtype(truth.dtype) or bool((truth % 1 == 0).all())
    return not whole or truth.nunique() > 20


def outcome_of(
    subject: Subject, features: pd.DataFrame, truth: pd.Series, task: str, classes: list[Any]
) -> Outcome:
    """Predict all rows.

    Raises
    ------
    ModelError
        The model fails, or answers for another number of rows.
    InvalidArgument
        It knows other classes.
    """
    places = None if task == "regression" else _places(subject, classes)
    try:
        answers = np.asarray(subject.labels(features))
        predictors.check_count(subject.name, answers, features)
        scores = None
        if task != "regression":
            scores = _scores(subject, features, answers, classes, places)
    except ModelError:
        raise
    except Exception as exc:  # whatever the user's own model raises
        raise ModelError(
            f"{subject.name} fails on the held-out rows: {type(exc).__name__}: {exc}",
            hint=predictors.cause_of(exc, features)
            or "it must take the columns of the data without the target",
        ) from exc
    if task == "regression":
        values = answers.astype(float).reshape(len(truth), -1)[:, 0]
        return Outcome(task, truth.to_numpy(dtype=float), values)
    if answers.ndim == 2 and scores is not None:
        answers = np.asarray(classes)[scores.argmax(axis=1)]
    elif scores is not None and subject.probabilities is None:
        answers = np.asarray(classes)[(scores[:, 1] >= 0.5).astype(int)]
    return Outcome(task, _codes(truth.to_numpy(), classes), _codes(answers, classes), scores)


def _places(subject: Subject, classes: list[Any]) -> list[int] | None:
    """Return where each class's probability stands in the model's answer; None: in their order."""
    found = getattr(subject.model, "classes_", None)
    own = classes if found is None else list(np.asarray(found).tolist())
    if own == classes:
        return None
    if sorted(map(str, own)) != sorted(map(str, classes)):
        raise InvalidArgument(
            f"{subject.name} knows the classes {', '.join(map(str, own[:8]))}, which are not "
            f"{', '.join(map(str, classes[:8]))}: its probabilities cannot be compared with these",
            hint="compare models of the same classes, or measure each on its own",
        )
    return [own.index(each) for each in classes]


def _scores(
    subject: Subject,
    features: pd.DataFrame,
    answers: NDArray[Any],
    classes: list[Any],
    places: list[int] | None,
) -> Floats | None:
    if subject.probabilities is not None:
        table = np.asarray(subject.probabilities(features), dtype=float)
        return table if places is None else table[:, places]
    if answers.dtype.kind != "f":
        return None
    if answers.ndim == 2 and answers.shape[1] == len(classes):
        return answers.astype(float)
    # a function or booster that gives the probability of the second class
    if answers.ndim == 1 and len(classes) == 2 and not set(np.unique(answers)) <= set(classes):
        return np.column_stack([1 - answers, answers]).astype(float)
    return None


def _codes(values: NDArray[Any], classes: list[Any]) -> NDArray[np.int64]:
    places = {value: place for place, value in enumerate(classes)}
    uniques, inverse = np.unique(values, return_inverse=True)
    try:
        coded = np.array([places[value] for value in uniques.tolist()], dtype=np.int64)
    except KeyError as exc:
        raise ModelError(
            f"{exc.args[0]!r} is none of the classes {', '.join(map(str, classes[:8]))}",
            hint="target and predictions must be of the same values; or give --task regression",
        ) from exc
    return coded[inverse]


def latency(subject: Subject, features: pd.DataFrame, seed: int = 0) -> Floats:
    """Measure milliseconds for single rows, as an online request brings them.

    Up to 200 rows after ten to warm up, two seconds at the most.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    call = subject.predictor.predict if subject.predictor is not None else subject.labels
    places = np.random.default_rng(seed).integers(0, len(features), 210)
    taken: list[float] = []
    end = time.perf_counter() + 2.0
    # a server's worker computes on one thread; more would wait for each other on a single row
    with threadpool_limits(1):
        for count, place in enumerate(places):
            row = features.iloc[[place]]
            start = time.perf_counter()
            call(row)
            stop = time.perf_counter()
            if count >= 10:
                taken.append((stop - start) * 1000)
            if stop > end and len(taken) >= 20:
                break
    return np.asarray(taken)


def latency_estimate(taken: Floats, name: str, seed: int = 0) -> Estimate:
    """Return a latency quantile, ``latency_p95``, with its bootstrap interval."""
    share = int(name.removeprefix("latency_p")) / 100
    random = np.random.default_rng(seed)
    drawn = taken[random.integers(0, len(taken), (500, len(taken)))]
    return Estimate.of(float(np.quantile(taken, share)), np.quantile(drawn, share, axis=1))
