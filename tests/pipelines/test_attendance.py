"""What the agent does again and again goes on, whatever fails in it."""

from __future__ import annotations

import logging
import threading

import pytest

from mlops_magics.errors import DatabaseUnavailable
from mlops_magics.pipelines.attendance import Act, Attendance


@pytest.mark.parametrize("error", [DatabaseUnavailable("the database is away"), KeyError("a bug")])
def test_an_act_that_fails_is_tried_again_and_holds_up_no_other(monkeypatch, caplog, error):
    monkeypatch.setattr("mlops_magics.pipelines.attendance._LONGEST", 0.02)
    failed, worked, others = [], threading.Event(), threading.Event()

    def act():
        if len(failed) < 3:
            failed.append(error)
            raise error
        worked.set()

    attendance = Attendance(
        [Act("look", act, every=0.01), Act("do the rest", others.set, every=0.01)]
    )
    with caplog.at_level(logging.WARNING):
        attendance.start()
        assert worked.wait(10)
        assert others.wait(10)
        attendance.stop()
    told = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("cannot look") for line in told)
    if isinstance(error, DatabaseUnavailable):
        # told once, not at every try
        assert sum("the database is away" in line for line in told) == 1


def test_nothing_begins_once_it_is_stopped():
    count = []
    attendance = Attendance([Act("count", lambda: count.append(1), every=0.01)])
    attendance.stop()
    attendance.start()
    threading.Event().wait(0.1)
    assert count == []
