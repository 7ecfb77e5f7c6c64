"""A real JupyterLab and the notebooks in it, driven through a browser as a person would.

Used by the tests of this folder and by ``screenshots.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page, Playwright

CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # a cell that is out of sight stays in the page, so that a test finds it
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "docmanager-extension/plugin": {"autosave": False},
}


def launch(playwright: Playwright) -> Browser:
    """Start the system's Chromium; ``MLOPS_CHROMIUM`` names another."""
    executable = os.environ.get("MLOPS_CHROMIUM", "/usr/bin/chromium")
    return playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)


class Lab:
    """A JupyterLab server over a project folder, with settings and a token of its own."""

    def __init__(self, project: Path, private: Path, **environment: str):
        self.project, self.token = project, secrets.token_hex(16)
        runtime = private / "runtime"
        for name, values in SETTINGS.items():
            path = private / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        self.log = private / "jupyterlab.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                    *("--ip=127.0.0.1", "--port=0", "--expose-app-in-browser"),
                    *(f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={project}"),
                ],
                cwd=project,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "JUPYTER_CONFIG_DIR": str(private / "config"),
                    "JUPYTER_RUNTIME_DIR": str(runtime),
                    "JUPYTERLAB_SETTINGS_DIR": str(private / "settings"),
                    "JUPYTERLAB_WORKSPACES_DIR": str(private / "workspaces"),
                    "CI": "",  # a person looks, so the live view is wanted
                    **environment,
                },
            )
        self.url = self._wait(runtime)

    def _wait(self, runtime: Path) -> str:
        """Return the address once the server answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            for path in runtime.glob("jpserver-*.json"):
                with contextlib.suppress(urllib.error.URLError, json.JSONDecodeError, OSError):
                    url = json.loads(path.read_text())["url"]
                    with urllib.request.urlopen(f"{url}api?token={self.token}", timeout=5):
                        return str(url)
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End the server, which ends its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def write(self, name: str, *cells: str) -> Path:
        """Write a notebook of code cells into the project."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        path = self.project / name
        nbformat.write(notebook, path)
        return path

    def open(self, page: Page, name: str, *, anew: bool = False) -> Notebook:
        """Open a notebook of the project and wait until its kernel is ready.

        A page that shows JupyterLab already is kept, unless it is asked for ``anew``.
        """
        if anew or not page.url.startswith(self.url):
            page.goto(f"{self.url}lab/tree/{name}?reset&token={self.token}")
            page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
            page.evaluate("async () => { await window.jupyterapp.restored; }")
        notebook = Notebook(page)
        notebook.command("docmanager:open", path=name, factory="Notebook")
        notebook.ready()
        return notebook


class Notebook:
    """The notebook that is open in a page."""

    def __init__(self, page: Page):
        self.page = page

    def ready(self) -> None:
        """Wait until the notebook is drawn and its kernel idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        self.page.evaluate(
            """async () => {
                const app = window.jupyterapp;
                await app.restored;
                const panel = app.shell.currentWidget;
                await panel.context.ready;
                await panel.revealed;
                await panel.sessionContext.ready;
                const kernel = panel.sessionContext.session?.kernel;
                if (kernel) await kernel.info;
            }"""
        )

    def command(self, name: str, **arguments: Any) -> None:
        """Run one of JupyterLab's commands and wait for its end."""
        self.page.evaluate(
            "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }",
            [name, arguments],
        )

    def run_all(self) -> None:
        """Run all cells; fail with the first error in an output."""
        self.command("notebook:run-all-cells")
        for cell in self.cells():
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    raise AssertionError("\n".join(output["traceback"]))

    def start(self, index: int) -> None:
        """Run one cell without waiting for its end."""
        self.page.evaluate(
            """(index) => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.activeCellIndex = index;
                notebook.deselectAll();
                void window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            index,
        )

    def run(self, code: str) -> str:
        """Run code in the notebook's kernel, in no cell; return what it printed."""
        return str(
            self.page.evaluate(
                """async (code) => {
                    const panel = window.jupyterapp.shell.currentWidget;
                    const { kernel } = panel.sessionContext.session;
                    const future = kernel.requestExecute({ code, store_history: false });
                    let said = '';
                    future.onIOPub = ({ header, content }) => {
                        if (header.msg_type === 'stream') said += content.text;
                        if (header.msg_type === 'error') said += content.traceback.join('\\n');
                    };
                    await future.done;
                    return said;
                }""",
                code,
            )
        )

    def cells(self) -> list[dict[str, Any]]:
        """Return the cells with their outputs, as they would be saved."""
        cells: list[dict[str, Any]] = self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells"
        )
        return cells

    def save(self) -> None:
        """Write the notebook to its file."""
        self.command("docmanager:save")

    def theme(self, name: str) -> None:
        """Choose LIGHT or DARK."""
        self.command("apputils:change-theme", theme=name)
        light = json.dumps(str(name == LIGHT).lower())
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === {light}")

    def end_kernel(self) -> None:
        """Shut the kernel down."""
        self.page.evaluate(
            "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }"
        )

    def close(self) -> None:
        """Close the notebook without saving, and end its kernel."""
        self.page.evaluate(
            """async () => {
                const panel = window.jupyterapp.shell.currentWidget;
                await panel.sessionContext.shutdown();
                panel.dispose();
            }"""
        )

    def output(self, index: int) -> Locator:
        """Return the output area of a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea").first


@contextlib.contextmanager
def guarded(page: Page) -> Iterator[None]:
    """Fail at the end if a script of the page did."""
    failures: list[str] = []

    def note(error: object) -> None:
        failures.append(str(error))

    page.on("pageerror", note)
    try:
        yield
    finally:
        page.remove_listener("pageerror", note)
    assert not failures, failures
