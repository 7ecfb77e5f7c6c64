"""Confidence intervals by the bootstrap, over the same resamples for all that is compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops_magics.testing.metrics import Floats, Metric, Outcome

__all__ = ["Estimate", "Resampling", "quantiles"]

CONFIDENCE = 0.95
_CELLS = 400_000  # weights held at once: they should stay in the processor's cache


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, resampled: Floats) -> Estimate:
        """Take the percentile interval of resampled values."""
        if np.isnan(value):
            return cls(None, None, None)
        low, high = quantiles(resampled)
        return cls(float(value), low, high)

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Resampling:
    """Bootstrap resamples of n rows, drawn anew but equal on each pass.

    Parameters
    ----------
    rows : int
        Rows of the held-out data.
    seed : int
        The same seed gives the same resamples, and so the same intervals.
    """

    def __init__(self, rows: int, seed: int = 0) -> None:
        self.rows = rows
        self.seed = seed
        self.count = int(np.clip(10_000_000 // max(rows, 1), 200, 1000))

    def weights(self) -> Iterator[Floats]:
        """Give blocks of weights of shape (n_resamples, n_rows), each row adding up to n."""
        random = np.random.default_rng(self.seed)
        block = max(1, min(self.count, _CELLS // max(self.rows, 1)))
        for start in range(0, self.count, block):
            size = min(block, self.count - start)
            table = np.empty((size, self.rows))
            for row in table:
                drawn = random.integers(0, self.rows, self.rows)
                row[:] = np.bincount(drawn, minlength=self.rows)
            yield table

    def estimate(self, metrics: list[Metric], outcome: Outcome) -> dict[str, Estimate]:
        """Return each metric with its interval.

        Examples
        --------
        >>> from mlops_magics.testing.metrics import METRICS
        >>> truth = np.arange(100) % 2
        >>> right = Outcome("binary", truth, truth)
        >>> accuracy = [one for one in METRICS["binary"] if one.name == "accuracy"]
        >>> Resampling(100).estimate(accuracy, right)["accuracy"]
        Estimate(value=1.0, low=1.0, high=1.0)
        """
        found = self.resample(metrics, [outcome])[0]
        once = np.ones((1, self.rows))
        return {
            metric.name: Estimate.of(metric.compute(outcome, once)[0], found[metric.name])
            for metric in metrics
        }

    def resample(
        self,
        metrics: list[Metric],
        outcomes: list[Outcome],
        rows: list[NDArray[np.int64]] | None = None,
    ) -> list[dict[str, Floats]]:
        """Return each metric's resampled values for several outcomes on the same resamples.

        Parameters
        ----------
        metrics : list of Metric
            What to compute.
        outcomes : list of Outcome
            Of all rows: of several models, or of several slices when ``rows`` is given.
        rows : list of ndarray, optional
            For each outcome, the rows that it has.
        """
        parts: list[dict[str, list[Floats]]] = [{one.name: [] for one in metrics} for _ in outcomes]
        for weights in self.weights():
            for place, outcome in enumerate(outcomes):
                own = weights if rows is None else weights[:, rows[place]]
                for metric in metrics:
                    parts[place][metric.name].append(metric.compute(outcome, own))
        return [{name: np.concatenate(each) for name, each in part.items()} for part in parts]


def quantiles(values: Floats) -> tuple[float | None, float | None]:
    """Return the percentile interval's bounds; None when nothing is defined."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
