"""Calibration: how small a p-value must be, so that windows like the reference rarely alarm.

Columns are correlated, skewed and discrete; p-values of textbooks are then too large or too small.
So windows are drawn from the reference itself, and the threshold is what the asked share of them
falls below. The reference is a sample too: for each window another one of its size is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlops_magics.errors import InvalidArgument
from mlops_magics.profiles.profile import Profile
from mlops_magics.profiles.significance import LEAST, Tally, check, corrected

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["Calibration", "calibrate"]

FORMAT = 1
LEAST_ROWS = 100  # of a reference that can be drawn from
LOT = 100  # rows
SIZES = (100, 400, 1600, 6400, 25_600)  # of windows
FACTOR = 16
WINDOWS = 3000  # drawn of a size; fewer where columns are more than …
COLUMNS = 100
FITTED = 2 / 3  # of them the threshold is taken from, the others measure the false-alarm rate
RATES = (0.001, 0.01, 0.05, 0.1)
TAIL = 0.05  # below this share of the windows the tail's form is taken from all sizes together


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


def calibrate(
    frame: pd.DataFrame,
    profile: Profile,
    *,
    sizes: Sequence[int] | None = None,
    reference_rows: int | None = None,
    seed: int = 0,
) -> Calibration | None:
    """Find thresholds by drawing windows from the reference's own rows.

    Whole rows are drawn, so that columns stay as dependent on each other as they are. Rows are
    only counted: each is a number for each column, its bin. A window is a sum of lots of a hundred
    rows, which are drawn first (a bootstrap of lots). The tail is taken to be
    a power of the threshold, with an exponent after Hill, "A simple general approach to inference
    about the tail of a distribution" (1975), from all sizes together.

    Parameters
    ----------
    frame : DataFrame
        The reference's rows.
    profile : Profile
        Theirs.
    sizes : sequence of int, optional
        Rows of windows, rounded to hundreds; default: from 100 to 25,600, each four times the one
        before.
    reference_rows : int, optional
        Rows that the reference profile was made of; default: those of ``profile``.
    seed : int
        Of the drawing.

    Returns
    -------
    Calibration or None
        None where there are fewer than 100 rows, or nothing can be tested.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> frame = pd.DataFrame({"x": random.normal(size=2000)})
    >>> frame["same"] = frame["x"]  # counts twice, but is no second chance of an alarm
    >>> found = calibrate(frame, Profile.of(frame), sizes=[400])
    >>> 0.01 < found.threshold(400, 0.01) < 0.03
    True
    """
    if len(frame) < LEAST_ROWS or not profile.columns:
        return None
    random = np.random.default_rng(seed)
    number = min(WINDOWS, max(WINDOWS // 5, WINDOWS * COLUMNS // len(profile.columns)))
    pools = [_lots(profile.codes(frame), profile, number, random)]
    reference = _draw(pools, _of(reference_rows or profile.rows), random)
    drawn = tuple(sorted({_of(size) for size in sizes or SIZES}))
    smallest, alarms = [], []
    for lots in drawn:
        found = _judge(profile, reference, _draw(pools, lots, random))
        if found is None:
            return None
        smallest.append(found[0])
        alarms.append(found[1])
    return _fit(tuple(LOT * lots for lots in drawn), smallest, alarms)


def _of(rows: int) -> int:
    """Return how many lots are about so many rows."""
    return max(1, round(rows / LOT))


Pool = dict[str, "NDArray[np.int32]"]  # counts by code, of shape (windows, bins + 2)


def _lots(codes: pd.DataFrame, profile: Profile, number: int, random: np.random.Generator) -> Pool:
    """Draw lots of rows and count each column's codes in them."""
    chosen = random.integers(0, len(codes), number * LOT)
    lot = np.repeat(np.arange(number), LOT)
    found = {}
    for name, known in profile.columns.items():
        width = len(known.bins) + 2
        flat = lot * width + codes[name].to_numpy()[chosen]
        counts = np.bincount(flat, minlength=number * width)
        found[name] = counts.reshape(number, width).astype(np.int32)
    return found


def _draw(pools: list[Pool], lots: int, random: np.random.Generator) -> Pool:
    """Draw as many samples as there are lots, each of ``lots`` lots.

    A sample is a sum of lots, of samples of 16 lots, of 256 …, which stand in further pools. Each
    of a pool is taken as often as the others, so that the mean of all stays what it is.
    """
    total = {name: np.zeros_like(counts) for name, counts in pools[0].items()}
    level = 0
    while lots:
        if level == len(pools):
            pools.append(_add({}, pools[-1], FACTOR, random))
        _add(total, pools[level], lots % FACTOR, random)
        level, lots = level + 1, lots // FACTOR
    return total


def _add(total: Pool, pool: Pool, times: int, random: np.random.Generator) -> Pool:
    """Add a pool's samples to others, each as often, in orders that chance gives."""
    for _ in range(times):
        order = random.permutation(len(next(iter(pool.values()))))
        for name, counts in pool.items():
            total[name] = total[name] + counts[order] if name in total else counts[order]
    return total


def _judge(
    profile: Profile, reference: Pool, windows: Pool
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return each window's smallest corrected p-value, and that of the effects that matter."""
    p_values, matters = [], []
    for name, known in profile.columns.items():
        before, after = (Tally.of_counts(side[name]) for side in (reference, windows))
        for kind, outcome in check(known, before, after).items():
            p_values.append(outcome.p_value)
            matters.append(outcome.effect >= LEAST[kind])
    values = corrected(np.column_stack(p_values))
    if np.isnan(values).all():
        return None
    values = np.where(np.isnan(values), 1.0, values)
    return values.min(axis=1), np.where(np.column_stack(matters), values, 1.0).min(axis=1)


def _fit(
    sizes: tuple[int, ...],
    smallest: Sequence[NDArray[np.float64]],
    alarms: Sequence[NDArray[np.float64]],
) -> Calibration:
    fitted = round(FITTED * len(smallest[0]))
    count = round(TAIL * fitted)
    tails = [np.maximum(np.sort(values[:fitted]), 1e-300) for values in smallest]
    spread = np.concatenate([np.log(tail[count] / tail[:count]) for tail in tails]).mean()
    thresholds, significant, drifted = [], [], []
    for tail, values, alarm in zip(tails, smallest, alarms, strict=True):
        row = [
            tail[count] * (rate / TAIL) ** spread if rate < TAIL else np.quantile(tail, rate)
            for rate in RATES
        ]
        thresholds.append(tuple(float(f"{value:.4g}") for value in row))
        significant.append(tuple(float(np.mean(values[fitted:] <= value)) for value in row))
        drifted.append(tuple(float(np.mean(alarm[fitted:] <= value)) for value in row))
    return Calibration(
        sizes,
        RATES,
        tuple(thresholds),
        tuple(significant),
        tuple(drifted),
        len(smallest[0]) - fitted,
    )
