"""Triggers are made, shown, paused and removed; what cannot be is refused at once."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.cli.group import mlops as group
from mlops_magics.errors import (
    InvalidArgument,
    ParameterInvalid,
    SpecInvalid,
    TriggerNotFound,
    UnknownName,
)
from mlops_magics.store import tables


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs something to wait for"),
        ({"cron": "0 3 * * sun", "alert": True}, "--cron and --alert are two triggers"),
        ({"cron": "0 3 * *"}, "does not have five fields"),
        ({"cron": "0 3 * * sun", "tz": "Berlin"}, "no time zone 'Berlin'"),
        ({"cron": "0 3 * * sun", "rows": 5}, "--rows goes with --data or --predictions"),
        ({"data": "x.csv"}, "--rows N or --files N"),
        ({"data": "x.csv", "rows": 0}, "rows = 0 is no number"),
        ({"predictions": "late"}, "how many predictions"),
        ({"alert": True, "severity": "fatal"}, "no severity 'fatal'"),
        ({"decay": "roc_acu", "by": 0.1, "endpoint": "late"}, "did you mean 'roc_auc'"),
        ({"decay": "roc_auc", "by": 0.1}, "needs --endpoint"),
        ({"decay": "roc_auc", "by": -0.1, "endpoint": "late"}, "below 0"),
        ({"registry": "late/3"}, "names no registered model"),
        ({"cron": "0 3 * * sun", "cooldown": "soon"}, "no span of time"),
        ({"cron": "0 3 * * sun", "retries": -1}, "below 0"),
        ({"cron": "0 3 * * sun", "name": "a b"}, "is no name"),
    ],
)
def test_what_cannot_be_a_trigger_is_refused(workspace, add, options, message):
    with pytest.raises((InvalidArgument, UnknownName), match=message):
        add(**options)
    assert len(mlops.triggers(workspace=workspace)) == 0


def test_the_pipeline_and_its_parameters_are_checked_when_the_trigger_is_made(workspace, add):
    with pytest.raises(SpecInvalid, match="there is no pipeline"):
        add("nowhere.yaml", cron="0 3 * * sun")
    with pytest.raises(ParameterInvalid, match="did you mean 'rows'"):
        add(cron="0 3 * * sun", params={"row": 1})
    with pytest.raises(ParameterInvalid, match="is int"):
        add(cron="0 3 * * sun", params=["rows=many"])
    assert len(mlops.triggers(workspace=workspace)) == 0


def test_a_trigger_is_shown_paused_resumed_and_removed_and_the_ledger_knows(workspace, add, capsys):
    made = add(cron="0 3 * * sun", tz="Europe/Berlin", params=["rows=5"], cooldown="6h", retries=2)
    assert (made.name, made.pipeline, made.params) == ("retrain-cron", "retrain", {"rows": 5})
    assert (made.cooldown, made.retries, made.overlap) == (6 * 3600.0, 2, False)
    assert made.next > made.created
    assert "at 03:00 on Sunday (Europe/Berlin)" in str(made)
    assert json.loads(json.dumps(made.to_dict()))["kind"] == "cron"
    with pytest.raises(InvalidArgument, match="there is a trigger 'retrain-cron' already"):
        add(cron="0 4 * * sun")
    # nobody watches here, and that is said
    listed = mlops.triggers(workspace=workspace)
    assert "the server is not running" in str(listed)
    assert list(listed.df["name"]) == ["retrain-cron"]
    status = mlops.status(workspace=workspace)
    server = next(part for part in status.parts if part.name == "server")
    assert (server.healthy, server.fix) == (False, "mlops start")
    assert "1 triggers do not fire" in server.value
    assert "1 triggers do not fire" in str(mlops.doctor(workspace=workspace))
    # each verb from the shell
    for line in ("pause retrain-cron", "show retrain-cron", "resume retrain-cron --no-start"):
        group.main(["trigger", *line.split()], standalone_mode=False)
    printed = capsys.readouterr().out
    assert printed.count("! paused") == 2
    assert printed.count("✓ watching") == 1
    assert mlops.remove_trigger("retrain-cron", workspace=workspace).removed
    with pytest.raises(TriggerNotFound, match="no trigger 'retrain-cron'"):
        mlops.triggers("retrain-cron", workspace=workspace)
    with workspace.database.read() as connection:
        actions = list(
            connection.execute(
                sa.select(tables.ledger.c.action).order_by(tables.ledger.c.seq)
            ).scalars()
        )
    assert actions == ["trigger add", "trigger pause", "trigger resume", "trigger remove"]


def test_a_name_that_is_nearly_right_is_offered(workspace, add):
    add(cron="0 3 * * sun", name="nightly")
    for verb in (mlops.pause_trigger, mlops.remove_trigger, mlops.fire_trigger, mlops.firings):
        with pytest.raises(TriggerNotFound, match="did you mean 'nightly'"):
            verb("nightyl", workspace=workspace)


def test_a_project_that_is_moved_takes_its_triggers_along(workspace, notebook, add):
    path = notebook("here", folder=workspace.root)
    made = add(path, cron="0 3 * * sun")
    with workspace.database.read() as connection:
        assert connection.execute(sa.select(tables.triggers.c.path)).scalar() == "here.ipynb"
    assert made.path == str(path)


def test_from_the_shell_flags_may_stand_alone(workspace, retrain, capsys):
    group.main(
        ["trigger", "add", str(retrain), "--alert", "--no-start", "--param", "rows=3", "--json"],
        standalone_mode=False,
    )
    made = json.loads(capsys.readouterr().out)
    assert made["when"] == "an alert, warning or worse"
    assert made["params"] == {"rows": 3}
    assert made["cooldown"] == 3600.0
    group.main(
        ["trigger", "add", str(retrain), "--alert", "late", "--no-start", "--name", "late"],
        standalone_mode=False,
    )
    found = mlops.triggers("late", workspace=workspace)
    assert found.when == "an alert of endpoint late, warning or worse"
