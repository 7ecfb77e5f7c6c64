"""A relation: how the truth goes with the prediction, by bins of the prediction.

Of probabilities it is the calibration map by histogram binning (Zadrozny and Elkan, "Obtaining
calibrated probability estimates", 2001): the share of positives for scores of each bin. Of numbers
it is the mean error by bins of the predicted value. It says what to expect before labels come, and
whether labels that came go with the predictions as they did in testing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_magics.measures.outcomes import Outcomes

__all__ = ["Relation", "arguments"]

SMALLEST = 100  # held-out rows of a bin
MOST = 40  # bins


@dataclass(frozen=True)
class Relation:
    """What the truth was for predictions of each bin.

    Attributes
    ----------
    edges : tuple of float
        Inner edges; bin i has predictions from ``edges[i - 1]`` up to but without ``edges[i]``.
    means : tuple of float
        Of probabilities the share of positives, of numbers the mean of truth less prediction.
    variances : tuple of float
        Of one row in each bin.
    rows : tuple of int
        On which it was found.

    Examples
    --------
    >>> scores = np.linspace(0, 1, 2000)
    >>> map = Relation.of(scores, np.arange(2000) % 4 == 0, probability=True)
    >>> len(map.rows), round(float(map.expected(np.array([0.9]))[0]), 2)
    (20, 0.25)
    """

    edges: tuple[float, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]
    rows: tuple[int, ...]

    @classmethod
    def of(
        cls, predictions: NDArray[np.float64], truth: NDArray[Any], *, probability: bool
    ) -> Relation | None:
        """Find it on held-out rows; None where there are too few.

        Parameters
        ----------
        predictions : float array of shape (n_rows,)
            Scores, or predicted numbers.
        truth : array of shape (n_rows,)
            Whether the class is the positive one, or truth less prediction.
        probability : bool
            Which of both.
        """
        count = min(MOST, len(predictions) // SMALLEST)
        if count < 1:
            return None
        values = np.unique(predictions)
        edges = np.quantile(predictions, np.arange(1, count) / count)
        above = int(np.count_nonzero(predictions > 0.5))
        if probability and min(above, len(predictions) - above) >= SMALLEST / 2:
            # no bin should have rows of both decisions
            edges = np.delete(edges, np.argmin(np.abs(edges - 0.5))) if len(edges) else edges
            edges = np.append(edges, np.nextafter(0.5, 1))
        # between two values, so that one that is computed a little otherwise stays in its bin
        places = np.unique(np.searchsorted(values, edges))
        places = places[(places > 0) & (places < len(values))]
        edges = (values[places - 1] + values[places]) / 2
        bins = np.searchsorted(edges, predictions, side="right")
        size = len(edges) + 1
        rows = np.bincount(bins, minlength=size)
        given = truth.astype(float)
        sums = np.bincount(bins, weights=given, minlength=size)
        if probability:
            means = (sums + 0.5) / (rows + 1)  # Jeffreys' prior: no bin is certain
            variances = means * (1 - means)
        else:
            means = sums / np.maximum(rows, 1)
            squares = np.bincount(bins, weights=np.square(given - means[bins]), minlength=size)
            variances = squares / np.maximum(rows - 1, 1)
        return cls(
            tuple(edges.tolist()),
            tuple(means.tolist()),
            tuple(variances.tolist()),
            tuple(rows.tolist()),
        )

    def bins(self, predictions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return each prediction's bin."""
        return np.asarray(np.searchsorted(np.asarray(self.edges), predictions, side="right"))

    def expected(self, predictions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the truth was on average for such predictions."""
        return np.asarray(self.table[0][self.bins(predictions)])

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """Means, variances and rows, as an array of shape (3, n_bins)."""
        return np.array([self.means, self.variances, self.rows], dtype=float)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "edges": list(self.edges),
            "means": [float(f"{value:.5g}") for value in self.means],
            "variances": [float(f"{value:.5g}") for value in self.variances],
            "rows": list(self.rows),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Relation:
        """Read what `to_dict` wrote."""
        return cls(
            tuple(value["edges"]),
            tuple(value["means"]),
            tuple(value["variances"]),
            tuple(value["rows"]),
        )


def arguments(outcomes: Outcomes) -> tuple[NDArray[np.float64], NDArray[Any]] | None:
    """Return what goes with what: scores and positives, confidences and hits, numbers and errors.

    None of classes without probabilities: there is nothing that could tell a sure prediction.
    """
    if outcomes.task == "regression":
        return outcomes.predicted.astype(float), outcomes.truth - outcomes.predicted
    if outcomes.scores is None:
        return None
    if outcomes.scores.ndim == 1:
        return outcomes.scores, outcomes.truth
    return outcomes.scores.max(axis=1), outcomes.truth == outcomes.predicted
