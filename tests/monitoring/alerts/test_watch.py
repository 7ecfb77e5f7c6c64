"""What holds over several windows becomes one alert, once, and ends by itself."""

from __future__ import annotations

import threading

import mlops_magics as mlops
from mlops_magics.monitoring import feedback, monitor, predictions
from mlops_magics.monitoring.traffic import Health
from mlops_magics.store import tables

from ..conftest import START, record, requests
from .conftest import MINUTE


def test_a_planted_drift_is_one_alert_with_its_evidence_and_ends_when_it_is_gone(endpoint):
    assert endpoint.minute() == []
    assert endpoint.minute(shift=1.5) == []  # one window may be chance
    (opened,) = endpoint.minute(shift=1.5)
    (alert,) = endpoint.alerts()
    assert (alert.id, alert.status, alert.kind, alert.severity) == (
        opened,
        "OPEN",
        "drift",
        "warning",
    )
    assert alert.title.startswith("distance drifted: ")
    assert alert.evidence["window"] == {
        "since": START + 2 * MINUTE,
        "until": START + 3 * MINUTE,
        "requests": 300,
        "rows": 300,
    }
    assert alert.evidence["persistence"] == 2
    assert alert.evidence["false_alarms"]["asked"] == 0.01
    # of windows drawn from the training data
    assert 0 <= alert.evidence["false_alarms"]["measured"] <= 0.02
    assert alert.evidence["revision"]["version"] == "1"
    (item,) = alert.evidence["items"]
    assert item["item"] == "distance"
    assert item["q_value"] <= item["threshold"]
    # more of the same is the same alert
    assert endpoint.minute(shift=1.5) == []
    (alert,) = endpoint.alerts()
    assert (alert.count, alert.updated) == (2, START + 4 * MINUTE)
    assert endpoint.minute() == []
    assert endpoint.alerts()[0].status == "OPEN"
    endpoint.minute()
    (alert,) = endpoint.alerts()
    assert (alert.status, alert.actor) == ("RESOLVED", "mlops")
    assert alert.reason == "not found in 2 windows"
    assert endpoint.ledger() == ["alert open", "alert resolve"]


def test_traffic_like_the_reference_and_a_single_bad_window_open_nothing(served):
    for bad in (False, True, False, True, False):
        assert served.minute(shift=1.5 if bad else 0.0, failing=4 if bad else 0) == []
    assert served.alerts() == []


def test_within_the_cooldown_the_same_alert_is_opened_again_and_after_it_another(served):
    served.configure(persistence=1, cooldown="10m")
    (first,) = served.minute(shift=1.5)
    served.minute()
    assert served.minute(shift=1.5) == []
    (alert,) = served.alerts()
    assert (alert.id, alert.status, alert.count) == (first, "OPEN", 2)
    served.minute()
    for _ in range(10):
        served.minute()
    (second,) = served.minute(shift=1.5)
    assert second != first
    assert [row.status for row in served.alerts()] == ["RESOLVED", "OPEN"]
    assert served.ledger().count("alert reopen") == 1


def test_failed_requests_are_counted_by_status_and_a_few_that_chance_gives_are_none(served):
    served.configure(persistence=1)
    assert served.minute(100, failing=20) == []  # five per cent are allowed
    assert served.minute(20, failing=10) == []  # ten per cent of twenty may be chance
    (opened,) = served.minute(200, failing=5)
    (alert,) = served.alerts()
    assert (alert.id, alert.kind, alert.severity) == (opened, "errors", "critical")
    assert alert.title == "20.0% of requests failed (40)"
    assert alert.evidence["failed"] == {"400": 40}
    assert alert.evidence["items"][0]["threshold"] == 0.05


def test_a_latency_budget_is_watched_when_there_is_one(served):
    served.configure(persistence=1)
    assert served.minute() == []
    served.configure(latency=4)
    served.minute()
    (alert,) = served.alerts()
    assert (alert.kind, alert.severity) == ("latency", "warning")
    assert alert.title.endswith("the budget is 4 ms")


def test_bad_values_are_told_from_drift(served):
    served.configure(persistence=1)
    rows = requests(300, served.key, start=served.now)
    for request in rows[::3]:
        request.rows[0][0] = None
    record(served.workspace, rows)
    served.minute(0)
    (alert,) = served.alerts()
    assert (alert.kind, alert.severity) == ("data", "warning")
    assert alert.title.startswith("distance has bad data: missing values: 0.0% became 33.3%")


def test_a_window_with_few_rows_is_joined_with_the_next(served):
    served.configure(persistence=1)
    assert served.minute(60, shift=1.5) == []
    served.minute(60, shift=1.5)
    (alert,) = served.alerts()
    assert alert.evidence["window"]["since"] == START
    assert alert.evidence["window"]["rows"] == 120


def test_quality_is_judged_when_enough_labels_have_come_without_a_data_alert(served):
    served.configure(persistence=1, labels=200)
    served.minute(400)
    table = predictions("flight-delay", limit=None, workspace=served.workspace)
    flipped = {row.prediction_id: int(row.output[1] < 0.5) for row in table}
    some = dict(list(flipped.items())[:150])
    feedback("flight-delay", some, workspace=served.workspace)
    assert served.minute() == []
    feedback("flight-delay", flipped, workspace=served.workspace)
    served.minute()
    (alert,) = served.alerts()
    assert (alert.kind, alert.severity) == ("quality", "critical")
    assert "in testing it was" in alert.title
    # no new label, no new verdict
    served.minute()
    assert served.alerts()[0].count == 1


