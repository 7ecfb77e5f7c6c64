"""The catalogue lists, searches and shows datasets."""

import pandas as pd
import pytest
from sklearn.datasets import load_wine

from mlops_magics.data import dataset, datasets, ingest
from mlops_magics.errors import DatasetNotFound


@pytest.fixture
def wine(workspace):
    frame = load_wine(as_frame=True).frame
    return ingest(
        frame, "wine", tags={"origin": "UCI"}, description="Three growers", workspace=workspace
    )


def test_an_empty_catalogue_says_how_to_begin(workspace):
    assert "mlops ingest" in str(datasets(workspace=workspace))


def test_datasets_are_found_by_name_column_tag_owner_and_description(workspace, wine):
    ingest(pd.DataFrame({"x": [1]}), "numbers", owner="bob", workspace=workspace)
    for search in ("WINE", "proline", "origin=uci", "growers"):
        assert [row.name for row in datasets(search, workspace=workspace)] == ["wine"]
    assert [row.name for row in datasets("bob", workspace=workspace)] == ["numbers"]
    assert len(datasets(workspace=workspace)) == 2
    assert "No dataset has 'zinc'" in str(datasets("zinc", workspace=workspace))
    assert list(datasets(workspace=workspace).df["name"]) == ["numbers", "wine"]


def test_a_dataset_gives_its_rows_back(workspace, wine):
    pd.testing.assert_frame_equal(
        dataset("wine", workspace=workspace).df, load_wine(as_frame=True).frame
    )


def test_a_card_has_a_line_for_each_column(workspace, wine):
    text = str(dataset("wine/1", workspace=workspace))
    for name in wine.df.columns:
        assert name in text
    assert "11.03 to 14.83" in text
    assert "█" in text


def test_a_card_escapes_what_comes_from_data(workspace):
    frame = pd.DataFrame({"<b>x</b>": ["<script>alert(1)</script>", "b", "b"]})
    html = ingest(frame, "evil", workspace=workspace)._repr_html_()
    assert "<script>" not in html
    assert "<b>x" not in html


def test_a_skewed_column_is_drawn_in_equal_steps(workspace):
    frame = pd.DataFrame({"delay": [0] * 500 + [1] * 300 + list(range(2, 202))})
    from mlops_magics.data.catalogue import _bars

    found = ingest(frame, "skewed", workspace=workspace)
    bars = _bars(found.profile["columns"]["delay"])
    assert sum(bars) == pytest.approx(1000)
    assert bars[0] == max(bars)
    assert bars[0] > 0.7 * 1000


def test_an_unknown_dataset_offers_the_nearest(workspace, wine):
    with pytest.raises(DatasetNotFound, match="did you mean 'wine'"):
        dataset("vine", workspace=workspace)
