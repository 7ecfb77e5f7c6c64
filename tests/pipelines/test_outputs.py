"""Outputs are typed values, kept in the executed notebook."""

import nbformat
import numpy as np
import papermill
import pytest

from mlops_magics.errors import InvalidArgument
from mlops_magics.pipelines.outputs import MEDIA_TYPE, collect, output


def test_an_executed_notebook_holds_them_and_shows_them_to_a_reader(notebook, tmp_path):
    source = notebook(
        "step",
        "import numpy as np\nfrom mlops_magics.pipelines.outputs import output",
        "output('auc', np.float64(0.5))\noutput('auc', 0.75)\noutput('html', '<b>')",
        "output('many', {'a': [1, None, True]})",
    )
    papermill.execute_notebook(source, tmp_path / "out.ipynb", progress_bar=False)
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert collect(executed.cells) == {
        "auc": 0.75,
        "html": "<b>",
        "many": {"a": [1, None, True]},
    }
    shown = executed.cells[1].outputs[-1].data
    assert shown[MEDIA_TYPE]["type"] == "str"
    assert "&lt;b&gt;" in shown["text/html"]
    assert "<b>" not in shown["text/html"]
    assert shown["text/plain"] == "output html = '<b>'"


@pytest.mark.parametrize("name", ["a b", "1a", "", "class", 3])
def test_a_name_is_an_identifier(name):
    with pytest.raises(InvalidArgument, match="is not an identifier"):
        output(name, 1)


@pytest.mark.parametrize("value", [{1: 2}, object(), float("inf"), {1, 2}, b"x", np.nan])
def test_a_value_is_json(value):
    with pytest.raises(InvalidArgument, match="output 'x': "):
        output("x", value)


def test_outside_of_a_notebook_it_says_nothing(capsys):
    output("x", [np.int64(1)])
    assert capsys.readouterr().out == ""


def test_a_foreign_display_of_that_type_is_passed_over():
    broken = [{"outputs": [{"data": {MEDIA_TYPE: value}}]} for value in ("x", {"name": "a b"})]
    assert collect(broken) == {}
