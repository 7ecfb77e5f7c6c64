"""Quality before labels come: what the calibrated scores lead to expect.

Confidence-based estimation: if a score says how often its class comes true, the scores alone say
how many hits to expect (Guillory et al., "Predicting with Confidence on Unseen Distributions",
2021; NannyML's CBPE). The scores' calibration is the package's `Relation`, found on held-out
rows. It cannot see concept drift, which changes just that calibration; and it is no better than
the model's scores where the inputs are none that testing has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.measures.metric import Metric
from mlops_magics.measures.relation import Relation

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Estimate", "Expected", "estimate"]

DRAWS = 400
SURELY = 1.5  # half intervals: three standard errors
LEAST_ROWS = 30

ASSUMES = (
    "the estimate assumes that scores mean what they meant in testing: it does not see concept "
    "drift, and inputs unlike the training data can mislead it"
)
"""Where the estimate fails, in a sentence; shown beside it."""

NO_NUMBERS = (
    "of numbers, quality before labels is unknown: a prediction without an interval does not say "
    "how sure it is"
)


@dataclass(frozen=True)
class Expected:
    """A metric before its labels have come.

    Attributes
    ----------
    value, low, high : float or None
        What to expect, and where 95 % of windows like this one would be measured.
    measured : float or None
        What the labels that came say, on the rows that they came for.
    expected : float or None
        What was expected on just those rows.
    agrees : bool or None
        Whether the measured value is within three standard errors of what was expected; None
        without labels.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    measured: float | None = None
    expected: float | None = None
    agrees: bool | None = None


@dataclass(frozen=True)
class Estimate:
    """Quality of all predictions of a range, whether or not their labels have come.

    Attributes
    ----------
    rows : int
        Predictions that it was made of.
    metrics : tuple of Expected
        Empty where nothing can be said; ``reason`` says why.
    assumes : str
        Where it fails.
    """

    rows: int
    metrics: tuple[Expected, ...] = ()
    reason: str | None = None
    assumes: str = ASSUMES

    def reconciled(self, labelled: Estimate, measured: Mapping[str, Metric]) -> Estimate:
        """Return it beside what labels say, given the estimate for the labelled rows alone."""
        theirs = {one.name: one for one in labelled.metrics}
        found = []
        for one in self.metrics:
            now, then = measured.get(one.name), theirs.get(one.name)
            if now is None or now.value is None or then is None or then.value is None:
                found.append(one)
                continue
            inside = None
            if then.low is not None and then.high is not None:
                # of several metrics one is easily outside of its 95 %
                room = SURELY * (then.high - then.low) / 2
                inside = abs(now.value - then.value) <= room
            found.append(replace(one, measured=now.value, expected=then.value, agrees=inside))
        return replace(self, metrics=tuple(found))


