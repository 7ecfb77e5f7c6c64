import io

import click
import pandas as pd
import pytest

from mlops_magics.cli.parameters import DATA, DURATION, LATENCY, ROWS, Choice, Pairs, gather
from mlops_magics.errors import InvalidArgument, MlopsError, SourceUnreadable, UnknownName

CONTEXT = click.Context(click.Command("any"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=3", 3),
        ("rate=0.5", 0.5),
        ("big=1e3", 1000.0),
        ("yes=true", True),
        ("yes=True", True),
        ("none=null", None),
        ("word=flights", "flights"),
        ("equals=a=b", "a=b"),
        ("empty=", ""),
        ('text="3"', "3"),
        ("many=[1, 2]", [1, 2]),
        ("nan=NaN", "NaN"),
    ],
)
def test_a_pair_reads_values_as_what_they_look_like(text, value):
    (found,) = Pairs().convert(text, None, CONTEXT).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["auc", "=3", "auc=high", ""])
def test_a_number_pair_takes_nothing_else(text):
    with pytest.raises(click.BadParameter):
        Pairs(numbers=True).convert(text, None, CONTEXT)


def test_repeated_pairs_are_one_mapping_and_none_of_them_is_none():
    assert gather(({"a": 1}, {"b": 2})) == {"a": 1, "b": 2}
    assert gather(()) is None


@pytest.mark.parametrize(("text", "ms"), [("5ms", 5), ("0.2s", 200), ("20", 20), ("1.5 ms", 1.5)])
def test_a_latency_is_milliseconds(text, ms):
    assert LATENCY.convert(text, None, CONTEXT) == ms


@pytest.mark.parametrize("text", ["fast", "-5ms", "5 minutes", ""])
def test_a_latency_that_is_none_is_refused(text):
    with pytest.raises(click.BadParameter):
        LATENCY.convert(text, None, CONTEXT)


def test_drifts_subject_is_an_endpoint_also_where_a_variable_is_called_so():
    from click.testing import CliRunner

    from mlops_magics.cli.caller import Caller
    from mlops_magics.cli.parameters import COMPARED

    frame, other = pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2]})

    @click.command()
    @click.argument("subject", type=COMPARED)
    @click.option("--reference", type=DATA, is_eager=True)
    def command(subject, reference):
        click.echo(f"{subject is frame} {reference is other} {subject!r:.8}")

    caller = Caller()
    caller.namespace = {"flights": frame, "may": other}
    said = [
        CliRunner().invoke(command, words, obj=caller, catch_exceptions=False).output
        for words in (["flights"], ["flights", "--reference", "may"])
    ]
    assert said[0].startswith("False False 'flights")
    assert said[1].startswith("True True")


def test_a_duration_has_a_unit():
    assert DURATION.convert("1h", None, CONTEXT) == "1h"
    with pytest.raises(click.BadParameter, match="such as"):
        DURATION.convert("1", None, CONTEXT)


def test_a_wrong_choice_gets_the_nearest():
    with pytest.raises(UnknownName, match="durable"):
        Choice(["durable", "off"]).convert("durabel", None, CONTEXT)


def test_a_file_is_read_as_a_table_and_other_text_names_a_dataset(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,x\n")
    assert DATA.convert(str(path), None, CONTEXT).to_dict("list") == {"a": [1], "b": ["x"]}
    assert DATA.convert("flights/2", None, CONTEXT) == "flights/2"
    with pytest.raises(SourceUnreadable):
        DATA.convert(str(tmp_path / "missing.csv"), None, CONTEXT)


def test_rows_may_be_written_out_as_json():
    assert ROWS.convert('{"month": 3}', None, CONTEXT) == {"month": 3}
    assert ROWS.convert('[{"month": 3}]', None, CONTEXT) == [{"month": 3}]
    with pytest.raises(InvalidArgument, match="not JSON"):
        ROWS.convert("{month}", None, CONTEXT)


@pytest.mark.parametrize("text", ["", "month\n", "a,a\n1,2\n"])
def test_standard_input_that_is_no_table_is_refused(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(MlopsError):
        ROWS.convert("-", None, CONTEXT)


def test_standard_input_may_be_json(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('\n[{"month": 3}]'))
    assert ROWS.convert("-", None, CONTEXT) == [{"month": 3}]


def test_an_object_passes_as_it_is():
    frame = pd.DataFrame()
    assert DATA.convert(frame, None, CONTEXT) is frame
