"""What is wrong is refused by each face before a process, a kernel or a run in MLflow is there."""

import pytest

from mlops_magics.cli import main
from mlops_magics.errors import ParameterInvalid, SpecInvalid
from mlops_magics.pipelines.executor import Executor
from mlops_magics.pipelines.runner import run_pipeline

SPEC = """\
name: p
parameters:
  month: {type: int}
  data: flights
steps:
  a:
    notebook: a.ipynb
    parameters: {month: "${parameters.month}", data: "${parameters.data}"}
  b:
    notebook: a.ipynb
    needs: [a]
"""


@pytest.fixture
def spec(project, notebook, pipeline, monkeypatch):
    """Write a pipeline; whoever starts a process fails the test."""

    def never(*_):
        raise AssertionError("a process was started")

    monkeypatch.setattr(Executor, "_process", never)
    notebook("a", parameters="month: int = 1\ndata: str = 'x'")
    return pipeline


@pytest.fixture
def call(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["pipeline", "run", *map(str, arguments)])
        return left.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"mont": 3}, ["-p", "mont", "3"], "did you mean 'month'?"),
        ({}, [], "needs a value for 'month'"),
        ({"month": "three"}, ["--param", "month=three"], "'month' of pipeline 'p' is int, not"),
        ({"month": True}, ["-y", "month: true"], "is int, not true (bool)"),
        ({"month": 3, "data": 7}, ["-y", "{month: 3, data: 7}"], "is str, not 7 (int)"),
        ({"month": "3"}, ["-r", "month", "3"], 'is int, not "3" (str)'),
        ({"x=1; import os": 3}, ["-p", "x=1; import os", "3"], "is not an identifier"),
        ({"x": 3, "import": 3}, ["-r", "import", "os"], "is not an identifier|no parameter 'x'"),
        ({"month": float("nan")}, ["-y", "month: .nan"], "nan is no JSON value"),
        ({"month": 3, "data": "secret:"}, ["-y", "{month: 3, data: 'secret:'}"], "no reference"),
    ],
)
def test_a_wrong_parameter(spec, call, workspace, given, options, message):
    path = spec(SPEC)
    status, told = call(path, *options)
    assert status == 2
    assert any(part in told for part in message.split("|"))
    with pytest.raises(ParameterInvalid) as raised:
        run_pipeline(path, params=given, workspace=workspace)
    assert any(part in str(raised.value) for part in message.split("|"))
    assert not (workspace.path / "pipelines").exists()


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("needs: [a]", "needs: [aa]", 11, "did you mean 'a'?"),
        ('month: "$', 'mnth: "$', 8, "did you mean 'month'?"),
        ('month: "$', "'x=1; import os': \"$", 8, "is not an identifier"),
        ("data: flights", "data: 2013-01-01", 4, "is no JSON value"),
        (
            "    notebook: a.ipynb\n    par",
            "    needs: [b]\n    notebook: a.ipynb\n    par",
            5,
            "circle",
        ),
    ],
)
def test_a_wrong_specification(spec, call, workspace, old, new, line, message):
    assert old in SPEC
    path = spec(SPEC.replace(old, new, 1))
    status, told = call(path, "-p", "month", "3")
    assert status == 2
    assert f"pipeline.yaml, line {line}: " in told
    assert message in told
    with pytest.raises(SpecInvalid, match=f"line {line}: "):
        run_pipeline(path, params={"month": 3}, workspace=workspace)
    assert not (workspace.path / "pipelines").exists()


def test_a_wrong_file_of_parameters(spec, call, tmp_path):
    path = spec(SPEC)
    given = tmp_path / "given.yaml"
    given.write_text("month: 3\nmonth: 4\n")
    status, told = call(path, "-f", given)
    assert status == 2
    assert f"{given}, line 2: 'month' is there twice" in told
    status, told = call(path, "-f", tmp_path / "gone.yaml")
    assert status == 2
    assert "there is no file" in told
    assert "did you mean" in told or "has: " in told
