"""A run is watched line by line in a log, in place in a terminal."""

import io
import re
import time

import pytest

from mlops_magics.cli.watching import LogWatch, TerminalWatch
from mlops_magics.pipelines.executor import Event

RUN = Event("", "run", {"run": "r1", "pipeline": "flights", "steps": ["ingest", "train"]})
EVENTS = [
    Event("ingest", "status", {"status": "CACHED", "reason": "nothing has changed"}),
    Event("train", "begin", {"reason": "its notebook has changed"}),
    Event("train", "cell", {"state": "start", "index": 0, "total": 2}),
    Event("train", "output", {"text": "epoch 1\nepo", "name": "stdout"}),
    Event("train", "output", {"text": "ch 2\n", "name": "stdout"}),
]
FAILED = Event(
    "train", "status", {"status": "FAILED", "error": {"cell": 1, "ename": "E", "evalue": "no rows"}}
)


def screen(written: str) -> list[str]:
    """What a terminal shows after all that was written."""
    lines = [""]
    for move, text in re.findall(r"(\x1b\[\d*[AJm]|[\n\r])|([^\x1b\n\r]+)", written):
        if text:
            lines[-1] += text
        elif move == "\n":
            lines.append("")
        elif move.endswith("A"):  # up, then all below is erased
            del lines[len(lines) - int(move[2:-1] or 1) :]
            lines[-1] = ""
    return lines[:-1]


def test_a_log_has_a_line_as_each_step_begins_and_ends():
    stream = io.StringIO()
    with LogWatch(stream) as watch:
        for event in [RUN, *EVENTS, FAILED]:
            watch(event)
    assert stream.getvalue().splitlines() == [
        "ingest  · CACHED  nothing has changed",
        "train   · RUNNING  its notebook has changed",
        "train   ✗ FAILED  0 s  cell 1: E: no rows",
    ]


def test_a_verbose_log_has_what_the_cells_print_in_whole_lines():
    stream = io.StringIO()
    with LogWatch(stream, verbose=True) as watch:
        for event in [RUN, *EVENTS]:
            watch(event)
    assert stream.getvalue().splitlines()[2:] == ["train  │ epoch 1", "train  │ epoch 2"]


def test_a_terminal_shows_where_a_step_is_and_keeps_only_what_ended():
    stream = io.StringIO()
    with TerminalWatch(stream) as watch:
        for event in [RUN, *EVENTS]:
            watch(event)
        limit = time.monotonic() + 10
        while "epoch 2" not in stream.getvalue() and time.monotonic() < limit:
            time.sleep(0.02)
        now = screen(stream.getvalue())
        assert now[0] == "ingest  · CACHED  nothing has changed"
        assert re.fullmatch(r"… train   cell 1 of 2  \d+ s  epoch 2", now[1])
        watch(FAILED)
    assert screen(stream.getvalue()) == [
        "ingest  · CACHED  nothing has changed",
        "train   ✗ FAILED  0 s  cell 1: E: no rows",
    ]


@pytest.mark.parametrize("watch", [LogWatch, TerminalWatch])
def test_a_reader_that_went_away_ends_no_run(watch):
    stream = io.StringIO()
    stream.close()
    with watch(stream) as watching:
        for event in [RUN, *EVENTS, FAILED]:
            watching(event)
