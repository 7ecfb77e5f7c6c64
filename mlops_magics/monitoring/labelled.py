"""Labelled predictions of a time range, as arrays; and the outputs of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import sqlalchemy as sa

from mlops_magics.measures.outcomes import Outcomes
from mlops_magics.monitoring.references import Reference
from mlops_magics.store import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql import ColumnElement

__all__ = [
    "Labelled",
    "again",
    "chosen",
    "decisions",
    "outcomes_of",
    "outputs",
    "read",
    "scores_of",
]


PART = 20_000  # rows read at once


@dataclass(frozen=True)
class Labelled:
    """Predictions whose labels are known, in the order of time.

    Attributes
    ----------
    times, delays : float array of shape (n_rows,)
        Arrival of the request in seconds since 1970, and seconds from there to the first label.
    outcomes : Outcomes
        Of the same rows.
    inputs : DataFrame or None
        What was predicted for, if it was asked for.
    """

    times: NDArray[np.float64]
    delays: NDArray[np.float64]
    outcomes: Outcomes
    inputs: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.times)


def chosen(
    endpoint: str, since: float, until: float, revision: int | None
) -> list[ColumnElement[bool]]:
    """Return the conditions on predictions of a range: of one revision, or of all that answered."""
    t = tables.predictions.c
    found = [t.endpoint == endpoint, t.time >= since, t.time < until, t.status < 400]
    # a shadow's answers reach nobody; they are measured when it is asked for
    return [*found, t.mirror_of.is_(None) if revision is None else t.revision == revision]


def read(
    connection: Connection,
    endpoint: str,
    since: float,
    until: float,
    reference: Reference,
    *,
    revision: int | None = None,
    inputs: bool = False,
    most: int | None = None,
) -> Labelled:
    """Read the labelled predictions of a range.

    Parameters
    ----------
    connection : Connection
        In a transaction.
    endpoint, since, until, revision
        Which; times in seconds since 1970, the end excluded.
    reference : Reference
        How to read outputs.
    inputs : bool
        Whether their inputs are wanted.
    most : int, optional
        Only the newest so many.
    """
    t, known = tables.predictions.c, tables.labels.c
    columns = [t.time, known.received, _raw(t.output), _raw(known.label)]
    columns += [_raw(t.inputs)] if inputs else []
    query = (
        sa.select(*columns)
        .join_from(tables.predictions, tables.labels, t.prediction_id == known.prediction_id)
        .where(*chosen(endpoint, since, until, revision))
        .order_by(t.time.desc())
        .limit(most)
    )
    parts: list[list[Any]] = [[], [], [], []]
    frames = []
    # part by part: a row's inputs as Python values take ten times as much as in a table
    for rows in connection.execute(query).partitions(PART):
        *simple, given = zip(*rows, strict=True) if inputs else (*zip(*rows, strict=True), ())
        for part, values in zip(parts, simple, strict=True):
            part.extend(values)
        if inputs:
            frames.append(_frame(_decoded(given)))
    times, received, answered, given_labels = (part[::-1] for part in parts)
    if not times:
        nothing = np.zeros(0)
        return Labelled(nothing, nothing, outcomes_of([], [], reference))
    outcomes, kept = _outcomes(_decoded(answered), _decoded(given_labels), reference)
    frame = None
    if frames:
        whole = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
        frame = whole[::-1][kept].reset_index(drop=True)
    moments = np.array(times, dtype=float)
    delays = np.maximum(0.0, np.array(received, dtype=float) - moments)
    return Labelled(moments[kept], delays[kept], outcomes, frame)


def outputs(
    connection: Connection,
    endpoint: str,
    since: float,
    until: float,
    *,
    revision: int | None = None,
    most: int | None = None,
) -> list[Any]:
    """Read what was answered in a range, the newest so many."""
    return _newest(connection, tables.predictions.c.output, endpoint, since, until, revision, most)


def inputs(
    connection: Connection, endpoint: str, since: float, until: float, *, most: int
) -> pd.DataFrame:
    """Read what was predicted for in a range, labelled or not, the newest so many."""
    column = tables.predictions.c.inputs
    rows = _newest(connection, column, endpoint, since, until, None, most)
    return _frame(rows)


def _frame(rows: Sequence[dict[str, Any] | None]) -> pd.DataFrame:
    """Return inputs as a table; rows whose inputs are not on record are empty."""
    names = list(rows[0] or ()) if rows else []
    if names and all(row is not None and list(row) == names for row in rows):
        columns = zip(*(row.values() for row in rows if row is not None), strict=True)
        return pd.DataFrame(dict(zip(names, columns, strict=True)))
    return pd.DataFrame([row or {} for row in rows])


def _newest(
    connection: Connection,
    column: ColumnElement[Any],
    endpoint: str,
    since: float,
    until: float,
    revision: int | None,
    most: int | None,
) -> list[Any]:
    t = tables.predictions.c
    query = sa.select(_raw(column)).where(*chosen(endpoint, since, until, revision))
    return _decoded(connection.execute(query.order_by(t.time.desc()).limit(most)).scalars().all())


def outcomes_of(answers: Sequence[Any], labels: Sequence[Any], reference: Reference) -> Outcomes:
    """Return truth and predictions as arrays; rows whose output is none are left out.

    Examples
    --------
    >>> reference = Reference(manifest={"predict_fn": "predict_proba", "classes": [0, 1]})
    >>> outcomes_of([[0.3, 0.7], [0.6, 0.4]], [1, 1], reference).scores
    array([0.7, 0.4])
    """
    return _outcomes(answers, labels, reference)[0]


def decisions(
    answers: Sequence[Any], reference: Reference
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """Return outputs' probabilities, and which of them decide for the last class."""
    predicted, scores, classes = _decided(answers, [], reference)
    return scores, predicted == len(classes) - 1


