"""Calibration: how small a p-value must be, so that windows like the reference rarely alarm.

Columns are correlated, skewed and discrete; p-values of textbooks are then too large or too small.
So windows are drawn from the reference itself, and the threshold is what the asked share of them
falls below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops_magics.errors import InvalidArgument

__all__ = ["Calibration"]

FORMAT = 1


@dataclass(frozen=True)
class Calibration:
    """Thresholds for the smallest corrected p-value of a window, by its size and the asked rate.

    Attributes
    ----------
    sizes : tuple of int
        Rows of the windows that were drawn, ascending.
    rates : tuple of float
        False-alarm rates, ascending.
    thresholds : tuple of tuple of float
        For each size, for each rate: so many of the windows have a smaller value.
    significant, drifted : tuple of tuple of float
        Likewise, the share of further windows, not used for the thresholds, that were
        significant; and of those with an effect large enough to be called drifted.
    windows : int
        How many were drawn of each size to measure that.

    Examples
    --------
    >>> found = Calibration((200, 2000), (0.01, 0.1), ((0.02, 0.2), (0.01, 0.1)))
    >>> round(found.threshold(2000, 0.01), 4), round(found.threshold(200, 0.03), 4)
    (0.01, 0.06)
    """

    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    thresholds: tuple[tuple[float, ...], ...]
    significant: tuple[tuple[float, ...], ...] = ()
    drifted: tuple[tuple[float, ...], ...] = ()
    windows: int = 0

    def threshold(self, rows: int, rate: float) -> float:
        """Return the threshold for a window of so many rows.

        Logarithms are interpolated; beyond the largest size the threshold stays; beyond the rates
        it is proportional to the rate, as the smallest corrected p-value of independent columns is
        (Simes, "An improved Bonferroni procedure", 1986).

        Raises
        ------
        InvalidArgument
            The rate is not between 0 and 1.
        """
        if not 0 < rate < 1:
            raise InvalidArgument(f"a false-alarm rate of {rate:g} is not between 0 and 1")
        inside = min(max(rate, self.rates[0]), self.rates[-1])
        logs = np.log(np.maximum(self.thresholds, 1e-300))
        found = self._at(np.exp(logs), rows, inside, log=True)
        return float(min(1.0, found * rate / inside))

    def measured(self, rows: int, rate: float) -> tuple[float, float] | None:
        """Return the measured shares of null windows: significant, and drifted; None: unknown."""
        if not self.windows:
            return None
        significant = self._at(np.asarray(self.significant), rows, rate)
        return float(significant), float(self._at(np.asarray(self.drifted), rows, rate))

    def _at(self, table: Any, rows: int, rate: float, *, log: bool = False) -> float:
        values = np.log(table) if log else table
        by_size = [np.interp(np.log(rate), np.log(self.rates), row) for row in values]
        found = float(np.interp(np.log(max(1, rows)), np.log(self.sizes), by_size))
        return float(np.exp(found)) if log else found

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"format": FORMAT, **vars(self)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote.

        Raises
        ------
        InvalidArgument
            The format is unknown.
        """
        if value.get("format") != FORMAT:
            raise InvalidArgument(f"calibration format {value.get('format')!r} is unknown")
        fields = {key: entry for key, entry in value.items() if key != "format"}
        for key in ("sizes", "rates"):
            fields[key] = tuple(fields[key])
        for key in ("thresholds", "significant", "drifted"):
            fields[key] = tuple(map(tuple, fields[key]))
        return cls(**fields)
