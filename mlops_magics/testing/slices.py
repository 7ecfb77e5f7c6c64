"""Slices: a model's metric in parts of the data, with the parts' sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops_magics.errors import UnknownName
from mlops_magics.testing.bootstrap import Estimate, Resampling
from mlops_magics.testing.metrics import Floats, Metric, Outcome

__all__ = ["Slice", "Slicing"]

SMALLEST = 50
"""Rows below which a slice is shown but not compared: its interval says too little."""

_MOST = 20
_QUANTILES = 4


@dataclass(frozen=True)
class Slice:
    """One metric in one part of the data.

    Attributes
    ----------
    column, value : str
        Which part.
    rows : int
        Its size.
    metric : str
        What was measured.
    estimate, low, high : float or None
        The value and its interval.
    """

    column: str
    value: str
    rows: int
    metric: str
    estimate: float | None
    low: float | None
    high: float | None


class Slicing:
    """The parts of the data by one column's values; numbers of many values by quartiles.

    Examples
    --------
    >>> Slicing(pd.DataFrame({"origin": ["EWR", "JFK", "EWR"]}), "origin").names
    ['EWR', 'JFK']
    """

    def __init__(self, data: pd.DataFrame, column: str) -> None:
        if column not in data.columns:
            raise UnknownName("column", column, map(str, data.columns))
        self.column = column
        values = data[column]
        if pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > _MOST:
            values = pd.qcut(values, _QUANTILES, duplicates="drop")
        codes, labels = pd.factorize(values, use_na_sentinel=True)
        sizes = np.bincount(codes[codes >= 0], minlength=len(labels))
        order = np.argsort(-sizes, kind="stable")[:_MOST]
        found = [(str(labels[place]), np.flatnonzero(codes == place)) for place in order]
        missing = np.flatnonzero(codes < 0)
        if len(missing):
            found.append(("missing", missing))
        self.names = [name for name, _ in found]
        self.rows: list[NDArray[np.int64]] = [rows for _, rows in found]

    def measure(
        self, metrics: list[Metric], outcome: Outcome, resampling: Resampling
    ) -> tuple[list[Slice], dict[str, list[Floats]]]:
        """Measure metrics in each part.

        Returns
        -------
        slices : list of Slice
            One for each part and metric.
        resampled : dict
            By metric, for each part: the value, then its resampled values.
        """
        parts = [outcome.take(rows) for rows in self.rows]
        drawn = resampling.resample(metrics, parts, self.rows)
        slices: list[Slice] = []
        table: dict[str, list[Floats]] = {metric.name: [] for metric in metrics}
        for metric in metrics:
            for name, part, values in zip(self.names, parts, drawn, strict=True):
                value = metric.compute(part, np.ones((1, len(part))))[0]
                found = Estimate.of(value, values[metric.name])
                slices.append(
                    Slice(
                        self.column,
                        name,
                        len(part),
                        metric.name,
                        found.value,
                        found.low,
                        found.high,
                    )
                )
                table[metric.name].append(np.append(value, values[metric.name]))
        return slices, table

    def largest_gap(self, values: list[Floats]) -> tuple[tuple[str, str], Estimate] | None:
        """Return the two parts that differ most, and the difference; None with fewer than two.

        The two parts are chosen once by their values: choosing them anew in each resample would
        make every gap look larger than it is.
        """
        known = [
            place
            for place, each in enumerate(values)
            if len(self.rows[place]) >= SMALLEST and not np.isnan(each[0])
        ]
        if len(known) < 2:
            return None
        best = max(known, key=lambda place: values[place][0])
        worst = min(known, key=lambda place: values[place][0])
        difference = values[best] - values[worst]
        names = (f"{self.column}={self.names[best]}", f"{self.column}={self.names[worst]}")
        return names, Estimate.of(difference[0], difference[1:])
