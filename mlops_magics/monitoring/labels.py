"""Ground truth that arrives later: the verb ``feedback``."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mlops_magics.cards import Badge, Card, Code
from mlops_magics.errors import InvalidArgument, PredictionNotFound, UnknownName
from mlops_magics.monitoring import backlog, traffic
from mlops_magics.monitoring.references import Reference, References
from mlops_magics.records import Record
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.engine import Connection

__all__ = ["Feedback", "feedback"]

_SLICE = 500  # ids in one query: databases limit the parameters of a statement
_SHOWN = 5


@dataclass(frozen=True)
class Feedback(Record):
    """What became of the labels.

    Attributes
    ----------
    received : int
        Labels given.
    stored : int
        New ones.
    unchanged : int
        Labels that were there already, the same.
    changed : int
        Labels that replaced another: ground truth may be corrected, the later one counts.
    missing : int
        Without a label or an id; left out.
    unknown : int
        For an id that is not in this endpoint's inference table; left out.
    invalid : int
        Of a type or class that the model does not have; left out.
    conflicting : int
        For an id that occurs twice here with different labels; left out.
    examples : mapping
        Some of the ids that were left out, by reason.
    """

    endpoint: str
    received: int
    stored: int
    unchanged: int
    changed: int
    missing: int
    unknown: int
    invalid: int
    conflicting: int
    examples: Mapping[str, Sequence[str]]

    def card(self) -> Card:
        left = {name: getattr(self, name) for name in _LEFT_OUT if getattr(self, name)}
        tone = Badge("some left out", "warn") if left else Badge("stored", "good")
        facts: list[tuple[str, Any]] = [("received", self.received), ("new", self.stored)]
        facts += [(n, getattr(self, n)) for n in ("unchanged", "changed") if getattr(self, n)]
        for name, count in left.items():
            facts.append((name, count))
            facts.append((f"{name}, for example", Code(", ".join(self.examples[name]) or "–")))
        return Card(
            title=f"labels for {self.endpoint}",
            badge=tone,
            facts=facts,
            next=[f"mlops monitor {self.endpoint}"],
        )


_LEFT_OUT = ("missing", "unknown", "invalid", "conflicting")


def feedback(
    endpoint: str,
    labels: pd.DataFrame | pd.Series | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    id_column: str = "prediction_id",
    label_column: str = "label",
    workspace: Workspace | None = None,
) -> Feedback:
    """Give the true outcomes of predictions, as they become known.

    Parameters
    ----------
    endpoint : str
        Its name.
    labels : DataFrame, Series, mapping, or list of mappings
        A table with ids and labels; a Series of labels whose index has the ids; ids to labels.
    id_column, label_column : str
        Columns of a table, or keys of a list's mappings.
    workspace : Workspace, optional
        Default: found from the working directory.

    Returns
    -------
    Feedback
        Counts of what was stored and what was left out, with examples.

    Raises
    ------
    EndpointNotFound
        There is no endpoint of that name.
    InvalidArgument
        No label at all, a column that does not exist, or no label that the model could have.
    PredictionNotFound
        Not one of the ids is in the inference table.

    Examples
    --------
    >>> feedback("flight-delay", {"0199c8f1": 1}, workspace=workspace).stored
    1
    """
    pairs = list(_pairs(labels, id_column, label_column))
    if not pairs:
        raise InvalidArgument("there are no labels in what was given")
    workspace = resolve(workspace)
    backlog.settle(workspace, timeout=10.0)
    left: dict[str, list[str]] = {name: [] for name in _LEFT_OUT}
    times: dict[str, int] = {}
    wanted: dict[str, Any] = {}
    for name, label in pairs:
        if name is None or _null(label):
            left["missing"].append(str(name))
            continue
        times[name] = times.get(name, 0) + 1
        if wanted.setdefault(name, label) != label and name not in left["conflicting"]:
            left["conflicting"].append(name)
    for name in left["conflicting"]:
        del wanted[name]
    with workspace.database.begin() as connection:
        traffic.require(connection, endpoint)
        references = References()
        revisions = _revisions(connection, endpoint, list(wanted))
        known: dict[int, Reference] = {}
        accepted: dict[str, Any] = {}
        for name, label in wanted.items():
            if name not in revisions:
                left["unknown"].append(name)
                continue
            key = revisions[name]
            if key not in known:
                known[key] = references.of(connection, key)
            valid, value = _as_label(label, known[key])
            if valid:
                accepted[name] = value
            else:
                left["invalid"].append(name)
        stored, changed = _store(connection, endpoint, accepted)
    if not accepted and left["invalid"]:
        name = left["invalid"][0]
        raise InvalidArgument(
            f"{wanted[name]!r}, the label of {name}, is none that the model could give",
            hint=_expected(known[revisions[name]]),
        )
    if not accepted and left["unknown"]:
        raise PredictionNotFound(
            f"none of the {len(left['unknown'])} ids is in the inference table of {endpoint!r}, "
            f"for example {left['unknown'][0]!r}",
            hint=f"see the ids: mlops predictions {endpoint}",
        )
    counts = {name: sum(times.get(key, 1) for key in ids) for name, ids in left.items()}
    return Feedback(
        endpoint=endpoint,
        received=len(pairs),
        stored=stored,
        # the same label twice in one call is one label
        unchanged=len(pairs) - sum(counts.values()) - stored - changed,
        changed=changed,
        examples={name: tuple(ids[:_SHOWN]) for name, ids in left.items() if ids},
        **counts,
    )


def _pairs(labels: Any, id_column: str, label_column: str) -> Iterator[tuple[str | None, Any]]:
    import pandas as pd

    if isinstance(labels, pd.Series):
        found: Any = zip(labels.index.tolist(), labels.tolist(), strict=True)
    elif isinstance(labels, pd.DataFrame):
        for column in (id_column, label_column):
            if column not in labels.columns:
                raise UnknownName("column", column, map(str, labels.columns))
        found = zip(labels[id_column].tolist(), labels[label_column].tolist(), strict=True)
    elif isinstance(labels, Mapping):
        found = labels.items()
    elif isinstance(labels, Sequence) and all(isinstance(entry, Mapping) for entry in labels):
        for entry in labels:
            for column in (id_column, label_column):
                if column not in entry:
                    raise UnknownName("key", column, map(str, entry))
        found = ((entry[id_column], entry[label_column]) for entry in labels)
    else:
        raise InvalidArgument(
            f"labels of type {type(labels).__name__} cannot be used",
            hint="give a DataFrame, a Series, a mapping of ids to labels, or a list of mappings",
        )
    for name, label in found:
        value = label.item() if hasattr(label, "item") else label
        yield (None if _null(name) else str(name)), value


def _null(value: Any) -> bool:
    # NaN, NaT and pandas' NA in turn
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or str(value)
        in (
            "NaT",
            "<NA>",
        )
    )


def _as_label(label: Any, reference: Reference) -> tuple[bool, Any]:
    """Return whether the model could have given a label, and the label as the model writes it."""
    if reference.classes:
        for known in reference.classes:
            # True, 1 and 1.0 are one class, "1" is another
            if known == label and isinstance(known, str) == isinstance(label, str):
                return True, known
        return False, None
    if reference.task == "regression":
        good = isinstance(label, (int, float)) and not isinstance(label, bool)
        return good and math.isfinite(label), label
    return isinstance(label, (bool, int, float, str)), label


def _expected(reference: Reference) -> str:
    if reference.classes:
        return f"one of {', '.join(repr(value) for value in reference.classes)}"
    return "a finite number" if reference.task == "regression" else "a number, a text or a boolean"


def _revisions(connection: Connection, endpoint: str, names: Sequence[str]) -> dict[str, int]:
    """Return the revisions that made predictions, by the ids of those that exist."""
    t = tables.predictions.c
    query = sa.select(t.prediction_id, t.revision).where(t.endpoint == endpoint)
    found: dict[str, int] = {}
    for begin in range(0, len(names), _SLICE):
        chosen = query.where(t.prediction_id.in_(names[begin : begin + _SLICE]))
        found.update({row.prediction_id: row.revision or 0 for row in connection.execute(chosen)})
    return found


def _store(connection: Connection, endpoint: str, accepted: Mapping[str, Any]) -> tuple[int, int]:
    """Write labels; return how many are new and how many changed."""
    t = tables.labels
    names = list(accepted)
    present: dict[str, Any] = {}
    for begin in range(0, len(names), _SLICE):
        query = sa.select(t.c.prediction_id, t.c.label)
        chosen = query.where(t.c.prediction_id.in_(names[begin : begin + _SLICE]))
        present.update({row.prediction_id: row.label for row in connection.execute(chosen)})
    same = {name for name, label in present.items() if label == accepted[name]}
    now = time.time()
    rows = [
        {"prediction_id": name, "endpoint": endpoint, "label": label, "received": now}
        for name, label in accepted.items()
        if name not in same
    ]
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(t)
        statement = statement.on_conflict_do_update(
            index_elements=[t.c.prediction_id],
            set_={
                "label": statement.excluded.label,
                "received": statement.excluded.received,
            },
        )
        connection.execute(statement, rows)
    changed = len(present) - len(same)
    return len(rows) - changed, changed
