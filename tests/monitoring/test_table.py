"""The inference table as a reader sees it."""

from __future__ import annotations

import time

import pytest

from mlops_magics.errors import EndpointNotFound, InvalidArgument
from mlops_magics.monitoring import feedback, predictions

from .conftest import record, requests, revision


def test_newest_come_first_and_the_limit_holds(place, package):
    record(place, requests(50, revision(place, package), rows=2))
    table = predictions("flight-delay", limit=7, workspace=place)
    assert len(table) == 7
    assert table.total == 100
    assert [row.time for row in table] == sorted((row.time for row in table), reverse=True)


def test_the_frame_has_inputs_as_columns_and_labels(place, package):
    record(place, requests(3, revision(place, package)))
    chosen = predictions("flight-delay", workspace=place)[0].prediction_id
    feedback("flight-delay", {chosen: 1}, workspace=place)
    frame = predictions("flight-delay", workspace=place).df
    assert list(frame.columns[:4]) == ["prediction_id", "distance", "hour", "origin"]
    assert frame["label"].tolist()[0] == 1
    assert frame["label"].isna().sum() == 2
    assert len(frame["output"][0]) == 2


def test_a_span_counts_from_now(place, package):
    key = revision(place, package)
    record(place, requests(5, key))
    record(place, requests(4, key, start=time.time() - 30, seconds=5))
    assert predictions("flight-delay", last="1m", workspace=place).total == 4
    assert predictions("flight-delay", workspace=place).total == 9


def test_failed_requests_are_there_with_their_error(place, package):
    record(place, requests(4, revision(place, package), failing=2))
    table = predictions("flight-delay", workspace=place)
    assert [row.status for row in table] == [400, 200, 400, 200]
    assert "column 'hour' is missing" in str(table)
    assert table.df["error"].notna().sum() == 2


def test_nothing_yet_says_how_to_begin(place, package):
    revision(place, package)
    table = predictions("flight-delay", workspace=place)
    assert "mlops predict flight-delay --data ROWS" in str(table)
    assert table.df.empty


def test_wrong_use_is_refused(place, package):
    revision(place, package)
    with pytest.raises(EndpointNotFound, match="did you mean 'flight-delay'"):
        predictions("flight-dlay", workspace=place)
    with pytest.raises(InvalidArgument, match="limit = 0"):
        predictions("flight-delay", limit=0, workspace=place)
    with pytest.raises(InvalidArgument, match="'soon'"):
        predictions("flight-delay", last="soon", workspace=place)
