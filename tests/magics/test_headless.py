"""A failing gate fails headless: papermill, nbval, a real kernel."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from jupyter_client.manager import start_new_kernel
from papermill.exceptions import PapermillExecutionError

import mlops_magics as mlops

PREPARE = """\
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

%load_ext mlops_magics
frame = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "late"})
train, holdout = frame[:300], frame[300:]
model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-4))
model.fit(train.drop(columns="late"), train["late"])
"""
GATE = "%mlops_test model --data holdout --target late --min roc_auc=0.99999"


@pytest.fixture
def notebook(project) -> Path:
    cells = [nbformat.v4.new_code_cell(PREPARE), nbformat.v4.new_code_cell(GATE)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path = project / "gate.ipynb"
    nbformat.write(book, path)
    return path


def test_a_failing_gate_stops_papermill_and_its_message_names_it(notebook, workspace):
    out = notebook.with_name("out.ipynb")
    with pytest.raises(PapermillExecutionError) as caught:
        papermill.execute_notebook(notebook, out, cwd=notebook.parent, progress_bar=False)
    message = str(caught.value)
    for part in ("GateFailed", "roc_auc", "0.99999"):
        assert part in message
    assert caught.value.ename == "GateFailed"
    (error,) = [
        output
        for output in nbformat.read(out, as_version=4).cells[-1].outputs
        if output.output_type == "error"
    ]
    assert error.ename == "GateFailed"
    assert len(error.traceback) <= 4  # what a reader sees in JupyterLab
    assert "0.9" in error.evalue  # the value that was measured, beside the threshold


def test_papermill_as_a_command_exits_with_an_error(notebook, workspace):
    done = subprocess.run(
        [sys.executable, "-m", "papermill", notebook, notebook.with_name("out.ipynb")],
        cwd=notebook.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "GateFailed" in done.stderr


def test_nbval_fails_on_a_failing_gate(notebook, workspace):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "-p", "no:cacheprovider", notebook.name],
        cwd=notebook.parent,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
    )
    assert done.returncode == 1
    assert "GateFailed" in done.stdout


class Kernel:
    """A real kernel, asked as a front end asks."""

    def __init__(self, folder: Path):
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def run(self, cell: str, *, allow_stdin: bool = False) -> list[dict]:
        messages = []
        reply = self.client.execute_interactive(
            cell, timeout=60, allow_stdin=allow_stdin, output_hook=messages.append
        )
        return [reply, *messages]

    def complete(self, text: str) -> dict:
        self.client.complete(text)
        while True:
            message = self.client.get_shell_msg(timeout=30)
            if message["msg_type"] == "complete_reply":
                return message["content"]


@pytest.fixture
def kernel(project):
    found = Kernel(project)
    yield found
    found.client.stop_channels()
    found.manager.shutdown_kernel(now=True)


def test_a_real_kernel_completes_and_reports_errors_in_a_few_lines(kernel, workspace):
    kernel.run("%load_ext mlops_magics\nimport pandas as pd\nfrom_lab = pd.DataFrame({'x': [1]})")
    found = kernel.complete("%mlops_ingest from_l")
    assert found["matches"] == ["from_lab"]
    assert found["cursor_start"] == len("%mlops_ingest ")
    reply, *_ = kernel.run("%mlops_data nothing-like-it")
    assert reply["content"]["ename"] == "DatasetNotFound"
    assert "nothing-like-it" in reply["content"]["evalue"]
    assert len(reply["content"]["traceback"]) <= 4


def test_a_real_kernel_shows_a_record_as_html_and_text(kernel, workspace):
    kernel.run("%load_ext mlops_magics\nimport pandas as pd\ndf = pd.DataFrame({'x': [1, 2]})")
    _, *messages = kernel.run("%mlops_ingest df flights")
    (shown,) = [m["content"]["data"] for m in messages if m["msg_type"] == "execute_result"]
    assert shown["text/plain"].startswith("flights")  # the card, no dataclass's fields
    assert "<" in shown["text/html"]


def test_progress_is_shown_to_a_person_and_not_headless(kernel, workspace, monkeypatch):
    slow = (
        "import time, mlops_magics as mlops\n%load_ext mlops_magics\n"
        "mlops.status = lambda **given: time.sleep(1.8)\n%mlops_status"
    )
    kinds = {m["msg_type"] for m in kernel.run("import os; os.environ.pop('CI', None)\n" + slow)}
    assert not {"stream", "display_data", "comm_open"} & kinds
    shown = [
        message
        for message in kernel.run(slow, allow_stdin=True)
        if message["msg_type"].endswith("display_data")
    ]
    assert "status … 1 s" in shown[0]["content"]["data"]["text/html"]
    assert shown[-1]["content"]["data"] == {"text/plain": "", "text/html": ""}  # nothing is left

    # a pipeline that runs is a card of its steps; headless there is its record only
    run = (
        "from mlops_magics.pipelines.executor import Event\n"
        "def run_pipeline(path, watch, **given):\n"
        "    steps = ['train', 'register']\n"
        "    watch(Event('', 'run', {'run': '1', 'pipeline': 'flights', 'steps': steps}))\n"
        "    watch(Event('train', 'begin', {'reason': '<b>first</b>'}))\n"
        "    watch(Event('train', 'output', {'text': 'epoch 1\\n', 'name': 'stdout'}))\n"
        "    time.sleep(0.8)\n"
        "mlops.run_pipeline = run_pipeline\n%mlops_pipeline run x.yaml -v"
    )
    assert {m["msg_type"] for m in kernel.run(run)} <= {"execute_reply", "status", "execute_input"}
    _, *messages = kernel.run(run, allow_stdin=True)
    printed = [m["content"]["text"] for m in messages if m["msg_type"] == "stream"]
    assert "".join(printed) == "train    │ epoch 1\n"
    shown = [m["content"]["data"] for m in messages if m["msg_type"].endswith("display_data")]
    assert "RUNNING" in shown[0]["text/html"]
    assert "epoch 1" in shown[0]["text/plain"]
    assert shown[-1] == {"text/plain": "", "text/html": ""}


def interrupted(kernel: Kernel, cell: str) -> dict:
    """Run a cell, interrupt it once it says that it has begun; give the reply."""
    asked = kernel.client.execute(cell)
    while True:
        message = kernel.client.get_iopub_msg(timeout=60)
        if message["msg_type"] == "stream" and "begun" in message["content"]["text"]:
            break
    kernel.manager.interrupt_kernel()
    while True:
        reply = kernel.client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == asked:
            return reply["content"]


def test_an_interrupted_cell_leaves_its_run_killed_and_the_kernel_usable(kernel, workspace):
    kernel.run("%load_ext mlops_magics\nimport time, mlops_magics as mlops")
    cell = "%%mlops_run long\nprint('begun', flush=True)\nfor _ in range(300): time.sleep(0.1)"
    assert interrupted(kernel, cell)["ename"] == "KeyboardInterrupt"
    assert mlops.runs(workspace=workspace)[0].status == "KILLED"
    reply, *_ = kernel.run("%%mlops_run short\nx = 1")
    assert reply["content"]["status"] == "ok"


def test_an_interrupted_verb_says_that_it_was_in_a_few_lines(kernel, workspace):
    kernel.run(
        "%load_ext mlops_magics\nimport time, mlops_magics as mlops\n"
        "def status(**given):\n    print('begun', flush=True)\n    time.sleep(30)\n"
        "mlops.status = status"
    )
    reply = interrupted(kernel, "%mlops_status")
    assert reply["ename"] == "Interrupted"
    assert "%mlops_status was interrupted" in reply["evalue"]
    assert len(reply["traceback"]) <= 4
