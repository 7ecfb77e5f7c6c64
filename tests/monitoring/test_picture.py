"""The picture: exact, honest about what is unknown, safe to show."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from xml.etree import ElementTree

import nbformat
import pytest

from mlops_magics.errors import EndpointNotFound, InvalidArgument
from mlops_magics.monitoring import feedback, monitor, predictions
from mlops_magics.monitoring.drawing import draw
from mlops_magics.store import tables
from mlops_magics.store.processes import Identity

from .conftest import START, record, requests, revision

RANGE = {"since": START, "until": START + 60}


def test_totals_are_those_of_the_range(place, package):
    record(place, requests(600, revision(place, package), rows=3, failing=20))
    picture = monitor("flight-delay", since=START + 5, until=START + 35, workspace=place)
    # ten requests a second, every twentieth refused
    assert picture.efficiency["requests"] == 300
    assert picture.efficiency["errors"] == 15
    assert picture.efficiency["rows"] == 285 * 3
    assert picture.efficiency["error_rate"] == 0.05
    assert picture.efficiency["throughput"] == pytest.approx(10)
    assert picture.efficiency["latency_ms"]["p50"] == pytest.approx(5, rel=0.1)
    assert sum(picture.series["requests"]) == 300
    assert sum(picture.series["errors"]) == 15
    assert all(len(values) == len(picture.series["t"]) for values in picture.series.values())
    assert picture.variants == [
        {
            "revision": 1,
            "number": 1,
            "variant": "champion",
            "model": "flight-delay",
            "version": "1",
            "percent": 100,
        }
    ]


def test_traffic_like_the_training_data_is_stable(place, package):
    record(place, requests(500, revision(place, package)))
    picture = monitor("flight-delay", **RANGE, workspace=place)
    assert {one["name"] for one in picture.features} == {"distance", "hour", "origin"}
    assert [one["drifted"] for one in picture.features] == [False] * 3
    assert picture.prediction["drifted"] is False
    assert picture.alerts == []
    for one in [*picture.features, picture.prediction]:
        histogram = one["histogram"]
        size = len(histogram["reference"])
        assert len(histogram["current"]) == size
        assert len(histogram["labels"] or histogram["edges"][1:]) == size
        assert sum(histogram["reference"]) == pytest.approx(1)
        assert sum(histogram["current"]) == pytest.approx(1)


def test_a_planted_shift_comes_first_and_is_an_alert(place, package):
    record(place, requests(500, revision(place, package), shift=1.0))
    picture = monitor("flight-delay", **RANGE, workspace=place)
    assert picture.features[0]["name"] == "distance"
    assert picture.features[0]["drifted"] is True
    assert [one["drifted"] for one in picture.features[1:]] == [False, False]
    (alert,) = picture.alerts
    assert alert["severity"] == "warning"
    assert alert["title"].startswith("distance drifted")


def test_a_new_category_is_named(place, package):
    made = requests(300, revision(place, package))
    for request in made[::10]:
        request.rows[0][2] = "<b>SFO</b>"
    record(place, made)
    picture = monitor("flight-delay", **RANGE, workspace=place)
    origin = next(one for one in picture.features if one["name"] == "origin")
    assert origin["unseen"] == ["<b>SFO</b>"]
    assert origin["histogram"]["labels"][-1] == "unseen"
    assert "<b>SFO" not in picture._repr_html_()
    assert "<b>SFO" not in picture.svg()


def test_what_is_unknown_is_null(place, package):
    revision(place, package)
    picture = monitor("flight-delay", **RANGE, workspace=place)
    assert picture.efficiency["requests"] == 0
    assert picture.efficiency["error_rate"] is None
    assert picture.efficiency["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert (picture.features, picture.prediction, picture.quality) == ([], None, None)
    assert picture.series["t"] == []
    assert (picture.state, picture.reason) == ("down", "the server is not running")


def test_a_gap_in_the_traffic_is_no_latency_of_zero(place, package):
    key = revision(place, package)
    record(place, requests(20, key, seconds=10))
    record(place, requests(20, key, start=START + 40, seconds=10))
    series = monitor("flight-delay", **RANGE, workspace=place).series
    assert series["requests"] == [20, 0, 0, 0, 20, 0]
    assert [value is None for value in series["p95"]] == [False, True, True, True, False, True]


def test_a_few_rows_give_no_verdict(place, package):
    record(place, requests(20, revision(place, package), shift=5.0))
    picture = monitor("flight-delay", **RANGE, workspace=place)
    assert {one["drifted"] for one in picture.features} == {None}
    assert any("too few" in note for note in picture.notes)


def test_labels_become_quality_beside_the_test_reports(place, package):
    record(place, requests(400, revision(place, package)))
    table = predictions("flight-delay", limit=None, workspace=place)
    labels = {row.prediction_id: int(row.output[1] > 0.5) for row in list(table)[:200]}
    feedback("flight-delay", labels, workspace=place)
    quality = monitor("flight-delay", **RANGE, workspace=place).quality
    assert (quality["labels"], quality["coverage"]) == (200, 0.5)
    metrics = {metric["name"]: metric for metric in quality["metrics"]}
    assert metrics["accuracy"]["value"] == 1.0
    assert metrics["roc_auc"]["value"] == 1.0
    assert metrics["roc_auc"]["reference"] == 0.9
    assert metrics["accuracy"]["low"] < 1.0


def test_quality_worse_than_in_testing_is_an_alert_without_a_data_drift_alert(place, package):
    record(place, requests(400, revision(place, package)))
    table = predictions("flight-delay", limit=None, workspace=place)
    flipped = {row.prediction_id: int(row.output[1] < 0.5) for row in table}
    feedback("flight-delay", flipped, workspace=place)
    picture = monitor("flight-delay", **RANGE, workspace=place)
    assert [alert["severity"] for alert in picture.alerts] == ["critical"]
    assert picture.alerts[0]["title"].startswith("roc_auc is 0.000")


def test_many_errors_are_an_alert(place, package):
    record(place, requests(100, revision(place, package), failing=5))
    (alert,) = monitor("flight-delay", **RANGE, workspace=place).alerts
    assert alert["title"] == "20.0% of requests failed (20)"


@pytest.fixture
def answering(place):
    """A server that answers /ping, and its state file, with the agent being this process."""

    class Ping(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ping)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    me = Identity.of().to_dict()
    state = {"supervisor": me, "gateway": me, "agent": me, "host": "127.0.0.1", "started": 0.0}
    state["port"] = server.server_address[1]
    folder = place.directory("server")
    (folder / "server.json").write_text(json.dumps(state))
    yield server
    (folder / "server.json").unlink()
    server.shutdown()
    server.server_close()


def test_the_state_follows_the_traffic(place, package, answering):
    key = revision(place, package)
    assert monitor("flight-delay", workspace=place).state == "idle"
    record(place, requests(5, key, start=time.time() - 600, seconds=5))
    picture = monitor("flight-delay", workspace=place)
    assert (picture.state, picture.reason) == ("idle", "no request for 9 min")
    record(place, requests(5, key, start=time.time() - 3, seconds=2))
    picture = monitor("flight-delay", workspace=place)
    assert (picture.state, picture.reason) == ("live", None)
    assert picture.efficiency["requests"] == 10
    with place.database.begin() as connection:
        connection.execute(tables.endpoints.update().values(traffic=[]))
    picture = monitor("flight-delay", workspace=place)
    assert (picture.state, picture.reason) == ("down", "no revision is deployed")


def test_a_server_that_does_not_answer_is_down(place, package, answering):
    revision(place, package)
    answering.shutdown()
    answering.server_close()
    picture = monitor("flight-delay", workspace=place)
    assert picture.state == "down"
    assert "does not answer" in picture.reason


def test_every_representation_can_be_made(place, package):
    made = requests(300, revision(place, package), rows=2, shift=0.7, failing=11)
    record(place, made)
    picture = monitor("flight-delay", **RANGE, workspace=place)
    json.dumps(picture.to_dict(), allow_nan=False)
    assert "drifted" in str(picture)
    assert "<table" in picture._repr_html_()
    root = ElementTree.fromstring(picture.svg())
    assert root.tag.endswith("svg")
    assert "<script" not in picture.svg()


def test_an_empty_picture_can_be_drawn(place, package):
    revision(place, package)
    picture = monitor("flight-delay", workspace=place)
    ElementTree.fromstring(picture.svg())
    assert "flight-delay" in str(picture)


def test_wrong_use_is_refused(place, package):
    revision(place, package)
    with pytest.raises(EndpointNotFound):
        monitor("nothing", workspace=place)
    with pytest.raises(InvalidArgument, match="'never'"):
        monitor("flight-delay", last="never", workspace=place)
    with pytest.raises(InvalidArgument, match="empty"):
        monitor("flight-delay", since=START, until=START - 1, workspace=place)
    with pytest.raises(InvalidArgument, match="no moment"):
        monitor("flight-delay", since="yesterday", workspace=place)


@pytest.mark.parametrize("moment", [float("nan"), "inf", "nan"])
def test_a_moment_is_a_finite_number(place, package, moment):
    revision(place, package)
    with pytest.raises(InvalidArgument, match="no moment"):
        monitor("flight-delay", since=moment, workspace=place)


def test_a_drawing_is_xml_whatever_the_data_are_called(place, package):
    hostile = "<b>&\"'\x00\x0b\ud800\ufffe\uffff"
    key = revision(place, package)
    record(place, requests(200, key, start=time.time() - 60, seconds=50))
    picture = monitor("flight-delay", last="5m", workspace=place).to_dict()
    picture["endpoint"] = picture["reason"] = hostile
    picture["alerts"] = [{"severity": "warning", "title": hostile, "since": 0.0}]
    for one in picture["features"]:
        one["name"] = hostile
        if one["histogram"]["labels"]:
            one["histogram"]["labels"] = [hostile] * len(one["histogram"]["labels"])
    root = ElementTree.fromstring(draw(picture))
    assert "b" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert any("<b>&" in (element.text or "") for element in root.iter())


def test_nbconvert_shows_the_monitor_as_picture_and_table(place, package):
    record(place, requests(300, revision(place, package), start=time.time() - 60, seconds=50))
    cells = ["%load_ext mlops_magics", "%mlops_monitor flight-delay"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )
    path = place.root / "watch.ipynb"
    nbformat.write(book, path)
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", str(path)]
    # as under a person's hands: not CI
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=120)
    page = path.with_suffix(".html").read_text("utf-8")
    assert 'src="data:image/svg+xml;base64,' in page
    assert '<table class="mlops-grid">' in page
    assert "application/vnd.jupyter.widget-view+json" not in page
