"""Forests of scikit-learn, answering for a few rows without the price of many tasks.

scikit-learn gives each tree of a forest to joblib as a task and checks its input again, some 0.1 ms
a tree; for one row the trees themselves need less than a hundredth of it. The sum below is the same
sum of the same addends in the same order, so the answers are equal to the last bit.
"""

from __future__ import annotations

from functools import partial
from typing import Any

__all__ = ["quicken"]

_KINDS = {
    "RandomForestClassifier": "predict_proba",
    "ExtraTreesClassifier": "predict_proba",
    "RandomForestRegressor": "predict",
    "ExtraTreesRegressor": "predict",
}


def quicken(model: Any) -> Any:
    """Have the forests of a fitted model, alone or in pipelines, sum up their trees directly.

    Forests that were told to use several threads, that give several outputs, or whose class is
    the user's own stay as they are.

    Parameters
    ----------
    model : estimator
        Is changed in place: a method of the forest is hidden by a faster one.

    Returns
    -------
    estimator
        The same.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> rows = np.arange(40.0).reshape(20, 2)
    >>> forest = RandomForestClassifier(10, random_state=0).fit(rows, rows[:, 0] > 20)
    >>> before = forest.predict_proba(rows)
    >>> bool((quicken(forest).predict_proba(rows) == before).all())
    True
    """
    for _, step in getattr(model, "steps", ()):
        quicken(step)
    kind = type(model)
    method = _KINDS.get(kind.__name__)
    if method is None or not kind.__module__.startswith("sklearn."):
        return model
    trees = getattr(model, "estimators_", None)
    if (
        trees
        and getattr(model, "n_outputs_", 0) == 1
        and model.n_jobs in (None, 1)
        and hasattr(model, "_validate_X_predict")
        and all(hasattr(tree, "tree_") for tree in trees)
    ):
        quick = _probabilities if method == "predict_proba" else _means
        setattr(model, method, partial(quick, model, [tree.tree_ for tree in trees]))
    return model


def _probabilities(forest: Any, trees: list[Any], X: Any) -> Any:
    import numpy as np

    rows = forest._validate_X_predict(X)
    total = np.zeros((rows.shape[0], forest.n_classes_), dtype=np.float64)
    for tree in trees:
        total += tree.predict(rows)[:, : forest.n_classes_]
    total /= len(trees)
    return total


def _means(forest: Any, trees: list[Any], X: Any) -> Any:
    import numpy as np

    rows = forest._validate_X_predict(X)
    total = np.zeros(rows.shape[0], dtype=np.float64)
    for tree in trees:
        total += tree.predict(rows)[:, 0]
    total /= len(trees)
    return total
