"""The monitor of a real endpoint, through the Jupyter server while the kernel cannot answer."""

from __future__ import annotations

import httpx
import pandas as pd
import psutil
import pytest
from playwright.sync_api import expect

import mlops_magics as mlops
from mlops_magics.store.workspace import Workspace

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 10})
# no thread of the kernel runs beside this
BUSY = "import re; re.match('(a+)+$', 'a' * 64 + 'b')"
SHOW = "%load_ext mlops_magics\n%mlops_monitor doubled"


def doubled(data):
    return (data["x"] * 2).to_numpy()


@pytest.fixture(scope="module")
def endpoint(lab):
    """Two revisions of an endpoint, in a workspace of the folder that JupyterLab shows."""
    (lab.project / "served").mkdir()
    workspace = Workspace.create(lab.project / "served")
    package = mlops.package(doubled, name="doubled", data=ROWS, workspace=workspace)
    for _ in range(2):
        found = mlops.deploy(package, endpoint="doubled", workspace=workspace)
    yield found, workspace
    mlops.stop(workspace=workspace)
    workspace.database.close()


def _champion(workspace):
    (share,) = mlops.traffic("doubled", workspace=workspace).shares
    return share["number"]


def test_while_the_kernel_holds_its_interpreter_requests_appear_and_roll_back_rolls_back(
    lab, page, endpoint
):
    found, workspace = endpoint
    lab.write("served/monitor.ipynb", SHOW, BUSY)
    notebook = lab.open(page, "served/monitor.ipynb", anew=True)
    notebook.start(0)
    monitor = page.locator(".mlops-monitor")
    expect(monitor).to_have_attribute("data-from", "server")
    notebook.start(1)
    expect(page.locator(".jp-Notebook .jp-Cell").nth(1)).to_contain_text("[*]")
    for count in (3, 5):
        body = {"dataframe_records": [{"x": 1.5}]}
        headers = {"Authorization": f"Bearer {workspace.token}"}
        while httpx.post(found.url, json=body, headers=headers).status_code != 200:
            page.wait_for_timeout(50)
        for _ in range(count - 1):
            httpx.post(found.url, json=body, headers=headers).raise_for_status()
        total = mlops.predictions("doubled", workspace=workspace).total
        expect(page.locator(".mm-figure").first).to_contain_text(f"{total} requests")
    expect(monitor).to_have_attribute("data-from", "server")

    assert _champion(workspace) == 2
    page.get_by_role("button", name="Roll back…").click()
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator(".mm-dialogue")).to_contain_text("Traffic goes to revision 1 (doubled/")
    assert _champion(workspace) == 1

    for process in psutil.Process(lab.process.pid).children():
        if any("ipykernel_launcher" in part for part in process.cmdline()):
            process.kill()
            process.wait()
    httpx.post(found.url, json=body, headers=headers).raise_for_status()
    total = mlops.predictions("doubled", workspace=workspace).total
    expect(page.locator(".mm-figure").first).to_contain_text(f"{total} requests")
    expect(monitor).to_have_attribute("data-from", "server")
    notebook.close()
