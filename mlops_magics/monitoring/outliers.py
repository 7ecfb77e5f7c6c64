"""Outliers: how many rows of a window are unlike nearly all rows of the reference."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.profiles import Numeric, Profile
from mlops_magics.profiles import values as read

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Outliers", "count"]

SHARE = 0.01  # of the reference's rows that are called far
LEAST_SHARE = 0.02  # of a window's rows, to matter
LEAST_ROWS = 200  # of the reference: half of them train, half say what is far


@dataclass(frozen=True)
class Outliers:
    """Unusual rows of a window.

    Attributes
    ----------
    rows : int
        That were looked at.
    outside : int
        Rows with a number beyond the reference's least and greatest, a category that it does not
        have, or a value of the wrong type.
    columns : tuple of (str, int)
        In which columns, the most first.
    far : int or None
        Rows that an isolation forest (Liu, Ting and Zhou 2008) finds further off than all but one
        per cent of the reference's rows; None: too few rows of the reference are kept.
    expected : float
        How many would be far if the window were like the reference.
    p_value : float or None
        Of so many.
    more : bool or None
        They are significantly more, and at least two per cent of the rows.
    """

    rows: int
    outside: int
    columns: tuple[tuple[str, int], ...]
    far: int | None
    expected: float
    p_value: float | None
    more: bool | None


def count(
    profile: Profile,
    reference: pd.DataFrame | None,
    frame: pd.DataFrame,
    *,
    rate: float = 0.01,
    without: Collection[str] = (),
    seed: int = 0,
) -> Outliers:
    """Count the rows of a window that are outside of the reference's ranges, or far from it.

    Half of the reference's rows train the forest, the other half say what is far; so many of the
    window's rows are then beyond a known rank by chance (a beta-binomial number: Wilks,
    "Statistical prediction with special reference to the problem of tolerance limits", 1942).

    Parameters
    ----------
    profile : Profile
        Of the reference.
    reference : DataFrame of int, or None
        `Profile.codes` of some of its rows.
    frame : DataFrame
        The window's rows.
    rate : float
        Asked false-alarm rate.
    without : collection of str
        Columns to leave out.
    seed : int
        Of the halves and the forest.

    Examples
    --------
    >>> import pandas as pd
    >>> random = np.random.default_rng(0)
    >>> train = pd.DataFrame({"x": random.normal(size=2000), "c": random.choice(["a", "b"], 2000)})
    >>> window = train.head(300).copy()
    >>> window.loc[:19, "x"] = 90.0
    >>> profile = Profile.of(train)
    >>> found = count(profile, profile.codes(train), window)
    >>> found.outside, found.columns, found.more
    (20, (('x', 20),), True)
    """
    names = [
        name
        for name, column in profile.columns.items()
        if column.type != "datetime" and name not in without and name in frame.columns
    ]
    codes = profile.codes(frame)
    beyond = {name: _beyond(profile, name, frame[name], codes[name].to_numpy()) for name in names}
    every = list(beyond.values()) or [np.zeros(len(frame), dtype=bool)]
    by_column = [(name, int(one.sum())) for name, one in beyond.items() if one.any()]
    known = [name for name in names if reference is not None and name in reference.columns]
    far, p_value, expected = None, None, SHARE * len(frame)
    if reference is not None and known and len(reference) >= LEAST_ROWS and len(frame):
        far, p_value, expected = _far(reference[known], codes[known], seed)
    return Outliers(
        rows=len(frame),
        outside=int(np.any(every, axis=0).sum()),
        columns=tuple(sorted(by_column, key=lambda pair: -pair[1])),
        far=far,
        expected=expected,
        p_value=p_value,
        more=None
        if far is None or p_value is None
        else p_value <= rate and far >= LEAST_SHARE * len(frame),
    )


def _beyond(
    profile: Profile, name: str, series: pd.Series, codes: NDArray[np.int16]
) -> NDArray[np.bool_]:
    column = profile.columns[name]
    bins = len(column.bins)
    invalid: NDArray[np.bool_] = codes == bins + 1
    if isinstance(column, Numeric):
        if column.min is None or column.max is None:
            return invalid
        numbers, _ = read.numbers(series, column.type)
        with np.errstate(invalid="ignore"):
            outside: NDArray[np.bool_] = (numbers < column.min) | (numbers > column.max)
        return np.logical_or(invalid, outside)
    new: NDArray[np.bool_] = codes == bins - 1
    return np.logical_or(invalid, new) if column.complete else invalid


def _far(reference: pd.DataFrame, codes: pd.DataFrame, seed: int) -> tuple[int, float, float]:
    from scipy.stats import betabinom
    from sklearn.ensemble import IsolationForest

    order = np.random.default_rng(seed).permutation(len(reference))
    train, held = np.array_split(reference.to_numpy()[order], 2)
    forest = IsolationForest(random_state=seed).fit(train)
    scores = np.sort(forest.score_samples(held))  # the lower, the further
    rank = max(1, round(SHARE * len(held)))
    far = int((forest.score_samples(codes.to_numpy()) < scores[rank - 1]).sum())
    # below the rank-th of the held rows lies a share that is Beta(rank, held + 1 - rank)
    chance = betabinom(len(codes), rank, len(held) + 1 - rank)
    return far, float(chance.sf(far - 1)), float(chance.mean())
