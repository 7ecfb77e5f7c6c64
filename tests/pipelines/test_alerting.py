"""What an endpoint's alerts ask for is said in one place, and done by the server's agent."""

from __future__ import annotations

import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import mlops_magics as mlops
from mlops_magics.cli.group import main
from mlops_magics.errors import (
    DeployConflict,
    DeployError,
    EndpointNotFound,
    InvalidArgument,
    SpecInvalid,
    UnknownName,
)
from mlops_magics.monitoring.alerts.deliveries import Deliveries
from mlops_magics.pipelines import alerting, history
from mlops_magics.pipelines.alerting import roll_back
from mlops_magics.pipelines.triggers.watch import Watch
from mlops_magics.store import tables

from ..monitoring.alerts.conftest import Endpoint
from ..monitoring.conftest import package as package
from ..monitoring.conftest import record, requests
from ..monitoring.conftest import reference_files as reference_files
from .triggers.conftest import Runs, change_state


@pytest.fixture
def served(workspace, package) -> Endpoint:
    return Endpoint(workspace, package)


@pytest.fixture
def retrain(notebook):
    return notebook("retrain", "print(rows)", parameters="rows: int = 10")


def configure(served, **given):
    return mlops.configure_alerts("flight-delay", workspace=served.workspace, **given)


