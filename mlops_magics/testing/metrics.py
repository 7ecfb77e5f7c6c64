"""Metrics for many resamples at once: each takes weights, one row of them for each resample.

A bootstrap resample of n rows is a vector of n counts, so that a metric on it is the metric with
weights (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6). Counted
metrics are then matrix products, and ranking metrics need one sort for all resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_magics.measures import Outcomes

__all__ = ["METRICS", "Metric", "Outcome", "primary_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """Truth and predictions of some rows.

    Attributes
    ----------
    task : str
        ``binary``, ``multiclass`` or ``regression``.
    truth, predicted : ndarray of shape (n_rows,)
        Class numbers (0 is the negative, 1 the positive class of two), or values.
    scores : ndarray of shape (n_rows, n_classes) or None
        Probabilities, where the model gives them.
    """

    task: str
    truth: NDArray[Any]
    predicted: NDArray[Any]
    scores: Floats | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def ordered(self) -> Outcome:
        """Return the same rows by descending first score: ranking metrics then need no gather."""
        if self.task != "binary" or self.scores is None:
            return self
        return self.take(np.argsort(-self.scores[:, 1], kind="stable"))

    def take(self, rows: NDArray[np.int64]) -> Outcome:
        """Return some of the rows."""
        scores = None if self.scores is None else self.scores[rows]
        return Outcome(self.task, self.truth[rows], self.predicted[rows], scores)

    @property
    def measurable(self) -> Outcomes:
        """The same rows, for metrics with intervals of formulas instead of resamples."""
        if self.task != "binary":
            return Outcomes(self.task, self.truth, self.predicted, self.scores)
        scores = None if self.scores is None else self.scores[:, 1]
        return Outcomes(self.task, self.truth == 1, self.predicted == 1, scores)

    @cached_property
    def classes(self) -> int:
        """Number of classes that occur or have a probability."""
        if self.scores is not None:
            return int(self.scores.shape[1])
        if not len(self):
            return 0
        return int(max(self.truth.max(), self.predicted.max())) + 1

    @cached_property
    def rankings(self) -> list[_Ranking]:
        """Each class's rows in the order of its probability; one sort for all resamples."""
        assert self.scores is not None
        places = [1] if self.task == "binary" else range(self.scores.shape[1])
        return [_Ranking.of(self.scores[:, place], self.truth == place) for place in places]


