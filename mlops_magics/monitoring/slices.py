"""Slices: parts of the traffic, each measured against the same part in testing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.errors import UnknownName
from mlops_magics.measures.baseline import Baseline, parts_of
from mlops_magics.measures.cut import Cut
from mlops_magics.measures.metric import Metric, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_magics.monitoring.labelled import Labelled

__all__ = ["RESIDUALS", "Slice", "codes_of", "cut_of", "measure"]

RESIDUALS = ("residual", "surprise")
"""Among a slice's metrics: how far truth is from what scores say; read by `concept`."""


@dataclass(frozen=True)
class Slice:
    """One part of the labelled predictions.

    Attributes
    ----------
    column, value : str
        Which part.
    rows : int
        Labelled predictions in it.
    metrics : tuple of Metric
        Each beside its value in testing, where testing measured that part.
    judged : str
        The metric by which it is judged: one a slice, or chance would find something in many.
    worse : bool or None
        Whether that metric is worse than in testing; None: too few rows, or no reference.
    q_value : float or None
        Corrected for all slices.
    """

    column: str
    value: str
    rows: int
    metrics: tuple[Metric, ...]
    judged: str
    worse: bool | None = None
    q_value: float | None = None

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The metrics that are of quality itself."""
        return tuple(one for one in self.metrics if one.name not in RESIDUALS)

    def metric(self, name: str) -> Metric | None:
        """Return one metric by name."""
        return next((one for one in self.metrics if one.name == name), None)

    @property
    def z(self) -> float:
        """How far the judged metric is beyond chance, in standard errors."""
        found = self.metric(self.judged)
        return -math.inf if found is None or found.z is None else found.z


def measure(
    labelled: Labelled, baseline: Baseline, columns: Sequence[str], *, areas: bool = True
) -> tuple[Slice, ...]:
    """Measure the parts of columns; the one that chance explains least comes first.

    Parameters
    ----------
    labelled : Labelled
        With inputs.
    baseline : Baseline
        What testing found; of a column that it does not have, parts are chosen here and have no
        verdict.
    columns : sequence of str
        By which.
    areas : bool
        Whether also areas under ROC curves, which take the most time.

    Raises
    ------
    UnknownName
        The inputs have no such column.
    """
    frame, outcomes = labelled.inputs, labelled.outcomes
    assert frame is not None
    main = outcomes.main
    names: list[tuple[str, str]] = []
    groups: list[list[Metric]] = []
    sizes: list[int] = []
    for column in columns:
        if column not in frame.columns:
            raise UnknownName("column", column, map(str, frame.columns))
        cut = cut_of(labelled, baseline, column)
        codes = codes_of(labelled, cut)
        found = parts_of(outcomes, codes, len(cut.names), baseline.relation, areas=areas)
        rows = np.bincount(codes[codes >= 0], minlength=len(cut.names))
        known = baseline.parts.get(column)
        for part, name in enumerate(cut.names):
            if not rows[part]:
                continue
            references = {} if known is None else known.metrics[part]
            names.append((column, name))
            groups.append([metric.against(references) for metric in found[part]])
            sizes.append(int(rows[part]))
    judged = judge(groups, sizes, names=frozenset({main}))
    slices = []
    for (column, value), metrics, size in zip(names, judged, sizes, strict=True):
        decisive = next((one for one in metrics if one.name == main), None)
        slices.append(
            Slice(
                column,
                value,
                size,
                tuple(metrics),
                main,
                None if decisive is None else decisive.worse,
                None if decisive is None else decisive.q_value,
            )
        )
    return tuple(sorted(slices, key=lambda one: (one.worse is not True, -one.z)))


def cut_of(labelled: Labelled, baseline: Baseline, column: str) -> Cut:
    """Return a column's parts: those of testing, or chosen from the data."""
    assert labelled.inputs is not None
    known = baseline.parts.get(column)
    return Cut.of(labelled.inputs[column]) if known is None else known.cut


def codes_of(labelled: Labelled, cut: Cut) -> NDArray[np.int64]:
    """Return each row's part."""
    assert labelled.inputs is not None
    return cut.parts(labelled.inputs[cut.column])
