"""An alert's requests are the rows behind it."""

from __future__ import annotations

import mlops_magics as mlops
from mlops_magics.monitoring import feedback, predictions

from ..conftest import record, requests


def found(served, alert):
    return mlops.alert(alert, workspace=served.workspace).requests


def test_of_a_column_that_drifted_the_rows_in_the_bins_that_grew(served):
    served.configure(persistence=1)
    (alert,) = served.minute(shift=1.5)
    frame = found(served, alert)
    assert 0 < len(frame) < 300
    assert set(frame["why"]) == {"distance: in a bin that grew"}
    # distances are normal around 800, and were moved to 1100
    assert frame["distance"].min() > 900
    moved = predictions("flight-delay", limit=None, workspace=served.workspace).df
    assert len(frame) > 0.6 * (moved["distance"] > 1000).sum()


def test_of_bad_data_the_rows_with_missing_and_new_values(served):
    served.configure(persistence=1)
    rows = requests(300, served.key, start=served.now)
    for request in rows[::5]:
        request.rows[0][2] = "SFO"
    for request in rows[1::5]:
        request.rows[0][0] = None
    record(served.workspace, rows)
    (alert,) = served.minute(0)
    frame = found(served, alert)
    new, missing = frame[frame["origin"] == "SFO"], frame[frame["distance"].isna()]
    assert len(new) == len(missing) == 60
    assert len(frame) == 120
    assert set(new["why"]) == {"origin: a new or rare value"}
    assert set(missing["why"]) == {"distance: missing"}


def test_of_errors_the_failed_requests_and_of_a_budget_the_slow_ones(served):
    served.configure(persistence=1, latency=4)
    first, second = sorted(served.minute(200, failing=5))
    kinds = {one.kind: one.id for one in served.alerts()}
    assert {first, second} == set(kinds.values())
    failed = found(served, kinds["errors"])
    assert len(failed) == 40
    assert set(failed["why"]) == {"400: column 'hour' is missing"}
    slow = found(served, kinds["latency"])
    assert slow["latency"].min() > 4


def test_of_quality_the_labelled_rows_that_were_predicted_wrongly(served):
    served.configure(persistence=1)
    served.minute(400)
    table = predictions("flight-delay", limit=None, workspace=served.workspace)
    rows = list(table)
    labels = {row.prediction_id: int(row.output[1] > 0.5) for row in rows}
    wrong = {row.prediction_id for row in rows[:250]}
    labels |= {key: 1 - labels[key] for key in wrong}
    feedback("flight-delay", labels, workspace=served.workspace)
    served.minute(0)
    (alert,) = [one for one in served.alerts() if one.kind == "quality"]
    frame = found(served, alert.id)
    assert set(frame["prediction_id"]) == wrong
    assert frame["why"].str.match(r"predicted [01], it was [01]").all()


def test_rows_that_are_gone_are_an_empty_table(served):
    from mlops_magics.monitoring.retention import forget

    served.configure(persistence=1)
    (alert,) = served.minute(shift=1.5)
    with served.workspace.database.begin() as connection:
        forget(connection, "flight-delay", served.now, 1000)
    frame = found(served, alert)
    assert len(frame) == 0
    assert {"prediction_id", "why", "output"} <= set(frame.columns)
