"""Windows: any range is exact, whatever it cuts."""

from __future__ import annotations

import pytest

from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import latency, log, windows
from mlops_magics.monitoring.references import Reference, References

from .conftest import START, record, requests, revision


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (START, START + 60),
        (START + 3.3, START + 47.77),
        (START + 12, START + 15),
        (START + 10, START + 20),
        (START - 500, START + 0.001),
        (START + 9.99, START + 10.01),
    ],
)
def test_any_range_is_what_its_requests_measure(place, package, since, until):
    key = revision(place, package)
    made = requests(900, key, rows=2, failing=10)
    record(place, made)
    expected = windows.Window.of(
        since, [r for r in made if since <= r.t < until], Reference.load(package)
    )
    with place.database.read() as connection:
        found = windows.read(connection, "flight-delay", since, until, References())
    window = windows.total(found[key])
    assert (window.requests, window.rows, window.errors) == (
        expected.requests,
        expected.rows,
        expected.errors,
    )
    assert list(window.latency) == list(expected.latency)
    assert window.profile.rows == expected.profile.rows
    for name, column in expected.profile.columns.items():
        assert list(window.profile.columns[name].bins) == list(column.bins)


def test_folding_in_pieces_equals_folding_at_once(place, package):
    key = revision(place, package)
    made = requests(300, key, failing=7)
    for begin in range(0, 300, 37):
        record(place, made[begin : begin + 37])
    with place.database.read() as connection:
        found = windows.read(connection, "flight-delay", START, START + 60, References())
    assert [window.start for window in found[key]] == [START + 10 * i for i in range(6)]
    assert sum(window.requests for window in found[key]) == 300
    assert windows.total(found[key]).profile.rows == 300 - 300 // 7


def test_a_request_refused_before_routing_is_counted_under_no_revision(place, package):
    revision(place, package)
    refused = requests(1, 1, failing=1)
    refused[0].revision = None
    record(place, refused)
    with place.database.read() as connection:
        found = windows.read(connection, "flight-delay", START, START + 10, References())
    assert found[0][0].errors == 1
    assert found[0][0].profile is None


def test_an_endpoint_without_a_reference_still_has_its_traffic(place, tmp_path):
    key = revision(place, tmp_path / "gone")
    record(place, requests(20, key))
    with place.database.read() as connection:
        found = windows.read(connection, "flight-delay", START, START + 60, References())
    window = windows.total(found[key])
    assert (window.requests, window.profile) == (20, None)


def test_an_empty_range_is_refused(place):
    with place.database.read() as connection, pytest.raises(InvalidArgument, match="empty"):
        windows.read(connection, "flight-delay", START, START, References())


def test_no_windows_have_no_total():
    assert windows.total([]) is None


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_latency_quantiles_are_within_a_bin_of_the_true_ones(share):
    import numpy as np

    values = np.random.default_rng(0).lognormal(2, 0.7, 20_000)
    estimate = latency.quantile(latency.count(values), share)
    assert estimate == pytest.approx(np.quantile(values, share), rel=0.05)
    assert latency.quantile(latency.count([]), share) is None
    packed = latency.pack(latency.count(values))
    assert list(latency.unpack(packed)) == list(latency.count(values))


def test_spool_lines_with_all_kinds_of_outputs_are_profiled():
    outputs = [[0.1, 0.9], {"a": 1, "b": 0.8}, 0.7, None]
    made = [
        log.Request("a", 1.0, "e", 200, 1.0, columns=["x"], rows=[[1]] * 4, outputs=outputs),
        log.Request("b", 1.0, "e", 200, 1.0, columns=["y"], rows=[[1]], outputs=[2]),
        log.Request("c", 1.0, "e", 500, 1.0),
    ]
    frame = log.frame(made)
    assert frame["prediction"].tolist()[:3] == [0.9, 0.8, 0.7]
    assert frame["prediction"].isna().sum() == 1
    assert len(frame) == 5