def scores_of(answers: Sequence[Any], reference: Reference) -> NDArray[np.float64] | None:
    """Return the probabilities of outputs: of the positive class, or of all of several classes.

    None where outputs are no probabilities. A row without an output is NaN.
    """
    if not reference.scores:
        return None
    try:
        table = np.array(answers, dtype=float)
    except (TypeError, ValueError):  # mappings, or rows without an output
        table = np.array(
            [_listed(answer, len(reference.classes)) for answer in answers], dtype=float
        )
    if table.ndim == 2 and table.shape[1] <= 2:
        return np.asarray(table[:, -1])
    return table if table.ndim <= 2 else None


def _listed(answer: Any, classes: int) -> list[float]:
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, (int, float)):
        return [1.0 - answer, float(answer)]
    nothing = [float("nan")] * max(2, classes)
    return [nothing[0] if one is None else one for one in answer] if answer else nothing


def again(outcomes: Outcomes, answers: Sequence[Any], reference: Reference) -> Outcomes:
    """Return the same truth with other answers to the same rows."""
    if outcomes.task == "regression":
        values = np.array([_number(reference.prediction(one)) for one in answers], dtype=float)
        return Outcomes("regression", outcomes.truth, values)
    predicted, scores, classes = _decided(answers, [], reference)
    if outcomes.task == "binary":
        return Outcomes("binary", outcomes.truth, predicted == len(classes) - 1, scores)
    return Outcomes(outcomes.task, outcomes.truth, predicted, scores)


def _outcomes(
    answers: Sequence[Any], labels: Sequence[Any], reference: Reference
) -> tuple[Outcomes, NDArray[np.bool_]]:
    """Return outcomes, and which of the rows they are of."""
    if reference.task == "regression":
        values = np.array([_number(reference.prediction(one)) for one in answers], dtype=float)
        truth = np.array([_number(label) for label in labels], dtype=float)
        kept = np.isfinite(values) & np.isfinite(truth)
        return Outcomes("regression", truth[kept], values[kept]), kept
    predicted, scores, classes = _decided(answers, labels, reference)
    places = {value: place for place, value in enumerate(classes)}
    truth = np.array([places.get(label, -1) for label in labels], dtype=np.int64)
    kept = (truth >= 0) & (predicted >= 0)
    if scores is not None:
        kept &= np.isfinite(scores if scores.ndim == 1 else scores.sum(axis=1))
        scores = scores[kept]
    truth, predicted = truth[kept], predicted[kept]
    if len(classes) > 2:
        return Outcomes("multiclass", truth, predicted, scores), kept
    last = len(classes) - 1
    return Outcomes("binary", truth == last, predicted == last, scores), kept


def _decided(
    answers: Sequence[Any], labels: Sequence[Any], reference: Reference
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, list[Any]]:
    """Return each answer's class by number (-1 for none), the probabilities, and the classes."""
    scores = scores_of(answers, reference) if len(answers) else None
    classes = list(reference.classes)
    if scores is None or not classes:
        decided = [reference.decide(one) for one in answers]
        classes = classes or sorted({*labels, *decided} - {None}, key=str)
        places = {value: place for place, value in enumerate(classes)}
        return (
            np.array([places.get(one, -1) for one in decided], dtype=np.int64),
            scores,
            classes,
        )
    if scores.ndim == 2:
        return np.asarray(np.nan_to_num(scores).argmax(axis=1), dtype=np.int64), scores, classes
    # of equal probabilities the first class is the answer, as from argmax; of a single score half
    # is enough
    pairs = isinstance(answers[0], (list, tuple, dict)) and len(answers[0]) > 1
    return (scores > 0.5 if pairs else scores >= 0.5).astype(np.int64), scores, classes


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _raw(column: ColumnElement[Any]) -> ColumnElement[str]:
    # as text, decoded all at once: value by value it would take several times as long
    return sa.cast(column, sa.Text)


def _decoded(texts: Sequence[str | None]) -> list[Any]:
    listed = ",".join("null" if text is None else text for text in texts)
    return list(msgspec.json.decode(f"[{listed}]"))
