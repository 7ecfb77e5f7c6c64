"""What a notebook depends on is read from its text, and errs on the side of more."""

import json
import textwrap

import pytest

from mlops_magics.pipelines.dependencies import modules, read_notebook


@pytest.fixture
def folder(tmp_path):
    def write(files):
        for name, text in files.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return write


def notebook(folder, *cells, tags=(), outputs=()):
    content = {
        "cells": [
            {"cell_type": "code", "source": cell, "metadata": {"tags": list(tags)}}
            | {"outputs": list(outputs), "execution_count": None}
            for cell in cells
        ],
        "metadata": {"kernelspec": {"name": "python3", "language": "python"}},
    }
    path = folder / "a.ipynb"
    path.write_text(json.dumps(content))
    return read_notebook(path)


def test_outputs_do_not_count_and_tags_do(tmp_path):
    plain = notebook(tmp_path, "x = 1")
    shown = notebook(tmp_path, "x = 1", outputs=[{"output_type": "stream", "text": "hi"}])
    tagged = notebook(tmp_path, "x = 1", tags=["parameters"])
    assert plain.to_dict() == shown.to_dict() != tagged.to_dict()


def test_imports_are_followed_through_the_projects_own_modules_only(folder):
    place = folder(
        {
            "flights": "import numpy, features.clean\nfrom json import loads",
            "features/__init__": "",
            "features/clean": "from . import rules",
            "features/rules": "X = 1",
            "unused": "Y = 2",
            "late": "Z = 3",
        }
    )
    code = notebook(place, "import pandas as pd, flights", "def f():\n    import late").code
    found, _ = modules(code, place)
    assert set(found) == {
        "flights.py",
        "late.py",
        "features/__init__.py",
        "features/clean.py",
        "features/rules.py",
    }


def test_another_place_of_modules_is_found_by_its_literal_path(folder):
    place = folder({"src/inner": "A = 1"})
    code = notebook(place, "import sys\nsys.path.insert(0, 'src')", "from inner import A").code
    assert set(modules(code, place)[0]) == {"src/inner.py"}


@pytest.mark.parametrize(
    "cell", ["import importlib\nimportlib.import_module(name)", "this is no Python"]
)
def test_what_cannot_be_told_may_be_any_module(folder, cell):
    place = folder({"one": "A = 1", "deep/two": "B = 2"})
    assert set(modules(notebook(place, cell).code, place)[0]) == {"one.py", "deep/two.py"}


@pytest.mark.parametrize(
    "cell",
    [
        "pd.read_csv('data.csv')",
        "open('data.csv').read()",
        "from pathlib import Path\nPath('data.csv').read_text()",
        "PATH = 'data.csv'\nload(PATH)",
        "import pathlib\nHERE = pathlib.Path('.')\npd.read_csv(HERE / 'data.csv')",
        "!wc -l data.csv",
        "lines = !cat data.csv",
        "%%bash\nwc data.csv",
        "%run data.csv",
        "%%mlops_run fit\nmodel = fit(pd.read_csv('data.csv'))",
        "get_rows('data.csv')",
        "pathlib.Path('data.csv').open().read()",
        "open('data.csv', 'rb')",
    ],
)
def test_a_file_that_is_read_is_seen(tmp_path, cell):
    names = {name.removeprefix("./") for name in notebook(tmp_path, cell).code.files}
    assert "data.csv" in names


@pytest.mark.parametrize(
    "cell",
    [
        "df.to_csv('data.csv')",
        "open('data.csv', 'w').write('x')",
        "Path('data.csv').write_text('x')",
        "with pathlib.Path('data.csv').open('a') as file:\n    file.write('x')",
        "gzip.open('data.csv', 'wb')",
        "fig.savefig('data.csv')",
        "mlops.output('path', 'data.csv')",
        "# pd.read_csv('data.csv')",
    ],
)
def test_a_file_that_is_written_is_no_input(tmp_path, cell):
    assert "data.csv" not in notebook(tmp_path, cell).code.files


def test_what_an_ingestion_makes_is_no_input_and_what_is_looked_up_is(tmp_path):
    made = notebook(tmp_path, "x = %mlops_ingest df made\nmlops.ingest(df, 'made')").code
    assert "made" not in made.texts | made.files
    used = notebook(tmp_path, "mlops.dataset('used')\n%mlops_test model --data tested").code
    assert {"used", "tested"} <= used.texts
