"""Batch scoring: equal to the endpoint's answers, no row lost or doubled, whatever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import mlops_magics as mlops
from mlops_magics.store import predictors, tables

from .conftest import mixed_rows

pytestmark = pytest.mark.xdist_group("served")

CLASSES = ["prediction_0", "prediction_1"]


def numbered(count: int) -> pd.DataFrame:
    """Rows with an id of their own."""
    rows = pd.concat([mixed_rows()] * (count // 400 + 1), ignore_index=True).head(count)
    rows.insert(0, "id", np.arange(count))
    return rows


def spoilt(rows: pd.DataFrame) -> pa.Table:
    """The same as an Arrow table in which every seventh row breaks a rule."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    hours = [None if i % 7 == 3 else v for i, v in enumerate(rows["hour"].tolist())]
    seats = [2**40 if i % 7 == 5 else v for i, v in enumerate(rows["seats"].tolist())]
    table = table.set_column(table.column_names.index("hour"), "hour", pa.array(hours, "int64"))
    return table.set_column(table.column_names.index("seats"), "seats", pa.array(seats, "int64"))


def answers_online(served, rows: list[dict]) -> tuple[list, list]:
    """Predictions and messages that the endpoint gives, one request a row."""
    predictions, messages = [], []
    with served.client() as client:
        for row in rows:
            body = json.dumps({"dataframe_records": [row]})
            answer = client.post(
                "/endpoints/mixed/invocations",
                content=body,
                headers={"Content-Type": "application/json"},
            )
            good = answer.status_code == 200
            predictions.append(answer.json()["predictions"][0] if good else None)
            messages.append(None if good else answer.json()["error"])
    return predictions, messages


@pytest.fixture
def place(served, tmp_path, monkeypatch):
    """A working directory inside the served workspace's project."""
    folder = served.workspace.root / tmp_path.name
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_answers_and_rejects_are_the_endpoints_own(served, place):
    table = spoilt(numbered(42))
    pq.write_table(table, "rows.parquet")
    scored = mlops.score(
        endpoint="mixed", data="rows.parquet", to="out.parquet", workspace=served.workspace
    )
    wire = table.drop_columns(["id"]).to_pylist()
    predictions, messages = answers_online(served, wire)
    out, rejected = scored.df, scored.rejected_df
    assert scored.rows == 42 == scored.scored + scored.rejects
    assert scored.rejects == 12
    good = [i for i, message in enumerate(messages) if message is None]
    assert out["id"].tolist() == good
    # alone in a batch, a row's sums may be added up in another order
    np.testing.assert_allclose(out[CLASSES], [predictions[i] for i in good], rtol=1e-12)
    assert rejected["row"].tolist() == [i for i in range(42) if i not in good]
    online = [messages[i].removeprefix("row 0, ") for i in rejected["row"]]
    assert rejected["reason"].tolist() == online
    assert json.loads(rejected["values"][0])["id"] == 3


def test_a_package_for_onnx_runtime_scores_there_and_answers_the_same(served, place, monkeypatch):
    rows = mixed_rows(300)
    packed = mlops.package(
        served.model,
        name="mixed-onnx",
        data=served.rows,
        predict_fn="predict_proba",
        runtime="onnx",
        workspace=served.workspace,
    )
    assert packed.onnx["verdict"] == "equal"

    def refuse(*_):
        raise AssertionError("the model's own library has nothing to do here")

    monkeypatch.setitem(predictors._LOADERS, "skops", refuse)
    scored = mlops.score(packed, rows, workspace=served.workspace)
    np.testing.assert_allclose(scored.df[CLASSES], served.model.predict_proba(rows), atol=1e-12)


CELLS = {
    "hour": ["7", "-3", "", "07", "1.5", "true", "9e1", "٣", "99999999999999999999", " 7"],
    "seats": ["20", "2147483648", "-2147483648", "x", "1_0", "+5", "1"],
    "wind": ["1.5", "", "1e400", "nan", "abc", "-0.25", ".5", "1e3"],
    "carrier": ["UA", "", 'é,"x"'],
    "weekend": ["true", "False", "", "1", "yes"],
}


def test_a_cell_of_a_csv_is_judged_as_the_endpoint_judges_it(served, place):
    rng = random.Random(5)
    good = {"hour": "7", "seats": "20", "wind": "1.5", "carrier": "UA", "weekend": "true"}
    rows = [good | {name: cell} for name, cells in CELLS.items() for cell in cells]
    rng.shuffle(rows)
    frame = pd.DataFrame(rows)
    frame.to_csv("rows.csv", index=False)
    messages, predictions = [], []
    with served.client() as client:
        for row in rows:
            answer = client.post(
                "/endpoints/mixed/invocations",
                content=pd.DataFrame([row]).to_csv(index=False).encode(),
                headers={"Content-Type": "text/csv"},
            )
            passed = answer.status_code == 200
            messages.append(None if passed else answer.json()["error"].removeprefix("row 0, "))
            if passed:
                predictions.append(answer.json()["predictions"][0])
    scored = mlops.score(endpoint="mixed", data="rows.csv", workspace=served.workspace)
    assert scored.rejected_df["reason"].tolist() == [m for m in messages if m is not None]
    np.testing.assert_allclose(scored.df[CLASSES], predictions, rtol=1e-12)
    assert 0 < scored.rejects < len(rows)


