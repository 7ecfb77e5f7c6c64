"""Alerts are listed, shown, acknowledged and resolved by people, and the ledger knows who."""

from __future__ import annotations

import json

import pytest

import mlops_magics as mlops
from mlops_magics.cli.group import main
from mlops_magics.cli.group import mlops as group
from mlops_magics.errors import AlertNotFound, EndpointNotFound, InvalidArgument, UnknownName
from mlops_magics.store import tables


@pytest.fixture
def drifted(served):
    served.configure(persistence=1)
    (alert,) = served.minute(shift=1.5)
    return alert


def test_an_alert_is_listed_shown_acknowledged_and_resolved(served, drifted, capsys):
    place = {"workspace": served.workspace}
    listed = mlops.alerts("flight-delay", **place)
    assert [(one.id, one.kind) for one in listed] == [(drifted, "drift")]
    assert listed.df.loc[0, "status"] == "OPEN"
    assert "distance drifted" in str(listed)
    shown = mlops.alert(drifted, **place)
    assert "of windows with nothing wrong at most 1.00% look so (0." in str(shown)
    assert "% measured on the reference)" in str(shown)
    assert f"mlops alerts acknowledge {drifted}" in str(shown)
    seen = mlops.acknowledge_alert(drifted, reason="the new season", **place)
    assert (seen.status, seen.reason) == ("ACKNOWLEDGED", "the new season")
    assert seen.actor == served.workspace.actor
    assert mlops.alerts(status="open", **place).rows == []
    # it holds still: that changes nothing about who has seen it
    served.minute(shift=1.5)
    assert mlops.alert(drifted, **place).status == "ACKNOWLEDGED"
    ended = mlops.resolve_alert(drifted, **place)
    assert ended.status == "RESOLVED"
    assert mlops.alerts(**place).rows == []
    assert [one.id for one in mlops.alerts(status="all", **place)] == [drifted]
    assert served.ledger() == ["alert open", "alert acknowledge", "alert resolve"]
    with pytest.raises(InvalidArgument, match="is resolved"):
        mlops.acknowledge_alert(drifted, **place)


def test_what_was_resolved_by_hand_must_last_again(served):
    served.minute(shift=1.5)
    (alert,) = served.minute(shift=1.5)
    mlops.resolve_alert(alert, workspace=served.workspace)
    served.minute(shift=1.5)
    assert served.alerts()[0].status == "RESOLVED"
    served.minute(shift=1.5)
    assert served.alerts()[0].status == "OPEN"


def test_what_does_not_exist_is_told(served):
    place = {"workspace": served.workspace}
    for number in (7, 0, -1, 2**70, "7"):
        with pytest.raises(AlertNotFound, match="no alert"):
            mlops.alert(number, **place)
    with pytest.raises(EndpointNotFound, match="did you mean 'flight-delay'"):
        mlops.alerts("flight-dely", **place)
    with pytest.raises(UnknownName, match="no status 'opn'"):
        mlops.alerts(status="opn", **place)
    assert "nothing is wrong that is known" in str(mlops.alerts(**place))


def test_the_shell_lists_and_shows_them(served, drifted, capsys, monkeypatch):
    monkeypatch.chdir(served.workspace.root)
    with pytest.raises(SystemExit):
        main(["alerts", "list", "--json"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["id"], row["kind"]) == (drifted, "drift")
    with pytest.raises(SystemExit):
        main(["alerts", "show", str(drifted)])
    assert "distance drifted" in capsys.readouterr().out
    completed = group.commands["alerts"].commands["show"].params[0]
    assert completed.type.name == "alert"


def test_hostile_names_are_text_in_every_face(served):
    from ..conftest import record, requests

    served.configure(persistence=1)
    rows = requests(300, served.key, start=served.now)
    for request in rows[::5]:
        request.rows[0][2] = "<script>alert(1)</script>"
    record(served.workspace, rows)
    (alert,) = served.minute(0)
    shown = mlops.alert(alert, workspace=served.workspace)
    assert "<script>" in shown.title
    assert "<script>" not in shown._repr_html_()
    assert "<script>" not in mlops.alerts(workspace=served.workspace)._repr_html_()
    assert served.rows(tables.alerts)[0].kind == "data"
