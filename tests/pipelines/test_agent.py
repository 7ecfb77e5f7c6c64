"""The agent loads each line of the spool once, whatever happens to it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest
import sqlalchemy as sa

from mlops_magics.monitoring import backlog
from mlops_magics.monitoring.log import Request
from mlops_magics.pipelines.agent import Agent, acts
from mlops_magics.pipelines.attendance import Attendance
from mlops_magics.serving.spool import Spool
from mlops_magics.settings import Settings
from mlops_magics.store import tables
from mlops_magics.store.workspace import Workspace

START = 1_700_000_000.0
ENDED = 2**22 + 1  # no process has this id: beyond the kernel's greatest


@pytest.fixture
def place(project, database_url, monkeypatch) -> Workspace:
    monkeypatch.setenv("MLOPS_DATABASE_URL", database_url)
    workspace = Workspace(project, settings=Settings.load(project))
    workspace.directory("server", "spool")
    yield workspace
    workspace.database.close()


def line(number: int, **changes) -> bytes:
    request = Request(
        id=f"r{number:06d}",
        t=START + number / 100,
        endpoint="flight-delay",
        status=200,
        ms=2.5,
        revision=1,
        version="1",
        variant="champion",
        columns=["hour", "origin"],
        rows=[[number % 24, "JFK"]],
        outputs=[0.25],
    )
    for name, value in changes.items():
        setattr(request, name, value)
    return msgspec.json.encode(request) + b"\n"


def write(place: Workspace, number: int, data: bytes, writer: int = ENDED):
    path = backlog.folder(place) / f"{number:020d}-{writer}.jsonl"
    with path.open("ab") as file:
        file.write(data)
    return path


def counted(place: Workspace) -> tuple[int, int, int]:
    """Rows of the inference table, and requests and rows of all windows."""
    with place.database.read() as connection:
        table = connection.execute(sa.select(sa.func.count()).select_from(tables.predictions))
        sums = sa.select(sa.func.sum(tables.windows.c.requests), sa.func.sum(tables.windows.c.rows))
        requests, rows = connection.execute(sums).one()
        return int(table.scalar()), int(requests or 0), int(rows or 0)


def test_lines_become_rows_of_the_inference_table(place):
    lines = line(1) + line(2, rows=[[7, "LGA"], [8, "EWR"]], outputs=[0.5, 0.75])
    lines += line(3, status=400, rows=None, outputs=None, error="column 'hour' is missing")
    write(place, 1, lines)
    assert Agent(place).load() == 3
    with place.database.read() as connection:
        query = sa.select(tables.predictions).order_by(tables.predictions.c.prediction_id)
        rows = connection.execute(query).all()
    assert [row.prediction_id for row in rows] == ["r000001", "r000002:0", "r000002:1", "r000003"]
    assert rows[2].inputs == {"hour": 8, "origin": "EWR"}
    assert [row.output for row in rows] == [0.25, 0.5, 0.75, None]
    assert (rows[3].status, rows[3].error, rows[3].inputs) == (
        400,
        "column 'hour' is missing",
        None,
    )


def test_a_shadows_answer_names_its_request_and_a_traced_one_its_trace(place):
    trace = "0af7651916cd43dd8448eb211c80319c"
    write(place, 1, line(1) + line(2, variant="shadow", mirror_of="r000001", trace_id=trace))
    assert Agent(place).load() == 2
    t = tables.predictions.c
    with place.database.read() as connection:
        rows = connection.execute(sa.select(t.mirror_of, t.trace_id).order_by(t.request_id)).all()
    assert rows == [(None, None), ("r000001", trace)]


def test_loading_again_adds_nothing(place):
    write(place, 1, b"".join(line(number) for number in range(50)), writer=os.getpid())
    agent = Agent(place)
    assert (agent.load(), agent.load()) == (50, 0)
    assert Agent(place).load() == 0
    assert counted(place) == (50, 50, 50)


def test_an_unfinished_last_line_waits_for_its_rest(place):
    whole = line(1)
    path = write(place, 1, line(0) + whole[:40], writer=os.getpid())
    agent = Agent(place)
    assert agent.load() == 1
    assert backlog.unloaded(place) == 40
    with path.open("ab") as file:
        file.write(whole[40:])
    assert agent.load() == 1
    assert counted(place)[0] == 2
    assert backlog.unloaded(place) == 0


def test_segments_that_are_done_with_are_deleted_and_the_open_one_is_kept(place):
    ended = write(place, 1, line(1))
    rotated = write(place, 2, line(2), writer=os.getpid())
    current = write(place, 3, line(3), writer=os.getpid())
    assert Agent(place).load() == 3
    assert [path.exists() for path in (ended, rotated, current)] == [False, False, True]
    with place.database.read() as connection:
        assert len(connection.execute(sa.select(tables.spool)).all()) == 1


def test_a_damaged_line_is_named_and_does_not_stop_the_others(place, caplog):
    write(place, 1, line(1) + b'{"id": "half\n' + line(2))
    with caplog.at_level(logging.ERROR):
        assert Agent(place).load() == 3
    assert counted(place)[0] == 2
    assert f"damaged line at byte {len(line(1))}" in caplog.text


def test_a_write_that_failed_after_it_was_read_costs_no_later_line(place, monkeypatch):
    spool = Spool(backlog.folder(place))
    agent = Agent(place)
    spool.append([line(1).rstrip()])
    real = os.write

    def fill(descriptor, data):
        monkeypatch.setattr(os, "write", full)
        written = real(descriptor, bytes(data)[: len(line(2))])
        assert agent.load() == 2
        return written

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="No space"):
        spool.append([line(2).rstrip(), line(3).rstrip()])
    monkeypatch.setattr(os, "write", real)
    for number in (4, 5, 6):
        spool.append([line(number).rstrip()])
    agent.load()
    spool.close()
    with place.database.read() as connection:
        ids = set(connection.execute(sa.select(tables.predictions.c.request_id)).scalars())
    assert {"r000001", "r000004", "r000005", "r000006"} <= ids


def test_a_request_that_the_database_refuses_does_not_stop_the_others(place, caplog):
    write(place, 1, line(1) + line(2, error="a\x00b", status=500, outputs=None) + line(3))
    with caplog.at_level(logging.ERROR):
        Agent(place).load()
    rows = counted(place)[0]
    # SQLite stores a zero character, PostgreSQL does not
    assert rows == (3 if place.database.dialect == "sqlite" else 2)
    assert ("r000002" in caplog.text) == (rows == 2)


def test_killed_in_the_middle_it_has_loaded_each_line_once(place):
    total = 12_000
    with place.database.read():
        pass  # the schema is made before the clock runs
    for segment in range(4):
        numbers = range(segment * total // 4, (segment + 1) * total // 4)
        write(place, segment, b"".join(line(number) for number in numbers))
    command = [sys.executable, "-m", "mlops_magics.pipelines.agent", str(place.path)]
    kills = 0
    while counted(place)[0] < total:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        before = counted(place)[0]
        while counted(place)[0] == before and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        kills += 1
    Agent(place).load()
    assert kills >= 1
    assert counted(place) == (total, total, total)
    assert list(backlog.folder(place).glob("*")) == []


def test_on_sigterm_it_loads_what_is_there_and_ends(place):
    write(place, 1, line(1), writer=os.getpid())
    command = [sys.executable, "-m", "mlops_magics.pipelines.agent", str(place.path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while counted(place)[0] < 1:
        assert process.poll() is None
        time.sleep(0.02)
    write(place, 1, b"".join(line(number) for number in range(2, 500)), writer=os.getpid())
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert counted(place) == (499, 499, 499)


def test_a_database_that_is_away_is_tried_again(project, monkeypatch):
    folder = project / "later"
    monkeypatch.setenv("MLOPS_DATABASE_URL", f"sqlite:///{folder / 'mlops.db'}")
    place = Workspace(project, settings=Settings.load(project))
    place.directory("server", "spool")
    write(place, 1, line(1), writer=os.getpid())
    command = [sys.executable, "-m", "mlops_magics.pipelines.agent", str(place.path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for text in process.stderr:
        if "cannot be loaded" in text:
            break
    folder.mkdir()
    while backlog.unloaded(place):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    rest = process.communicate(timeout=60)[1]
    assert "being loaded again" in rest
    assert counted(place) == (1, 1, 1)


def test_a_pipeline_run_whose_process_was_killed_is_marked_while_the_server_runs(place):
    now = time.time()
    gone = {"pid": ENDED, "started": now - 60, "boot": 0.0}
    shared = {"pipeline": "p", "path": "p.yaml", "parameters": {}, "folder": ""}
    with place.database.begin() as connection:
        for name, status, heartbeat in (
            ("killed", "RUNNING", now - 8),
            ("beating", "RUNNING", now + 60),
            ("done", "FINISHED", now - 60),
        ):
            values = {"id": name, "status": status, "heartbeat": heartbeat, "started": now - 60}
            connection.execute(
                tables.pipeline_runs.insert().values(**shared, **values, runner=gone)
            )
    agent = Agent(place)
    attendance = Attendance([act for act in acts(agent) if act.do == agent.watch])
    attendance.start()
    try:
        t = tables.pipeline_runs.c
        end = time.monotonic() + 10
        states = {}
        while states.get("killed") != "CRASHED" and time.monotonic() < end:
            time.sleep(0.05)
            with place.database.read() as connection:
                rows = connection.execute(sa.select(t.id, t.status)).all()
                states = {row.id: row.status for row in rows}
    finally:
        attendance.stop()
    assert states == {"killed": "CRASHED", "beating": "RUNNING", "done": "FINISHED"}
