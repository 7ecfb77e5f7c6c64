"""The domain classifier: how well a model tells the window's rows from the reference's.

Columns can each look as before while their combination does not: a correlation that broke, a
sensor that answers for another. A classifier sees that. Its area under the ROC curve on rows that
it was not trained on is the chance that it puts a window's row above a reference's: a half where
nothing differs (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", 2017).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.profiles import Categorical, Profile

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["LEAST_AUC", "LEAST_ROWS", "ROWS", "Separation", "classify"]

ROWS = 2000  # of each side, at the most
LEAST_ROWS = 100  # of each side, at the least
LEAST_AUC = 0.55  # what matters
LEAST_DROP = 0.1  # of what the AUC is above a half, for a column to be named
NAMED = 5


@dataclass(frozen=True)
class Separation:
    """How well a classifier tells two sets of rows apart.

    Attributes
    ----------
    auc, low, high : float
        On held-out rows, with its 95 % interval; 0.5: not at all.
    p_value : float
        Of so large an AUC, if both sides were alike.
    drifted : bool
        The p-value is at most the asked rate, and the AUC at least 0.55.
    features : tuple of (str, float)
        Columns without which it is told apart worse, and by how much the AUC falls; the most
        telling first. Empty unless it drifted.
    reference_rows, rows : int
        Of both sides: half of them to learn from, half to be tried on.
    """

    auc: float
    low: float
    high: float
    p_value: float
    drifted: bool
    features: tuple[tuple[str, float], ...]
    reference_rows: int
    rows: int


def classify(
    profile: Profile,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    rate: float = 0.01,
    without: Collection[str] = (),
    seed: int = 0,
) -> Separation | None:
    """Train a classifier on half of the rows to tell two sets apart, and try it on the other half.

    Gradient-boosted trees on the bins of each column. Under no difference the AUC has Mann and
    Whitney's mean and variance ("On a test of whether one of two random variables is
    stochastically larger than the other", 1947; corrected for ties). That is so for rows that no
    classifier was trained on: over the folds of a cross-validation it would vary more. The
    interval is DeLong's (1988).

    Parameters
    ----------
    profile : Profile
        Whose bins they are.
    reference, current : DataFrame of int
        `Profile.codes` of rows of either side; of more than 2,000 some are chosen.
    rate : float
        Asked false-alarm rate.
    without : collection of str
        Columns to leave out.
    seed : int
        Of choosing and halving.

    Returns
    -------
    Separation or None
        None with fewer than 100 rows on a side, or no column.

    Examples
    --------
    >>> import pandas as pd
    >>> random = np.random.default_rng(0)
    >>> train = pd.DataFrame({"x": random.normal(size=800)})
    >>> train["y"] = train["x"] + random.normal(0, 0.1, 800)
    >>> broken = train.assign(y=random.permutation(train["y"]))  # each column is as it was
    >>> profile = Profile.of(train)
    >>> found = classify(profile, profile.codes(train), profile.codes(broken))
    >>> found.drifted, sorted(name for name, _ in found.features)
    (True, ['x', 'y'])
    """
    from scipy.special import ndtr
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    names = [
        name
        for name, column in profile.columns.items()
        if column.type != "datetime" and name not in without  # time always moves on
    ]
    random = np.random.default_rng(seed)
    sides = [_some(side, random) for side in (reference, current)]
    if not names or min(len(side) for side in sides) < LEAST_ROWS:
        return None
    values = np.concatenate([side[names].to_numpy() for side in sides])
    labels = np.repeat([0, 1], [len(side) for side in sides])
    held = np.concatenate([random.permutation(len(side)) % 2 for side in sides]) == 1
    nominal = [isinstance(profile.columns[name], Categorical) for name in names]
    with threadpool_limits(1):  # so few rows are done before several threads have met
        model = _fit(values[~held], labels[~held], nominal)
        auc, chance, spread = _area(_score(model, values[held]), labels[held])
        p_value = float(ndtr((0.5 - auc) / chance)) if chance else 1.0
        drifted = p_value <= rate and auc >= LEAST_AUC
        telling = _telling(model, values[held], labels[held], auc, random) if drifted else []
    drops = sorted(zip(names, telling, strict=False), key=lambda pair: -pair[1])
    named = tuple((name, drop) for name, drop in drops if drop >= LEAST_DROP * (auc - 0.5))
    return Separation(
        auc=auc,
        low=max(0.0, auc - 1.959963984540054 * spread),
        high=min(1.0, auc + 1.959963984540054 * spread),
        p_value=p_value,
        drifted=drifted,
        features=tuple((name, drop) for name, drop in named if drop >= LEAST_DROP * (auc - 0.5))[
            :NAMED
        ],
        reference_rows=len(sides[0]),
        rows=len(sides[1]),
    )


def _some(side: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    if len(side) <= ROWS:
        return side
    return side.iloc[np.sort(random.choice(len(side), ROWS, replace=False))]


def _fit(values: NDArray[Any], labels: NDArray[Any], nominal: list[bool]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        categorical_features=nominal,
        early_stopping=False,
        class_weight="balanced",
        random_state=0,
    )
    return model.fit(values, labels)


def _score(model: Any, values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(model.decision_function(values))


def _area(scores: NDArray[np.float64], labels: NDArray[Any]) -> tuple[float, float, float]:
    """Return the area under the ROC curve, its spread under no difference, and DeLong's."""
    from scipy.stats import rankdata

    ours, theirs = scores[labels == 1], scores[labels == 0]
    m, n = len(ours), len(theirs)
    ranks = rankdata(scores)
    # of each row, the share of the other side that it is above
    above = (ranks[labels == 1] - rankdata(ours)) / n
    below = 1 - (ranks[labels == 0] - rankdata(theirs)) / m
    _, ties = np.unique(scores, return_counts=True)
    total = m + n
    tied = float((ties.astype(float) ** 3 - ties).sum()) / (total * (total - 1))
    chance = (total + 1 - tied) / (12 * m * n)
    spread = float(above.var(ddof=1)) / m + float(below.var(ddof=1)) / n
    return float(above.mean()), float(np.sqrt(chance)), float(np.sqrt(spread))


def _telling(
    model: Any,
    values: NDArray[Any],
    labels: NDArray[Any],
    auc: float,
    random: np.random.Generator,
) -> list[float]:
    """Return by how much the AUC falls when a column is shuffled (Breiman 2001), for each."""
    drops = []
    for place in range(values.shape[1]):
        shuffled = values.copy()
        shuffled[:, place] = random.permutation(shuffled[:, place])
        drops.append(auc - _area(_score(model, shuffled), labels)[0])
    return drops
