"""Outcomes: truth and predictions of some rows, and every metric of them with its interval.

Most metrics are a ratio of two sums over rows (accuracy: hits over rows; recall: hits among the
positives over positives; mean absolute error: errors over rows), so those of many slices come from
a few counts by slice, and the interval from the spread of each row's influence on the ratio (the
delta method; Cochran, "Sampling Techniques", 1977, chapter 6). Shares have Wilson's interval
instead, which holds where few rows hit, or nearly all. The area under the ROC curve has DeLong's
variance (1988), by placements (Sun and Xu, 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.measures.intervals import Z, wilson
from mlops_magics.measures.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BINS", "MAIN", "Outcomes", "calibration_error"]

Floats = Any  # float array of shape (n_rows,)

BINS = 10  # of equal size, for the calibration error

MAIN = {"binary": "brier", "multiclass": "accuracy", "regression": "mae"}
"""By which metric slices are judged; of a binary model without probabilities by its accuracy."""


@dataclass(frozen=True)
class Outcomes:
    """Truth and predictions of some rows.

    Attributes
    ----------
    task : str
        ``binary``, ``multiclass`` or ``regression``.
    truth, predicted : array of shape (n_rows,)
        Of two classes whether it is the positive one; of more their numbers; or values.
    scores : float array of shape (n_rows,) or (n_rows, n_classes), or None
        Probabilities of the positive class, or of all classes.

    Examples
    --------
    >>> truth = np.array([True, True, False, False])
    >>> found = Outcomes("binary", truth, np.array([True, False, False, False])).measure()
    >>> [(metric.name, metric.value) for metric in found][:3]
    [('accuracy', 0.75), ('precision', 1.0), ('recall', 0.5)]
    """

    task: str
    truth: NDArray[Any]
    predicted: NDArray[Any]
    scores: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: NDArray[Any]) -> Outcomes:
        """Return some of the rows, by places or by a mask."""
        scores = None if self.scores is None else self.scores[rows]
        return Outcomes(self.task, self.truth[rows], self.predicted[rows], scores)

    @property
    def main(self) -> str:
        """The metric by which slices are judged."""
        if self.task == "binary" and self.scores is None:
            return "accuracy"
        return MAIN[self.task]

    def measure(self) -> list[Metric]:
        """Measure every metric of the task."""
        if not len(self):
            return []
        found = self.by_part(np.zeros(len(self), dtype=np.int64), 1)[0]
        if self.task == "regression":
            return [*found, self._r2()]
        if self.task == "multiclass":
            return [*found[:1], self._f1_macro(), *found[1:]]
        if self.scores is None:
            return found
        bins = np.array_split(np.argsort(self.scores, kind="stable"), BINS)
        predicted = [float(self.scores[rows].mean()) for rows in bins if len(rows)]
        observed = [float(self.truth[rows].mean()) for rows in bins if len(rows)]
        sizes = [len(rows) for rows in bins if len(rows)]
        area = roc_auc(self.truth, self.scores)
        return [area, *found, calibration_error(predicted, observed, sizes)]

    def by_part(
        self, parts: NDArray[np.int64], size: int, names: Sequence[str] | None = None
    ) -> list[list[Metric]]:
        """Measure the metrics that are ratios, in each of several parts at once.

        Parameters
        ----------
        parts : int array of shape (n_rows,)
            Each row's part; rows of a negative one are in none.
        size : int
            Number of parts.
        names : sequence of str, optional
            Only these.
        """
        inside = parts >= 0
        places = parts[inside]

        def total(values: Floats) -> NDArray[np.float64]:
            return np.asarray(np.bincount(places, weights=values, minlength=size), dtype=float)

        found: list[list[Metric]] = [[] for _ in range(size)]
        ones = np.ones(len(self))
        for name, of in _RATIOS[self.task].items():
            if names is not None and name not in names:
                continue
            terms = of(self)
            if terms is None:
                continue
            above, below = (np.asarray(one, dtype=float)[inside] for one in (terms[0], terms[1]))
            sums, bases = total(above), total(below)
            count = total(ones[inside])
            share = terms[2]
            ratios = np.divide(sums, bases, out=np.full(size, np.nan), where=bases > 0)
            spread = None
            if not share:
                # the spread of each row's influence, (a - ratio b) / mean b, summed by part
                off = above - ratios[places] * below
                spread = total(np.square(off))
            for part in range(size):
                value = float(ratios[part])
                if math.isnan(value):
                    found[part].append(Metric(name, None))
                elif share:
                    low, high = wilson(sums[part], bases[part])
                    found[part].append(Metric(name, value, low, high))
                elif count[part] < 2 or spread is None:
                    found[part].append(
                        _root(Metric(name, value)) if name == "rmse" else Metric(name, value)
                    )
                else:
                    correction = count[part] / (count[part] - 1)
                    half = Z * math.sqrt(correction * spread[part]) / bases[part]
                    least = -math.inf if name == "bias" else 0.0
                    most = 1.0 if name == "f1" else math.inf
                    bounds = max(least, value - half), min(most, value + half)
                    metric = Metric(name, value, *bounds)
                    found[part].append(_root(metric) if name == "rmse" else metric)
        return found

    def losses(self) -> NDArray[np.float64]:
        """Return each row's part of the main metric, so that more is worse."""
        above = _RATIOS[self.task][self.main](self)
        assert above is not None
        values = np.asarray(above[0], dtype=float)
        return 1 - values if self.main == "accuracy" else values

    def _r2(self) -> Metric:
        truth = self.truth.astype(float)
        squares, spread = np.square(truth - self.predicted), np.square(truth - truth.mean())
        error, variance = float(squares.mean()), float(spread.mean())
        if variance <= 0:
            return Metric("r2", None)
        # a share of two means: the influence of a row on 1 - error / variance
        influence = (spread * error / variance - squares) / variance
        return _around("r2", 1 - error / variance, influence)

    def _f1_macro(self) -> Metric:
        """Take the mean of each class's F1; its influence is the mean of theirs."""
        scores, influence = [], np.zeros(len(self))
        for place in np.union1d(self.truth, self.predicted):
            true, said = self.truth == place, self.predicted == place
            above, below = 2.0 * (true & said), true.astype(float) + said
            score = above.sum() / below.sum()
            scores.append(score)
            influence += (above - score * below) / below.mean()
        return _around("f1_macro", float(np.mean(scores)), influence / len(scores))


