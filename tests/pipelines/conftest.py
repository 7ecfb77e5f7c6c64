"""Small notebooks and pipelines, written for one test."""

import contextlib
import shutil
import threading
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mlops_magics.errors import RunNotFound, StepFailed
from mlops_magics.pipelines.observation import follow
from mlops_magics.pipelines.runner import run_pipeline
from mlops_magics.store.workspace import Workspace

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook: first its parameters cell, then its other cells; give its path."""

    def write(name, *cells, parameters=None, folder=None) -> Path:
        folder = folder or tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        content = new_notebook(metadata=KERNEL)
        if parameters is not None:
            content.cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        content.cells += [new_code_cell(cell) for cell in cells]
        path = folder / f"{name}.ipynb"
        nbformat.write(content, path)
        return path

    return write


@pytest.fixture
def pipeline(tmp_path):
    """Write a pipeline.yaml beside the notebooks; give its path."""

    def write(text) -> Path:
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        path = folder / "pipeline.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


IMAGE = "<img src=x onerror=alert(1)>"
HOSTILE = f"<script>alert('ran')</script>{IMAGE}"


@pytest.fixture(scope="session")
def failed(tmp_path_factory, workspace_template):
    """A run whose second step fails, watched from outside while it ran: workspace, run, events."""
    root = tmp_path_factory.mktemp("failed") / "project"
    shutil.copytree(workspace_template, root)
    workspace = Workspace.find(root)

    def write(name, *cells, parameters):
        first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        book = new_notebook(metadata=KERNEL, cells=[first, *cells])
        nbformat.write(book, root / f"{name}.ipynb")

    svg = f"<svg xmlns='http://www.w3.org/2000/svg'>{HOSTILE}</svg>"
    write(
        "ingest",
        new_markdown_cell(f"# Flights\n\n{HOSTILE} [run me](javascript:alert(1))"),
        new_code_cell(f"print({HOSTILE!r})\nprint(rows, 'rows')"),
        new_code_cell(
            "from IPython.display import HTML, display\n"
            f"display(HTML('<table><tr><td>a number</td></tr></table>' + {IMAGE!r}))\n"
            f"display(HTML({HOSTILE!r}))\n"
            f"display({{'image/svg+xml': {svg!r}}}, raw=True)\n"
            "from mlops_magics.pipelines.outputs import output\noutput('rows', rows)"
        ),
        parameters="rows: int = 2",
    )
    write(
        "gate",
        new_code_cell("import json\nauc, much = 0.61, b'x' * 300_000_000"),
        new_code_cell(GATE),
        parameters="n: int",
    )
    (root / "pipeline.yaml").write_text(
        "name: flights\nsteps:\n"
        "  ingest: {notebook: ingest.ipynb}\n"
        "  gate: {notebook: gate.ipynb, parameters: {n: '${steps.ingest.outputs.rows}'}}\n"
        "  register: {notebook: ingest.ipynb, needs: [gate, ingest]}\n"
    )
    raised: list[StepFailed] = []

    def run():
        with pytest.raises(StepFailed) as caught:
            run_pipeline(root / "pipeline.yaml", workspace=workspace)
        raised.append(caught.value)

    thread = threading.Thread(target=run)
    thread.start()
    while not raised and not list((workspace.path / "pipelines").glob("*")):
        time.sleep(0.02)
    while True:
        with contextlib.suppress(RunNotFound):
            events = list(follow(workspace=workspace))
            break
    thread.join()
    yield workspace, raised[0], events
    workspace.database.close()


GATE = f'''\
def check(auc):
    """{HOSTILE}"""
    raise ValueError(f"auc {{auc}} is too low")

check(auc)'''
