"""The baseline: what testing found on held-out rows, for monitoring to compare with.

It travels in the test report, and so in the package: a few numbers by slice, never rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_magics.measures.cut import Cut
from mlops_magics.measures.metric import Metric
from mlops_magics.measures.outcomes import Outcomes, roc_auc
from mlops_magics.measures.relation import Relation, arguments

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Baseline", "Part", "parts_of"]

COLUMNS = 64  # of a wider table the first, after those that were asked for

Known = Mapping[str, tuple[float, float]]
"""Metrics by name: value, and half the width of its interval."""


@dataclass(frozen=True)
class Part:
    """One column's parts in testing.

    Attributes
    ----------
    cut : Cut
        Where they are.
    rows : tuple of int
        Held-out rows by part.
    metrics : tuple of mappings
        By part: each metric's value and half interval. ``residual`` is the mean of truth less
        what the `Relation` expected, ``surprise`` the mean of its square less the variance that
        was expected: more where truth has left the predictions, to whichever side.
    """

    cut: Cut
    rows: tuple[int, ...]
    metrics: tuple[Known, ...]


@dataclass(frozen=True)
class Baseline:
    """A model on held-out rows.

    Attributes
    ----------
    metrics : mapping
        Of all rows.
    relation : Relation or None
        How truth goes with the prediction; None of classes without probabilities, or on few rows.
    parts : mapping of str to Part
        By column.
    importance : mapping
        By column: permutation importance and half interval; empty if it was not measured.

    Examples
    --------
    >>> import pandas as pd
    >>> truth = np.arange(400) % 2 == 0
    >>> frame = pd.DataFrame({"origin": ["JFK", "LGA"] * 200})
    >>> baseline = Baseline.of(Outcomes("binary", truth, truth), frame, ["origin"])
    >>> Baseline.from_dict(baseline.to_dict()).parts["origin"].rows
    (200, 200, 0)
    """

    metrics: Known = field(default_factory=dict)
    relation: Relation | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    importance: Known = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        outcomes: Outcomes,
        frame: pd.DataFrame,
        columns: Sequence[str],
        importance: Known | None = None,
    ) -> Baseline:
        """Measure held-out rows.

        Parameters
        ----------
        outcomes : Outcomes
            Of the model.
        frame : DataFrame of shape (n_rows, n_columns)
            The same rows.
        columns : sequence of str
            By which it is measured; the first 64.
        importance : mapping, optional
            As `importance.permuted` gives.
        """
        relation = None
        given = arguments(outcomes)
        if given is not None:
            relation = Relation.of(*given, probability=outcomes.task != "regression")
        parts = {}
        named = {str(name): frame.iloc[:, place] for place, name in enumerate(frame.columns)}
        for column in list(dict.fromkeys(columns))[:COLUMNS]:
            values = named[column].rename(column)
            try:
                cut = Cut.of(values)
            except TypeError:  # values that have no hash: lists, arrays
                continue
            codes = cut.parts(values)
            rows = np.bincount(codes[codes >= 0], minlength=len(cut.names))
            found = parts_of(outcomes, codes, len(cut.names), relation)
            parts[column] = Part(cut, tuple(rows.tolist()), tuple(map(_known, found)))
        return cls(_known(outcomes.measure()), relation, parts, importance or {})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "metrics": _listed(self.metrics),
            "relation": None if self.relation is None else self.relation.to_dict(),
            "parts": [
                {
                    **part.cut.to_dict(),
                    "rows": list(part.rows),
                    "metrics": [_listed(one) for one in part.metrics],
                }
                for part in self.parts.values()
            ],
            "importance": _listed(self.importance),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Baseline:
        """Read what `to_dict` wrote."""
        parts = [
            Part(Cut.from_dict(one), tuple(one["rows"]), tuple(map(_tupled, one["metrics"])))
            for one in value.get("parts", ())
        ]
        relation = value.get("relation")
        return cls(
            _tupled(value.get("metrics", {})),
            None if relation is None else Relation.from_dict(relation),
            {part.cut.column: part for part in parts},
            _tupled(value.get("importance", {})),
        )


def parts_of(
    outcomes: Outcomes,
    codes: NDArray[np.int64],
    size: int,
    relation: Relation | None = None,
    *,
    areas: bool = True,
) -> list[list[Metric]]:
    """Measure each part's metrics; with a relation also its residual and surprise.

    Parameters
    ----------
    outcomes : Outcomes
        Of all rows.
    codes : int array of shape (n_rows,)
        Each row's part, negative for none.
    size : int
        Number of parts.
    relation : Relation, optional
        What was expected of each prediction.
    areas : bool
        Whether also the areas under the ROC curves, which take a sort each.
    """
    found = outcomes.by_part(codes, size)
    if areas and outcomes.task == "binary" and outcomes.scores is not None:
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(size + 1))
        for part in range(size):
            rows = order[bounds[part] : bounds[part + 1]]
            found[part].insert(0, roc_auc(outcomes.truth[rows], outcomes.scores[rows]))
    given = arguments(outcomes) if relation is not None else None
    if relation is not None and given is not None:
        predictions, truth = given
        bins = relation.bins(predictions)
        residuals = truth.astype(float) - relation.table[0][bins]
        surprises = np.square(residuals) - relation.table[1][bins]
        for name, values in (("residual", residuals), ("surprise", surprises)):
            # as errors of a model that predicts nothing: their mean is the bias
            errors = Outcomes("regression", np.zeros(len(outcomes)), values)
            for part, (metric,) in enumerate(errors.by_part(codes, size, ["bias"])):
                found[part].append(replace(metric, name=name))
    return found


def _known(metrics: Sequence[Metric]) -> dict[str, tuple[float, float]]:
    return {
        one.name: (one.value, (one.high - one.low) / 2)
        for one in metrics
        if one.value is not None and one.low is not None and one.high is not None
    }


def _listed(metrics: Known) -> dict[str, list[float]]:
    return {
        name: [float(f"{value:.6g}"), float(f"{half:.4g}")]
        for name, (value, half) in metrics.items()
    }


def _tupled(metrics: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    return {name: (float(value), float(half)) for name, (value, half) in metrics.items()}
