"""Old rows go and their windows stay; what workers use is noted in their windows."""

from __future__ import annotations

import os
import time

import pytest
import sqlalchemy as sa

from mlops_magics.monitoring import log, windows
from mlops_magics.monitoring.references import References
from mlops_magics.pipelines.upkeep import Upkeep
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.plan import Plan, PlannedRevision
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.processes import Identity
from mlops_magics.store.workspace import Workspace

DAY = 86400.0


@pytest.fixture
def place(project, database_url, monkeypatch) -> Workspace:
    monkeypatch.setenv("MLOPS_DATABASE_URL", database_url)
    workspace = Workspace(project, settings=Settings.load(project))
    yield workspace
    workspace.database.close()


def endpoint(place: Workspace, name: str, settings: dict, workspace: str | None = None) -> None:
    now = time.time()
    with place.database.begin() as connection:
        connection.execute(
            tables.endpoints.insert().values(
                name=name,
                traffic=[],
                settings=settings,
                workspace=workspace or place.id,
                created=now,
                updated=now,
            )
        )
        requests = [
            log.Request(f"{name}-{days}", now - days * DAY, name, 200, 1.0, outputs=[1])
            for days in (0, 2, 40)
        ]
        log.insert(connection, requests)
        windows.fold(connection, requests, References())
        labels = [
            {"prediction_id": one.id, "endpoint": name, "label": 1, "received": now}
            for one in requests
        ]
        connection.execute(tables.labels.insert(), labels)


def left(place: Workspace, table: sa.Table) -> list[str]:
    with place.database.read() as connection:
        return sorted(connection.execute(sa.select(table.c.prediction_id)).scalars())


def test_rows_older_than_their_endpoint_keeps_them_go_with_their_labels(place):
    endpoint(place, "day", {"log": {"mode": "durable", "retention": DAY}})
    endpoint(place, "ever", {"log": {"mode": "durable", "retention": None}})
    endpoint(place, "other", {"log": {"retention": DAY}}, workspace="another")
    assert Upkeep(place).forget() == 2
    kept = ["day-0", *(f"{name}-{days}" for name in ("ever", "other") for days in (0, 2, 40))]
    assert left(place, tables.predictions) == left(place, tables.labels) == kept
    with place.database.read() as connection:
        t = tables.windows.c
        query = sa.select(sa.func.sum(t.requests)).where(t.endpoint == "day")
        assert connection.execute(query).scalar() == 3


def test_the_setting_holds_where_an_endpoint_says_nothing(place, monkeypatch):
    monkeypatch.setenv("MLOPS_RETENTION", "30d")
    place.settings = Settings.load(place.root)
    endpoint(place, "e", {"log": {"mode": "durable"}})
    endpoint(place, "f", {"log": "durable"})
    assert Upkeep(place).forget() == 2
    assert left(place, tables.predictions) == ["e-0", "e-2", "f-0", "f-2"]


def test_what_workers_use_is_noted_in_the_window_of_their_requests(place):
    folder = ServerFolder.of(place)
    revision = PlannedRevision(
        id=7, endpoint="e", number=1, model="m", version="3", package="/p", workers=1
    )
    Plan(generation=1, revisions={"7": revision}).write(folder.plan)
    folder.write_state(7, 0, state="ready", identity=Identity.of(os.getpid()).to_dict())
    upkeep = Upkeep(place)
    upkeep.sample()
    begun = time.process_time()
    while time.process_time() - begun < 0.05:
        pass
    upkeep._usages._read_at = 0.0
    start = time.time() // windows.SECONDS * windows.SECONDS
    upkeep.sample()  # no request came: an idle revision fills no table
    with place.database.read() as connection:
        assert windows.used(connection, "e", 0.0, time.time() + 60) == {}
    with place.database.begin() as connection:
        for at in (start, start + windows.SECONDS):  # this one may end just now
            request = log.Request(f"r{at}", at, "e", 200, 1.0, revision=7, outputs=[1])
            windows.fold(connection, [request], References())
    upkeep._usages._read_at = 0.0
    upkeep.sample()
    with place.database.read() as connection:
        cpu, memory = windows.used(connection, "e", 0.0, time.time() + 60)[7]
    assert 0.05 <= cpu < 60
    assert memory > 10e6
