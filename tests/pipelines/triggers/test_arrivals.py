"""N - 1 new rows fire nothing; N rows fire once."""

from __future__ import annotations

import time

import pandas as pd
import pytest

import mlops_magics as mlops
from mlops_magics.errors import DatasetNotFound, InvalidArgument, SourceUnreadable
from mlops_magics.pipelines.triggers.watch import Watch
from mlops_magics.store import tables


@pytest.mark.parametrize("restarted", [False, True])
def test_rows_that_are_appended_fire_when_they_are_enough(
    workspace, add, fires, tmp_path, clock, runs, restarted
):
    path = tmp_path / "flights.csv"
    path.write_text("month,late\n" + "1,0\n" * 50)  # what is there already does not count
    add(data=str(path), rows=10)

    def append(count):
        with path.open("a") as file:
            file.write("2,1\n" * count)

    append(9)
    assert fires() == []
    append(1)
    if restarted:
        watch = Watch(workspace, now=clock, launch=runs)
        assert len(watch.look()) == 1
        assert watch.start_due() == 1
        assert runs.jobs[0].reason == f"10 new rows in {path}; 10 were waited for"
    else:
        assert fires() == [f"10 new rows in {path}; 10 were waited for"]
    assert fires() == []
    append(9)
    assert fires() == []
    append(23)
    assert fires() == [f"32 new rows in {path}; 10 were waited for"]


def test_rows_of_all_files_of_a_folder_count_and_files_that_go_take_none_away(add, fires, tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    pd.DataFrame({"x": range(100)}).to_parquet(folder / "old.parquet")
    add(data=str(folder), rows=10)
    pd.DataFrame({"x": range(6)}).to_parquet(folder / "a.parquet")
    (folder / "_being_written.csv").write_text("x\n" + "1\n" * 50)
    assert fires() == []
    (folder / "old.parquet").unlink()
    (folder / "b.jsonl").write_text('{"x": 1}\n' * 4)
    assert fires() == [f"10 new rows in {folder}; 10 were waited for"]


def test_files_that_are_new_or_changed_count(add, fires, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"1")
    add(data=f"{folder}/*.png", files=2)
    (folder / "b.png").write_bytes(b"1")
    (folder / "notes.txt").write_text("no image")
    assert fires() == []
    (folder / "a.png").write_bytes(b"22")
    assert fires() == [f"2 new or changed files of {folder}/*.png; 2 were waited for"]
    assert fires() == []


def test_a_dataset_counts_by_its_newest_version(workspace, add, fires):
    def ingest(count):
        mlops.ingest(pd.DataFrame({"x": range(count)}), "flights", workspace=workspace)

    ingest(100)
    add(data="flights", rows=10, name="rows")
    add(data="flights", files=2, name="versions", overlap=True)
    ingest(109)
    assert fires() == []
    ingest(110)
    told = fires()
    assert sorted(told) == [
        "10 new rows of dataset flights; 10 were waited for",
        "2 new versions of dataset flights; 2 were waited for",
    ]
    ingest(5)  # made anew: from here on it grows again
    assert fires() == []
    ingest(15)
    assert [one for one in fires() if "rows" in one] == [
        "10 new rows of dataset flights; 10 were waited for"
    ]


def test_predictions_of_an_endpoint_count_but_refused_and_mirrored_ones_do_not(
    answered, add, fires
):
    add(predictions="flight-delay", rows=3)

    def predict(number, **values):
        row = {"prediction_id": f"p{number}", "request_id": f"p{number}", "row": 0}
        row |= {"endpoint": "flight-delay", "time": time.time(), "status": 200, "latency": 1.0}
        with answered.database.begin() as connection:
            connection.execute(tables.predictions.insert().values(**row | values))

    predict(1)
    predict(2)
    predict(3, status=400)
    predict(4, mirror_of="p1")
    predict(5, endpoint="other")
    assert fires() == []
    predict(6)
    assert fires() == ["3 new predictions of endpoint flight-delay; 3 were waited for"]
    assert fires() == []


def test_what_is_not_there_is_refused_when_the_trigger_is_made(workspace, add, tmp_path):
    with pytest.raises(DatasetNotFound, match="no dataset 'flights'"):
        add(data="flights", rows=1)
    with pytest.raises(SourceUnreadable, match="there is no"):
        add(data=str(tmp_path / "none" / "*.csv"), rows=1)
    with pytest.raises(SourceUnreadable, match="there is no"):
        add(data="data/flights.csv", rows=1)
    with pytest.raises(InvalidArgument, match="with a secret"):
        add(data="https://ana:pw@host/data.csv", rows=1)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(SourceUnreadable, match="cannot be counted"):
        add(data=str(tmp_path / "a.xlsx"), rows=1)
    assert len(mlops.triggers(workspace=workspace)) == 0
