"""Labels: what comes later joins by id, and nothing is dropped in silence."""

from __future__ import annotations

import json
import time

import msgspec
import pandas as pd
import pytest
import sqlalchemy as sa

from mlops_magics.errors import (
    DatasetNotFound,
    EndpointNotFound,
    InvalidArgument,
    PredictionNotFound,
    SourceUnreadable,
    UnknownName,
)
from mlops_magics.monitoring import backlog, feedback, predictions, quality
from mlops_magics.monitoring.references import References
from mlops_magics.pipelines.agent import Agent
from mlops_magics.store import tables

from .conftest import record, requests, revision


@pytest.fixture
def ids(place, package) -> list[str]:
    record(place, requests(6, revision(place, package), seconds=6))
    return sorted(row.prediction_id for row in predictions("flight-delay", workspace=place))


def known(place) -> dict[str, object]:
    rows = predictions("flight-delay", workspace=place)
    return {row.prediction_id: row.label for row in rows if row.label is not None}


@pytest.mark.parametrize("shape", ["frame", "series", "mapping", "list"])
def test_each_shape_of_labels_is_understood(place, ids, shape):
    pairs = dict(zip(ids[:3], [1, 0, 1], strict=True))
    labels = {
        "frame": pd.DataFrame({"prediction_id": pairs.keys(), "label": pairs.values()}),
        "series": pd.Series(pairs),
        "mapping": pairs,
        "list": [{"prediction_id": key, "label": value} for key, value in pairs.items()],
    }[shape]
    result = feedback("flight-delay", labels, workspace=place)
    assert (result.received, result.stored) == (3, 3)
    assert known(place) == pairs


def test_columns_may_have_other_names(place, ids):
    frame = pd.DataFrame({"id": ids[:2], "late": [True, False]})
    result = feedback("flight-delay", frame, id_column="id", label_column="late", workspace=place)
    assert result.stored == 2
    assert known(place) == {ids[0]: 1, ids[1]: 0}


def test_the_same_label_again_changes_nothing(place, ids):
    feedback("flight-delay", {ids[0]: 1}, workspace=place)
    again = feedback("flight-delay", {ids[0]: 1, ids[1]: 0}, workspace=place)
    assert (again.stored, again.unchanged, again.changed) == (1, 1, 0)


def test_a_corrected_label_replaces_the_former_one_and_is_counted(place, ids):
    feedback("flight-delay", {ids[0]: 1}, workspace=place)
    result = feedback("flight-delay", {ids[0]: 0}, workspace=place)
    assert (result.stored, result.unchanged, result.changed) == (0, 0, 1)
    assert known(place) == {ids[0]: 0}
    assert result.changes == ({"id": ids[0], "before": 1, "after": 0},)
    feedback("flight-delay", {ids[0]: 1}, workspace=place)
    with place.database.read() as connection:
        row = connection.execute(sa.select(tables.labels)).one()
    assert [one["label"] for one in row.former] == [1, 0]
    assert row.received == row.former[0]["since"] < row.former[1]["since"] < row.changed


def test_what_is_left_out_is_counted_and_named(place, ids):
    frame = pd.DataFrame(
        [
            (ids[0], 1),
            (ids[0], 1),  # twice the same
            (ids[1], 1),
            (ids[1], 0),  # twice, and not the same
            (ids[2], "late"),  # no class of the model
            (ids[3], None),
            ("no-such-id", 1),
        ],
        columns=["prediction_id", "label"],
    )
    result = feedback("flight-delay", frame, workspace=place)
    assert result.received == 7
    assert (result.stored, result.unchanged) == (1, 1)
    assert (result.conflicting, result.invalid, result.missing, result.unknown) == (2, 1, 1, 1)
    assert result.examples["unknown"] == ("no-such-id",)
    assert result.examples["invalid"] == (ids[2],)
    assert "no-such-id" in str(result)
    assert known(place) == {ids[0]: 1}
    assert [(one["row"], one["id"], one["value"], one["kind"]) for one in result.refused] == [
        (3, ids[1], 1, "conflicting"),
        (4, ids[1], 0, "conflicting"),
        (5, ids[2], "late", "invalid"),
        (6, ids[3], None, "missing"),
        (7, "no-such-id", 1, "unknown"),
    ]
    assert result.refused[2]["reason"] == "it must be one of 0, 1"