def test_two_agents_judge_a_window_once(endpoint):
    endpoint.configure(persistence=1)
    endpoint.minute(shift=1.5, look=False)
    found: list[int] = []
    agents = [endpoint.another() for _ in range(2)]
    threads = [threading.Thread(target=lambda a=agent: found.extend(a.look())) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    (alert,) = endpoint.alerts()
    assert alert.count == 1


def test_another_model_is_not_blamed_for_the_one_before(served, package):
    served.minute(shift=1.5)
    with served.workspace.database.begin() as connection:
        row = connection.execute(tables.revisions.select()).one()
        values = {**row._mapping, "id": 7, "number": 2, "version": "2"}
        connection.execute(tables.revisions.insert().values(values))
        share = [{"revision": 7, "variant": "champion", "percent": 100}]
        connection.execute(tables.endpoints.update().values(traffic=share))
    served.key = 7
    assert served.minute(shift=1.5) == []
    (opened,) = served.minute(shift=1.5)
    assert served.alerts()[0].revision == 7
    assert served.alerts()[0].id == opened


def test_a_server_that_does_not_answer_for_a_minute_is_an_alert_until_it_does(served):
    served.health = Health(False, True, "the server does not answer: refused")
    served.minute(0)
    assert served.minute(0) != []
    (alert,) = served.alerts()
    assert (alert.kind, alert.severity) == ("server", "critical")
    assert alert.title == "the server does not answer: refused"
    served.health = Health(True, True)
    served.minute(0)
    assert served.alerts()[0].status == "RESOLVED"


def test_a_package_without_a_reference_is_told_but_calls_for_no_attention(served, package):
    (package / "mlops" / "reference.json").unlink()
    served.watch = served.another()
    served.configure(persistence=1)
    served.minute()
    (alert,) = served.alerts()
    assert (alert.kind, alert.severity) == ("profile", "info")
    assert "flight-delay/1 has no reference profile" in alert.title
    picture = monitor("flight-delay", since=START, until=START + 60, workspace=served.workspace)
    assert picture.alerts == []


def test_what_was_open_ends_when_the_endpoint_serves_nothing(served):
    served.configure(persistence=1)
    served.minute(shift=1.5)
    with served.workspace.database.begin() as connection:
        connection.execute(tables.endpoints.update().values(traffic=[]))
    served.minute(0)
    (alert,) = served.alerts()
    assert (alert.status, alert.reason) == ("RESOLVED", "the endpoint serves nothing")


def test_an_endpoint_is_watched_from_when_it_is_first_seen(served):
    with served.workspace.database.begin() as connection:
        connection.execute(tables.watches.delete())
    served.minute(shift=1.5)
    assert served.alerts() == []
    (row,) = served.rows(tables.watches)
    assert START + MINUTE <= row.until <= START + MINUTE + 3
    assert row.settings == {}


def test_a_shadows_failures_reach_nobody_and_are_no_alert(served):
    served.configure(persistence=1)
    champion, served.key = served.key, 9
    with served.workspace.database.begin() as connection:
        row = connection.execute(tables.revisions.select()).one()
        values = {**row._mapping, "id": 9, "number": 2, "status": "SHADOW"}
        connection.execute(tables.revisions.insert().values(values))
        share = [
            {"revision": champion, "variant": "champion", "percent": 100},
            {"revision": 9, "variant": "shadow", "percent": 100},
        ]
        connection.execute(tables.endpoints.update().values(traffic=share))
    assert served.minute(failing=2) == []
    served.key = champion
    assert len(served.minute(failing=2)) == 1


def test_what_becomes_worse_is_open_again_for_who_has_acknowledged_it(served):
    served.configure(persistence=1)
    rows = requests(300, served.key, start=served.now)
    for place, request in enumerate(rows):
        request.rows[0][0] = None if place % 3 == 0 else request.rows[0][0]
    record(served.workspace, rows)
    (alert,) = served.minute(0)
    mlops.acknowledge_alert(alert, workspace=served.workspace)
    rows = requests(300, served.key, start=served.now)
    for request in rows:
        request.rows[0][0] = None
    record(served.workspace, rows)
    served.minute(0)
    (row,) = served.alerts()
    assert (row.id, row.severity, row.status) == (alert, "critical", "OPEN")


def test_after_a_long_stop_watching_begins_anew(served):
    served.configure(persistence=1)
    served.minute(shift=1.5, look=False)
    served.now += 3 * 86400
    assert served.watch.look() == []
    (row,) = served.rows(tables.watches)
    assert row.until > START + 2 * 86400


def test_nothing_is_judged_before_the_log_of_its_time_is_loaded(served):
    served.configure(persistence=1)
    segment = served.workspace.directory("server", "spool") / "0-1.jsonl"
    segment.write_text("{}\n")
    served.minute(shift=1.5)
    assert served.alerts() == []
    segment.unlink()
    served.minute(shift=1.5)
    assert len(served.alerts()) == 1


def test_a_picture_shows_an_open_alert_once_and_an_acknowledged_one_not(served):
    served.configure(persistence=1)
    (opened,) = served.minute(shift=1.5)
    span = {"since": START, "until": START + 60, "workspace": served.workspace}
    (shown,) = monitor("flight-delay", **span).alerts
    assert (shown["id"], shown["kind"]) == (opened, "drift")
    with served.workspace.database.begin() as connection:
        connection.execute(tables.alerts.update().values(status="ACKNOWLEDGED"))
    assert monitor("flight-delay", **span).alerts == []
