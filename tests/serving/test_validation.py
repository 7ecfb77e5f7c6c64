"""Schemas decode strictly, whatever the order of the columns."""

import datetime

import pytest

from mlops_magics.errors import SignatureMissing, UnsupportedModel
from mlops_magics.serving import protocol
from mlops_magics.serving.validation import Column, Invalid, Schema


def test_integers_beyond_double_precision_survive():
    schema = Schema([Column("id", "long")])
    assert schema.split(["id"], b"[[9007199254740993]]") == [(2**53 + 1,)]
    assert protocol.decode_csv(b"id\n9007199254740993\n", schema) == [(2**53 + 1,)]


def test_columns_may_come_in_any_order_and_decoders_are_bounded():
    names = [f"c{i}" for i in range(6)]
    schema = Schema([Column(name, "long") for name in names])
    for turn in range(200):
        order = names[turn % 6 :] + names[: turn % 6]
        order = order[::-1] if turn % 2 else order
        data = str([[int(name[1:]) for name in order]]).encode()
        assert schema.split(order, data) == [(0, 1, 2, 3, 4, 5)]
    assert len(schema._orders) <= 64


def test_dates_are_read_as_the_same_moment():
    schema = Schema([Column("at", "datetime")])
    (naive,), (aware,) = schema.split(
        ["at"], b'[["2013-01-01T05:00:00"], ["2013-01-01T05:00:00Z"]]'
    )
    assert naive == datetime.datetime(2013, 1, 1, 5)
    assert aware.utcoffset() == datetime.timedelta(0)
    for text in (b'"10000-01-01T00:00:00"', b'"2013-02-30T00:00:00"', b'"yesterday"', b"5"):
        with pytest.raises(Invalid, match="column 'at': expected a date"):
            schema.split(["at"], b"[[" + text + b"]]")


def test_ragged_rows_are_named():
    schema = Schema([Column("a", "long"), Column("b", "long")])
    with pytest.raises(Invalid, match="row 1: has not as many values"):
        schema.split(["a", "b"], b"[[1, 2], [3]]")
    with pytest.raises(Invalid, match="row 1: 1 values for 2 columns"):
        protocol.decode_csv(b"a,b\n1,2\n3\n", schema)
    with pytest.raises(Invalid, match="columns differ in length: 'a' 2, 'b' 1"):
        protocol.decode_invocation(b'{"inputs": {"a": [1, 2], "b": [1]}}', schema)


def test_a_number_too_large_for_a_double_is_refused():
    schema = Schema([Column("x", "double")])
    for text in (b"1e400", b"NaN", b"Infinity"):
        with pytest.raises(Invalid):
            protocol.decode_invocation(b'{"instances": [[' + text + b"]]}", schema)


def test_a_model_without_columns_cannot_be_served():
    with pytest.raises(SignatureMissing):
        Schema.from_signature(None)
    nested = {"inputs": [{"name": "tags", "type": "array", "items": {"type": "string"}}]}
    with pytest.raises(UnsupportedModel, match="named columns"):
        Schema.from_signature(nested)
    ragged = {"dtype": "float64", "shape": [-1, -1, 3]}
    with pytest.raises(UnsupportedModel, match="only the first dimension"):
        Schema.from_signature({"inputs": [{"type": "tensor", "tensor-spec": ragged}]})


@pytest.mark.parametrize("text", ["1_000", "\u0661"])
def test_a_number_that_only_python_would_read_is_refused_in_csv(text):
    for kind in ("long", "double"):
        with pytest.raises(Invalid, match="row 0, column 'x'"):
            protocol.decode_csv(f"x\n{text}\n".encode(), Schema([Column("x", kind)]))