def test_only_unknown_ids_are_an_error(place, ids):
    with pytest.raises(PredictionNotFound, match="'nothing'"):
        feedback("flight-delay", {"nothing": 1}, workspace=place)


def test_only_impossible_labels_are_an_error_that_says_what_is_possible(place, ids):
    with pytest.raises(InvalidArgument, match="one of 0, 1"):
        feedback("flight-delay", {ids[0]: 2}, workspace=place)
    assert known(place) == {}


def test_wrong_use_is_refused(place, ids):
    with pytest.raises(EndpointNotFound, match="flight-delay"):
        feedback("flight-dely", {ids[0]: 1}, workspace=place)
    with pytest.raises(InvalidArgument, match="no labels"):
        feedback("flight-delay", {}, workspace=place)
    with pytest.raises(InvalidArgument, match="type int"):
        feedback("flight-delay", 3, workspace=place)
    with pytest.raises(UnknownName, match="prediction_id"):
        feedback("flight-delay", pd.DataFrame({"prediction": ["a"], "label": [1]}), workspace=place)


def test_labels_for_another_endpoints_predictions_are_unknown(place, package, ids):
    revision(place, package, endpoint="other")
    with pytest.raises(PredictionNotFound):
        feedback("other", {ids[0]: 1}, workspace=place)


def test_thousands_of_labels_in_one_call(place, package):
    key = revision(place, package)
    record(place, requests(2000, key))
    table = predictions("flight-delay", limit=None, workspace=place)
    labels = pd.Series(1, index=[row.prediction_id for row in table])
    assert feedback("flight-delay", labels, workspace=place).stored == 2000


def test_a_file_of_labels_is_read_and_its_ids_stay_texts(place, package, tmp_path):
    made = requests(3, revision(place, package), seconds=3)
    for number, request in enumerate(made):
        request.client_id = f"00{number}"
    record(place, made)
    frame = pd.DataFrame({"order": ["000", "001", "009"], "late": [1, 0, 1]})
    paths = [tmp_path / f"labels{suffix}" for suffix in (".csv", ".csv.gz", ".parquet", ".jsonl")]
    frame.to_csv(paths[0], index=False)
    frame.to_csv(paths[1], index=False)
    frame.to_parquet(paths[2])
    frame.to_json(paths[3], orient="records", lines=True)
    stored = []
    for given in (*paths, *map(str, paths)):
        result = feedback(
            "flight-delay", given, id_column="order", label_column="late", workspace=place
        )
        assert result.examples == {"unknown": ("009",)}
        stored.append((result.stored, result.unchanged))
    assert stored == [(2, 0)] + [(0, 2)] * 7
    assert known(place) == {made[0].id: 1, made[1].id: 0}


def test_a_file_that_is_not_there_and_a_dataset_that_is_not_are_named(place, ids, tmp_path):
    with pytest.raises(SourceUnreadable, match=r"away\.csv"):
        feedback("flight-delay", tmp_path / "away.csv", workspace=place)
    with pytest.raises(DatasetNotFound, match="labels-of-may"):
        feedback("flight-delay", "labels-of-may", workspace=place)


