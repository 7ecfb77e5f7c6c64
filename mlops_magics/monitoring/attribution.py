"""Attribution drift: whether the model still lives on the same columns as in testing.

Each column's permutation importance on labelled predictions, beside the one that the test report
keeps. The order is compared by the normalized discounted cumulative gain, as Amazon SageMaker
Clarify does with its threshold of 0.9; a column has changed if the difference is beyond chance.
It takes the model itself and many predictions, so it is computed when it is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.measures import importance
from mlops_magics.measures.intervals import Z
from mlops_magics.measures.metric import ALPHA
from mlops_magics.monitoring import labelled as labels
from mlops_magics.store import predictors

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from mlops_magics.monitoring.labelled import Labelled
    from mlops_magics.monitoring.references import Reference

__all__ = ["CRITERIA", "Attributed", "Attribution", "measure"]

LEAST_ROWS = 200
LEAST_NDCG = 0.9

CRITERIA = (
    f"attribution drift: NDCG of the columns' importances below {LEAST_NDCG:g}, and a column that "
    f"has changed at a false discovery rate of {ALPHA:g}"
)
"""The rule in a sentence."""


@dataclass(frozen=True)
class Attributed:
    """A column's importance: the loss gained when its values change rows.

    Attributes
    ----------
    value, low, high : float
        On labelled predictions.
    reference : float
        In testing.
    rank, reference_rank : int
        Place in the order, from 1.
    changed : bool
        Whether the two differ by more than chance.
    """

    column: str
    value: float
    low: float
    high: float
    reference: float
    rank: int
    reference_rank: int
    changed: bool


@dataclass(frozen=True)
class Attribution:
    """The order of the columns' importances against testing.

    Attributes
    ----------
    rows : int
        Labelled predictions that it was computed on.
    ndcg : float or None
        1: the same order.
    drifted : bool or None
        None: unknown, with a ``reason``.
    columns : tuple of Attributed
        The most important first.
    """

    rows: int
    ndcg: float | None = None
    drifted: bool | None = None
    columns: tuple[Attributed, ...] = ()
    reason: str | None = None


def measure(rows: Labelled, reference: Reference, package: Path | str) -> Attribution:
    """Compute the importances with the packaged model, and compare.

    Parameters
    ----------
    rows : Labelled
        With inputs.
    reference : Reference
        The package's side.
    package : path
        Its folder; the model is loaded from it.

    Raises
    ------
    PackageCorrupt, UntrustedTypes, MissingExtra
        The model cannot be loaded.
    """
    known = reference.baseline.importance
    if not known:
        return Attribution(len(rows), reason="the test report keeps no importances to compare with")
    if len(rows) < LEAST_ROWS or rows.inputs is None:
        return Attribution(
            len(rows), reason=f"{len(rows)} labels are too few: {LEAST_ROWS} are needed"
        )
    if reference.masked:
        masked = ", ".join(sorted(reference.masked))
        return Attribution(len(rows), reason=f"the endpoint does not keep the values of {masked}")
    predictor = predictors.load(package)
    places = importance.sample(rows.inputs)
    frame = rows.inputs.iloc[places].reset_index(drop=True)
    frame = frame[[name for name in known if name in frame.columns]]
    outcomes = rows.outcomes.take(places)

    def losses(given: pd.DataFrame) -> NDArray[np.float64]:
        answers = predictor.predict(given)
        listed: list[Any] = getattr(answers, "to_numpy", lambda: np.asarray(answers))().tolist()
        return labels.again(outcomes, listed, reference).losses()

    found = importance.permuted(frame, losses)
    before = {name: value for name, (value, _) in known.items() if name in found}
    score = importance.ndcg(before, {name: value for name, (value, _) in found.items()})
    columns = _columns(found, {name: known[name] for name in before})
    drifted = None if score is None else score < LEAST_NDCG and any(one.changed for one in columns)
    return Attribution(len(frame), score, drifted, columns)


def _columns(
    found: dict[str, tuple[float, float]], known: dict[str, tuple[float, float]]
) -> tuple[Attributed, ...]:
    from scipy.stats import false_discovery_control, norm

    names = list(known)
    ranks = {name: place for place, name in enumerate(sorted(names, key=lambda n: -found[n][0]))}
    before = {name: place for place, name in enumerate(sorted(names, key=lambda n: -known[n][0]))}
    values = []
    for name in names:
        half = math.hypot(found[name][1], known[name][1])
        z = abs(found[name][0] - known[name][0]) * Z / half if half else 0.0
        values.append(2 * float(norm.sf(z)))
    corrected = false_discovery_control(values) if values else []
    columns = [
        Attributed(
            name,
            found[name][0],
            found[name][0] - found[name][1],
            found[name][0] + found[name][1],
            known[name][0],
            ranks[name] + 1,
            before[name] + 1,
            bool(q_value <= ALPHA),
        )
        for name, q_value in zip(names, corrected, strict=True)
    ]
    return tuple(sorted(columns, key=lambda one: one.rank))