def test_settings_stay_as_they_are_until_they_are_given(served):
    found = configure(served, window="15m", false_alarms=0.02, cooldown="0s", latency=50)
    assert (found.window, found.false_alarms, found.cooldown, found.latency) == (900, 0.02, 0, 50)
    found = configure(served, latency="none", errors="none", silence="1h")
    assert (found.window, found.latency, found.errors) == (900, None, None)
    assert found.silenced == pytest.approx(time.time() + 3600, abs=60)
    assert configure(served, silence="none").silenced is None
    assert configure(served) == configure(served)
    # what changes nothing is no entry of the ledger
    assert served.ledger() == ["alert configure"] * 3
    assert "15m" in str(found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": "15"}, "no multiple of 10 s"),
        ({"window": "8d"}, "up to 7d"),
        ({"window": "soon"}, "no span of time"),
        ({"false_alarms": 0.5}, "not from 0.0001 to 0.2"),
        ({"false_alarms": float("nan")}, "no number"),
        ({"persistence": 0}, "no number from 1 on"),
        ({"persistence": True}, "no number from 1 on"),
        ({"errors": 1.5}, "not between 0 and 1"),
        ({"errors": "few"}, "no number"),
        ({"latency": 0}, "not above 0 ms"),
        ({"rows": 5}, "below 100"),
        ({"severity": "fatal"}, "no severity 'fatal'"),
        ({"webhook": "hooks.example"}, "no URL"),
        ({"command": "notify 'all"}, "cannot be split"),
        ({"command": " "}, "is empty"),
        ({"action": "retrain"}, "'retrain' is no action"),
        ({"action": "pipeline:"}, "is no action"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_nothing_changes(served, given, message):
    before = configure(served)
    with pytest.raises((InvalidArgument, UnknownName), match=message):
        configure(served, **{"persistence": 3, **given})
    assert configure(served) == before


def test_an_endpoint_that_is_none_or_anothers_is_refused(served):
    with pytest.raises(EndpointNotFound, match="no endpoint 'late'"):
        mlops.configure_alerts("late", workspace=served.workspace)
    with served.workspace.database.begin() as connection:
        connection.execute(tables.endpoints.update().values(workspace="another", place="b:/x"))
    with pytest.raises(DeployConflict, match="run by another workspace"):
        configure(served, window="1m")
    assert configure(served).window == 60  # to look at it changes nothing


def test_a_webhooks_key_is_written_down_where_it_is_needed_only(served, capsys, monkeypatch):
    key = "hunter22-T00-B00"
    found = configure(served, webhook=f"https://chat.example/services/{key}")
    assert found.webhooks == ["https://chat.example/…"]
    monkeypatch.chdir(served.workspace.root)
    with pytest.raises(SystemExit):
        main(["alerts", "configure", "flight-delay", "--json"])
    written = [capsys.readouterr().out, str(found), found._repr_html_(), repr(found)]
    written += [row.details for row in served.rows(tables.ledger)]
    assert all("chat.example" in text for text in written)
    assert not any(key in text for text in written)


def test_turning_alerts_off_resolves_what_is_open_and_judges_nothing(served):
    served.configure(persistence=1)
    served.minute(shift=1.5)
    assert not configure(served, on=False).on
    (alert,) = served.alerts()
    assert (alert.status, alert.reason) == ("RESOLVED", "alerts were turned off")
    served.minute(shift=1.5)
    assert len(served.alerts()) == 1
    configure(served, on=True)
    served.minute(0)
    (row,) = served.rows(tables.watches)
    assert row.until > served.now - 60


def test_an_action_starts_the_pipeline_once_and_both_name_each_other(served, retrain):
    workspace = served.workspace
    served.configure(persistence=1)
    found = configure(served, action=f"pipeline:{retrain}")
    assert found.actions == [f"pipeline:{retrain}"]
    (trigger,) = mlops.triggers(workspace=workspace)
    assert trigger.name == "retrain-flight-delay-alert"
    assert trigger.when == (
        "an alert of endpoint flight-delay about data or drift or quality, warning or worse"
    )
    change_state(workspace, trigger.name, seen={"until": served.now})
    runs = Runs()
    watch = Watch(workspace, now=served.clock, launch=runs)
    served.minute(failing=4)  # an alert about errors, which training does not mend
    watch.look()
    watch.start_due()
    assert runs.jobs == []
    (alert,) = served.minute(shift=1.5)
    for _ in range(2):
        watch.look()
        watch.start_due()
        served.minute(shift=1.5)
    (job,) = runs.jobs
    assert job.alerts == (alert,)
    (run,) = mlops.alert(alert, workspace=workspace).runs
    assert (run["pipeline"], run["status"], run["trigger"]) == (
        "retrain",
        "FINISHED",
        trigger.name,
    )
    why = history.read(workspace, run["run"]).why
    assert why["alerts"] == [alert]
    assert "distance drifted" in why["reason"]
    (firing,) = mlops.firings(workspace=workspace)
    assert list(firing.alerts) == [alert]
    assert run["run"] in str(mlops.alert(alert, workspace=workspace))


def test_actions_that_are_given_replace_those_that_were(served, retrain, notebook):
    workspace = served.workspace
    configure(served, action=[f"pipeline:{retrain}", "rollback"])
    again = configure(served, action=[f"pipeline:{retrain}", "rollback"])
    assert again.actions == [f"pipeline:{retrain}", "rollback"]
    assert [one.name for one in mlops.triggers(workspace=workspace)] == [
        "retrain-flight-delay-alert"
    ]
    other = notebook("other", "print(1)")
    configure(served, action=f"pipeline:{other}")
    assert [one.name for one in mlops.triggers(workspace=workspace)] == ["other-flight-delay-alert"]
    with pytest.raises(SpecInvalid, match="there is no pipeline"):
        configure(served, action="pipeline:nowhere.yaml")
    assert configure(served).actions == [f"pipeline:{other}"]
    mlops.remove_trigger("other-flight-delay-alert", workspace=workspace)
    assert "other-flight-delay-alert is gone" in str(configure(served))
    assert configure(served, action=f"pipeline:{other}").notes == []
    assert configure(served, action="none").actions == []
    assert len(mlops.triggers(workspace=workspace)) == 0


def test_refused_requests_and_a_revision_that_serves_no_more_are_not_rolled_back(served):
    workspace = served.workspace
    mend = Deliveries(workspace, now=served.clock, doers={"rollback": roll_back})
    served.configure(persistence=1)
    configure(served, action="rollback")
    served.minute(failing=4)
    assert mend.deliver() == 1
    served.minute(failing=0, shift=1.5)  # drift is the same for every revision: nothing is asked
    (only,) = served.rows(tables.deliveries)
    assert (only.status, only.outcome) == (
        "SKIPPED",
        "the requests were refused: another revision would refuse them",
    )
    configure(served, latency=3)
    served.minute()
    with workspace.database.begin() as connection:
        share = [{"revision": 99, "variant": "champion", "percent": 100}]
        connection.execute(tables.endpoints.update().values(traffic=share))
    mend.deliver()
    assert [row.outcome for row in served.rows(tables.deliveries)][1:] == [
        "the revision that it is about serves no more"
    ]


def test_the_servers_own_errors_are_rolled_back_once_in_the_products_name(served, monkeypatch):
    workspace = served.workspace
    mend = Deliveries(workspace, now=served.clock, doers={"rollback": roll_back})
    served.configure(persistence=1)
    configure(served, action="rollback")
    rows = requests(300, served.key, start=served.now, failing=4)
    for request in rows[3::4]:
        request.status = 500
    record(workspace, rows)
    (alert,) = served.minute(0)
    asked = []

    def refused(name, *, reason, workspace):
        asked.append((name, reason, workspace.actor))
        raise asked_for.pop(0)

    asked_for = [
        DeployConflict("endpoint 'flight-delay' was changed meanwhile"),
        DeployError("endpoint 'flight-delay' has no previous revision to go back to"),
    ]
    monkeypatch.setattr(alerting, "rollback", refused)
    for _ in range(3):
        mend.deliver()
        served.now += 3600
    assert asked == [("flight-delay", f"alert {alert}: 25.0% of requests failed (75)", "mlops")] * 2
    (only,) = mlops.alert(alert, workspace=workspace).deliveries
    assert (only["kind"], only["status"], only["tries"]) == ("rollback", "FAILED", 2)
    assert only["outcome"] == "endpoint 'flight-delay' has no previous revision to go back to"


def test_an_alert_leads_to_the_notebook_and_the_cell_that_made_the_model(served, tmp_path):
    workspace = served.workspace
    source = "model = fit(train)\nmodel"
    cells = [
        new_markdown_cell("# Training"),
        new_code_cell("import pandas"),
        new_code_cell(f"%%mlops_run boosted\n{source}"),
    ]
    path = tmp_path / "training.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    with mlops.run("boosted", source=source, notebook=path, workspace=workspace) as active:
        pass
    with workspace.database.begin() as connection:
        connection.execute(tables.revisions.update().values(run_id=active.run_id))
    served.configure(persistence=1)
    (alert,) = served.minute(shift=1.5)
    # what was edited since does not matter
    nbformat.write(new_notebook(cells=cells[1:]), path)
    origin = mlops.alert(alert, workspace=workspace).notebook
    assert (origin.notebook, origin.cell, origin.source) == (str(path), 3, source)
    assert (origin.model, origin.version, origin.run) == ("flight-delay", "1", "boosted")
    assert "training.ipynb" in str(origin)
    # what is not known is said
    with mlops.run("script", workspace=workspace) as other:
        pass
    with workspace.database.begin() as connection:
        connection.execute(tables.revisions.update().values(run_id=other.run_id))
    origin = mlops.alert(alert, workspace=workspace).notebook
    assert (origin.notebook, origin.cell) == (None, None)
    assert "outside a tracked cell" in origin.note
