"""Judgement: what is found in one closed window of an endpoint, and what has lasted.

The state that goes from window to window is JSON: the revision that served, since when its rows are
counted, up to which label it was measured, and what was found in the last windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.measures.metric import ALPHA
from mlops_magics.monitoring import quality, traffic, windows
from mlops_magics.monitoring.alerts import conditions
from mlops_magics.monitoring.alerts.conditions import Finding
from mlops_magics.monitoring.alerts.policy import Policy
from mlops_magics.monitoring.comparison import compare, persists
from mlops_magics.monitoring.references import References
from mlops_magics.monitoring.traffic import Variant
from mlops_magics.store import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["Judgement", "gone", "lasting"]

LONGEST = 86400.0  # seconds for which rows are collected before they are judged, few as they are
LABELS_SPAN = 7 * LONGEST  # of predictions that are measured together
MEASURED = 50_000  # of them, the newest


@dataclass
class Judgement:
    """One window, judged.

    Attributes
    ----------
    endpoint : str
    policy : Policy
    begin, end : float
        The window, in seconds since 1970.
    state : dict
        Of the windows before; changed to what the next must know.
    champion : Variant or None
        The revision whose data and quality are judged.
    found : dict
        What was found, by kind; a kind that is absent could not be judged.
    evidence : dict
        What the findings of a kind have in common.
    """

    endpoint: str
    policy: Policy
    begin: float
    end: float
    state: dict[str, Any]
    champion: Variant | None = None
    found: dict[str, list[Finding]] = field(default_factory=dict)
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def revision(self) -> int | None:
        """The champion's."""
        return None if self.champion is None else self.champion.revision

    def read(self, connection: Connection, references: References) -> None:
        """Read the window, and judge it."""
        variants = traffic.variants(connection, self.endpoint)
        named = [one for one in variants if one.variant == "champion"]
        self.champion = next(iter(named or variants), None)
        shadows = {one.revision for one in variants if one.variant == "shadow"}
        if self.state.get("revision") != self.revision:
            # another model is not blamed for what was found with the one before
            self.state.update(revision=self.revision, since=self.begin, labels=None, items={})
        since = max(float(self.state.get("since") or self.begin), self.end - LONGEST)
        parts = windows.read(connection, self.endpoint, since, self.end, references)
        every = [
            one
            for revision, part in parts.items()
            for one in part
            # a shadow's answers reach nobody
            if one.start >= self.begin and revision not in shadows
        ]
        self._requests(connection, windows.total(every))
        if self.champion is not None:
            rows = windows.total(parts.get(self.champion.revision, ()))
            self._columns(connection, references, self.champion, rows, since)
            self._quality(connection, references, self.champion.revision)

    def _requests(self, connection: Connection, window: windows.Window | None) -> None:
        if window is None or not window.requests:
            return
        found = conditions.of_requests(window, self.policy)
        evidence = self._evidence(self.begin, self.end, window.requests, window.rows)
        if found:
            evidence["failed"] = _failed(connection, self.endpoint, self.begin, self.end)
        self._add(("errors", "latency"), found, evidence)

    def _columns(
        self,
        connection: Connection,
        references: References,
        champion: Variant,
        window: windows.Window | None,
        since: float,
    ) -> None:
        rows = 0 if window is None else window.rows
        if rows < self.policy.rows and self.end - since < LONGEST:
            return  # joined with the next window
        self.state["since"] = self.end
        if window is None or not rows:
            return
        reference = references.of(connection, champion.revision)
        evidence = self._evidence(since, self.end, window.requests, rows)
        if reference.profile is None:
            words = (
                f"the package of {champion.model}/{champion.version} has no reference profile: "
                "its data cannot be judged"
            )
            self._add(("profile",), [Finding("profile", "", "info", words)], evidence)
            return
        self._add(("profile",), [], evidence)
        if window.profile is None:
            return
        drifts = compare(
            reference.profile,
            window.profile,
            calibration=reference.calibration,
            masked=reference.masked,
            rate=self.policy.false_alarms,
            least_rows=self.policy.rows,
        )
        measured = [one.false_alarms for one in drifts if one.false_alarms is not None]
        evidence["false_alarms"]["measured"] = max(measured, default=None)
        self._add(("data", "drift"), conditions.of_columns(drifts), evidence)

    def _quality(self, connection: Connection, references: References, revision: int) -> None:
        """Measure the predictions whose labels have come, once there are enough new ones."""
        after = self.state.get("labels")
        count, first, last, received = _labelled(connection, self.endpoint, revision, after)
        if count < self.policy.labels:
            return
        self.state["labels"] = received
        since, until = max(first, last - LABELS_SPAN), math.nextafter(last, math.inf)
        measured = quality.measure(
            connection,
            self.endpoint,
            since,
            until,
            references.of(connection, revision),
            revision=revision,
            closely=True,
            most=MEASURED,
        )
        found = conditions.of_quality(measured)
        evidence = self._evidence(since, until, None, measured.labels)
        # the rule of quality has a rate of its own
        evidence["false_alarms"]["asked"] = ALPHA
        self._add(("quality",), found, evidence)

    def _add(
        self, kinds: Sequence[str], found: Sequence[Finding], evidence: Mapping[str, Any]
    ) -> None:
        for kind in kinds:
            self.found[kind] = [one for one in found if one.kind == kind]
            self.evidence[kind] = dict(evidence)

    def _evidence(
        self, since: float, until: float, requests: int | None, rows: int
    ) -> dict[str, Any]:
        served = ("revision", "number", "model", "version")
        return {
            "window": {"since": since, "until": until, "requests": requests, "rows": rows},
            "persistence": self.policy.persistence,
            "false_alarms": {"asked": self.policy.false_alarms, "measured": None},
            "revision": None
            if self.champion is None
            else {name: getattr(self.champion, name) for name in served},
        }


