"""Stream scoring: none lost and none doubled, though it is killed while a writer appends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.serving.offline import feeds
from mlops_magics.store import tables

from .test_score import CLASSES, numbered, place, spoilt  # noqa: F401

pytestmark = pytest.mark.xdist_group("served")


def watching(*more: str) -> list[str]:
    return [
        sys.executable, "-m", "mlops_magics", "stream", "--endpoint", "mixed",
        "--chunk", "50", "--poll", "0.05s", "--json", *more,
    ]  # fmt: skip


def rows_done(served, output) -> int:
    with served.workspace.database.read() as connection:
        query = sa.select(tables.scorings.c.rows).where(tables.scorings.c.output == str(output))
        return connection.execute(query).scalar() or 0


def killed_while_written(served, arguments: list[str], output, write, times: int = 2) -> dict:
    """Kill a stream at random moments while a writer appends; then let it end by itself."""
    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(times):
        before = rows_done(served, output)
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        beyond = before + random.randrange(1, 200)
        end = time.monotonic() + 120
        while rows_done(served, output) < beyond and time.monotonic() < end:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.kill()
        process.communicate()
    writer.join()
    done = subprocess.run([*arguments, "--once"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_files_moved_into_a_folder_are_scored_once_whatever_is_killed(served, place):  # noqa: F811
    inbox = place / "inbox"
    inbox.mkdir()
    table = spoilt(numbered(2000))

    def write():
        for number in range(20):
            frame = table.slice(number * 100, 100).to_pandas(integer_object_nulls=True)
            name = f"{number:02d}.{'jsonl' if number % 2 else 'parquet'}"
            if number % 2:
                frame.to_json(inbox / f".{name}", orient="records", lines=True)
            else:
                import pyarrow.parquet as pq

                pq.write_table(table.slice(number * 100, 100), inbox / f".{name}")
            (inbox / f".{name}").rename(inbox / name)
            time.sleep(0.02)

    arguments = watching("--source", "inbox", "--to", "scored")
    record = killed_while_written(served, arguments, place / "scored", write)
    parts = sorted((place / "scored").glob("part-*.parquet"))
    out = pd.concat([pd.read_parquet(part) for part in parts])
    rejected = pd.concat(
        [pd.read_parquet(part) for part in (place / "scored.rejects").glob("part-*.parquet")]
    )
    assert record["rows"] == 2000 == record["scored"] + record["rejects"]
    assert record["resumed"] > 0
    gone = [json.loads(values)["id"] for values in rejected["values"]]
    assert sorted([*out["id"], *gone]) == list(range(2000))
    assert out["source_row"].is_unique
    assert set(out["model_version"]) == {f"{record['model']}/{record['version']}"}
    assert {"column 'hour': expected a 64-bit integer, got null"} < set(rejected["reason"])


def test_lines_appended_to_a_file_are_scored_once_whatever_is_killed(served, place):  # noqa: F811
    rows = numbered(1500)
    text = rows.to_json(orient="records", lines=True)
    (place / "rows.jsonl").touch()

    def write():
        with (place / "rows.jsonl").open("w") as file:
            for start in range(0, len(text), 997):  # ends in the middle of lines
                file.write(text[start : start + 997])
                file.flush()
                time.sleep(0.002)

    arguments = watching("--source", "rows.jsonl", "--to", "scored.jsonl", "--keep", "id")
    record = killed_while_written(served, arguments, place / "scored.jsonl", write)
    out = pd.read_json("scored.jsonl", lines=True)
    assert out["id"].tolist() == list(range(1500))
    assert list(out) == ["id", *CLASSES, "model_version", "source_row"]
    assert record["rejects"] == 0


def test_a_table_goes_to_a_table_by_its_key(served, place):  # noqa: F811
    engine = sa.create_engine("sqlite:///rows.db")
    rows = numbered(300)
    rows.drop(index=[7, 8]).to_sql("flights", engine, index=False)

    def follow() -> mlops.Scoring:
        return mlops.stream(
            endpoint="mixed",
            source="sqlite:///rows.db::flights",
            to="sqlite:///scores.db::scores",
            key="id",
            chunk=50,
            once=True,
            workspace=served.workspace,
        )

    assert follow().scored == 298
    rows.loc[[7]].to_sql("flights", engine, index=False, if_exists="append")  # committed late
    last = follow()
    assert (last.rows, last.resumed) == (299, 298)
    with served.workspace.database.begin() as connection:  # as if killed before it was saved
        connection.execute(
            sa.update(tables.scorings).where(tables.scorings.c.id == last.id).values(position={})
        )
    again = follow()
    assert sorted(again.df["id"]) == [i for i in range(300) if i != 8]
    engine.dispose()


def test_sigterm_ends_a_stream_behind_its_batch(served, place):  # noqa: F811
    numbered(200).to_json("rows.jsonl", orient="records", lines=True)
    arguments = watching("--source", "rows.jsonl", "--to", "scored.jsonl")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, start_new_session=True)
    while rows_done(served, place / "scored.jsonl") < 200:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(told)["scored"] == 200
    with served.workspace.database.read() as connection:
        row = connection.execute(
            sa.select(tables.scorings).where(
                tables.scorings.c.output == str(place / "scored.jsonl")
            )
        ).one()
    assert (row.status, row.rows) == ("STOPPED", 200)


def test_an_output_that_is_anothers_is_refused(served, place):  # noqa: F811
    numbered(5).to_json("rows.jsonl", orient="records", lines=True)
    (place / "mine.jsonl").write_text("precious\n")

    def follow(source: str, to: str) -> mlops.Scoring:
        return mlops.stream(
            endpoint="mixed", source=source, to=to, once=True, workspace=served.workspace
        )

    with pytest.raises(mlops.InvalidArgument, match="no stream of this workspace"):
        follow("rows.jsonl", "mine.jsonl")
    assert (place / "mine.jsonl").read_text() == "precious\n"
    follow("rows.jsonl", "scored.jsonl")
    (place / "inbox").mkdir()
    with pytest.raises(mlops.InvalidArgument, match="belongs to the stream from"):
        follow("inbox", "scored.jsonl")
    os.truncate("rows.jsonl", 10)
    with pytest.raises(mlops.SourceUnreadable, match="was cut short"):
        follow("rows.jsonl", "scored.jsonl")


def test_a_file_that_cannot_be_read_is_a_reject_and_the_next_is_scored(served, place):  # noqa: F811
    (place / "inbox").mkdir()
    (place / "inbox" / "a.parquet").write_bytes(b"no parquet")
    os.utime(place / "inbox" / "a.parquet", (1, 1))
    numbered(5).to_csv("inbox/b.csv", index=False)
    scored = mlops.stream(
        endpoint="mixed", source="inbox", to="scored", once=True, workspace=served.workspace
    )
    assert (scored.scored, scored.rejects) == (5, 1)
    (reason,) = scored.reasons
    assert "a.parquet" in reason


def test_a_line_that_is_not_ended_is_not_taken(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"x": 1}\n{"x": 2')
    feed = feeds.open_feed(path, None)
    taken = feed.take({}, 10)
    assert (taken.block.rows, taken.position) == (1, {"bytes": 9, "rows": 1})
    assert feed.take(taken.position, 10) is None