_Terms = tuple[Any, Any, bool]  # above, below, and whether it is a share of rows


def _scored(of: Callable[[Outcomes], _Terms]) -> Callable[[Outcomes], _Terms | None]:
    return lambda outcomes: None if outcomes.scores is None else of(outcomes)


def _one(outcomes: Outcomes) -> NDArray[np.float64]:
    return np.ones(len(outcomes))


def _squares(o: Outcomes) -> _Terms:
    return np.square(np.asarray(o.truth, dtype=float) - o.predicted), _one(o), False


def _log_loss(o: Outcomes) -> _Terms:
    assert o.scores is not None
    if o.scores.ndim == 2:
        given = o.scores[np.arange(len(o)), o.truth]
    else:
        given = np.where(o.truth, o.scores, 1 - o.scores)
    return -np.log(np.clip(given, 1e-15, 1)), _one(o), False


def _brier(o: Outcomes) -> _Terms:
    assert o.scores is not None
    return np.square(o.scores - o.truth), _one(o), False


_RATIOS: dict[str, dict[str, Callable[[Outcomes], _Terms | None]]] = {
    "binary": {
        "accuracy": lambda o: (o.truth == o.predicted, _one(o), True),
        "precision": lambda o: (o.truth & o.predicted, o.predicted, True),
        "recall": lambda o: (o.truth & o.predicted, o.truth, True),
        "f1": lambda o: (
            2.0 * (o.truth & o.predicted),
            o.truth.astype(float) + o.predicted,
            False,
        ),
        "fpr": lambda o: (~o.truth & o.predicted, ~o.truth, True),
        "selection_rate": lambda o: (o.predicted, _one(o), True),
        "brier": _scored(_brier),
        "log_loss": _scored(_log_loss),
    },
    "multiclass": {
        "accuracy": lambda o: (o.truth == o.predicted, _one(o), True),
        "log_loss": _scored(_log_loss),
    },
    "regression": {
        "rmse": _squares,
        "mae": lambda o: (np.abs(o.truth - o.predicted), _one(o), False),
        "bias": lambda o: (o.predicted - o.truth, _one(o), False),
    },
}


def roc_auc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Metric:
    """Return Mann and Whitney's estimate of the area under the ROC curve.

    Examples
    --------
    >>> roc_auc(np.array([True, False, True, False]), np.array([0.9, 0.2, 0.6, 0.7])).value
    0.75
    """
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


def calibration_error(
    predicted: Sequence[float], observed: Sequence[float], rows: Sequence[int]
) -> Metric:
    """Return how far probabilities are from frequencies, in the mean square over bins.

    What chance alone adds to the squares is taken off, so that few rows do not look
    badly calibrated (Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019, section 4).

    Parameters
    ----------
    predicted, observed : sequence of float
        Mean probability and share of positives by bin.
    rows : sequence of int
        The bins' sizes.

    Examples
    --------
    >>> round(calibration_error([0.2, 0.8], [0.5, 0.5], [10_000, 10_000]).value, 3)
    0.3
    """
    sizes = np.asarray(rows, dtype=float)
    if not len(sizes) or sizes.min() < 2:
        return Metric("calibration_error", None)
    shares, weights = np.asarray(observed), sizes / sizes.sum()
    off = np.asarray(predicted) - shares
    # of a bin that is all of one class, the chance that Agresti and Coull's added rows leave it
    smooth = (shares * sizes + 1) / (sizes + 2)
    chance = smooth * (1 - smooth) / (sizes - 1)
    squared = float(weights @ (np.square(off) - chance))
    spread = float(np.square(weights) @ (4 * np.square(off) * chance + 2 * np.square(chance)))
    bounds = [squared + sign * Z * math.sqrt(spread) for sign in (0, -1, 1)]
    value, low, high = (math.sqrt(max(0.0, bound)) for bound in bounds)
    return Metric("calibration_error", value, low, high)


def _root(metric: Metric) -> Metric:
    """Return the root of a mean square, with the delta method's interval."""
    if metric.value is None:
        return metric
    root = math.sqrt(metric.value)
    if metric.high is None or not root:
        return Metric(metric.name, root)
    half = (metric.high - metric.value) / (2 * root)
    return Metric(metric.name, root, root - half, root + half)


def _around(name: str, value: float, influence: NDArray[np.float64]) -> Metric:
    if len(influence) < 2:
        return Metric(name, value)
    half = Z * float(np.std(influence, ddof=1)) / math.sqrt(len(influence))
    return Metric(name, value, value - half, value + half)
