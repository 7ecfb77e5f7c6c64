"""A project with a pipeline, modules of its own and data beside it."""

from __future__ import annotations

import os
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from mlops_magics.pipelines import dependencies, specification
from mlops_magics.pipelines.releases.freezing import freeze

KERNEL = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}

SPEC = """
name: train
parameters: {rows: 100}
smoke: {rows: 5}
steps:
  train: {notebook: train.ipynb, parameters: {rows: "${parameters.rows}"}}
"""

CELLS = [
    "import mlflow, os\nimport mlops_magics as mlops\nimport features, shapes.square",
    "known = mlops.dataset('known').rows",
    "text = open('../data/rows.csv').read()",
    "mlops.output('rows', features.double(rows))",
    "mlops.output('area', shapes.square.area(known))",
    "mlops.output('text', text)",
    "client = mlflow.MlflowClient()\n"
    "for name in ('known', 'made-by-the-run'):\n"
    "    if not client.search_registered_models(f\"name='{name}'\"):\n"
    "        client.create_registered_model(name)\n"
    "client.set_registered_model_alias('known', 'champion', '1')",
    "with mlops.run('fit') as run:\n    mlops.log(metrics={'score': 0.5})",
    "tags = client.get_run(run.run_id).data.tags",
    "mlops.output('commit', tags.get('mlflow.source.git.commit', ''))",
    "open('left-over.txt', 'w').write('notebooks write where they are')",
]


@pytest.fixture
def write():
    """Write a notebook with a parameter and some cells."""

    def make(path, *cells):
        content = new_notebook(metadata=KERNEL)
        content.cells.append(new_code_cell("rows: int = 1", metadata={"tags": ["parameters"]}))
        content.cells += [new_code_cell(cell) for cell in cells]
        nbformat.write(content, path)
        return path

    return make


@pytest.fixture
def git(workspace):
    """Run git in the project's folder."""

    def run(*arguments):
        identity = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org"]
        command = ["git", *identity, "-c", "commit.gpgsign=false", *arguments]
        done = subprocess.run(command, cwd=workspace.root, check=True, capture_output=True)
        return done.stdout.decode().strip()

    return run


@pytest.fixture
def made(workspace, write, git, monkeypatch):
    """The project's folder: a pipeline, two modules, a lock file, data; one commit."""
    root = workspace.root
    for name in ("notebooks", "data", "src/shapes"):
        (root / name).mkdir(parents=True)
    (root / "notebooks" / "pipeline.yaml").write_text(SPEC)
    (root / "notebooks" / "features.py").write_text("def double(x):\n    return 2 * x\n")
    (root / "src" / "shapes" / "__init__.py").write_text("")
    (root / "src" / "shapes" / "square.py").write_text("def area(side):\n    return side**2\n")
    (root / "src" / "shapes" / "unused.py").write_text("")
    (root / "requirements.txt").write_text("pandas\n")
    (root / "data" / "rows.csv").write_text("one")
    (root / ".gitignore").write_text(".mlops/\n")
    write(root / "notebooks" / "train.ipynb", *CELLS)
    monkeypatch.syspath_prepend(root / "src")
    monkeypatch.setenv("PYTHONPATH", str(root / "src"), prepend=os.pathsep)
    dependencies.places.cache_clear()
    git("init", "-b", "main")
    git("add", "-A")
    git("commit", "-m", "first")
    yield root
    dependencies.places.cache_clear()


@pytest.fixture
def frozen(workspace, made):
    """Freeze the project's pipeline as it is now."""
    return lambda: freeze(workspace, specification.read(made / "notebooks"))


@pytest.fixture
def executed():
    """Give a notebook outputs, as running it by hand does."""

    def run(path):
        output = new_output("stream", name="stdout", text="4711")
        content = nbformat.read(path, as_version=4)
        for cell in content.cells:
            cell.outputs, cell.execution_count = [output], 7
        nbformat.write(content, path)

    return run
