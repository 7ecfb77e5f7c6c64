"""The verb ``drift``: skew, drift against an earlier window, and tables."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import scipy.stats

import mlops_magics as mlops
from mlops_magics.errors import DatasetNotFound, EndpointNotFound, InvalidArgument
from mlops_magics.monitoring import feedback, log, predictions
from mlops_magics.monitoring.drift import drift
from mlops_magics.store import tables

from .conftest import START, features, record, requests, revision

RANGE = {"since": START, "until": START + 60}


def drifted(found) -> list[str]:
    return [one.name for one in found if one.drifted]


def test_traffic_like_the_training_data_is_stable(place, package):
    record(place, requests(600, revision(place, package)))
    found = drift("flight-delay", **RANGE, workspace=place)
    assert found.drifted is False
    assert (found.count, found.reference_count) == (600, 4000)
    assert {one.name for one in found} == {"distance", "hour", "origin", "prediction"}
    assert found.separation.auc < 0.6
    assert found.outliers.more is False
    assert found.null_windows == 1000
    assert 0 <= found.null_drifted <= found.null_significant < 0.03
    assert "false alarms" in str(found)


def test_a_shift_against_the_training_data_is_found_in_every_way(place, package):
    record(place, requests(600, revision(place, package), shift=3.0))
    found = drift("flight-delay", **RANGE, workspace=place)
    assert found.drifted
    assert drifted(found) == ["distance"]
    assert found[0].name == "distance"
    assert found.separation.features[0][0] == "distance"
    assert found.outliers.columns[0][0] == "distance"
    assert found.df.set_index("name").loc["distance", "drifted"]
    assert "distance" in str(found)


def test_an_earlier_window_is_compared_with_though_both_differ_from_training(place, package):
    key = revision(place, package)
    record(place, requests(500, key, shift=2.0))
    record(place, requests(500, key, start=START + 3600, shift=2.0, seed=1))
    later = {"since": START + 3600, "until": START + 3660}
    assert drifted(drift("flight-delay", **later, workspace=place)) == ["distance"]
    same = drift("flight-delay", **later, against="1h", workspace=place)
    assert (same.drifted, same.count, same.reference_count) == (False, 500, 500)
    assert same.against.startswith("its traffic from ")
    record(place, requests(500, key, start=START + 7200, shift=4.0, seed=2))
    moved = drift(
        "flight-delay",
        since=START + 7200,
        until=START + 7260,
        against=f"{START}/{START + 60}",
        workspace=place,
    )
    assert drifted(moved) == ["distance"]
    assert moved.null_windows == 1000


def test_outcomes_that_turn_round_on_the_same_inputs_are_no_drift_of_the_data(place, package):
    record(place, requests(600, revision(place, package)))
    rows = predictions("flight-delay", limit=None, workspace=place)
    flipped = {row.prediction_id: int(row.output[1] < 0.5) for row in rows}
    feedback("flight-delay", flipped, workspace=place)
    found = drift("flight-delay", **RANGE, workspace=place)
    assert found.drifted is False
    assert mlops.monitor("flight-delay", **RANGE, workspace=place).quality["metrics"][0]["worse"]


def test_values_that_the_log_does_not_keep_are_named_and_not_judged(place, package):
    made = requests(500, revision(place, package))
    with place.database.begin() as connection:
        settings = {"log": {"mode": "durable", "mask": ["hour"]}}
        connection.execute(tables.endpoints.update().values(settings=settings))
    for request in made:
        request.rows[0][1] = None
    record(place, made)
    found = drift("flight-delay", **RANGE, workspace=place)
    assert found.drifted is False
    assert next(one for one in found if one.name == "hour").drifted is None
    assert "the values of hour are not kept" in found.notes
    picture = mlops.monitor("flight-delay", **RANGE, workspace=place)
    assert picture.alerts == []


def test_an_old_package_is_judged_by_its_profile_alone_and_says_so(place, package):
    for name in ("calibration.json", "rows.parquet"):
        (package / "mlops" / name).unlink()
    record(place, requests(300, revision(place, package), shift=3.0))
    found = drift("flight-delay", **RANGE, workspace=place)
    assert drifted(found) == ["distance"]
    assert (found.null_windows, found.null_drifted, found.separation) == (0, None, None)
    assert any("no calibrated thresholds" in note for note in found.notes)
    assert any("keeps no rows" in note for note in found.notes)
    (package / "mlops" / "reference.json").unlink()
    nothing = drift("flight-delay", **RANGE, workspace=place)
    assert (nothing.drifted, len(nothing)) == (None, 0)
    assert "package the model again" in nothing.notes[0]


def test_few_rows_or_none_are_unknown(place, package):
    key = revision(place, package)
    empty = drift("flight-delay", **RANGE, workspace=place)
    assert (empty.drifted, empty.count) == (None, 0)
    record(place, requests(20, key, shift=5.0))
    few = drift("flight-delay", **RANGE, workspace=place)
    assert (few.drifted, few.separation) == (None, None)
    assert "too few" in few.notes[0]
    earlier = drift("flight-delay", **RANGE, against="1d", workspace=place)
    assert (earlier.drifted, earlier.reference_count) == (None, 0)


def test_of_many_rows_every_few_are_read(place, package):
    record(place, requests(400, revision(place, package), rows=2, failing=10))
    with place.database.read() as connection:
        frame, total = log.sample(connection, "flight-delay", START, START + 60, 100)
        whole, _ = log.sample(connection, "flight-delay", START, START + 60, 1000)
    assert total == len(whole) == 720
    assert 80 <= len(frame) <= 100
    assert list(frame) == ["distance", "hour", "origin", "prediction"]


def test_two_tables_are_compared_by_their_values():
    before, after = features(3000, 1), features(800, 2, shift=1.0)
    found = mlops.drift(after, reference=before)
    assert drifted(found) == ["distance"]
    one = found[0]
    expected = scipy.stats.ks_2samp(before["distance"], after["distance"])
    assert one.statistic == pytest.approx(expected.statistic, abs=1e-9)
    distance = scipy.stats.wasserstein_distance(before["distance"], after["distance"])
    assert one.wasserstein == pytest.approx(distance, abs=1e-9)
    assert json.dumps(found.to_dict())


def test_a_table_without_a_column_and_with_another_is_compared_all_the_same():
    before = features(1000, 1)
    after = features(500, 2).drop(columns="hour").assign(gate="A")
    found = mlops.drift(after, reference=before)
    assert drifted(found) == ["hour"]
    assert any("gate" in note for note in found.notes)


def test_datasets_are_compared_by_name(workspace):
    mlops.ingest(features(900, 1), name="may", workspace=workspace)
    mlops.ingest(features(900, 2).assign(origin="LGA"), name="june", workspace=workspace)
    found = mlops.drift("june", reference="may/1", workspace=workspace)
    assert (found.subject, found.against) == ("june", "may/1")
    assert drifted(found) == ["origin"]
    with pytest.raises(DatasetNotFound):
        mlops.drift("june", reference="april", workspace=workspace)


def test_what_cannot_be_compared_is_said(place, package):
    revision(place, package)
    with pytest.raises(InvalidArgument, match="compared with another table"):
        drift(pd.DataFrame({"x": [1]}))
    with pytest.raises(InvalidArgument, match="is no table"):
        drift([1, 2], reference=pd.DataFrame({"x": [1]}))
    with pytest.raises(EndpointNotFound):
        drift("flight-dealy", workspace=place)
    with pytest.raises(InvalidArgument, match="'yesterday' is nothing to compare with"):
        drift("flight-delay", against="yesterday", workspace=place)
    with pytest.raises(InvalidArgument, match="is empty"):
        drift("flight-delay", since=START, until=START, workspace=place)
    with pytest.raises(InvalidArgument, match="not between 0 and 1"):
        drift("flight-delay", rate=1.0, workspace=place)


def test_a_column_name_is_never_html():
    before = features(300, 1).rename(columns={"hour": "<img src=x onerror=alert(1)>"})
    found = mlops.drift(before, reference=before)
    assert "<img src=x" not in found._repr_html_()