def estimate(
    scores: NDArray[np.float64] | None,
    relation: Relation | None,
    *,
    task: str,
    predicted: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate quality from scores alone.

    Parameters
    ----------
    scores : float array of shape (n_rows,), or (n_rows, n_classes), optional
        Probabilities of the positive class, or of all classes.
    relation : Relation, optional
        The package's calibration map.
    task : str
        ``binary``, ``multiclass`` or ``regression``.
    predicted : bool array of shape (n_rows,), optional
        What was decided; default: a score above half.
    seed : int
        Of the draws that give the interval: of the map, and of the labels to come.

    Examples
    --------
    >>> scores = np.tile(np.linspace(0, 1, 50), 40)
    >>> truth = np.random.default_rng(0).random(2000) < scores
    >>> map = Relation.of(scores, truth, probability=True)
    >>> accuracy = estimate(scores, map, task="binary").metrics[1]
    >>> accuracy.name, round(accuracy.value, 1)  # three of four, for such scores
    ('accuracy', 0.8)
    """
    if task == "regression":
        return Estimate(0, reason=NO_NUMBERS)
    if scores is None:
        return Estimate(0, reason="the endpoint answers classes without probabilities")
    if relation is None:
        return Estimate(0, reason="the package has no calibration map: test it before packaging")
    if scores.ndim == 2:
        scores = scores.max(axis=1)
    kept = np.isfinite(scores)
    if predicted is None:
        predicted = scores > 0.5
    scores, predicted = scores[kept], predicted[kept]
    if len(scores) < LEAST_ROWS:
        return Estimate(
            len(scores), reason=f"{len(scores)} predictions are too few: {LEAST_ROWS} are needed"
        )
    cells = _Cells(scores, predicted, relation)
    means, _, known = relation.table
    random = np.random.default_rng(seed)
    certain = means[None, cells.bins]
    hits = means * (known + 1) - 0.5
    shape = np.maximum(hits, 0) + 0.5, np.maximum(known - hits, 0) + 0.5
    chances = random.beta(*shape, size=(DRAWS, len(means)))[:, cells.bins]
    drawn = random.binomial(cells.rows.astype(np.int64), chances).astype(float)
    measure = cells.hits if task == "multiclass" else cells.binary
    middle, spread = measure(certain * cells.rows), measure(drawn)
    found = []
    for name, values in middle.items():
        value = float(values[0])
        drawn_ = spread[name][~np.isnan(spread[name])]
        if math.isnan(value) or not len(drawn_):
            found.append(Expected(name, None))
            continue
        low, high = np.quantile(drawn_, [0.025, 0.975])
        found.append(Expected(name, value, float(low), float(high)))
    return Estimate(len(scores), tuple(found))


class _Cells:
    """Rows of one bin and one decision, added up: all that the metrics need of scores."""

    def __init__(
        self, scores: NDArray[np.float64], predicted: NDArray[np.bool_], relation: Relation
    ) -> None:
        codes = relation.bins(scores) * 2 + predicted
        filled, codes = np.unique(codes, return_inverse=True)

        def total(values: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
            return np.bincount(codes, weights=values, minlength=len(filled)).astype(float)

        self.bins, self.said = filled // 2, (filled % 2).astype(float)
        self.rows = total()
        bounded = np.clip(scores, 1e-15, 1 - 1e-15)
        self.score = total(scores) / self.rows
        self.square = total(np.square(scores))
        self.log = total(np.log(bounded)) / self.rows
        self.log_other = total(np.log1p(-bounded)) / self.rows
        # cells of one bin are one group of equal scores: within it the order says nothing
        self.groups = np.unique(self.bins, return_inverse=True)[1]

    def hits(self, positives: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return the accuracy, of positives that are hits; shape (n_draws, n_cells)."""
        return {"accuracy": positives.sum(axis=1) / self.rows.sum()}

    def binary(self, positives: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return metrics of each draw of the number of positives in each cell."""
        negatives, count = self.rows - positives, self.rows.sum()
        both = positives @ self.said
        said, true = float(self.rows @ self.said), positives.sum(axis=1)
        wrong = negatives @ self.said
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "roc_auc": self._area(positives, negatives),
                "accuracy": (both + negatives @ (1 - self.said)) / count,
                "precision": both / np.where(said > 0, said, np.nan),
                "recall": both / np.where(true > 0, true, np.nan),
                "f1": 2 * both / np.where(said + true > 0, said + true, np.nan),
                "fpr": wrong / np.where(count > true, count - true, np.nan),
                "brier": (self.square.sum() + positives @ (1 - 2 * self.score)) / count,
                "log_loss": -(positives @ self.log + negatives @ self.log_other) / count,
            }

    def _area(
        self, positives: NDArray[np.float64], negatives: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        size = int(self.groups.max()) + 1
        joined = np.zeros((len(self.groups), size))
        joined[np.arange(len(self.groups)), self.groups] = 1.0
        hits, misses = positives @ joined, negatives @ joined
        below = np.cumsum(misses, axis=1) - misses / 2
        pairs = hits.sum(axis=1) * misses.sum(axis=1)
        return np.asarray((hits * below).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))
