"""Metrics for Prometheus: what each variant has answered, and what its revisions and workers do.

Counted in plain integers on the hot path; turned into Prometheus's families when they are read.
Units are seconds and bytes, names as Prometheus's conventions have them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from mlops_magics.serving.resources import Usages

if TYPE_CHECKING:
    from mlops_magics.serving.routing import Revision, Router
    from mlops_magics.serving.spool import Spool

__all__ = ["Tally", "Timings", "exposition"]

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
"""Upper edges of the histograms of times, in seconds."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper edges of the histogram of batches' sizes, in rows."""


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
        self.shed = 0  # of a shadow: requests that it was spared
        self.buckets = [0] * (len(EDGES) + 1)
        self.seconds = 0.0

    def count(self, status: int, seconds: float, rows: int = 0) -> None:
        """Count one answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.rows += rows
        self.seconds += seconds
        self.buckets[bisect_left(EDGES, seconds)] += 1


class Timings:
    """How a revision's batches were: how large, how long in the queue, how long computed.

    Examples
    --------
    >>> timings = Timings()
    >>> timings.batch(3, 0.0004, 0.002)
    >>> timings.batches, timings.rows
    (1, 3)
    """

    def __init__(self) -> None:
        self.batches = 0
        self.restarts = 0  # workers that took an ended one's place
        self.rows = 0
        self.queued = 0.0
        self.computed = 0.0
        self.row_buckets = [0] * (len(ROWS) + 1)
        self.queue_buckets = [0] * (len(EDGES) + 1)
        self.compute_buckets = [0] * (len(EDGES) + 1)

    def batch(self, rows: int, queued: float, computed: float) -> None:
        """Count one batch that a worker has answered.

        Parameters
        ----------
        rows : int
            In the batch.
        queued : float
            Seconds that its oldest request has waited before it was sent to the worker.
        computed : float
            Seconds from then to the worker's answer.
        """
        self.batches += 1
        self.rows += rows
        self.queued += queued
        self.computed += computed
        self.row_buckets[bisect_left(ROWS, rows)] += 1
        self.queue_buckets[bisect_left(EDGES, queued)] += 1
        self.compute_buckets[bisect_left(EDGES, computed)] += 1


class _Reader(Collector):
    def __init__(self, router: Router, spool: Spool, usages: Usages) -> None:
        self.router = router
        self.spool = spool
        self.usages = usages

    def collect(self) -> Iterator[Metric]:
        yield from self._answers()
        yield from self._batches()
        yield from self._workers()
        yield from self._log()
        build = GaugeMetricFamily(
            "mlops_build_info", "Which server this is; always 1.", labels=["version", "python"]
        )
        build.add_metric([version("mlops-magics"), python_version()], 1)
        yield build

    def _answers(self) -> Iterator[Metric]:
        names = ["endpoint", "revision", "version", "variant"]
        requests = CounterMetricFamily(
            "mlops_requests", "Requests answered, by HTTP status.", labels=[*names, "status"]
        )
        rows = CounterMetricFamily("mlops_rows", "Rows predicted.", labels=names)
        shed = CounterMetricFamily(
            "mlops_shadow_requests_shed",
            "Requests that were not mirrored, because there was too much to do.",
            labels=names,
        )
        latency = HistogramMetricFamily(
            "mlops_request_duration_seconds",
            "Time from a request's head to its answer.",
            labels=names,
        )
        for tally in self.router.tallies.values():
            labels = list(tally.labels)
            for status, count in tally.statuses.items():
                requests.add_metric([*labels, str(status)], count)
            rows.add_metric(labels, tally.rows)
            shed.add_metric(labels, tally.shed)
            latency.add_metric(labels, _cumulated(EDGES, tally.buckets), tally.seconds)
        yield from (requests, rows, shed, latency)

    def _batches(self) -> Iterator[Metric]:
        names = ["endpoint", "revision", "version"]
        flying = GaugeMetricFamily(
            "mlops_requests_in_flight", "Requests that wait or are being computed.", labels=names
        )
        waiting = GaugeMetricFamily("mlops_queue_length", "Requests that wait.", labels=names)
        queued = HistogramMetricFamily(
            "mlops_queue_duration_seconds",
            "Time that a batch's oldest request has waited for a worker.",
            labels=names,
        )
        computed = HistogramMetricFamily(
            "mlops_compute_duration_seconds",
            "Time from a batch's dispatch to its worker's answer.",
            labels=names,
        )
        sizes = HistogramMetricFamily("mlops_batch_rows", "Rows in a batch.", labels=names)
        for revision in self.router.revisions.values():
            batcher, timings, labels = revision.batcher, revision.timings, _labels(revision)
            if batcher is None:
                continue
            computing = sum(len(link.items) for link in batcher.links)
            waiting.add_metric(labels, len(batcher.queue))
            flying.add_metric(labels, len(batcher.queue) + computing)
            queued.add_metric(labels, _cumulated(EDGES, timings.queue_buckets), timings.queued)
            computed.add_metric(
                labels, _cumulated(EDGES, timings.compute_buckets), timings.computed
            )
            sizes.add_metric(labels, _cumulated(ROWS, timings.row_buckets), timings.rows)
        yield from (flying, waiting, queued, computed, sizes)

    def _workers(self) -> Iterator[Metric]:
        names = ["endpoint", "revision", "version"]
        ready = GaugeMetricFamily("mlops_workers_ready", "Workers that are up.", labels=names)
        wanted = GaugeMetricFamily("mlops_workers_wanted", "Workers that shall run.", labels=names)
        starts = CounterMetricFamily(
            "mlops_worker_restarts", "Workers started again after they had ended.", labels=names
        )
        cpu = CounterMetricFamily(
            "mlops_worker_cpu_seconds", "Time of cores that workers have used.", labels=names
        )
        memory = GaugeMetricFamily(
            "mlops_worker_resident_memory_bytes", "Memory that workers hold now.", labels=names
        )
        usages = self.usages.read(
            {revision.planned.id: revision.planned.workers for revision in self._revisions()}
        )
        for revision in self._revisions():
            labels, planned = _labels(revision), revision.planned
            wanted.add_metric(labels, planned.workers)
            ready.add_metric(labels, revision.batcher.ready if revision.batcher else 0)
            usage = usages[planned.id]
            starts.add_metric(labels, revision.timings.restarts)
            cpu.add_metric(labels, usage.cpu)
            memory.add_metric(labels, usage.memory)
        yield from (ready, wanted, starts, cpu, memory)

    def _log(self) -> Iterator[Metric]:
        written = CounterMetricFamily(
            "mlops_spool_written_bytes", "Bytes written to the inference log."
        )
        written.add_metric([], self.spool.written)
        failures = CounterMetricFamily(
            "mlops_spool_write_failures",
            "Writes of the inference log that failed.",
            labels=["reason"],
        )
        for reason, count in self.spool.failures.items():
            failures.add_metric([reason], count)
        backlog = GaugeMetricFamily(
            "mlops_spool_backlog_bytes", "Bytes of the log's files that are not done with."
        )
        backlog.add_metric([], self.spool.state()["bytes"])
        yield from (written, failures, backlog)

    def _revisions(self) -> list[Revision]:
        return list(self.router.revisions.values())


def _labels(revision: Revision) -> list[str]:
    planned = revision.planned
    return [planned.endpoint, str(planned.id), planned.version]


def _cumulated(edges: Sequence[float], buckets: list[int]) -> list[tuple[str, float]]:
    total = 0
    cumulated = []
    for edge, count in zip([*map(str, map(float, edges)), "+Inf"], buckets, strict=True):
        total += count
        cumulated.append((edge, float(total)))
    return cumulated


def exposition(router: Router, spool: Spool) -> bytes:
    """Return the metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Reader(router, spool, router.usages))
    return generate_latest(registry)
