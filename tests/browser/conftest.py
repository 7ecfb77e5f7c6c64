"""A JupyterLab and a Chromium for all tests of this folder."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest
from browser_lab import Lab, Notebook, guarded, launch
from playwright.sync_api import Browser, Page, expect, sync_playwright

HERE = Path(__file__).parent
expect.set_options(timeout=30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in one worker: they share one JupyterLab and one browser."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return the system's Chromium, headless.

    For a module, not the session: while it is open, playwright keeps an event loop running in this
    thread, and no other test could run one of its own.
    """
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a JupyterLab over an empty project."""
    root = tmp_path_factory.mktemp("lab")
    project = root / "project"
    project.mkdir()
    shutil.copy(HERE / "successive.py", project)
    server = Lab(project, root)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """Return the page in which the notebooks of all tests are opened, one after the other."""
    page = browser.new_page()
    page.set_default_timeout(30_000)
    yield page
    page.close()


class Open(Protocol):
    """Opens a notebook of these cells."""

    def __call__(self, *cells: str, width: int = ...) -> AbstractContextManager[Notebook]: ...


@pytest.fixture
def open_notebook(lab: Lab, page: Page, request: pytest.FixtureRequest) -> Open:
    """Return a function that writes a notebook, opens it, and closes it at the end."""

    @contextlib.contextmanager
    def open_cells(*cells: str, width: int = 1280) -> Iterator[Notebook]:
        name = re.sub(r"\W+", "-", request.node.name) + ".ipynb"
        lab.write(name, *cells)
        page.set_viewport_size({"width": width, "height": 900})
        with guarded(page):
            notebook = lab.open(page, name)
            try:
                yield notebook
            finally:
                notebook.close()

    return open_cells
