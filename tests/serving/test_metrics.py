"""Metrics agree with what was sent, and have the names and units that Prometheus users expect."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.xdist_group("served")

DOCS = Path(__file__).parents[2] / "docs"
INVOCATIONS = "/endpoints/mixed/invocations"


def scrape(client) -> dict[tuple[str, frozenset], float]:
    text = client.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples, name, **labels) -> float:
    wanted = set(labels.items())
    return sum(value for (found, has), value in samples.items() if found == name and wanted <= has)


def test_as_many_requests_are_counted_as_were_sent_and_their_times_are_sane(served):
    good = {"dataframe_records": [served.values(), served.values(1)]}
    with served.client() as client:
        before = scrape(client)

        def send(index: int) -> float:
            begun = time.perf_counter()
            body = good if index % 4 else {"dataframe_records": [{"hour": "late"}]}
            client.post(INVOCATIONS, json=body)
            return time.perf_counter() - begun

        with ThreadPoolExecutor(8) as pool:
            longest = max(pool.map(send, range(120)))
        after = scrape(client)

    def grown(name, **labels):
        return total(after, name, endpoint="mixed", **labels) - total(
            before, name, endpoint="mixed", **labels
        )

    assert grown("mlops_requests_total", status="200") == 90
    assert grown("mlops_requests_total", status="400") == 30
    assert grown("mlops_rows_total") == 180
    assert grown("mlops_request_duration_seconds_count") == 120
    assert 0 < grown("mlops_request_duration_seconds_sum") < 120 * longest
    assert grown("mlops_request_duration_seconds_bucket", le="+Inf") == 120
    edges = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
    counts = [grown("mlops_request_duration_seconds_bucket", le=str(edge)) for edge in edges]
    assert counts == sorted(counts)
    # nothing took longer than the slowest client has waited
    assert all(count == 120 for edge, count in zip(edges, counts, strict=True) if edge > longest)
    assert total(after, "mlops_requests_in_flight", endpoint="mixed") == 0


def test_workers_log_and_build_are_told(served):
    with served.client() as client:
        client.post(INVOCATIONS, json={"dataframe_records": [served.values()]})
        samples = scrape(client)
    assert total(samples, "mlops_workers_ready", endpoint="mixed", revision="1") == 1
    assert total(samples, "mlops_workers_wanted", endpoint="mixed", revision="1") == 1
    assert total(samples, "mlops_worker_cpu_seconds_total", endpoint="mixed", revision="1") > 0.1
    assert total(samples, "mlops_worker_resident_memory_bytes", endpoint="mixed") > 30e6
    assert total(samples, "mlops_spool_written_bytes_total") > 0
    assert total(samples, "mlops_spool_write_failures_total") == 0
    assert total(samples, "mlops_build_info") == 1


def test_every_metric_and_label_of_the_dashboard_exists(served):
    with served.client() as client:
        client.post(INVOCATIONS, json={"dataframe_records": [served.values()]})
        samples = scrape(client)
    known: dict[str, set[str]] = {}
    for name, labels in samples:
        known.setdefault(name, set()).update(dict(labels))
    dashboard = json.loads((DOCS / "grafana" / "mlops.json").read_text())
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    used = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] in {"timeseries", "stat"}
        for target in panel["targets"]:
            text = target["expr"]
            assert set(re.findall(r"\$(\w+)", text)) <= variables | {"__rate_interval"}
            metrics = set(re.findall(r"\bmlops_\w+", text))
            used |= metrics
            assert metrics <= known.keys(), text
            labels = set(re.findall(r'(\w+)=~?"', text)) | set(
                re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", text)))
            )
            labels |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert all(labels <= known[metric] for metric in metrics), text
    # the table in the documentation is whole
    told = set(re.findall(r"mlops_\w+", (DOCS / "prometheus.md").read_text()))
    plain = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in known}
    assert told - {"mlops_magics"} == {name for name in plain if name.startswith("mlops_")}
