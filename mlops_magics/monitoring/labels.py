"""Ground truth that arrives later: the verb ``feedback``."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mlops_magics.cards import Badge, Card, Code, Grid
from mlops_magics.errors import InvalidArgument, PredictionNotFound
from mlops_magics.monitoring import backlog, identities, traffic
from mlops_magics.monitoring.given import Given, pairs
from mlops_magics.monitoring.references import Reference, References
from mlops_magics.records import Record
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.engine import Connection

__all__ = ["Feedback", "feedback"]

_CHUNK = 500  # ids in one query: databases limit the parameters of a statement
_SHOWN = 5
_LISTED = 100  # refusals and changes that the record names one by one


@dataclass(frozen=True)
class Feedback(Record):
    """What became of the labels.

    Every label that is fit is stored; what is not is named, and left out alone.

    Attributes
    ----------
    received : int
        Labels given.
    stored : int
        New ones.
    unchanged : int
        Labels that were there already, the same.
    changed : int
        Labels that replaced another: ground truth may be corrected, the later one counts. The
        former is kept in the table, and told in ``changes``.
    missing : int
        Without a label or an id; left out.
    unknown : int
        For an id that this endpoint never answered under; left out.
    invalid : int
        Of a type or class that the model does not have; left out.
    conflicting : int
        For a prediction that occurs twice here with different labels; left out.
    examples : mapping
        Some of the ids that were left out, by reason.
    ambiguous : int
        For an id under which there are several predictions; left out.
    waiting : int
        Of those stored, labels whose prediction is still on its way from the server's log into
        the inference table; they join it there.
    refused : sequence of mappings
        The first hundred that were left out: ``row`` (counted from 1), ``id``, ``value``, and
        ``reason`` in words.
    changes : sequence of mappings
        The first hundred that were replaced: ``id``, ``before``, ``after``.
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
    ambiguous: int = 0
    waiting: int = 0
    refused: Sequence[Mapping[str, Any]] = ()
    changes: Sequence[Mapping[str, Any]] = ()

    def card(self) -> Card:
        left = {name: getattr(self, name) for name in _LEFT_OUT if getattr(self, name)}
        tone = Badge("some left out", "warn") if left else Badge("stored", "good")
        facts: list[tuple[str, Any]] = [("received", self.received), ("new", self.stored)]
        facts += [(n, getattr(self, n)) for n in ("unchanged", "changed") if getattr(self, n)]
        facts += list(left.items())
        grids = []
        if self.refused:
            rows = [
                [one["row"], Code(str(one["id"])), repr(one["value"]), one["reason"]]
                for one in self.refused
            ]
            grids.append(Grid(["row", "id", "label", "why"], rows, "left out", _SHOWN))
        if self.changes:
            rows = [[Code(one["id"]), one["before"], one["after"]] for one in self.changes]
            grids.append(Grid(["id", "was", "is"], rows, "changed", _SHOWN))
        notes = []
        if self.waiting:
            notes.append(
                f"{self.waiting:,} are of predictions that are still on their way into the "
                "inference table"
            )
        return Card(
            title=f"labels for {self.endpoint}",
            badge=tone,
            facts=facts,
            grids=grids,
            notes=notes,
            next=[f"mlops quality {self.endpoint}"],
        )


_LEFT_OUT = ("missing", "unknown", "ambiguous", "invalid", "conflicting")


def feedback(
    endpoint: str,
    labels: pd.DataFrame | pd.Series | Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | Path,
    *,
    id_column: str = "prediction_id",
    label_column: str = "label",
    workspace: Workspace | None = None,
) -> Feedback:
    """Give the true outcomes of predictions, as they become known.

    A prediction is named by its id, or by the id that the caller sent with the request
    (``X-Request-Id``); of a request with several rows by ``ID:ROW``, rows counted from 0. Labels
    may come at any time after the answer, and again: the same one changes nothing, another one
    replaces it. What is not fit is left out and named with its row; the others are stored.

    Parameters
    ----------
    endpoint : str
        Its name.
    labels : DataFrame, Series, mapping, list of mappings, path, or str
        A table with ids and labels; a Series of labels whose index has the ids; ids to labels;
        a file with a table (CSV, Parquet, JSON lines); a dataset's reference.
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
        Not one of the ids is known.
    SourceUnreadable
        The file cannot be read.

    Examples
    --------
    >>> feedback("flight-delay", {"0199c8f1": 1}, workspace=workspace).stored
    1
    """
    workspace = resolve(workspace)
    given = pairs(labels, id_column, label_column, workspace)
    if not given:
        raise InvalidArgument("there are no labels in what was given")
    loaded = backlog.settle(workspace, timeout=10.0)
    names = list(dict.fromkeys(one.name for one in given if one.name is not None))
    with workspace.database.begin() as connection:
        traffic.require(connection, endpoint)
        found = identities.find(connection, endpoint, names)
        waiting: set[str] = set()
        if not loaded:
            missing = [name for name in names if name not in found]
            more = identities.waiting(connection, workspace, endpoint, missing)
            waiting = {one.key for known in more.values() for one in known}
            # and what was loaded between the two looks
            rest = [name for name in missing if name not in more]
            found |= more | identities.find(connection, endpoint, rest)
        sorting = _Sorting(connection, found)
        for one in given:
            sorting.take(one)
        sorting.settle()
        stored, changes = _store(connection, endpoint, sorting.accepted, sorting.times)
    if not sorting.accepted:
        _refuse(endpoint, sorting)
    counts = {name: len(left) for name, left in sorting.left.items()}
    refused = sorted(
        (one | {"kind": name} for name, left in sorting.left.items() for one in left),
        key=lambda one: int(one["row"]),
    )
    return Feedback(
        endpoint=endpoint,
        received=len(given),
        stored=len(stored),
        # the same label twice in one call is one label
        unchanged=len(given) - sum(counts.values()) - len(stored) - len(changes),
        changed=len(changes),
        examples={
            name: tuple(dict.fromkeys(str(one["id"]) for one in left))[:_SHOWN]
            for name, left in sorting.left.items()
            if left
        },
        waiting=len(waiting & set(stored)),
        refused=tuple(refused[:_LISTED]),
        changes=tuple(changes[:_LISTED]),
        **counts,
    )


