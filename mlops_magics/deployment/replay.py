"""Replay: captured requests, answered again by a challenger, before anybody gets its answers.

The challenger runs in a process of its own; the server and its traffic do not notice.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from mlops_magics.cards import Badge, Card, Code, Grid, Interval, Spark
from mlops_magics.deployment import pairing, plan
from mlops_magics.deployment.checks import Progress
from mlops_magics.deployment.endpoints import row_of
from mlops_magics.deployment.measurement import classifies
from mlops_magics.deployment.order import reference
from mlops_magics.errors import InvalidArgument, NotFound
from mlops_magics.monitoring import backlog, spans
from mlops_magics.monitoring.references import Reference, References
from mlops_magics.records import Record
from mlops_magics.serving import wire
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.layout import Layout
from mlops_magics.serving.offline.answering import Processes
from mlops_magics.serving.offline.chosen import choose
from mlops_magics.serving.plan import SHADOW
from mlops_magics.serving.validation import Invalid
from mlops_magics.store import evidence, ledger, models, tables
from mlops_magics.store.workspace import resolve

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Replay", "replay"]

_CHUNK = 256
_SINGLE = 100  # rows that are answered one by one, for the latency
_SHOWN = 10


@dataclass(frozen=True)
class Replay(Record):
    """What a challenger answers to an endpoint's captured requests.

    Attributes
    ----------
    endpoint, model, version : str
        Whose requests, and who answered them now.
    against : list of str
        The versions that had answered them.
    rows : int
        Rows that both have answered.
    refused : dict
        Rows that the challenger does not answer, by reason.
    equality : dict
        ``equal`` answers, their ``share`` with ``low`` and ``high``.
    differences : dict or None
        Of numbers, challenger less logged: ``mean`` with ``low`` and ``high``,
        ``mean_absolute``, ``min``, ``p5`` … ``max``, ``histogram``.
    quality : dict or None
        Where labels are known: ``metric``, ``rows``, ``logged``, ``challenger``,
        ``difference`` with ``low`` and ``high``, ``p_value`` (McNemar's).
    latency : dict
        Milliseconds for one row in the challenger's process, ``p50`` and ``p95``; ``logged_p50``
        and ``logged_p95`` are those of the requests, the server's part included.
    greatest : list of dict
        Rows with the greatest differences: ``prediction_id``, ``logged``, ``challenger``,
        ``inputs``.
    entry : int
        The ledger's sequence number.
    """

    endpoint: str
    model: str
    version: str
    against: list[str]
    rows: int
    refused: dict[str, int]
    equality: dict[str, Any]
    differences: dict[str, Any] | None
    quality: dict[str, Any] | None
    latency: dict[str, Any]
    greatest: list[dict[str, Any]] = field(repr=False)
    entry: int

    def card(self) -> Card:
        """Show the comparison, and the rows that differ most."""
        equal = self.equality
        facts: list[tuple[str, Any]] = [
            ("requests of", f"{self.endpoint}, answered by {', '.join(self.against)}"),
            ("equal answers", Interval(equal["share"], equal["low"], equal["high"])),
        ]
        if self.differences:
            found = self.differences
            facts.append(("mean difference", Interval(found["mean"], found["low"], found["high"])))
            facts.append(("differences", Spark(found["histogram"])))
            facts.append(
                ("5 %, median, 95 %", ", ".join(f"{found[k]:.4g}" for k in ("p5", "p50", "p95")))
            )
        if self.quality:
            found = self.quality
            said = f"{found['challenger']:.4g} against {found['logged']:.4g}"
            facts.append((found["metric"], f"{said}, {found['rows']:,} labels"))
            facts.append(("difference", Interval(found["difference"], found["low"], found["high"])))
        facts.append(("one row", f"{self.latency['p50']:.3g} ms, 95 % {self.latency['p95']:.3g}"))
        grids = []
        if self.greatest:
            rows = [
                [Code(one["prediction_id"]), _short(one["logged"]), _short(one["challenger"])]
                for one in self.greatest
            ]
            titles = ["prediction id", "logged", "challenger"]
            grids.append(Grid(titles, rows, title="greatest differences", shown=5))
        notes = [f"{count:,} rows not answered: {why}" for why, count in self.refused.items()]
        return Card(
            title=f"{self.model} / {self.version}",
            subtitle="replay",
            badge=self._badge(),
            facts=facts,
            grids=grids,
            notes=notes,
            next=[f"mlops deploy {self.model}/{self.version} --endpoint {self.endpoint} --shadow"],
        )

    def _badge(self) -> Badge:
        if self.refused:
            return Badge(f"{sum(self.refused.values()):,} rows not answered", "bad")
        worse = self.quality and _is_worse(self.quality)
        return Badge("worse on labels", "bad") if worse else Badge(f"{self.rows:,} rows", "good")


def replay(
    endpoint: str,
    model: Any,
    *,
    last: str | float | None = None,
    limit: int = 10_000,
    progress: Progress | None = None,
    workspace: Workspace | None = None,
) -> Replay:
    """Let a model answer an endpoint's captured requests, and compare with what was answered.

    The comparison is kept as evidence on the model's version: a tag, an artifact of its run, and
    an entry of the ledger.

    Parameters
    ----------
    endpoint : str
        Whose requests.
    model : str, ModelVersion or Package
        The challenger.
    last : str or float, optional
        Only requests of this span until now: ``"1h"``.
    limit : int
        Rows at the most, the newest.
    progress : callable, optional
        Called with what is done, of how much, and what comes now.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EndpointNotFound, ModelNotFound
        There is none of that name.
    NotFound
        No answered request is in the inference table.
    InvalidArgument
        The log masks a column that the challenger needs.
    """
    workspace = resolve(workspace)
    report = progress or (lambda done, total, note: None)
    if limit < 1:
        raise InvalidArgument(f"limit = {limit} is below 1")
    since = 0.0 if last is None else time.time() - spans.seconds(last)
    row = row_of(workspace, endpoint)
    backlog.settle(workspace)
    ref = models.resolve(workspace, reference(model))
    chosen = choose(workspace, ref.uri)
    captured = _captured(workspace, endpoint, since, limit)
    if not captured:
        raise NotFound(
            f"endpoint {endpoint!r} has answered nothing "
            + ("that is in its inference table" if last is None else f"in the last {last}"),
            hint=f"see: mlops predictions {endpoint}",
        )
    report(0, len(captured), "loading the challenger")
    folder = ServerFolder.of(workspace).environments
    processes = Processes(chosen.package, 1, chosen.runtime, chosen.python, folder)
    with closing(processes) as answerer:
        masked = set(plan.log_policy(row.settings).mask) & set(answerer.schema.names)
        if masked:
            raise InvalidArgument(
                f"the log of {endpoint!r} masks {sorted(masked)[0]!r}, which the challenger needs",
                hint="requests can only be replayed with all their columns",
            )
        answers, refused = _answers(answerer, captured, report)
        latency = _latency(answerer, captured)
    both = [(one, answers[index]) for index, one in enumerate(captured) if index in answers]
    logged, found = [one.output for one, _ in both], [answer for _, answer in both]
    record: dict[str, Any] = {
        "endpoint": endpoint,
        "model": ref.name,
        "version": ref.version or ref.model_id,
        "against": sorted({str(one.version) for one in captured}),
        "rows": len(both),
        "refused": dict(refused),
        "equality": pairing.equality(logged, found),
        "differences": pairing.differences(logged, found),
        "quality": _quality(workspace, chosen.package, both),
        "latency": latency,
        "greatest": _greatest(both),
    }
    return Replay(**record, entry=_keep(workspace, ref, record))


def _captured(workspace: Workspace, endpoint: str, since: float, limit: int) -> Sequence[Any]:
    """Return the newest answered rows, with the labels that are known; shadows' are no answers."""
    t, known = tables.predictions, tables.labels
    query = (
        sa.select(
            t.c.prediction_id,
            t.c.inputs,
            t.c.output,
            t.c.revision,
            t.c.version,
            t.c.latency,
            known.c.label,
        )
        .join_from(t, known, t.c.prediction_id == known.c.prediction_id, isouter=True)
        .where(t.c.endpoint == endpoint, t.c.time >= since, t.c.status < 400)
        .where(t.c.variant != SHADOW, t.c.inputs.is_not(None))
        .order_by(t.c.time.desc(), t.c.request_id.desc(), t.c.row)
        .limit(limit)
    )
    with workspace.database.read() as connection:
        rows = connection.execute(query).all()
    return [row for row in rows if row.inputs is not None and row.output is not None]


def _answers(
    answerer: Processes, captured: Sequence[Any], report: Progress
) -> tuple[dict[int, Any], Counter[str]]:
    """Return the challenger's answers by place, and why it gives none to the others."""
    answers: dict[int, Any] = {}
    refused: Counter[str] = Counter()
    for start in range(0, len(captured), _CHUNK):
        report(start, len(captured), "replaying")
        places, rows = [], []
        for index in range(start, min(start + _CHUNK, len(captured))):
            try:
                rows.append(_row(answerer, captured[index].inputs))
            except Invalid as exc:
                refused[str(exc)] += 1
            else:
                places.append(index)
        if not rows:
            continue
        found = answerer.answer(_batch(answerer, rows))
        for reason in found.faults.values():
            refused[reason] += 1
        answered = [place for offset, place in enumerate(places) if offset not in found.faults]
        answers.update(zip(answered, _values(found.batch), strict=True))
    return answers, refused


def _row(answerer: Processes, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Hold a row to the challenger's signature, as its endpoint would."""
    names = list(inputs)
    data = json.dumps([list(inputs.values())]).encode()
    return answerer.schema.split(names, data)[0]


def _batch(answerer: Processes, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    layout = Layout(wire.arrow_schema(answerer.schema))
    return layout.unpack(layout.pack(rows).to_pybytes()).batch


def _values(batch: pa.RecordBatch) -> Iterator[Any]:
    """Return answers as the inference table has them: a value, a list, or a mapping a row."""
    names = batch.schema.names
    if len(names) == 1:
        yield from batch.column(0).to_pylist()
    elif all(name.startswith("prediction_") for name in names):
        yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))
    else:
        yield from batch.to_pylist()


def _latency(answerer: Processes, captured: Sequence[Any]) -> dict[str, Any]:
    import numpy as np

    times = []
    for one in captured[:_SINGLE]:
        try:
            batch = _batch(answerer, [_row(answerer, one.inputs)])
        except Invalid:
            continue
        begun = time.perf_counter()
        answerer.answer(batch)
        times.append((time.perf_counter() - begun) * 1000)
    logged = [one.latency for one in captured]
    found = np.quantile(times, [0.5, 0.95]) if times else (0.0, 0.0)
    before = np.quantile(logged, [0.5, 0.95])
    return {
        "p50": float(found[0]),
        "p95": float(found[1]),
        "logged_p50": float(before[0]),
        "logged_p95": float(before[1]),
    }


def _quality(workspace: Workspace, package: Any, both: Sequence[Any]) -> dict[str, Any] | None:
    labelled = [(one, answer) for one, answer in both if one.label is not None]
    if not labelled:
        return None
    mine, references = Reference.load(package), References()
    with workspace.database.read() as connection:
        theirs = {
            key: references.of(connection, key or 0) for key in {one.revision for one, _ in both}
        }
    # of a function nothing is known: whatever is no number is a class
    classes = classifies(mine) or any(
        not isinstance(one.label, (int, float)) or isinstance(one.label, bool)
        for one, _ in labelled
    )
    if classes:
        logged = [theirs[one.revision].decide(one.output) for one, _ in labelled]
        found = [mine.decide(answer) for _, answer in labelled]
    else:
        logged = [Reference.prediction(one.output) for one, _ in labelled]
        found = [Reference.prediction(answer) for _, answer in labelled]
    labels = [one.label for one, _ in labelled]
    return pairing.quality(labels, logged, found, classes=classes)


def _greatest(both: Sequence[Any]) -> list[dict[str, Any]]:
    def distance(pair: Any) -> float:
        before, after = Reference.prediction(pair[0].output), Reference.prediction(pair[1])
        try:
            return abs(float(after) - float(before))
        except (TypeError, ValueError):
            return float(before != after)

    chosen = heapq.nlargest(_SHOWN, both, key=distance)
    return [
        {
            "prediction_id": one.prediction_id,
            "logged": one.output,
            "challenger": answer,
            "inputs": dict(one.inputs),
        }
        for one, answer in chosen
        if distance((one, answer)) > 0
    ]


def _keep(workspace: Workspace, ref: Any, record: Mapping[str, Any]) -> int:
    """Keep a replay on the version and in the ledger; rows stay in the artifact only."""
    evidence.write_replay(workspace, ref, record)
    told = {key: value for key, value in record.items() if key != "greatest"}
    with workspace.database.begin() as connection:
        return ledger.append(
            connection,
            actor=workspace.actor,
            action="replay",
            subject=str(ref),
            details={**told, "digest": ref.tags.get(models.DIGEST_TAG, "")},
        )


def _is_worse(quality: Mapping[str, Any]) -> bool:
    if quality["low"] is None:
        return False
    return bool(quality["high"] < 0 if quality["metric"] == "accuracy" else quality["low"] > 0)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list) and all(isinstance(one, float) for one in value):
        return str([round(one, 4) for one in value])
    return value if isinstance(value, (int, str)) else str(value)
