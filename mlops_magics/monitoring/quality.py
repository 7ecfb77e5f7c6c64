"""Quality: how good the predictions were, from the labels that have arrived.

Intervals are 95 %. Shares (accuracy, precision, recall) have Wilson's interval ("Probable
inference", 1927); the area under the ROC curve has DeLong's variance (1988); the others have the
delta method's: the spread of each row's influence on the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from mlops_magics.monitoring.references import Reference
from mlops_magics.store import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

__all__ = ["Metric", "Quality", "classification", "measure", "regression", "reported"]

Z = 1.959963984540054  # of the normal distribution, 97.5 %


@dataclass(frozen=True)
class Metric:
    """A measured metric.

    Attributes
    ----------
    value, low, high : float or None
        Estimate and 95 % interval; None where it is not defined.
    reference : float or None
        Its value in the model's test report.
    reference_half : float
        Half the width of its interval there; 0 if the report has none.
    worse : bool or None
        Whether it is worse than in testing by more than chance; None: unknown.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    reference_half: float = 0.0
    worse: bool | None = None


@dataclass(frozen=True)
class Quality:
    """Quality in a time range.

    Attributes
    ----------
    labels : int
        Predictions of the range whose label is known.
    coverage : float or None
        Their share of all predictions of the range.
    metrics : tuple of Metric
        Empty without labels.
    """

    labels: int
    coverage: float | None
    metrics: tuple[Metric, ...] = ()


def measure(
    connection: Connection,
    endpoint: str,
    since: float,
    until: float,
    reference: Reference,
    *,
    revision: int | None = None,
) -> Quality:
    """Measure the predictions made from ``since`` up to ``until`` against their labels.

    Those of one revision, or of all that the endpoint had.
    """
    t, known = tables.predictions.c, tables.labels.c
    chosen = [t.endpoint == endpoint, t.time >= since, t.time < until, t.status < 400]
    chosen += [t.revision == revision] if revision is not None else []
    joined = sa.select(t.output, known.label).join_from(
        tables.predictions, tables.labels, t.prediction_id == known.prediction_id
    )
    rows = connection.execute(joined.where(*chosen)).all()
    total = connection.execute(sa.select(sa.func.count(t.prediction_id)).where(*chosen)).scalar()
    if not rows:
        return Quality(0, 0.0 if total else None)
    outputs, labels = [row.output for row in rows], [row.label for row in rows]
    if reference.task == "regression":
        found = _regression_of(outputs, labels)
    else:
        found = _classification_of(outputs, labels, reference)
    before = reported(reference.report)
    unknown = (None, 0.0)
    metrics = tuple(
        _judged(Metric(m.name, m.value, m.low, m.high, *before.get(m.name, unknown))) for m in found
    )
    return Quality(len(rows), len(rows) / total if total else None, metrics)


def _judged(metric: Metric) -> Metric:
    before, value, low, high = metric.reference, metric.value, metric.low, metric.high
    if before is None or value is None or low is None or high is None:
        return metric
    # both were measured on a sample: the half widths add in squares
    half = math.hypot((high - low) / 2, metric.reference_half)
    fall = before - value if metric.name in _HIGHER else value - before
    return replace(metric, worse=fall > half)


_HIGHER = {"roc_auc", "accuracy", "precision", "recall", "r2"}


def classification(
    truth: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    scores: NDArray[np.float64] | None = None,
) -> list[Metric]:
    """Measure a binary classifier.

    Parameters
    ----------
    truth, predicted : bool array of shape (n_rows,)
        Whether each row is of the positive class.
    scores : float array of shape (n_rows,), optional
        Probabilities of the positive class.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([True, True, False, False])
    >>> [(m.name, m.value) for m in classification(truth, np.array([True, False, False, False]))]
    [('accuracy', 0.75), ('precision', 1.0), ('recall', 0.5)]
    """
    both = int(np.count_nonzero(truth & predicted))
    metrics = [
        _share("accuracy", int(np.count_nonzero(truth == predicted)), len(truth)),
        _share("precision", both, int(np.count_nonzero(predicted))),
        _share("recall", both, int(np.count_nonzero(truth))),
    ]
    if scores is None:
        return metrics
    target = truth.astype(float)
    bounded = np.clip(scores, 1e-15, 1 - 1e-15)
    losses = -(target * np.log(bounded) + (1 - target) * np.log(1 - bounded))
    area = _roc_auc(truth, scores)
    return [area, *metrics, _mean("brier", np.square(scores - target)), _mean("log_loss", losses)]


