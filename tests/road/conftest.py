"""The whole road once, walked in a real kernel that is then killed."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from mlops_magics.store.workspace import Workspace

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

CELLS = [
    "import sys; sys.path.insert(0, 'flight_delay')\nimport flights\n%load_ext mlops_magics",
    "train, holdout = flights.load([1, 2], rows=4000), flights.load(3, rows=2000)",
    "%mlops_ingest train flights-train",
    (
        "%%mlops_run boosting --dataset flights-train\n"
        "model = flights.boosting(max_iter=20).fit(train[flights.FEATURES], train['late'])"
    ),
    "%mlops_test model --data holdout --target late --min roc_auc=0.55",
    (
        "package = %mlops_package model --data train --target late --predict-fn predict_proba\n"
        "version = %mlops_register package --name flight-delay --alias challenger"
    ),
    "%mlops_promote flight-delay@challenger",
    "endpoint = %mlops_deploy flight-delay@champion\nprint(endpoint.url)",
    (
        "answer = %mlops_predict flight-delay --data {holdout[flights.FEATURES]}\n"
        "print(len(answer.df))"
    ),
]


class Kernel:
    """A kernel that runs cells and raises what they raise."""

    def __init__(self, folder: Path):
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def run(self, cell: str, timeout: float = 120) -> str:
        """Run a cell; return what it printed, or fail with its error."""
        said = []
        asked = self.client.execute(cell)
        end = time.monotonic() + timeout
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=max(0.1, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"the cell took over {timeout} s:\n{cell}")
            if message["parent_header"].get("msg_id") != asked:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
            elif message["msg_type"] == "error":
                pytest.fail(f"{cell}\n" + "\n".join(content["traceback"]))
            elif message["msg_type"] == "execute_result":
                said.append(content["data"]["text/plain"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return "".join(said)

    def kill(self) -> None:
        """As the memory killer does."""
        pid = self.manager.provisioner.pid
        os.kill(pid, signal.SIGKILL)
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@dataclass
class Road:
    """Where the road was walked, and what the cells said."""

    workspace: Workspace
    said: list[str]


@pytest.fixture(scope="session")
def road(tmp_path_factory, workspace_template):
    """The workspace after all cells were run and their kernel was killed."""
    root = tmp_path_factory.mktemp("road") / "project"
    shutil.copytree(workspace_template, root)
    (root / ".mlops" / "token").unlink(missing_ok=True)
    shutil.copytree(NOTEBOOKS / "flight_delay", root / "flight_delay")
    kernel = Kernel(root)
    try:
        said = [kernel.run(cell) for cell in CELLS]
    finally:
        kernel.kill()
    workspace = Workspace.find(root)
    yield Road(workspace, said)
    from mlops_magics import stop

    stop(workspace=workspace)


@pytest.fixture
def kernel(road):
    """A new kernel in the same project."""
    kernel = Kernel(road.workspace.root)
    yield kernel
    kernel.kill()
