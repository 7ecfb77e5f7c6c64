"""Importance: how much worse predictions get without what a column says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.measures.intervals import Z

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["ROWS", "ndcg", "permuted"]

ROWS = 2000  # enough to tell the columns that matter from those that do not


def permuted(
    frame: pd.DataFrame,
    losses: Callable[[pd.DataFrame], NDArray[np.float64]],
    *,
    seed: int = 0,
    seconds: float = math.inf,
) -> dict[str, tuple[float, float]]:
    """Return each column's importance: the mean loss gained when its values change rows.

    Permutation importance (Breiman, "Random Forests", 2001; Fisher, Rudin and Dominici, "All
    Models are Wrong, but Many are Useful", 2019), with the half width of its 95 % interval over
    rows.

    Parameters
    ----------
    frame : DataFrame of shape (n_rows, n_columns)
        What the model takes.
    losses : callable
        Gives each row's loss for such a frame.
    seed : int
        Of the permutations.
    seconds : float
        When it takes longer, nothing is returned: an order of some columns says nothing.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"used": np.arange(8.0), "unused": np.arange(8.0)})
    >>> truth = frame["used"]
    >>> found = permuted(frame, lambda given: np.abs(given["used"] - truth).to_numpy())
    >>> found["used"][0] > found["unused"][0] == 0
    True
    """
    random = np.random.default_rng(seed)
    end = time.monotonic() + seconds
    before = losses(frame)
    found: dict[str, tuple[float, float]] = {}
    for place, name in enumerate(frame.columns):
        if time.monotonic() > end:
            return {}
        changed = frame.copy(deep=False)
        changed.isetitem(place, frame.iloc[random.permutation(len(frame)), place].array)
        gained = losses(changed) - before
        half = Z * float(np.std(gained, ddof=1)) / math.sqrt(len(gained)) if len(gained) > 1 else 0
        found[str(name)] = (float(gained.mean()), half)
    return found


def ndcg(reference: dict[str, float], current: dict[str, float]) -> float | None:
    """Return how far an order of columns is the reference's: 1 the same, less the more it differs.

    Normalized discounted cumulative gain with the reference's importances as gains (Järvelin and
    Kekäläinen, 2002), as in Amazon SageMaker Clarify's feature attribution drift. None where
    nothing is important in the reference.

    Examples
    --------
    >>> ndcg({"a": 3.0, "b": 1.0}, {"a": 9.0, "b": 2.0})
    1.0
    >>> round(ndcg({"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 2.0}), 3)
    0.797
    """
    gains = {name: max(0.0, value) for name, value in reference.items()}
    ideal = _discounted([gains[name] for name in _order(reference)])
    if not ideal:
        return None
    return _discounted([gains[name] for name in _order(current) if name in gains]) / ideal


def _order(importances: dict[str, float]) -> list[str]:
    return sorted(importances, key=lambda name: (-importances[name], name))


def _discounted(gains: list[float]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def sample(frame: Any, seed: int = 0) -> NDArray[np.int64]:
    """Return places of at most `ROWS` rows, drawn at random, in their order."""
    if len(frame) <= ROWS:
        return np.arange(len(frame))
    return np.sort(np.random.default_rng(seed).choice(len(frame), ROWS, replace=False))
