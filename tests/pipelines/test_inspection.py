"""A notebook tells what it takes and gives; an executed one how it ran."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mlops_magics.cli import main
from mlops_magics.errors import InvalidArgument
from mlops_magics.pipelines.inspection import inspect_notebook

FLIGHTS = Path(__file__).parents[2] / "notebooks" / "flight_delay"
PARAMETERS = "month: int = 3  # how far\ndata: str\nnow = time.time()"


def test_an_input_notebook_tells_parameters_and_the_outputs_that_its_source_names(notebook):
    path = notebook(
        "a",
        "import mlops_magics as m\nfrom mlops_magics import output as give\n%load_ext mlops_magics",
        "for i in range(3):\n    m.output('last', i)\ngive('fixed', 'a')\nprint.output('no', 1)",
        "%%time\nm.output(name, 1); m.output('timed', 2.5)",
        "def broken(:",
        parameters=PARAMETERS,
    )
    found = inspect_notebook(path)
    assert (found.status, found.kernel, found.error, found.seconds) == (
        "INPUT",
        "python3",
        None,
        None,
    )
    assert [(p.name, p.type, p.default, p.required, p.help) for p in found.parameters] == [
        ("month", "int", 3, False, "how far"),
        ("data", "str", None, True, ""),
        ("now", "Any", None, False, ""),
    ]
    assert {(o.name, o.type, o.cell, o.recorded) for o in found.outputs} == {
        ("last", "Any", 3, False),
        ("fixed", "str", 3, False),
        ("timed", "float", 4, False),
    }
    shown = str(found)
    assert "required" in shown
    assert "how far" in shown


@pytest.mark.parametrize("name", ["ingest", "train", "test", "package", "register"])
def test_what_a_step_of_our_own_pipeline_gives_is_seen_without_running_it(name):
    found = inspect_notebook(FLIGHTS / f"{name}.ipynb")
    assert found.parameters
    assert all(item.help for item in found.parameters)
    assert found.outputs


def test_an_executed_notebook_tells_what_it_got_gave_and_how_it_ended(notebook, capsys):
    path = notebook(
        "a",
        "import mlops_magics as mlops\nmlops.output('auc', 0.81)\nmlops.output('auc', 0.82)",
        "from IPython.display import display\n"
        "display({'application/papermill.record+json': {'rows': 7}}, raw=True)\n"
        "scrap = {'name': 'curve', 'data': [1, 2], 'encoder': 'json', 'version': 1}\n"
        "display({'application/scrapbook.scrap.json+json': scrap}, raw=True)",
        "raise ValueError('too few')",
        "mlops.output('never', 1)",
        parameters=PARAMETERS.replace("time.time()", "None"),
    )
    out = path.with_name("out.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "--engine", "mlops", "-p", "data", "x", path, out],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "ValueError: too few" in done.stderr
    assert out.stat().st_mode & 0o777 == 0o600

    found = inspect_notebook(out)
    assert found.status == "FAILED"
    assert found.error == {
        "cell": 4,
        "prompt": 5,
        "source": "raise ValueError('too few')",
        "ename": "ValueError",
        "evalue": "too few",
    }
    assert [(p.name, p.given, p.value) for p in found.parameters] == [
        ("month", False, None),
        ("data", True, "x"),
        ("now", False, None),
    ]
    assert [(o.name, o.type, o.value, o.cell) for o in found.outputs] == [
        ("auc", "float", 0.82, 2),
        ("rows", "int", 7, 3),
        ("curve", "list", [1, 2], 3),
    ]
    assert [(c.cell, c.status) for c in found.cells] == [
        (1, "completed"),
        (None, "completed"),
        (2, "completed"),
        (3, "completed"),
        (4, "failed"),
        (5, "pending"),
    ]
    assert found.seconds > sum(c.seconds or 0 for c in found.cells) > 0
    # as papermill's `read_notebook(...).dataframe` had it
    assert found.df.to_dict("list") == {
        "name": ["month", "data", "now", "auc", "rows", "curve"],
        "type": ["parameter"] * 3 + ["record"] * 3,
        "value": [3, "x", None, 0.82, 7, [1, 2]],
        "filename": ["out.ipynb"] * 6,
    }
    with pytest.raises(SystemExit) as left:
        main(["pipeline", "inspect", str(out), "--json"])
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.to_dict()))
    assert "cell 4: ValueError: too few" in str(found)


def test_a_notebook_that_ran_by_hand_or_was_cut_off_is_told_from_one_that_did_not(tmp_path):
    content = new_notebook(cells=[new_code_cell("1 + 1", execution_count=1)])
    nbformat.write(content, tmp_path / "a.ipynb")
    assert inspect_notebook(tmp_path / "a.ipynb").status == "FINISHED"
    content.metadata.papermill = {"start_time": "2026-01-01T00:00:00+00:00", "end_time": None}
    nbformat.write(content, tmp_path / "a.ipynb")
    assert inspect_notebook(tmp_path / "a.ipynb").status == "RUNNING"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [1]}', None])
def test_what_is_no_notebook_is_named(tmp_path, text):
    path = tmp_path / "a.ipynb"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidArgument, match=r"a\.ipynb"):
        inspect_notebook(path)