VALUES = {
    "hour": [7, 7.0, 1.5, True, None, "7", 2**63, 2**63 - 1, [1], {}],
    "seats": [20, 2**31, -(2**31)],
    "wind": [1, None, "x", False, 1e308],
    "carrier": ["UA", None, 3],
    "weekend": [True, 1, None, "true"],
}


def test_a_line_of_json_is_judged_as_the_endpoint_judges_it(served, place):
    good = {"hour": 7, "seats": 20, "wind": 1.5, "carrier": "UA", "weekend": True}
    lines = [json.dumps(good | {name: v}) for name, values in VALUES.items() for v in values]
    lines += [json.dumps({k: v for k, v in good.items() if k != name}) for name in good]
    lines += [json.dumps(good)[:-1] + ', "hour": 8}']
    bodies = [f'{{"dataframe_records": [{line}]}}' for line in lines]
    lines += ["[1, 2]", "{broken", json.dumps(good | {"note": "kept"})]
    with open("rows.jsonl", "w") as file:  # noqa: PTH123
        file.write("\n".join(lines))
    messages = []
    with served.client() as client:
        for body in bodies:
            answer = client.post(
                "/endpoints/mixed/invocations",
                content=body,
                headers={"Content-Type": "application/json"},
            )
            messages.append(None if answer.status_code == 200 else answer.json()["error"])
    scored = mlops.score(endpoint="mixed", data="rows.jsonl", workspace=served.workspace)
    reasons = dict(zip(*scored.rejected_df[["row", "reason"]].T.to_numpy(), strict=True))
    told = [
        None if m is None else m.removeprefix("row 0, ").removeprefix("row 0: ") for m in messages
    ]
    assert [reasons.get(row) for row in range(len(bodies))] == told
    assert reasons[len(bodies)] == "the row is no JSON object"
    assert reasons[len(bodies) + 1] == "the row is no valid JSON"
    assert scored.df["note"].tolist()[-1] == "kept"
    assert scored.rows == len(lines) == scored.scored + scored.rejects


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl", "out"])
def test_every_form_of_output_has_the_same_rows(served, place, name):
    rows = numbered(300)
    scored = mlops.score(
        endpoint="mixed",
        data=rows,
        to=name,
        keep="id,carrier",
        chunk=64,
        workspace=served.workspace,
    )
    out = scored.df
    assert list(out) == ["id", "carrier", *CLASSES]
    assert out["id"].tolist() == list(range(300))
    direct = served.model.predict_proba(rows.drop(columns="id"))
    np.testing.assert_allclose(out[CLASSES], direct, rtol=1e-12)
    assert not list(place.glob("*rejects*"))
    assert not list(place.glob(".*scoring"))


def test_a_folder_a_glob_and_a_dataset_are_sources(served, place):
    rows = numbered(300)
    (place / "days").mkdir()
    rows[:100].to_parquet("days/a.parquet")
    rows[100:].to_parquet("days/b.parquet")
    (place / "days" / "_SUCCESS").touch()
    mlops.ingest(rows, f"rows-{place.name}"[:60], workspace=served.workspace)
    for source in ("days", "days/*.parquet", f"rows-{place.name}"[:60]):
        scored = mlops.score(
            endpoint="mixed", data=source, keep=["id"], chunk=70, workspace=served.workspace
        )
        assert scored.df["id"].tolist() == list(range(300))


def test_several_processes_give_the_same_in_the_same_order(served, place):
    rows = numbered(500)
    one = mlops.score(endpoint="mixed", data=rows, workspace=served.workspace)
    two = mlops.score(endpoint="mixed", data=rows, workers=2, chunk=50, workspace=served.workspace)
    pd.testing.assert_frame_equal(one.df, two.df)


def test_a_missing_column_is_told_before_anything_is_written(served, place):
    with pytest.raises(mlops.SchemaMismatch, match="missing column 'hour'"):
        mlops.score(
            endpoint="mixed",
            data=mixed_rows().drop(columns="hour"),
            to="out.parquet",
            workspace=served.workspace,
        )
    assert not (place / "out.parquet").exists()