def lasting(
    state: dict[str, Any], found: Mapping[str, Sequence[Finding]], persistence: int
) -> dict[str, list[Finding]]:
    """Note what was found in a window, and return what has been found in enough in a row, by kind.

    Examples
    --------
    >>> state, found = {}, {"drift": [Finding("drift", "hour", "warning", "")]}
    >>> [sorted(lasting(state, found, 2)) for _ in range(2)]
    [[], ['drift']]
    """
    items: dict[str, dict[str, list[bool]]] = state.setdefault("items", {})
    kinds: dict[str, list[bool]] = state.setdefault("kinds", {})
    held: dict[str, list[Finding]] = {}
    for kind, ones in found.items():
        kinds[kind] = [*kinds.get(kind, []), bool(ones)][-persistence:]
        before = items.get(kind, {})
        # what was not found in this window begins anew
        items[kind] = {one.item: [*before.get(one.item, []), True][-persistence:] for one in ones}
        last = [one for one in ones if persists(items[kind][one.item], persistence)]
        if last:
            held[kind] = last
    return held


def gone(state: Mapping[str, Any], kind: str, persistence: int) -> bool:
    """Tell whether nothing of a kind was found in enough windows in a row."""
    return persists([not found for found in state["kinds"].get(kind, [])], persistence)


def _failed(connection: Connection, endpoint: str, since: float, until: float) -> dict[str, int]:
    """Count the failed requests of a window by status."""
    t = tables.predictions.c
    query = (
        sa.select(t.status, sa.func.count())
        .where(t.endpoint == endpoint, t.time >= since, t.time < until)
        .where(t.status >= 400, t.mirror_of.is_(None))
        .group_by(t.status)
        .order_by(t.status)
    )
    return {str(row[0]): int(row[1]) for row in connection.execute(query)}


def _labelled(
    connection: Connection, endpoint: str, revision: int, after: float | None
) -> tuple[int, float, float, float]:
    """Return how many labels have come, the first and last prediction of theirs, the last label."""
    t, known = tables.predictions.c, tables.labels.c
    chosen = [known.endpoint == endpoint, t.revision == revision, t.status < 400]
    chosen += [known.received > after] if after is not None else []
    query = sa.select(
        sa.func.count(), sa.func.min(t.time), sa.func.max(t.time), sa.func.max(known.received)
    ).join_from(tables.labels, tables.predictions, t.prediction_id == known.prediction_id)
    count, first, last, received = connection.execute(query.where(*chosen)).one()
    return int(count), first or 0.0, last or 0.0, received or 0.0