@dataclass(frozen=True)
class _Ranking:
    order: NDArray[np.int64] | None  # rows by descending score; None: they are in that order
    positive: Floats  # 1 or 0, in that order
    ends: NDArray[np.int64]  # last place of each group of equal scores
    last: list[Floats] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, scores: Floats, positive: NDArray[np.bool_]) -> _Ranking:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
        sorted_already = bool((order[1:] > order[:-1]).all())
        return cls(None if sorted_already else order, positive[order].astype(float), ends)

    def curves(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return cumulated positive and negative weights at each distinct score."""
        # two metrics ask for the same curves one after the other
        if self.last and self.last[0] is weights:
            return self.last[1], self.last[2]
        ranked = weights if self.order is None else weights[:, self.order]
        total, hits = np.cumsum(ranked, axis=1), np.cumsum(ranked * self.positive, axis=1)
        if len(self.ends) < ranked.shape[1]:
            total, hits = total[:, self.ends], hits[:, self.ends]
        misses = total - hits
        self.last[:] = [weights, hits, misses]
        return hits, misses


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes
    ----------
    name, task : str
        scikit-learn's name where it has one.
    higher_is_better : bool
        Direction, for comparing two models.
    compute : callable
        ``(outcome, weights of shape (n_resamples, n_rows)) -> values of shape (n_resamples,)``;
        NaN where it is not defined.
    needs_scores : bool
        Whether the model must give probabilities.
    """

    name: str
    higher_is_better: bool
    compute: Callable[[Outcome, Floats], Floats]
    needs_scores: bool = False


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _share(outcome: Outcome, weights: Floats, hits: Any) -> Floats:
    return _ratio(weights @ np.asarray(hits, dtype=float), weights.sum(axis=1))


def _among(weights: Floats, hits: Any, base: Any) -> Floats:
    return _ratio(weights @ np.asarray(hits, float), weights @ np.asarray(base, float))


def _accuracy(outcome: Outcome, weights: Floats) -> Floats:
    return _share(outcome, weights, outcome.truth == outcome.predicted)


def _precision(outcome: Outcome, weights: Floats) -> Floats:
    said = outcome.predicted == 1
    return _among(weights, said & (outcome.truth == 1), said)


def _recall(outcome: Outcome, weights: Floats) -> Floats:
    true = outcome.truth == 1
    return _among(weights, true & (outcome.predicted == 1), true)


def _fpr(outcome: Outcome, weights: Floats) -> Floats:
    false = outcome.truth == 0
    return _among(weights, false & (outcome.predicted == 1), false)


def _selection_rate(outcome: Outcome, weights: Floats) -> Floats:
    return _share(outcome, weights, outcome.predicted == 1)


def _f1(outcome: Outcome, weights: Floats) -> Floats:
    return _f1_of(outcome, weights, 1)


def _f1_of(outcome: Outcome, weights: Floats, place: int) -> Floats:
    true, said = outcome.truth == place, outcome.predicted == place
    sums = weights @ (true.astype(float) + said.astype(float))
    return _ratio(2 * (weights @ (true & said).astype(float)), sums)


def _f1_macro(outcome: Outcome, weights: Floats) -> Floats:
    return _mean([_f1_of(outcome, weights, place) for place in range(outcome.classes)])


def _balanced_accuracy(outcome: Outcome, weights: Floats) -> Floats:
    hits = outcome.truth == outcome.predicted
    found = [(outcome.truth == place) for place in range(outcome.classes)]
    return _mean([_among(weights, base & hits, base) for base in found])


def _mean(values: list[Floats]) -> Floats:
    table = np.stack(values)
    known = ~np.isnan(table)
    return _ratio(np.where(known, table, 0).sum(axis=0), known.sum(axis=0).astype(float))


def _roc_auc(outcome: Outcome, weights: Floats) -> Floats:
    """Area under the ROC curve; of more than two classes the mean of one against the rest."""
    areas = []
    for ranking in outcome.rankings:
        hits, misses = ranking.curves(weights)
        # the trapezoids: equal scores count half, as in Mann and Whitney's statistic
        area = np.trapezoid(hits, misses, axis=1) + misses[:, 0] * hits[:, 0] / 2
        areas.append(_ratio(area, hits[:, -1] * misses[:, -1]))
    return _mean(areas)


def _average_precision(outcome: Outcome, weights: Floats) -> Floats:
    hits, misses = outcome.rankings[0].curves(weights)
    # where nothing has weight yet the numerator is 0 too
    precision = hits / np.maximum(hits + misses, 1)
    gained = np.einsum("ij,ij->i", np.diff(hits, axis=1), precision[:, 1:])
    return _ratio(gained + hits[:, 0] * precision[:, 0], hits[:, -1])


def _log_loss(outcome: Outcome, weights: Floats) -> Floats:
    assert outcome.scores is not None
    given = outcome.scores[np.arange(len(outcome)), outcome.truth]
    return _share(outcome, weights, -np.log(np.clip(given, 1e-15, 1)))


def _brier(outcome: Outcome, weights: Floats) -> Floats:
    assert outcome.scores is not None
    return _share(outcome, weights, (outcome.scores[:, 1] - outcome.truth) ** 2)


def _mae(outcome: Outcome, weights: Floats) -> Floats:
    return _share(outcome, weights, np.abs(outcome.truth - outcome.predicted))


def _rmse(outcome: Outcome, weights: Floats) -> Floats:
    return np.sqrt(_share(outcome, weights, (outcome.truth - outcome.predicted) ** 2))


def _r2(outcome: Outcome, weights: Floats) -> Floats:
    # centred first: the variance is a small difference of large numbers otherwise
    truth = outcome.truth - outcome.truth.mean()
    count = weights.sum(axis=1)
    residual = weights @ (outcome.truth - outcome.predicted) ** 2
    spread = weights @ truth**2 - (weights @ truth) ** 2 / count
    return 1 - _ratio(residual, spread)


METRICS: dict[str, tuple[Metric, ...]] = {
    "binary": (
        Metric("roc_auc", True, _roc_auc, needs_scores=True),
        Metric("average_precision", True, _average_precision, needs_scores=True),
        Metric("accuracy", True, _accuracy),
        Metric("balanced_accuracy", True, _balanced_accuracy),
        Metric("f1", True, _f1),
        Metric("precision", True, _precision),
        Metric("recall", True, _recall),
        Metric("fpr", False, _fpr),
        Metric("selection_rate", True, _selection_rate),
        Metric("log_loss", False, _log_loss, needs_scores=True),
        Metric("brier", False, _brier, needs_scores=True),
    ),
    "multiclass": (
        Metric("accuracy", True, _accuracy),
        Metric("balanced_accuracy", True, _balanced_accuracy),
        Metric("f1_macro", True, _f1_macro),
        Metric("roc_auc", True, _roc_auc, needs_scores=True),
        Metric("log_loss", False, _log_loss, needs_scores=True),
    ),
    "regression": (
        Metric("rmse", False, _rmse),
        Metric("mae", False, _mae),
        Metric("r2", True, _r2),
    ),
}

ALIASES = {"tpr": "recall", "auc": "roc_auc", "sensitivity": "recall"}


def primary_of(outcome: Outcome) -> Metric:
    """Return the metric by which two models of a task are compared first."""
    return next(
        metric
        for metric in METRICS[outcome.task]
        if outcome.scores is not None or not metric.needs_scores
    )
