"""Slices: parts of the traffic, each measured against the same part in testing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlops_magics.errors import UnknownName
from mlops_magics.measures.baseline import Baseline, parts_of
from mlops_magics.measures.cut import Cut
from mlops_magics.measures.metric import LEAST_ROWS, Metric, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_magics.monitoring.labelled import Labelled

__all__ = ["RESIDUALS", "Slice", "codes_of", "cut_of", "measure"]

MOST_CAUSES = 5
LEAST_LEFT = 0.4  # of a slice's rows, to say that it is not worse without the others

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
    through : str or None
        The worse slice whose rows alone make this one look so; it has no verdict of its own.
    """

    column: str
    value: str
    rows: int
    metrics: tuple[Metric, ...]
    judged: str
    worse: bool | None = None
    q_value: float | None = None
    through: str | None = None

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
    found: list[_Part] = []
    for column in columns:
        if column not in frame.columns:
            raise UnknownName("column", column, map(str, frame.columns))
        cut = cut_of(labelled, baseline, column)
        codes = codes_of(labelled, cut)
        measured = parts_of(outcomes, codes, len(cut.names), baseline.relation, areas=areas)
        rows = np.bincount(codes[codes >= 0], minlength=len(cut.names))
        known = baseline.parts.get(column)
        for part, name in enumerate(cut.names):
            if rows[part]:
                references = {} if known is None else known.metrics[part]
                metrics = tuple(metric.against(references) for metric in measured[part])
                one = Slice(column, name, int(rows[part]), metrics, main)
                found.append(_Part(one, part, codes))
    judged = _judged(found, [one.slice.metrics for one in found])
    return tuple(
        one.slice
        for one in sorted(
            _explained(labelled, judged),
            key=lambda one: (one.slice.worse is not True, -one.slice.z),
        )
    )


@dataclass(frozen=True)
class _Part:
    """A slice, its number in its column, and every row's."""

    slice: Slice
    part: int
    codes: NDArray[np.int64]


def _judged(parts: Sequence[_Part], metrics: Sequence[Sequence[Metric]]) -> list[_Part]:
    """Return parts with their verdicts."""
    sizes = [one.slice.rows for one in parts]
    found = []
    for one, values in zip(parts, judge(metrics, sizes, names=_names(parts)), strict=True):
        decisive = next((metric for metric in values if metric.name == one.slice.judged), None)
        verdict = (None, None) if decisive is None else (decisive.worse, decisive.q_value)
        judged = replace(one.slice, metrics=tuple(values), worse=verdict[0], q_value=verdict[1])
        found.append(replace(one, slice=judged))
    return found


def _names(parts: Sequence[_Part]) -> frozenset[str]:
    return frozenset(one.slice.judged for one in parts)


def _explained(labelled: Labelled, parts: list[_Part]) -> list[_Part]:
    """Take the verdict from slices that are worse only through the rows of a worse one.

    The worst slice's rows are left out, and the others judged again on what remains, if enough
    does; then those of the next, a few times. Who is not worse any more was so through them.
    """
    left = np.ones(len(labelled), dtype=bool)
    causes: list[_Part] = []
    for _ in range(MOST_CAUSES):
        worse = [one for one in parts if one.slice.worse and one not in causes]
        if not worse:
            break
        cause = max(worse, key=lambda one: one.slice.z)
        causes.append(cause)
        left &= cause.codes != cause.part
        again = dict(_again(labelled, parts, left))
        through = f"{cause.slice.column}: {cause.slice.value}"
        parts = [
            replace(one, slice=replace(one.slice, worse=False, through=through))
            if one in worse and one is not cause and not again[id(one.slice)]
            else one
            for one in parts
        ]
    return parts


def _again(
    labelled: Labelled, parts: Sequence[_Part], left: NDArray[np.bool_]
) -> Iterator[tuple[int, bool]]:
    """Judge parts on some of the rows; give each slice's identity and whether it is worse still.

    So is one of which too little is left to say.
    """
    outcomes = labelled.outcomes.take(left)
    measured: dict[int, list[list[Metric]]] = {}
    metrics, rest = [], []
    for one in parts:
        key, codes = id(one.codes), one.codes[left]
        if key not in measured:
            size = int(one.codes.max()) + 1
            measured[key] = outcomes.by_part(codes, size, [one.slice.judged])
        known = one.slice.metric(one.slice.judged)
        references = {}
        if known is not None and known.reference is not None:
            references[known.name] = known.reference, known.reference_half
        metrics.append([metric.against(references) for metric in measured[key][one.part]])
        rows = int(np.count_nonzero(codes == one.part))
        rest.append(replace(one, slice=replace(one.slice, rows=rows)))
    for one, found in zip(parts, _judged(rest, metrics), strict=True):
        enough = found.slice.rows >= max(LEAST_ROWS, LEAST_LEFT * one.slice.rows)
        yield id(one.slice), bool(found.slice.worse) or not enough


def cut_of(labelled: Labelled, baseline: Baseline, column: str) -> Cut:
    """Return a column's parts: those of testing, or chosen from the data."""
    assert labelled.inputs is not None
    known = baseline.parts.get(column)
    return Cut.of(labelled.inputs[column]) if known is None else known.cut


def codes_of(labelled: Labelled, cut: Cut) -> NDArray[np.int64]:
    """Return each row's part."""
    assert labelled.inputs is not None
    return cut.parts(labelled.inputs[cut.column])