def test_too_many_rejects_fail_and_are_kept(served, place):
    (place / "out.parquet").write_bytes(b"old")
    with pytest.raises(mlops.GateFailed, match="12 of 42 rows were rejected") as failed:
        mlops.score(
            endpoint="mixed",
            data=spoilt(numbered(42)),
            to="out.parquet",
            max_rejects="10%",
            workspace=served.workspace,
        )
    assert "expected a 64-bit integer, got null" in str(failed.value)
    assert (place / "out.parquet").read_bytes() == b"old"
    assert len(pd.read_parquet("out.rejects.parquet")) == 12
    assert not list(place.glob(".*"))


def test_a_row_on_which_the_model_raises_spares_its_neighbours(workspace, tmp_path):
    def picky(data):
        import numpy as np

        if (data["x"] == 13).any():
            raise ValueError("13")
        return np.asarray(data["x"]) * 2.0

    rows = pd.DataFrame({"x": [float(i) for i in range(100)]})
    packed = mlops.package(picky, name="picky", data=rows.head(10), workspace=workspace)
    scored = mlops.score(packed, rows, workspace=workspace)
    assert scored.reasons == {"the model raised ValueError": 1}
    assert scored.rejected_df["row"].tolist() == [13]
    assert scored.df["prediction"].tolist() == [2.0 * i for i in range(100) if i != 13]


def test_a_scoring_is_entered_with_its_model_source_and_counts(served, place):
    numbered(30).to_parquet("rows.parquet")
    scored = mlops.score(
        endpoint="mixed", data="rows.parquet", to="out.csv", workspace=served.workspace
    )
    with served.workspace.database.read() as connection:
        row = connection.execute(
            sa.select(tables.scorings).where(tables.scorings.c.id == scored.id)
        ).one()
        entry = connection.execute(
            sa.select(tables.ledger).order_by(tables.ledger.c.seq.desc()).limit(1)
        ).one()
    assert (row.status, row.rows, row.rejects, row.kind) == ("FINISHED", 30, 0, "batch")
    assert (entry.action, json.loads(entry.details)["scoring"]) == ("score", scored.id)
    assert entry.subject == f"{scored.model}/{scored.version}"
    assert "all scored" in str(scored)


# -- broken off


def command(served, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "mlops_magics", "score", "--endpoint", "mixed",
        "--data", "rows.parquet", "--chunk", "250", "--json", *more,
    ]  # fmt: skip


def done(folder) -> int:
    try:
        return json.loads((folder / "state.json").read_bytes())["rows"]
    except (FileNotFoundError, ValueError):
        return 0


def broken_off(arguments: list[str], folder, beyond: int, number: int) -> subprocess.Popen:
    """Start a scoring, and send a signal once it is beyond a row."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    end = time.monotonic() + 120
    while done(folder) <= beyond and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process


@pytest.fixture
def long(place):
    """A source that takes a while in small chunks, some of its rows bad."""
    pq.write_table(spoilt(numbered(40_000)), "rows.parquet")
    return place


@pytest.mark.parametrize("to", ["out.parquet", "out.jsonl"])
def test_killed_and_called_again_no_row_is_lost_or_doubled(served, long, to):
    folder = long / f".{to}.scoring"
    arguments = command(served, "--to", to)
    kills = 0
    for _ in range(2 if to == "out.parquet" else 1):
        before = done(folder)
        process = broken_off(arguments, folder, before + random.randrange(3000), signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        assert done(folder) >= before
    assert kills
    assert not (long / to).exists()
    finished = subprocess.run(arguments, capture_output=True, check=True)
    record = json.loads(finished.stdout)
    assert record["resumed"] > 0
    assert record["rows"] == 40_000 == record["scored"] + record["rejects"]
    out = pd.read_json(to, lines=True) if to == "out.jsonl" else pd.read_parquet(to)
    rejected = pd.read_parquet("out.rejects.parquet")
    assert len(rejected) == record["rejects"] == sum(record["reasons"].values())
    assert sorted([*out["id"], *rejected["row"]]) == list(range(40_000))
    assert out["id"].is_monotonic_increasing


def test_ctrl_c_says_how_to_go_on(served, long):
    folder = long / ".out.parquet.scoring"
    arguments = command(served, "--to", "out.parquet")
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, start_new_session=True)
    while done(folder) < 1000 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"the same command goes on from there" in told
    assert 0 < done(folder) < 40_000


def test_a_source_that_was_changed_is_refused_by_name(served, long):
    folder = long / ".out.parquet.scoring"
    arguments = command(served, "--to", "out.parquet")
    broken_off(arguments, folder, 0, signal.SIGKILL)
    os.utime("rows.parquet")
    again = subprocess.run(arguments, capture_output=True, text=True)
    assert again.returncode == 1
    assert "rows.parquet was changed" in again.stderr
    numbered(700).to_parquet("rows.parquet")
    anew = subprocess.run([*arguments, "--restart"], capture_output=True, check=True)
    assert json.loads(anew.stdout)["scored"] == 700
