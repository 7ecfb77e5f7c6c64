"""A window as a file: whole, alone, and inert."""

import re
from html.parser import HTMLParser

import pytest

from mlops_magics.errors import InvalidArgument
from mlops_magics.monitoring import drawing, report
from mlops_magics.monitoring.picture import monitor
from mlops_magics.monitoring.report import monitor_report

from .conftest import START, record, requests, revision

RANGE = {"since": START, "until": START + 60}


def test_it_shows_what_drifted_and_how_and_needs_nothing_else(place, package, tmp_path):
    record(place, requests(500, revision(place, package), shift=1.0))
    written = monitor_report(
        "flight-delay", **RANGE, output=tmp_path / "new" / "week.html", workspace=place
    )
    page = (tmp_path / "new" / "week.html").read_text()
    assert written.drifted == ["distance"]
    assert written.size == len(page.encode())
    assert re.findall(r'class="column drifted">\s*<h3>(\w+)', page) == ["distance"]
    assert set(re.findall(r"<h3>(\w+)", page)) == {"distance", "hour", "origin", "prediction"}
    psi = monitor("flight-delay", **RANGE, workspace=place).features[0]["psi"]
    assert f"<dd>{psi:.4g}</dd>" in page
    assert not re.search(r"<script|<link|src=\"(?!data:)|https?://(?!www\.w3\.org)", page)


def test_a_name_that_is_html_is_text_in_it(place, package):
    record(place, requests(200, revision(place, package)))
    picture = monitor("flight-delay", **RANGE, workspace=place)
    hostile = "</h3><img src=x onerror=alert(1)>"
    picture.features[0]["name"] = hostile
    picture.features[0]["reasons"] = [hostile]
    picture.features[0]["unseen"] = [hostile]
    handlers = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            handlers.extend(name for name, _ in attributes if name.startswith("on"))

    Reader().feed(page := report._page(picture))
    assert handlers == []
    assert page.count("&lt;img src=x") >= 3
    assert "<img" not in drawing.column(picture.features[0])


def test_a_window_without_requests_says_so(place, package, tmp_path):
    revision(place, package)
    path = tmp_path / "empty.html"
    monitor_report("flight-delay", **RANGE, output=path, workspace=place)
    assert "no predictions in this time" in path.read_text()


def test_a_file_that_cannot_be_written_is_named(place, package, tmp_path):
    revision(place, package)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match=r"file/week\.html cannot be written"):
        monitor_report("flight-delay", output=tmp_path / "file" / "week.html", workspace=place)
