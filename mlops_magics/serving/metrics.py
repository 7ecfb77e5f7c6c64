"""Metrics for Prometheus: counts and latency histograms of each variant.

Counted in plain integers on the hot path; turned into Prometheus's families when they are read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

if TYPE_CHECKING:
    from mlops_magics.serving.routing import Router
    from mlops_magics.serving.spool import Spool

__all__ = ["Tally", "exposition"]

EDGES = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper edges of the latency histogram, in seconds."""


class Tally:
    """What one variant of an endpoint has answered.

    Examples
    --------
    >>> tally = Tally(("flight-delay", "7", "3", "champion"))
    >>> tally.count(200, 0.004, rows=2)
    >>> tally.statuses, tally.rows
    ({200: 1}, 2)
    """

    def __init__(self, labels: tuple[str, str, str, str]) -> None:
        self.labels = labels
        self.statuses: dict[int, int] = {}
        self.rows = 0
        self.buckets = [0] * (len(EDGES) + 1)
        self.seconds = 0.0

    def count(self, status: int, seconds: float, rows: int = 0) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.rows += rows
        self.seconds += seconds
        self.buckets[bisect_left(EDGES, seconds)] += 1


class _Reader(Collector):
    def __init__(self, router: Router, spool: Spool) -> None:
        self.router = router
        self.spool = spool

    def collect(self) -> Iterator[Metric]:
        names = ["endpoint", "revision", "version", "variant"]
        requests = CounterMetricFamily(
            "mlops_requests", "Answers by status.", labels=[*names, "status"]
        )
        rows = CounterMetricFamily("mlops_rows", "Rows predicted.", labels=names)
        latency = HistogramMetricFamily(
            "mlops_request_seconds", "Time from a request's head to its answer.", labels=names
        )
        for tally in self.router.tallies.values():
            labels = list(tally.labels)
            for status, count in tally.statuses.items():
                requests.add_metric([*labels, str(status)], count)
            rows.add_metric(labels, tally.rows)
            latency.add_metric(labels, list(_cumulated(tally.buckets)), tally.seconds)
        yield from (requests, rows, latency)
        yield from self._gauges()

    def _gauges(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily("mlops_workers_ready", "Workers up.", labels=["revision"])
        queue = GaugeMetricFamily("mlops_queue_length", "Requests waiting.", labels=["revision"])
        batches = CounterMetricFamily("mlops_batches", "Batches computed.", labels=["revision"])
        batched = CounterMetricFamily("mlops_batched_rows", "Rows in them.", labels=["revision"])
        for revision in self.router.revisions.values():
            if revision.batcher is not None:
                labels = [str(revision.planned.id)]
                ready.add_metric(labels, revision.batcher.ready)
                queue.add_metric(labels, len(revision.batcher.queue))
                batches.add_metric(labels, revision.batcher.batches)
                batched.add_metric(labels, revision.batcher.batched_rows)
        written = CounterMetricFamily("mlops_spool_bytes", "Bytes written to the inference log.")
        written.add_metric([], self.spool.written)
        failures = CounterMetricFamily("mlops_spool_failures", "Log writes that failed.")
        failures.add_metric([], self.spool.failures)
        return ready, queue, batches, batched, written, failures


def _cumulated(buckets: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for edge, count in zip([*map(str, EDGES), "+Inf"], buckets, strict=True):
        total += count
        yield edge, total


def exposition(router: Router, spool: Spool) -> bytes:
    """Return the metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Reader(router, spool))
    return generate_latest(registry)
