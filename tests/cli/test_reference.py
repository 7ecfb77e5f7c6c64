"""The committed reference is what the commands say of themselves."""

from pathlib import Path

from mlops_magics.cli.reference import page

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_current():
    assert (ROOT / "docs" / "verbs.md").read_text() == page(), "run: make docs"
