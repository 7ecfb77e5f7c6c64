"""Parameters are read as they are declared, and refused before anything runs."""

import json

import pytest

from mlops_magics.errors import ParameterInvalid
from mlops_magics.pipelines.parameters import Parameter, check, declared

CELL = """
%config InlineBackend.figure_format = "svg"
month: int = 3  # the last month
rows: int | None = None
alias = "challenger"
share = 0.5  # type: float  # of the rows
names: "list[str]" = ["a"]
kind: Literal["a", "b"] = "a"
start = compute()
data: str  # a dataset
"""


@pytest.fixture
def known(notebook):
    return declared(notebook("train", "pass", parameters=CELL))


def test_types_come_from_annotation_type_comment_or_default(known):
    assert {name: item.type for name, item in known.items()} == {
        "month": "int",
        "rows": "int | None",
        "alias": "str",
        "share": "float",
        "names": "list[str]",
        "kind": "Literal['a', 'b']",
        "start": "Any",
        "data": "str",
    }


def test_defaults_and_comments_are_kept(known):
    assert known["month"] == Parameter("month", "int", 3, False, "the last month")
    assert known["share"].help == "of the rows"
    assert known["data"].required
    assert known["start"].default is None


def test_a_notebook_without_the_tag_declares_nothing(notebook):
    assert declared(notebook("plain", "x = 1")) == {}


def test_a_default_of_another_type_than_declared_is_refused(notebook):
    with pytest.raises(ParameterInvalid, match="month is declared int, but its default is '3'"):
        declared(notebook("train", parameters="month: int = '3'"))


def test_a_cell_that_is_not_python_is_refused_with_its_line(notebook):
    with pytest.raises(ParameterInvalid, match=r"parameters cell of train.ipynb .*line 2"):
        declared(notebook("train", parameters="x = 1\ny = ="))


def test_a_file_that_is_no_notebook_is_refused(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("{")
    with pytest.raises(ParameterInvalid, match="is not a notebook"):
        declared(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mnth": 3}, r"no parameter 'mnth'\s+→ did you mean 'month'\?"),
        ({"month": "3"}, r"'month' of step 'train' is int, not \"3\" \(str\)"),
        ({"month": True}, r"is int, not true \(bool\)"),
        ({"month": 3.5}, "is int, not 3.5"),
        ({"rows": "all"}, r"is int \| None"),
        ({"names": ["a", 1]}, r"is list\[str\]"),
        ({"kind": "c"}, "Literal"),
        ({"share": float("nan")}, "no JSON value"),
        ({"share": {1, 2}}, "type set is no JSON value"),
        ({"month=1; import os": 1}, "is not an identifier"),
        ({"import": 1}, "is not an identifier"),
        ({"month": 4}, "needs a value for 'data'"),
    ],
)
def test_what_is_unknown_mistyped_hostile_or_missing_is_refused(known, given, message):
    with pytest.raises(ParameterInvalid, match=message):
        check(known, given, "step 'train'")


@pytest.mark.parametrize(
    "given", [{"rows": None}, {"rows": 5}, {"share": 1}, {"names": []}, {"start": {"a": [1]}}]
)
def test_values_of_the_declared_types_are_taken(known, given):
    assert check(known, {"data": "d", **given}, "step") == {"data": "d", **given}


def test_a_value_cannot_become_code(known, notebook):
    hostile = '"; import os; os.system("x") #\\"\n'
    assert check(known, {"data": hostile}, "step")["data"] == hostile
    from papermill.translators import PythonTranslator

    scope: dict = {}
    exec(PythonTranslator.codify({"data": hostile}), scope)
    assert scope["data"] == hostile
    assert "os" not in scope


def test_a_reference_to_a_secret_is_a_text_with_a_name(known):
    assert check(known, {"data": "secret:DB_PASSWORD"}, "step")
    for value, message in [("secret:", "no reference"), ("secret:my key", "no reference")]:
        with pytest.raises(ParameterInvalid, match=message):
            check(known, {"data": value}, "step")
    with pytest.raises(ParameterInvalid, match="is int"):
        check(known, {"data": "d", "month": "secret:MONTH"}, "step")


def test_a_default_that_refers_to_a_secret_is_no_secret_by_hand(notebook):
    path = notebook("a", parameters='password: str = "secret:DB_PASSWORD"')
    with pytest.raises(ParameterInvalid, match="would take password") as raised:
        declared(path)
    assert raised.value.hint == 'write password: str = mlops.secret("DB_PASSWORD")'
    path = notebook("a", parameters='password: str = mlops.secret("DB_PASSWORD")')
    assert declared(path)["password"].required is False


def test_parameters_in_another_language_are_refused_since_nobody_could_check_them(tmp_path):
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "n = 3"}
    metadata = {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}
    path = tmp_path / "r.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": metadata}))
    with pytest.raises(ParameterInvalid, match=r"r.ipynb is in R"):
        declared(path)
