"""Alerts of a real endpoint: the server's agent judges, posts and rolls back by itself."""

from __future__ import annotations

import json
import time

import pytest

import mlops_magics as mlops
from mlops_magics.store import tables

from ..deployment.conftest import ROWS, double, fails_on_large
from ..monitoring.alerts.receiver import receiving


@pytest.mark.xdist_group("alerting")
def test_the_server_judges_delivers_and_rolls_back_with_no_notebook_open(workspace, monkeypatch):
    with receiving() as receiver:
        monkeypatch.setenv("MLOPS_WEBHOOK_HOSTS", f"127.0.0.1:{receiver.port}")
        for function in (double, fails_on_large):
            made = mlops.package(function, name="late", data=ROWS, workspace=workspace)
            mlops.deploy(made.uri, endpoint="late", workspace=workspace)
        mlops.configure_alerts(
            "late",
            window="10s",
            persistence=1,
            webhook=receiver.url,
            action="rollback",
            workspace=workspace,
        )
        end = time.monotonic() + 90
        found = []
        while not found or found[0].deliveries[-1]["status"] in ("WAITING", "SENDING"):
            assert time.monotonic() < end, [one.to_dict() for one in found]
            if not found:
                with pytest.raises(mlops.PredictionRefused):
                    mlops.predict("late", {"x": 200.0, "n": 1}, workspace=workspace)
            time.sleep(0.2)
            found = list(mlops.alerts("late", status="all", workspace=workspace))
    (alert,) = found
    assert (alert.kind, alert.severity) == ("errors", "critical")
    assert set(alert.evidence["failed"]) == {"500"}
    outcomes = {one["kind"]: (one["status"], one["outcome"]) for one in alert.deliveries}
    assert outcomes == {
        "webhook": ("DELIVERED", "answered 200"),
        "rollback": ("DELIVERED", "the revision before serves again"),
    }
    [(_, _, body)] = receiver.posted
    assert body["alert"]["id"] == alert.id
    assert len(alert.requests) == sum(alert.evidence["failed"].values())
    told = {part.name: part.value for part in mlops.status(workspace=workspace).parts}
    assert told["alerts"] == f"late: {alert.title}"
    served = mlops.predict("late", {"x": 200.0, "n": 1}, workspace=workspace)
    assert served.values == [400.0]
    with workspace.database.read() as connection:
        rows = connection.execute(tables.ledger.select()).all()
    entry = next(row for row in rows if row.action == "rollback")
    assert entry.actor == "mlops"
    assert json.loads(entry.details)["reason"].startswith(f"alert {alert.id}: ")
