"""Small notebooks and pipelines, written for one test."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

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
