"""An alert that opens fires, and a model that has become worse than it was in its test."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mlops_magics as mlops
from mlops_magics.errors import EndpointNotFound, InvalidArgument, UnknownName
from mlops_magics.store import tables

HOUR = 3600.0


@pytest.fixture
def alert(workspace, clock):
    """Open an alert, or change one."""

    def write(key, **values):
        t = tables.alerts
        row = {"endpoint": "late", "severity": "warning", "title": f"{key} drifted"}
        row |= {"status": "OPEN", "opened": clock(), "updated": clock()} | values
        with workspace.database.begin() as connection:
            changed = t.update().where(t.c.key == key).values(key=key, **values)
            if not connection.execute(changed).rowcount:
                connection.execute(t.insert().values(key=key, **row))

    return write


def test_alerts_that_open_fire_once(add, fires, alert, clock):
    alert("old", opened=clock() - 60)
    add(alert="late", cooldown="0s")
    assert fires() == []
    alert("hour")
    assert fires() == ["alert opened: warning of late: hour drifted"]
    assert fires() == []
    alert("day")
    alert("month", opened=clock() + 1)
    assert fires() == ["alert opened: warning of late: day drifted; warning of late: month drifted"]


def test_of_two_alerts_of_one_moment_the_later_fires_too(add, fires, alert, clock):
    add(alert=True, cooldown="0s", overlap=True)
    clock.advance(1)
    moment = clock()
    alert("a", opened=moment)
    assert fires() == ["alert opened: warning of late: a drifted"]
    alert("b", opened=moment, endpoint="other")
    assert fires() == ["alert opened: warning of other: b drifted"]
    assert fires() == []


def test_an_alert_of_another_endpoint_or_of_less_weight_does_not_fire(add, fires, alert):
    add(alert="late", severity="critical", cooldown="0s", name="critical")
    add(alert=True, severity="warning", cooldown="0s", name="any", overlap=True)
    alert("a", severity="info")
    assert fires() == []
    alert("b", endpoint="other")
    assert fires() == ["alert opened: warning of other: b drifted"]
    alert("c", severity="critical")
    assert fires() == ["alert opened: critical of late: c drifted"] * 2


def test_what_opens_within_the_cooldown_fires_after_it_if_it_is_open_still(
    add, fires, alert, clock
):
    add(alert="late")  # an hour's cooldown
    clock.advance(1)
    alert("a")
    assert len(fires()) == 1
    alert("b")
    alert("c")
    alert("b", status="RESOLVED")
    assert fires() == []
    clock.advance(HOUR)
    assert fires() == ["alert opened: warning of late: c drifted"]


def test_only_the_kinds_that_are_waited_for_fire_and_silenced_alerts_do_not(
    workspace, add, fires, alert
):
    made = add(alert="late", kinds=["drift", "quality"], cooldown="0s")
    assert made.when == "an alert of endpoint late about drift or quality, warning or worse"
    alert("errors", kind="errors")
    alert("quiet", kind="drift", silenced=1)
    assert fires() == []
    alert("hour", kind="drift")
    assert fires() == ["alert opened: warning of late: hour drifted"]
    with pytest.raises(UnknownName, match="no kind of alert 'drft'"):
        add(alert="late", kinds=["drft"], name="other")
    with pytest.raises(InvalidArgument, match="--kind goes with --alert"):
        add(cron="0 3 * * sun", kinds=["drift"])


def test_a_run_names_all_the_alerts_that_it_is_for(workspace, add, watch, runs, alert, clock):
    add(alert="late", cooldown="0s")
    runs.outcome = "RUNNING"  # what opens meanwhile becomes one run after it
    for key in ("a", "b", "c"):
        clock.advance(31)
        alert(key)
        watch.look()
        watch.start_due()
    first, *_ = runs.jobs
    assert first.alerts == (1,)
    assert first.why["alerts"] == [1]
    waiting, gave_way, _ = mlops.firings(workspace=workspace)
    assert (waiting.status, gave_way.status) == ("WAITING", "SKIPPED")
    assert list(waiting.alerts) == [2, 3]


@pytest.fixture
def served(workspace, tmp_path):
    """An endpoint whose champion was right in 90 % of its test, and a way to have it predict."""
    package = tmp_path / "package" / "mlops"
    package.mkdir(parents=True)
    manifest = {"task": "classification", "classes": [0, 1], "predict_fn": "predict"}
    (package / "manifest.json").write_text(json.dumps(manifest))
    metrics = [{"name": "accuracy", "value": 0.9, "low": 0.88, "high": 0.92}]
    (package / "report.json").write_text(json.dumps({"metrics": metrics}))
    count = 0

    def predict(rows, right, at, revision=1):
        nonlocal count
        hits = np.arange(rows) < round(rows * right)
        labels, predictions = [], []
        for hit in hits:
            count += 1
            key = {"prediction_id": f"p{count}", "endpoint": "late"}
            predictions.append(
                {
                    **key,
                    "request_id": key["prediction_id"],
                    "row": 0,
                    "time": at,
                    "revision": revision,
                    "output": 1,
                    "status": 200,
                    "latency": 1.0,
                }
            )
            labels.append({**key, "label": int(hit), "received": at})
        with workspace.database.begin() as connection:
            connection.execute(tables.predictions.insert(), predictions)
            connection.execute(tables.labels.insert(), labels)

    def serve(revision):
        share = [{"revision": revision, "variant": "champion", "percent": 100.0}]
        t = tables.endpoints
        with workspace.database.begin() as connection:
            changed = connection.execute(t.update().values(traffic=share))
            if not changed.rowcount:
                values = {"name": "late", "traffic": share, "settings": {}, "created": 0.0}
                connection.execute(t.insert().values(**values, updated=0.0))
            connection.execute(
                tables.revisions.insert().values(
                    id=revision,
                    endpoint="late",
                    number=revision,
                    model="late",
                    version=str(revision),
                    package=str(package.parent),
                    digest="0",
                    status="SERVING",
                    created=0.0,
                    updated=0.0,
                )
            )

    serve(1)
    predict.serve = serve
    return predict


def test_decay_fires_with_enough_labels_and_more_than_chance(add, fires, served, clock):
    add(decay="accuracy", by=0.02, endpoint="late", window="1d", min_labels=200)
    served(199, 0.5, clock())
    assert fires() == []  # too few labels to say
    served(101, 0.5, clock())
    [reason] = fires()
    assert reason.startswith("accuracy of late is 0.5 [0.44")
    assert reason.endswith("by 300 labels; in its test it was 0.9")
    # what was judged is not judged again
    clock.advance(2 * HOUR)
    assert fires() == []
    served(300, 0.5, clock())
    assert len(fires()) == 1


def test_a_loss_that_is_allowed_or_could_be_chance_does_not_fire(add, fires, served, clock):
    add(decay="accuracy", by=0.05, endpoint="late", min_labels=20)
    served(1000, 0.86, clock())
    assert fires() == []  # surely worse, but by less than is allowed
    clock.advance(8 * 24 * HOUR)  # out of the window
    served(40, 0.84, clock())
    assert fires() == []  # by more, but of 40 rows that says nothing
    served(1000, 0.84, clock())
    assert len(fires()) == 1


def test_a_new_champion_is_not_blamed_for_the_old_one(add, fires, served, clock):
    add(decay="accuracy", by=0.02, endpoint="late", cooldown="0s")
    served(400, 0.5, clock())
    served.serve(2)
    served(400, 0.9, clock(), revision=2)
    assert fires() == []


def test_what_cannot_be_compared_is_refused_when_the_trigger_is_made(workspace, add, served):
    with pytest.raises(EndpointNotFound, match="no endpoint 'lte'"):
        add(decay="accuracy", by=0.02, endpoint="lte")
    with pytest.raises(InvalidArgument, match="has no 'recall'"):
        add(decay="recall", by=0.02, endpoint="late")
    assert len(mlops.triggers(workspace=workspace)) == 0