def regression(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> list[Metric]:
    """Measure a regression.

    Parameters
    ----------
    truth, predicted : float array of shape (n_rows,)
        In the target's units.

    Examples
    --------
    >>> import numpy as np
    >>> [(m.name, m.value) for m in regression(np.array([1.0, 3.0]), np.array([2.0, 2.0]))]
    [('rmse', 1.0), ('mae', 1.0), ('r2', 0.0)]
    """
    errors = truth - predicted
    squares, spread = np.square(errors), np.square(truth - truth.mean())
    error, variance = float(squares.mean()), float(spread.mean())
    root = math.sqrt(error)
    rmse = Metric("rmse", root)
    if root > 0:
        rmse = _around("rmse", root, (squares - error) / (2 * root))
    r2 = Metric("r2", None)
    if variance > 0:
        # the share of two means: the influence of a row on 1 - error / variance
        r2 = _around("r2", 1 - error / variance, (spread * error / variance - squares) / variance)
    return [rmse, _mean("mae", np.abs(errors)), r2]


def _regression_of(outputs: Sequence[Any], labels: Sequence[Any]) -> list[Metric]:
    values = [Reference.prediction(output) for output in outputs]
    pairs = np.array(
        [
            (label, value)
            for label, value in zip(labels, values, strict=True)
            if isinstance(value, (int, float))
        ],
        dtype=float,
    ).reshape(-1, 2)
    return regression(pairs[:, 0], pairs[:, 1]) if len(pairs) else []


def _classification_of(
    outputs: Sequence[Any], labels: Sequence[Any], reference: Reference
) -> list[Metric]:
    decided = [reference.decide(output) for output in outputs]
    classes = reference.classes or sorted({*labels, *decided} - {None}, key=str)
    if len(classes) > 2:
        right = sum(label == value for label, value in zip(labels, decided, strict=True))
        return [_share("accuracy", right, len(labels))]
    positive = classes[-1] if classes else True
    truth = np.array([label == positive for label in labels])
    predicted = np.array([value == positive for value in decided])
    scores = None
    if reference.scores:
        values = [Reference.prediction(output) for output in outputs]
        scores = np.array(values, dtype=float)
        known = np.isfinite(scores)
        truth, predicted, scores = truth[known], predicted[known], scores[known]
    return classification(truth, predicted, scores) if len(truth) else []


def _share(name: str, hits: int, total: int) -> Metric:
    if not total:
        return Metric(name, None)
    share, weight = hits / total, Z * Z / total
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    return Metric(name, share, max(0.0, middle - half), min(1.0, middle + half))


def _mean(name: str, values: NDArray[np.float64]) -> Metric:
    return _around(name, float(values.mean()), values - values.mean(), least=0.0)


def _around(
    name: str, value: float, influence: NDArray[np.float64], least: float = -math.inf
) -> Metric:
    if len(influence) < 2:
        return Metric(name, value)
    half = Z * float(np.std(influence, ddof=1)) / math.sqrt(len(influence))
    return Metric(name, value, max(least, value - half), value + half)


def _roc_auc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Metric:
    """Mann and Whitney's estimate; the variance by placements (Sun and Xu, 2014)."""
    from scipy.stats import rankdata

    positive, negative = scores[truth], scores[~truth]
    if not len(positive) or not len(negative):
        return Metric("roc_auc", None)
    ranks = rankdata(np.concatenate((positive, negative)))
    above = (ranks[: len(positive)] - rankdata(positive)) / len(negative)
    below = 1 - (ranks[len(positive) :] - rankdata(negative)) / len(positive)
    area = float(above.mean())
    if min(len(positive), len(negative)) < 2:
        return Metric("roc_auc", area)
    half = Z * math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    return Metric("roc_auc", area, max(0.0, area - half), min(1.0, area + half))


def reported(report: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return values and half intervals of a test report by name; it lists metrics or maps them.

    Examples
    --------
    >>> reported({"metrics": [{"name": "rmse", "value": 2.0, "low": 1.5, "high": 2.5}]})
    {'rmse': (2.0, 0.5)}
    """
    metrics = report.get("metrics") or {}
    entries = (
        [(name, entry) for name, entry in metrics.items()]
        if isinstance(metrics, Mapping)
        else [(entry.get("name"), entry) for entry in metrics]
    )
    found = {}
    for name, entry in entries:
        value = entry.get("value") if isinstance(entry, Mapping) else entry
        if isinstance(value, (int, float)):
            bounds: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {}
            low, high = bounds.get("low"), bounds.get("high")
            half = 0.0 if low is None or high is None else (high - low) / 2
            found[str(name)] = (float(value), half)
    return found