def test_the_callers_ids_name_predictions_and_rows_of_a_request(place, package):
    made = requests(4, revision(place, package), rows=2, seconds=4)
    made[0].client_id = made[1].client_id = "sent-twice"
    made[2].client_id = "order-7"
    made[3].client_id, made[3].mirror_of = "order-7", made[2].id  # a shadow's answer
    record(place, made)
    labels = {"order-7:0": 1, "order-7:1": 0, "order-7": 1, "sent-twice:0": 1, "order-7:2": 1}
    result = feedback("flight-delay", labels, workspace=place)
    assert (result.stored, result.ambiguous, result.unknown) == (2, 2, 1)
    assert known(place) == {f"{made[2].id}:0": 1, f"{made[2].id}:1": 0}
    reasons = {one["id"]: one["reason"] for one in result.refused}
    assert reasons["order-7"].startswith(f"2 predictions have it: {made[2].id}:0")
    assert reasons["order-7:2"] == "no prediction has this id"
    with pytest.raises(InvalidArgument, match="names no single prediction"):
        feedback("flight-delay", {"order-7": 1}, workspace=place)


def test_one_prediction_named_by_both_of_its_ids_is_labelled_once(place, package):
    made = requests(2, revision(place, package), seconds=2)
    made[0].client_id, made[1].client_id = "mine", "other"
    record(place, made)
    labels = {made[0].id: 1, "mine": 1, made[1].id: 1, "other": 0}
    result = feedback("flight-delay", labels, workspace=place)
    assert (result.stored, result.unchanged, result.conflicting) == (1, 1, 2)
    assert known(place) == {made[0].id: 1}


def test_a_label_waits_for_a_prediction_that_is_still_in_the_servers_log(place, package):
    """With no agent to load it; once one does, the label is there."""
    made = requests(3, revision(place, package), rows=2, seconds=3)
    made[1].client_id = "order-7"
    folder = backlog.folder(place)
    folder.mkdir(parents=True)
    lines = [msgspec.json.encode(request) + b"\n" for request in made]
    (folder / "000000000001-999999999.jsonl").write_bytes(b"".join(lines) + b'{"id":"torn')
    labels = {f"{made[0].id}:1": 1, "order-7:0": 0, "nobody": 1}
    result = feedback("flight-delay", labels, workspace=place)
    assert (result.stored, result.waiting, result.unknown) == (2, 2, 1)
    assert "on their way" in str(result)
    assert Agent(place).load() == 3
    assert known(place) == {f"{made[0].id}:1": 1, f"{made[1].id}:0": 0}
    again = feedback("flight-delay", labels, workspace=place)
    assert (again.stored, again.unchanged, again.waiting) == (0, 2, 0)


def test_delay_and_coverage_of_late_labels_are_shown(place, package):
    key = revision(place, package)
    begin = time.time() - 3600
    record(place, requests(100, key, start=begin, seconds=100))
    table = predictions("flight-delay", limit=None, workspace=place)
    late = [row.prediction_id for row in table][:40]
    feedback("flight-delay", dict.fromkeys(late, 1), workspace=place)
    with place.database.read() as connection:
        reference = References().of(connection, key)
        found = quality.measure(
            connection, "flight-delay", begin, begin + 100, reference, closely=True, points=10
        )
    steps = quality.over_time(begin, begin + 100, found)
    assert (found.labels, found.coverage) == (40, 0.4)
    # the newest forty: predicted 60 to 100 seconds after the begin
    assert found.delay.p50 == pytest.approx(3600 - 80, abs=30)
    assert found.delay.longest == pytest.approx(3600 - 60, abs=30)
    assert steps["coverage"] == [0.0] * 6 + [1.0] * 4
    assert steps["labels"] == [0] * 6 + [10] * 4
    assert [delay is None for delay in steps["delay"]] == [True] * 6 + [False] * 4
    json.dumps(steps, allow_nan=False)


def test_labels_of_the_wrong_type_are_refused_by_row_and_value_and_others_are_stored(place, ids):
    wrong = ["1", 2, 0.5, [1], {"late": 1}]
    labels = [{"prediction_id": ids[0], "label": 1}]
    labels += [{"prediction_id": ids[1], "label": label} for label in wrong]
    result = feedback("flight-delay", labels, workspace=place)
    assert (result.stored, result.invalid) == (1, 5)
    assert [(one["row"], one["value"]) for one in result.refused] == list(enumerate(wrong, start=2))
    assert all(repr(label) in str(result) for label in wrong)
    assert known(place) == {ids[0]: 1}
