"""The rows of a file are counted as a reader would, and of a growing file only what is new."""

from __future__ import annotations

import gzip
import json

import pandas as pd
import pytest

from mlops_magics.errors import SourceUnreadable
from mlops_magics.pipelines.triggers.rows import Count, count
from mlops_magics.store import files


def rows(path, before=None) -> int:
    return counted(path, before).rows


def counted(path, before=None) -> Count:
    [file] = files.find(str(path))
    found = count(file, before)
    # as it comes back from the database
    return Count(**json.loads(json.dumps(found.to_dict())))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"x,y\n1,2\n3,4\n", 2),
        ("a.csv", b"x,y\n1,2\n3,4", 2),  # without a last line end
        ("a.csv", b"x,y\r\n1,2\r\n\r\n3,4\r\n\r\n", 2),  # empty lines are no rows
        ("a.csv", b'x,y\n"one\ntwo\n\nthree",2\n"a ""b""\n",4\n', 2),  # line ends inside quotes
        ("a.csv", b"x,y\n", 0),
        ("a.csv", b"", 0),
        ("a.tsv", b"x\ty\n1\t2\n", 1),
        ("a.jsonl", b'{"x": "a \\"b"}\n{"x": 2}\n', 2),
        ("a.ndjson", b'{"x": 1}\n\n{"x": 2}', 2),
        ("a.csv.gz", gzip.compress(b"x\n1\n2\n", mtime=0), 2),
    ],
)
def test_rows_are_counted_as_a_reader_finds_them(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert rows(path) == expected


def test_a_parquet_file_is_counted_by_its_footer(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"x": range(1234)}).to_parquet(path)
    assert rows(path) == 1234


def test_of_a_file_that_grows_only_what_is_new_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x,y\n1,2\n")
    first = counted(path)
    assert (first.rows, first.read) == (1, 8)
    # what was read is not looked at again: it could be anything of that length
    path.write_bytes(b"?,?\n?,?\n3,4\n5,")
    second = counted(path, first)
    assert (second.rows, second.read) == (3, 12)
    path.write_bytes(b"?,?\n?,?\n3,4\n5,6\n7,8\n")
    assert rows(path, second) == 4


def test_a_file_that_was_written_anew_is_counted_anew(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x\n1\n2\n3\n")
    before = counted(path)
    path.write_bytes(b"x\n1\n")
    assert rows(path, before) == 1
    path.write_bytes(b"name\nanastasia\nbenedikt\n")
    assert rows(path, before) == 2


def test_what_cannot_be_counted_is_named(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"PK")
    with pytest.raises(SourceUnreadable, match=r"a\.xlsx cannot be counted"):
        rows(path)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 half of it")
    with pytest.raises(SourceUnreadable, match=r"a\.parquet cannot be read as parquet"):
        rows(path)
