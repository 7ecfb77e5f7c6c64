"""Ten thousand generated requests: none is accepted that a slow, independent check refuses.

Nine thousand are mutations of what hypothesis makes.

The check reads a body with Python's json, keeping numbers as they are written, and goes through it
by the rules of the signature. Nothing of the decoder under test is used in it.
"""

import base64
import datetime
import json
import math
import random
import re
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_magics.serving import openinference, protocol
from mlops_magics.serving.columns import Invalid
from mlops_magics.serving.params import Param, Params
from mlops_magics.serving.validation import Column, Schema

COLUMNS = {
    "flag": ("boolean", True),
    "small": ("integer", True),
    "wide": ("long", True),
    "ratio": ("double", False),
    "single": ("float", True),
    "text": ("string", False),
    "when": ("datetime", True),
    "blob": ("binary", True),
}
SCHEMA = Schema(
    [Column(name, kind, required) for name, (kind, required) in COLUMNS.items()],
    Params([Param("threshold", "double", 0.5)]),
)
_GENERATED = settings(
    max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


class Written(str):
    """A number as it is written."""


def parsed(text):
    def pairs(items):
        if len({name for name, _ in items}) < len(items):
            raise ValueError("a key twice")
        return dict(items)

    def no_constant(name):
        raise ValueError(name)

    return json.loads(
        text.decode("utf-8"),
        object_pairs_hook=pairs,
        parse_int=Written,
        parse_float=Written,
        parse_constant=no_constant,
    )


def fits(value, kind, required):
    """Whether a value, as `parsed` gives it, is of a type."""
    if value is None:
        return not required
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "long"):
        bits = 31 if kind == "integer" else 63
        if not isinstance(value, Written) or not re.fullmatch(r"-?\d{1,30}", value):
            return False
        return -(2**bits) <= int(value) < 2**bits
    if kind in ("float", "double"):
        if not isinstance(value, Written):
            return False
        most = 3.4028234663852886e38 if kind == "float" else math.inf
        return math.isfinite(float(value)) and abs(float(value)) <= most
    if isinstance(value, Written) or not isinstance(value, str):
        return False
    if kind == "datetime":
        try:
            datetime.datetime.fromisoformat(value.replace("z", "Z"))
        except ValueError:
            return False
        return bool(re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", value))
    if kind == "binary":
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            return False
    return True


def expected(body):
    """The rows that a body may be accepted as, every value as it is written; None: refuse it."""
    try:
        found = parsed(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    params = found.pop("params", None)
    if params is not None and not (
        isinstance(params, dict)
        and set(params) <= {"threshold"}
        and all(fits(value, "double", True) for value in params.values())
    ):
        return None
    if len(found) != 1:
        return None
    ((form, rows),) = found.items()
    if form == "dataframe_split":
        if not isinstance(rows, dict) or set(rows) - {"index"} != {"columns", "data"}:
            return None
        names, data = rows["columns"], rows["data"]
        if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
            return None
        rows = _records(names, data)
    elif form in ("instances", "inputs"):
        if isinstance(rows, dict):
            rows = _transposed(rows)
        elif isinstance(rows, list) and rows and not isinstance(rows[0], dict):
            rows = _records(list(COLUMNS), rows)
    elif form != "dataframe_records":
        return None
    if not isinstance(rows, list):
        return None
    return rows if all(_row_fits(row) for row in rows) else None


def _records(names, data):
    if not isinstance(data, list) or len(set(names)) < len(names):
        return None
    needed = {name for name, (_, required) in COLUMNS.items() if required}
    if not needed <= set(names) <= set(COLUMNS):
        return None
    if any(not isinstance(row, list) or len(row) != len(names) for row in data):
        return None
    return [dict(zip(names, row, strict=True)) for row in data]


def _transposed(columns):
    values = list(columns.values())
    if any(not isinstance(one, list) for one in values) or len({len(one) for one in values}) > 1:
        return None
    return _records(list(columns), [list(row) for row in zip(*values, strict=True)])


def _row_fits(row):
    return (
        isinstance(row, dict)
        and set(row) <= set(COLUMNS)
        and all(name in row or not required for name, (_, required) in COLUMNS.items())
        and all(fits(row[name], *COLUMNS[name]) for name in row)
    )


def same(decoded, written, kind):
    if written is None:
        return decoded is None
    if kind in ("integer", "long"):
        return type(decoded) is int and decoded == int(written)
    if kind in ("float", "double"):
        return type(decoded) is float and decoded == float(written)
    if kind == "datetime":
        return isinstance(decoded, datetime.datetime)
    if kind == "binary":
        return decoded == base64.b64decode(written)
    return type(decoded) is type(written) and decoded == written


good = {
    "boolean": st.booleans(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "string": st.text(max_size=8),
    "datetime": st.datetimes().map(datetime.datetime.isoformat),
    "binary": st.binary(max_size=6).map(lambda value: base64.b64encode(value).decode()),
}
good["double"] = good["double"] | st.integers(-(2**70), 2**70)
hostile = st.sampled_from(
    [
        *("7", "", "NaN", "true", "1e5", "2013-02-30T00:00:00", "10000-01-01T00:00:00", "\0", "é"),
        *(True, False, None, 0, -0.0, 1.0, 1.5, 2**31, 2**63, -(2**63) - 1, 2**64, 10**40, 1e39),
        *([], [1], {}, {"a": 1}, math.nan, math.inf, 5e-324, 1.7976931348623157e308),
    ]
)
anything = st.recursive(
    hostile | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


TOKENS = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"1e999", b"NaN", b"-", b"0", b".", b"null"]


@st.composite
def values(draw, spoilt):
    row = {name: draw(good[kind]) for name, (kind, _) in COLUMNS.items()}
    for name, (_, required) in COLUMNS.items():
        if not required and draw(st.booleans()):
            row[name] = None
    if spoilt:
        for name in draw(st.lists(st.sampled_from([*COLUMNS, "other"]), min_size=1, max_size=2)):
            row[name] = draw(anything)
        if draw(st.integers(0, 4)) == 0:
            row.pop(draw(st.sampled_from(list(COLUMNS))), None)
    return row


@st.composite
def bodies(draw):
    """Bodies that are valid, nearly so, or not at all; often with bytes changed."""
    rows = [draw(values(draw(st.integers(0, 2)) == 0)) for _ in range(draw(st.integers(0, 3)))]
    names = draw(st.permutations(list(COLUMNS)))
    table = {"columns": names, "data": [[row.get(name) for name in names] for row in rows]}
    columns = {name: [row.get(name) for row in rows] for name in names}
    form, content = draw(
        st.sampled_from(
            [
                ("dataframe_split", table),
                ("dataframe_records", rows),
                ("instances", rows),
                ("inputs", rows),
                ("inputs", columns),
                ("instances", [[row.get(name) for name in COLUMNS] for row in rows]),
            ]
        )
        | st.tuples(st.sampled_from(["inputs", "rows", "dataframe_split"]), anything)
    )
    body = {form: content}
    if draw(st.integers(0, 4)) == 0:
        body["params"] = draw(
            st.fixed_dictionaries({"threshold": st.floats(allow_nan=False) | hostile}) | anything
        )
    text = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(text)))
        text = (
            text[:place] + draw(st.binary(max_size=3) | st.sampled_from(TOKENS)) + text[place + 1 :]
        )
    return text


def mutated(body, count):
    """The body, and as many of its kind with a few bytes cut, doubled or replaced."""
    chance = random.Random(zlib.crc32(body))
    yield body
    for _ in range(count):
        text = body
        for _ in range(chance.choice([1, 1, 2, 3])):
            first = chance.randrange(len(text) + 1)
            last = first + chance.choice([0, 0, 1, 1, 2, 9])
            part = chance.choice([b"", text[first:last] * 2, chance.choice(TOKENS)])
            text = text[:first] + part + text[last:]
        yield text


@_GENERATED
@given(bodies())
def test_no_body_is_accepted_that_the_slow_check_refuses(body):
    for one in mutated(body, 30):
        hold(one)


def hold(body):
    wanted = expected(body)
    try:
        rows = protocol.decode_invocation(body, SCHEMA).rows
    except Invalid:
        return
    assert wanted is not None, body
    assert len(rows) == len(wanted)
    for row, written in zip(rows, wanted, strict=True):
        for (name, (kind, _)), value in zip(COLUMNS.items(), row, strict=True):
            assert same(value, written.get(name), kind), (name, value)


@_GENERATED
@given(st.lists(values(False), max_size=3), st.permutations(list(COLUMNS)))
def test_every_valid_body_is_accepted_with_all_its_values(rows, names):
    table = {"columns": names, "data": [[row[name] for name in names] for row in rows]}
    for body in ({"dataframe_split": table}, {"dataframe_records": rows}):
        text = json.dumps(body).encode()
        wanted = expected(text)
        assert wanted is not None
        found = protocol.decode_invocation(text, SCHEMA).rows
        for row, written in zip(found, wanted, strict=True):
            for (name, (kind, _)), value in zip(COLUMNS.items(), row, strict=True):
                assert same(value, written[name], kind), (name, value)


CSV = Schema([Column("wide", "long"), Column("ratio", "double", False), Column("text", "string")])


@_GENERATED
@given(
    st.lists(st.lists(st.text(max_size=6) | st.integers().map(str), max_size=4), max_size=4),
    st.sampled_from(["wide,ratio,text", "text,wide", "wide", "text,text,wide", "", "\0"]),
)
def test_no_csv_is_taken_for_more_than_it_says(lines, header):
    text = "\n".join([header, *(",".join(line) for line in lines)])
    try:
        rows = protocol.decode_csv(text.encode("utf-8", "replace"), CSV)
    except Invalid:
        return
    for wide, ratio, _ in rows:
        assert type(wide) is int
        assert str(wide) in re.sub(r"(?<!\d)0+(?=\d)", "", text)
        assert ratio is None or math.isfinite(ratio)


INFERRED = Schema([Column("wide", "long"), Column("ratio", "double"), Column("flag", "boolean")])
_KINDS = ["INT64", "INT8", "UINT64", "FP64", "FP16", "BOOL", "BYTES", "INT7"]


@st.composite
def inferences(draw):
    entries = []
    for name, kind in (("wide", "INT64"), ("ratio", "FP64"), ("flag", "BOOL")):
        data = draw(
            st.lists(good[INFERRED.by_name[name].kind], min_size=2, max_size=2)
            | st.lists(anything, max_size=3)
        )
        entry = {
            "name": name,
            "shape": draw(st.sampled_from([[2], [2], [2], [2, 1], [1], [-2], [2**62, 4], []])),
            "datatype": draw(st.sampled_from([kind, kind, kind, *_KINDS])),
            "data": data,
        }
        if draw(st.integers(0, 4)) == 0:
            entry.pop(draw(st.sampled_from(list(entry))))
        if draw(st.integers(0, 4)) == 0:
            entry["parameters"] = {"binary_data_size": draw(st.integers(-2, 40) | hostile)}
            entry.pop("data", None)
        entries.append(entry)
    return json.dumps({"inputs": entries}).encode("utf-8", "replace")


@_GENERATED
@given(inferences(), st.binary(max_size=40), st.sampled_from([None, 0, 1, -1]))
def test_no_inference_request_is_coerced(head, tail, header):
    length = None if header is None else str(len(head) + header).encode()
    body = head if header is None else head + tail
    try:
        found = openinference.decode_infer(body, INFERRED, length)
    except Invalid:
        return
    for row in found.rows:
        assert [type(value) for value in row] == [int, float, bool]
    try:
        entries = {entry["name"]: entry for entry in parsed(head)["inputs"]}
    except ValueError:
        pytest.fail("what is no JSON was accepted")
    for place, (name, kind) in enumerate(
        [("wide", "long"), ("ratio", "double"), ("flag", "boolean")]
    ):
        if "data" in entries[name]:
            flat = entries[name]["data"]
            flat = [one[0] if isinstance(one, list) else one for one in flat]
            assert all(fits(value, kind, True) for value in flat)
            assert [row[place] for row in found.rows] == [
                json.loads(value) if isinstance(value, Written) else value for value in flat
            ]
