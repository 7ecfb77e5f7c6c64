"""The executor tells how each step's process ended, whatever the process wrote."""

import subprocess
import sys

import pytest

from mlops_magics.pipelines.executor import Executor

CELL = '{"event": "cell", "state": "start", "index": 0, "total": 1}'


@pytest.mark.parametrize(
    "written", ["printed at start\n", "7\n", "{}\n", '{"event": "end", "outputs": {"a"']
)
def test_what_is_no_event_does_not_hide_that_a_step_died(tmp_path, monkeypatch, written):
    code = f"import sys; sys.stdin.readline(); print({CELL!r}); sys.stdout.write({written!r})"

    def process(self):
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", code]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    monkeypatch.setattr(Executor, "_process", process)
    with Executor({}) as executor:
        executor.start(
            "a",
            notebook=tmp_path / "a.ipynb",
            output=tmp_path / "out.ipynb",
            parameters={},
            environment={},
            spare=False,
        )
        events = [executor.next(20), executor.next(20)]
    assert [event and event.kind for event in events] == ["cell", "died"]
