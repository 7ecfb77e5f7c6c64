"""Run a notebook in a real JupyterLab and take pictures of its outputs to look at.

    python tests/browser/screenshots.py notebooks/tour.ipynb shots

leaves ``shots/<cell>-<light|dark>-<wide|narrow>.png`` for each cell with an output. The notebook
runs in a copy of its folder, so nothing of the project changes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from browser_lab import DARK, LIGHT, Lab, Notebook, launch
from playwright.sync_api import sync_playwright

WIDTHS = {"wide": 1400, "narrow": 620}
THEMES = {"light": LIGHT, "dark": DARK}
TALL = 3000  # of the window: an output that is taller than it would be cut


def shoot(notebook: Notebook, folder: Path) -> list[Path]:
    """Take each output in both themes and widths."""
    page, taken = notebook.page, []
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    for size, width in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": TALL})
        for theme, name in THEMES.items():
            notebook.theme(name)
            page.wait_for_timeout(1500)  # charts draw themselves anew, widgets take a picture
            for index, cell in enumerate(notebook.cells()):
                if not cell.get("outputs"):
                    continue
                path = folder / f"{index:02d}-{theme}-{size}.png"
                notebook.output(index).screenshot(path=path)
                taken.append(path)
    return taken


def main() -> None:
    """Parse, run, shoot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the server of the copy running")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix="mlops-shots-"))
    project = private / "project"
    ignored = shutil.ignore_patterns(".mlops", ".ipynb_checkpoints", "kernel-ipc-*")
    shutil.copytree(arguments.notebook.resolve().parent, project, ignore=ignored)
    lab = Lab(project, private)
    try:
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": WIDTHS["wide"], "height": 900})
            notebook = lab.open(page, arguments.notebook.name)
            notebook.run_all()
            for path in shoot(notebook, arguments.folder):
                print(path)
            browser.close()
    finally:
        lab.stop()
        if not arguments.keep:
            environment = {**os.environ, "MLOPS_WORKSPACE": str(project / ".mlops")}
            command = [sys.executable, "-m", "mlops_magics", "stop"]
            subprocess.run(command, cwd=project, env=environment, check=False)
            shutil.rmtree(private)


if __name__ == "__main__":
    main()
