"""What a watcher sees is made of a run's events alone."""

from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.view import View

ERROR = {"cell": 2, "ename": "ValueError", "evalue": "no rows\x1b[2J"}


def told(*events):
    now = [100.0]
    view = View(clock=lambda: now[0])
    view(Event("", "run", {"run": "r1", "pipeline": "flights", "steps": ["ingest", "train"]}))
    for seconds, step, kind, details in events:
        now[0] = 100.0 + seconds
        view(Event(step, kind, details))
    return view


def test_a_step_that_runs_tells_its_cell_its_time_and_what_it_printed_last():
    view = told((0, "train", "begin", {}), (1, "train", "cell", {"index": 0, "total": 4}))
    assert view.running() == ["train   cell 1 of 4  1 s"]
    # a progress bar overwrites its line; a colour is no text
    for text in ("10 %\r20 %", "\r\x1b[31m30 %\x1b[0m\n\n"):
        view(Event("train", "output", {"text": text, "name": "stderr"}))
    assert view.running() == ["train   cell 1 of 4  1 s  30 %"]


def test_a_step_that_ended_tells_how_and_steers_no_terminal():
    view = told(
        (0, "ingest", "status", {"status": "CACHED", "reason": "nothing has changed"}),
        (0, "train", "begin", {"reason": "its notebook has changed"}),
        (7, "train", "status", {"status": "FAILED", "error": ERROR}),
    )
    assert view.running() == []
    assert view.line("ingest") == "ingest  · CACHED  nothing has changed"
    assert view.line("train") == "train   ✗ FAILED  7 s  cell 2: ValueError: no rows␛[2J"


def test_a_step_that_is_tried_again_begins_at_its_first_cell():
    view = told(
        (0, "train", "begin", {}),
        (0, "train", "cell", {"index": 2, "total": 4}),
        (0, "train", "retry", {"number": 1, "error": ERROR}),
    )
    assert view.running()[0].startswith("train   its kernel starts  0 s  tried again after cell 2")


def test_the_card_has_all_steps_those_that_wait_too():
    view = told((0, "ingest", "begin", {}), (4, "ingest", "cell", {"index": 1, "total": 2}))
    text, markup = view.card().text(), view.card().html()
    assert "1 of 2 steps" in text
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["ingest", "train"]
    assert "1 of 2" in text.splitlines()[-2]  # one cell is done, the second runs
    assert 'style="width:50%"' in markup
