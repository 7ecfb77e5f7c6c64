"""Cards and records show data as text and as HTML, escaped, and never a zero for an unknown."""

import base64
import dataclasses
import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from mlops_magics.cards import Badge, Block, Card, Code, Grid, Interval, Meter, Spark, Time, image
from mlops_magics.errors import MlopsError
from mlops_magics.records import Record, Table, plain

HOSTILE = "<img src=x onerror=alert(1)>\"'&</style><script>alert(2)</script>"


@dataclasses.dataclass(frozen=True)
class Point(Record):
    name: str
    value: float


@dataclasses.dataclass(frozen=True)
class Points(Table):
    pass


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def _parse(html):
    parser = Tags()
    parser.feed(html)
    return parser


@pytest.mark.parametrize("inside", [str, Code, Badge, Block])
def test_text_from_data_never_becomes_html(inside):
    card = Card(
        title=HOSTILE,
        subtitle=HOSTILE,
        badge=Badge(HOSTILE, "bad"),
        facts=[(HOSTILE, inside(HOSTILE))],
        grids=[Grid([HOSTILE], [[inside(HOSTILE)], [[HOSTILE]]], title=HOSTILE)],
        parts=[Card(HOSTILE, facts=[(HOSTILE, inside(HOSTILE))], notes=[HOSTILE])],
        notes=[HOSTILE],
        next=[HOSTILE],
    )
    parsed = _parse(card.html())
    assert not {"img", "script"} & {tag for tag, _ in parsed.tags}
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)
    assert "".join(parsed.text).count("onerror=alert(1)") >= 12


def test_an_unknown_value_is_a_dash_and_not_a_zero():
    grid = Grid(["a", "b"], [[None, float("nan")], [1, 0.0]])
    assert Card("x", grids=[grid]).text().splitlines()[-2].split() == ["–", "–"]
    assert Card("x", facts=[("when", Time(None))]).text().endswith("–")


def test_a_block_keeps_its_lines_and_a_part_stands_inside_its_card():
    part = Card("gate", badge=Badge("FAILED", "bad"), facts=[("source", Block("if x:\n\n    y"))])
    card = Card("flights", facts=[("cells", Meter(3, 8))], parts=[part], next=["mlops runs"])
    assert card.text().splitlines() == [
        "flights",
        "  cells  3 of 8",
        "",
        "  gate  ✗ FAILED",
        "    source  if x:",
        "",
        "                y",
        "  → mlops runs",
    ]
    markup = card.html()
    assert markup.count("<style>") == 1
    assert "if x:\n\n    y</pre>" in markup
    assert 'style="width:38%"' in markup


def test_text_columns_line_up_and_numbers_are_right_aligned():
    lines = (
        Card("x", grids=[Grid(["name", "rows"], [["a", 5], ["bbbb", 1200]])]).text().splitlines()
    )
    assert lines[-2].endswith("    5")
    assert lines[-1].endswith("1,200")
    assert len(lines[-1]) == len(lines[-2])


def test_an_interval_and_a_spark_show_in_both_forms():
    card = Card("x", facts=[("auc", Interval(0.75, 0.7, 0.8)), ("hist", Spark([1, 2], [2, 1]))])
    assert "0.75 [0.7, 0.8]" in card.text()
    assert "<svg" in card.html()
    assert card.html().count("<rect") == 4


def test_a_record_is_json_whatever_its_fields_hold():
    value = {"a": np.float32(1.5), "b": np.array([1, 2]), "c": float("inf"), "d": pd.Timestamp(0)}
    assert json.loads(json.dumps(plain(value))) == {
        "a": 1.5,
        "b": [1, 2],
        "c": None,
        "d": "1970-01-01T00:00:00",
    }


def test_a_table_iterates_indexes_and_is_a_frame():
    points = Points([Point("a", 1.0), Point("b", 2.0)])
    assert [point.name for point in points] == ["a", "b"]
    assert points[1].value == 2.0
    assert points.df.to_dict("list") == {"name": ["a", "b"], "value": [1.0, 2.0]}
    assert "nothing here yet" in str(Points([]))


def test_rows_beyond_those_shown_are_folded_and_still_there():
    card = Card("x", grids=[Grid(["name"], [["a"], ["b"], ["c"], ["d"]], shown=2)])
    assert card.text().splitlines()[-3:] == ["  a", "  b", "  … 2 more"]
    parsed = _parse(card.html())
    assert "details" in {tag for tag, _ in parsed.tags}
    assert "d" in parsed.text


def test_a_drawing_is_an_image_in_which_nothing_can_run():
    svg = "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    shown = image(svg, 'a "quoted" <name>')
    assert "<svg" not in shown
    assert 'alt="a &quot;quoted&quot; &lt;name&gt;"' in shown
    data = shown.split("base64,")[1].split('"')[0]
    assert base64.b64decode(data).decode() == svg


def test_what_to_do_next_is_a_command_in_a_shell_and_a_magic_in_a_notebook():
    card = Card("x", next=["mlops promote a@b --reason 'x'"])
    assert "→ mlops promote a@b" in card.text()
    assert "<code>%mlops_promote a@b" in card.html()


def test_a_terminal_cuts_what_is_too_wide_but_no_command():
    command = "mlops promote " + "x" * 80
    grid = Grid(["said", "run"], [["word " * 40, Code(command)], ["語" * 50, ""]])
    shown = Card("x", grids=[grid]).text()
    assert command in shown
    assert "word " * 11 + "word…" in shown
    assert "語" * 29 + "…" in shown
    assert "語" * 50 in Card("x", grids=[grid]).html()


def test_notes_and_next_name_magics_in_a_notebook():
    card = Card("x", notes=["nothing yet: mlops ingest SOURCE NAME"], next=["mlops pipeline run x"])
    assert "nothing yet: %mlops_ingest SOURCE NAME" in card.html()
    assert "<code>%mlops_pipeline run x</code>" in card.html()
    assert "nothing yet: mlops ingest SOURCE NAME" in card.text()


def test_a_name_from_data_cannot_steer_the_terminal():
    steering = "\x1b]0;owned\x07\x1b[2J\x9b31m"
    card = Card(steering, facts=[(steering, steering)], grids=[Grid([steering], [[steering]])])
    assert not [sign for sign in card.text() if sign != "\n" and not sign.isprintable()]
    error = MlopsError(f"no column {steering!s}", hint=steering)
    assert not [sign for sign in str(error) if sign != "\n" and not sign.isprintable()]
