"""Labels: what comes later joins by id, and nothing is dropped in silence."""

from __future__ import annotations

import pandas as pd
import pytest

from mlops_magics.errors import EndpointNotFound, InvalidArgument, PredictionNotFound, UnknownName
from mlops_magics.monitoring import feedback, predictions

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
