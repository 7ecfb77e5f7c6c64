"""A run's report is one file that tells all and in which nothing runs."""

import re
from html.parser import HTMLParser

import pytest

import mlops_magics as mlops
from mlops_magics.errors import InvalidArgument

pytestmark = pytest.mark.xdist_group("failed")

# of an element or attribute that can run, fetch or leave the page
ELEMENTS = {"script", "iframe", "object", "embed", "form", "link", "base", "foreignobject"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids |= {value for name, value in attrs if name == "id"}

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def report(failed, tmp_path_factory):
    workspace, _, _ = failed
    path = tmp_path_factory.mktemp("report") / "report.html"
    made = mlops.pipeline_report(output=path, workspace=workspace)
    assert made.path == str(path)
    assert made.size == path.stat().st_size
    return path.read_text("utf-8")


def test_it_tells_steps_timeline_failure_parameters_outputs_and_notebooks(failed, report):
    _, error, _ = failed
    page = Page(report)
    text = " ".join(" ".join(page.text).split())
    for part in (
        error.run.id,
        "gate failed",
        "ValueError: auc 0.61 is too low",
        "MB at most, of",
        "skipped",  # a step in the graph
        "a number",  # an output that was HTML
        "Flights",  # a heading that was Markdown
        "Traceback (most recent call last)",
    ):
        assert part in text
    drawn = [attrs.get("aria-label") for tag, attrs in page.elements if tag == "svg"]
    assert drawn == ["the steps and what they need", "when each step ran"]
    # register needs ingest by way of gate already: two lines, not three
    assert report.count('class="edge"') == 2
    # every link inside the page leads somewhere
    links = {attrs["href"] for tag, attrs in page.elements if tag == "a" and attrs.get("href")}
    assert {link[1:] for link in links if link.startswith("#")} <= page.ids
    assert {"failed-gate", "step-ingest"} <= page.ids


def test_nothing_in_it_runs_or_is_fetched(report):
    page = Page(report)
    assert not ELEMENTS & {tag for tag, _ in page.elements}
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        target = attrs.get("src") or attrs.get("href") or ""
        assert re.match(r"(#|data:image/|https?://|$)", target), (tag, attrs)
        assert tag == "a" or not target.startswith("http")
    policy = [attrs["content"] for tag, attrs in page.elements if "http-equiv" in attrs]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    # what lives by a script is its text instead
    assert report.count("&lt;IPython.core.display.HTML object&gt;") == 1
    # what was printed is there, as text
    assert "&lt;script&gt;alert(&#x27;ran&#x27;)&lt;/script&gt;" in report


def test_it_lies_beside_the_notebooks_unless_told_otherwise(failed, tmp_path):
    workspace, error, _ = failed
    made = mlops.pipeline_report(error.run.id, workspace=workspace)
    assert made.path == f"{error.run.folder}/report.html"
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="cannot be written"):
        mlops.pipeline_report(output=tmp_path / "file" / "report.html", workspace=workspace)
