"""Logs stay small, lose nothing that a process wrote last, and are read in order of time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

import mlops_magics as mlops
from mlops_magics.serving.folder import ServerFolder
from mlops_magics.serving.logs import Follower, LogFiles, entries


def stamp(second: int) -> str:
    return f"2026-03-01 12:00:{second:02d},500 INFO "


def test_a_traceback_belongs_to_the_line_before_it(tmp_path):
    path = tmp_path / "r7-0.log"
    lines = [stamp(1) + "loading", stamp(2) + "the model raised", "Traceback:", "  ValueError"]
    path.write_text("\n".join(lines) + "\n")
    first, second = entries(path)
    assert (first.level, first.process, first.text) == ("INFO", "r7-0", "loading")
    assert second.text == "the model raised\nTraceback:\n  ValueError"
    assert second.time - first.time == 1.0
    assert entries(path, since=second.time) == [second]
    assert [one.text for one in entries(path, count=1)] == ["  ValueError"]


def test_a_file_that_has_grown_is_begun_anew_while_its_writer_writes_on(tmp_path):
    path = tmp_path / "gateway.log"
    files = LogFiles(tmp_path, size=10_000)
    written = 0
    with path.open("ab", buffering=0) as log:  # as a process has its standard output
        for round_ in range(3):
            for _ in range(300):
                log.write(f"{stamp(round_)}line {written}\n".encode())
                written += 1
            files.trim(running={"gateway"})
            assert path.stat().st_size == 0
        log.write(f"{stamp(9)}line {written}\n".encode())
    assert (tmp_path / "gateway.log.1").stat().st_size < 20_000
    texts = [entry.text for entry in entries(path, count=200)]
    assert texts == [f"line {number}" for number in range(written - 199, written + 1)]


def test_workers_of_long_ago_are_forgotten(tmp_path):
    for number in range(60):
        path = tmp_path / f"r{number}-0.log"
        path.write_text(stamp(1) + "was here\n")
        os.utime(path, (number, number))
    (tmp_path / "agent.log").write_text("")
    LogFiles(tmp_path).trim(running={"r0-0"})
    left = {path.name for path in tmp_path.glob("*.log")}
    assert left == {"agent.log", "r0-0.log", *(f"r{n}-0.log" for n in range(10, 60))}


def test_what_is_appended_is_followed_also_in_a_file_begun_anew(tmp_path):
    path = tmp_path / "agent.log"
    path.write_text(stamp(1) + "before\n")
    follower = Follower(tmp_path)
    with path.open("a") as log:
        log.write(stamp(2) + "one\n" + stamp(2) + "not fin")
    assert [entry.text for entry in follower.read()] == ["one"]
    with path.open("a") as log:
        log.write("ished\n")
    assert [entry.text for entry in follower.read()] == ["not finished"]
    path.write_text(stamp(3) + "anew\n")
    (tmp_path / "r1-0.log").write_text(stamp(3) + "a new process\n")
    assert [entry.text for entry in follower.read()] == ["anew", "a new process"]


@pytest.mark.xdist_group("served")
def test_an_endpoint_s_logs_are_its_workers_and_what_the_supervisor_says_of_them(served):
    found = mlops.logs("mixed", workspace=served.workspace)
    assert {row.process for row in found} <= {"supervisor", "r1-0"}
    assert re.search(r"supervisor +INFO +r1-0 started, pid \d+", found.text)
    assert "gateway started" not in found.text
    assert "gateway started" in mlops.logs(workspace=served.workspace).text
    assert "plan" in mlops.logs("gateway", since="1h", workspace=served.workspace).text
    assert list(found.df.columns) == ["time", "process", "level", "text"]
    assert len(mlops.logs(lines=2, workspace=served.workspace)) == 2
    with pytest.raises(mlops.EndpointNotFound, match="no endpoint 'mixde'") as info:
        mlops.logs("mixde", workspace=served.workspace)
    assert "mixed" in info.value.hint


@pytest.mark.xdist_group("served")
def test_a_shell_follows_until_it_is_interrupted(served):
    command = [sys.executable, "-m", "mlops_magics", "logs", "mixed", "--follow", "--lines", "1"]
    command += ["--workspace", str(served.workspace.root)]
    log = ServerFolder.of(served.workspace).logs / "r1-0.log"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout.readline()  # it runs; from here on it follows, sooner or later
        os.set_blocking(process.stdout.fileno(), False)
        read, end = b"", time.monotonic() + 60
        while b"what a model printed" not in read and time.monotonic() < end:
            with log.open("a") as file:
                file.write("what a model printed\n")
            time.sleep(0.1)
            read += process.stdout.read() or b""
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert re.search(rb"r1-0 +what a model printed", read)
