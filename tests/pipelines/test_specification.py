"""A specification is understood, or refused with file, line and the nearest name."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from mlops_magics.errors import SpecInvalid
from mlops_magics.pipelines.specification import read, schema

GOOD = """\
name: delays
parameters:
  month: 3
  rows: {type: int | None, default: null}
steps:
  train:
    notebook: train.ipynb
    parameters: {data: "${steps.ingest.outputs.data}"}
    retries: 2
    timeout: 60
  ingest:
    notebook: ingest.ipynb
    parameters:
      month: ${parameters.month}
"""


@pytest.fixture
def good(notebook, pipeline):
    notebook("ingest", parameters="month: int = 1")
    notebook("train", parameters="data: str")
    return pipeline


def test_steps_are_ordered_and_a_reference_is_a_need(good):
    found = read(good(GOOD))
    assert list(found.steps) == ["ingest", "train"]
    assert found.steps["train"].needs == ("ingest",)
    assert (found.steps["train"].retries, found.steps["train"].timeout) == (2, 60)
    assert found.parameters["rows"].type == "int | None"
    assert found.parameters["month"].type == "int"


def test_a_folder_stands_for_its_pipeline(good):
    path = good(GOOD)
    assert read(path.parent).path == path


def test_a_notebook_alone_is_a_pipeline_of_one_step(good):
    alone = read(good(GOOD).parent / "ingest.ipynb")
    assert (alone.name, list(alone.steps)) == ("ingest", ["ingest"])
    assert alone.parameters["month"].default == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("notebook: ingest", "notbook: ingest", r"line 12: .*'notbook'\s+→ did you mean 'noteb"),
        ("ingest.ipynb", "ingst.ipynb", r"line 12: .*'ingst.ipynb'\s+→ did you mean 'ingest.ip"),
        ("s.ingest.o", "s.ingst.o", r"line 8: .*names no step.*\s+→ did you mean 'ingest'"),
        ("      month: $", "      mont: $", r"line 14: .*no parameter 'mont'\s+→ did you mean"),
        ("      month: $", "      'x=1; import os': $", "line 14: .*is not an identifier"),
        ("${parameters.month}", "x", "line 14: .*is int"),
        ("${parameters.month}", "2013-01-01", "line 14: .*is no JSON value"),
        ("${parameters.month}", "secret:my key", "line 14: .*is no reference to a secret"),
        ("${parameters.month}", "${parameters.mont}", r"line 14: .*did you mean 'month'"),
        ("${parameters.month}", "${month}", "line 14: .*is no reference"),
        ("${parameters.month}", "${steps.train.outputs.x}", "line 5: .*in a circle"),
        ("    retries: 2", "    needs: [ingst]", r"line 9: .*'ingst'\s+→ did you mean 'ingest'"),
        ("retries: 2", "retries: -2", "line 9: .*less than the minimum"),
        ("timeout: 60", "timeout: soon", "line 10: .*'soon' is not of type 'number'"),
        ("default: null", "default: all", r"line 4: .*int \| None"),
        ("default: null", "defalt: null", r"line 4: .*'defalt'\s+→ did you mean 'default'"),
        ("name: delays", "name: ../delays", "line 1: .*does not match"),
        ("name: delays", "name: 2013-01-01", "line 1: .*no JSON value"),
        ("name: delays\n", "", "'name' is a required property"),
        ("  ingest:", "  train:", "line 11: 'train' is there twice"),
        ("steps:", "steps: [}", "line 5: "),
        ("parameters: {data", "parameter: {data", "line 8: .*did you mean 'parameters'"),
        ('{data: "${steps.ingest.outputs.data}"}', "{}", "line 6: .*needs a value for 'data'"),
    ],
)
def test_a_mistake_is_named_with_line_and_nearest_name(good, old, new, message):
    path = good(GOOD.replace(old, new, 1))
    with pytest.raises(SpecInvalid, match=f"(?s){message}") as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert raised.value.exit_status == 2


def test_a_short_runs_parameters_are_the_pipelines_own(good):
    assert read(good(f"{GOOD}smoke: {{rows: 2000}}")).smoke == {"rows": 2000}
    with pytest.raises(SpecInvalid, match=r"(?s)line 15: .*'rosw'.*did you mean 'rows'"):
        read(good(f"{GOOD}smoke: {{rosw: 2000}}"))
    with pytest.raises(SpecInvalid, match=r"line 15: .*'rows'"):
        read(good(f"{GOOD}smoke: {{rows: many}}"))


def test_an_empty_and_a_missing_file_are_refused(pipeline, tmp_path):
    with pytest.raises(SpecInvalid, match="is empty"):
        read(pipeline(""))
    with pytest.raises(SpecInvalid, match="there is no pipeline"):
        read(tmp_path / "none.yaml")


def test_the_published_schema_is_a_schema_and_takes_our_own_pipeline():
    Draft202012Validator.check_schema(schema())
    own = Path(__file__).parents[2] / "notebooks" / "flight_delay" / "pipeline.yaml"
    content = yaml.safe_load(own.read_text("utf-8"))
    assert list(Draft202012Validator(schema()).iter_errors(content)) == []
    assert json.dumps(read(own).parameters["month"].default) == "3"