class _Sorting:
    """Labels sorted into those that are fit and those that are not, by reason."""

    def __init__(
        self, connection: Connection, found: Mapping[str, Sequence[identities.Identity]]
    ) -> None:
        self.accepted: dict[str, Any] = {}
        self.times: dict[str, float] = {}
        self.left: dict[str, list[dict[str, Any]]] = {name: [] for name in _LEFT_OUT}
        self._connection, self._found = connection, found
        self._references, self._known = References(), dict[int, Reference]()
        self._given: dict[str, list[Given]] = {}

    def take(self, one: Given) -> None:
        """Sort one label."""
        if one.name is None:
            return self._leave("missing", one, "no id")
        if one.label is None:
            return self._leave("missing", one, "no label")
        known = self._found.get(one.name, ())
        if not known:
            return self._leave("unknown", one, "no prediction has this id")
        if len(known) > 1:
            some = ", ".join(other.key for other in known[:3]) + ("" if len(known) < 4 else ", …")
            return self._leave("ambiguous", one, f"{len(known)} predictions have it: {some}")
        identity = known[0]
        if identity.revision not in self._known:
            self._known[identity.revision] = self._references.of(
                self._connection, identity.revision
            )
        reference = self._known[identity.revision]
        valid, value = _as_label(one.label, reference)
        if not valid:
            return self._leave("invalid", one, f"it must be {_expected(reference)}")
        self._given.setdefault(identity.key, []).append(one)
        self.times[identity.key] = identity.time
        if self.accepted.setdefault(identity.key, value) != value:
            self._given[identity.key][-1] = Given(one.row, one.name, one.label, differs=True)
        return None

    def settle(self) -> None:
        """Leave out predictions that were given different labels."""
        for key, given in self._given.items():
            if any(one.differs for one in given):
                del self.accepted[key]
                for one in given:
                    self._leave("conflicting", one, "the same prediction has another label here")

    def _leave(self, kind: str, one: Given, reason: str) -> None:
        self.left[kind].append(
            {"row": one.row, "id": one.name, "value": one.label, "reason": reason}
        )


def _refuse(endpoint: str, sorting: _Sorting) -> None:
    """Raise when nothing at all was fit and it is no matter of missing values."""
    if sorting.left["invalid"]:
        one = sorting.left["invalid"][0]
        raise InvalidArgument(
            f"row {one['row']}: {one['value']!r}, the label of {one['id']}, is none that the model "
            "could give",
            hint=one["reason"],
        )
    if sorting.left["ambiguous"]:
        one = sorting.left["ambiguous"][0]
        raise InvalidArgument(
            f"row {one['row']}: {one['id']!r} names no single prediction: {one['reason']}",
            hint="name each row of a request: ID:0, ID:1, …",
        )
    if sorting.left["unknown"]:
        unknown = sorting.left["unknown"]
        raise PredictionNotFound(
            f"none of the {len(unknown)} ids is in the inference table of {endpoint!r}, "
            f"for example {unknown[0]['id']!r}",
            hint=f"see the ids: mlops predictions {endpoint}",
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


def _store(
    connection: Connection, endpoint: str, accepted: Mapping[str, Any], times: Mapping[str, float]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Write labels; return the ids of new ones, and what has changed."""
    t = tables.labels
    names = list(accepted)
    present: dict[str, Any] = {}
    for begin in range(0, len(names), _CHUNK):
        query = sa.select(t.c.prediction_id, t.c.label, t.c.received, t.c.changed, t.c.former)
        chosen = query.where(t.c.prediction_id.in_(names[begin : begin + _CHUNK]))
        present.update({row.prediction_id: row for row in connection.execute(chosen)})
    now = time.time()
    new = [name for name in names if name not in present]
    other = [name for name in names if name in present and present[name].label != accepted[name]]
    rows = [
        {"prediction_id": name, "endpoint": endpoint, "label": accepted[name], "received": now}
        for name in new
    ]
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(t)
        # who gave the same label at the same moment has stored it
        connection.execute(statement.on_conflict_do_nothing(), rows)
    changes = []
    for name in other:
        before = present[name]
        # received stays: it says how late the first label came
        since = before.received if before.changed is None else before.changed
        former = [*(before.former or []), {"label": before.label, "since": since}]
        values = {"label": accepted[name], "changed": now, "former": former}
        connection.execute(t.update().where(t.c.prediction_id == name).values(values))
        changes.append({"id": name, "before": before.label, "after": accepted[name]})
    return new, changes
