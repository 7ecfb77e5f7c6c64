"""The tour as a reader runs it: in JupyterLab, to its end, with the monitor live."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
from browser_lab import Lab, guarded
from playwright.sync_api import expect

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SMALL = {"rows": 8000, "replayed": 300}


@pytest.fixture
def tour_lab(tmp_path):
    """A JupyterLab over a copy of the notebooks; the tour is the short one."""
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns(".mlops", ".ipynb_checkpoints", "kernel-ipc-*")
    shutil.copytree(NOTEBOOKS, project, ignore=ignored)
    papermill.execute_notebook(
        project / "tour.ipynb", project / "tour.ipynb", SMALL, prepare_only=True
    )
    lab = Lab(project, tmp_path)
    yield lab
    lab.stop()
    subprocess.run(
        [sys.executable, "-m", "mlops_magics", "stop"], cwd=project, timeout=60, check=True
    )


def test_the_tour_runs_to_its_end_and_its_monitor_shows_new_requests(tour_lab, page):
    page.set_viewport_size({"width": 1400, "height": 1000})
    with guarded(page):
        notebook = tour_lab.open(page, "tour.ipynb")
        notebook.run_all()
        monitor = page.locator(".mlops-monitor")
        monitor.scroll_into_view_if_needed()
        expect(monitor.locator(".mm-pill")).to_have_text("● Live")
        expect(monitor.locator(".mm-verdict[data-kind=drifted]").first).to_be_visible()
        expect(monitor.locator(".mm-metric", has_text="roc_auc")).to_be_visible()

        traffic = monitor.locator(".mm-figure").first
        before = int(re.search(r"([\d,]+) requests", traffic.inner_text()).group(1))
        said = notebook.run(
            "for _ in range(3): mlops.predict('flight-delay', traffic[flights.FEATURES].head(1))"
        )
        assert said == ""
        expect(traffic).to_contain_text(f"{before + 3} requests")

        page.get_by_role("button", name="Roll back…").click()
        page.get_by_role("button", name="Roll back", exact=True).click()
        expect(monitor.get_by_role("alert")).to_contain_text("Not rolled back")
        notebook.close()
