"""A reference finds its dataset version, or says what is nearest."""

from pathlib import Path

import pandas as pd
import pytest

from mlops_magics.data import ingest
from mlops_magics.errors import DatasetNotFound, InvalidArgument, SourceUnreadable, UnknownName
from mlops_magics.store import datasets
from mlops_magics.store.content import Content


@pytest.fixture
def two(workspace):
    first = ingest(pd.DataFrame({"x": [1, 2], "y": ["a", "b"]}), "numbers", workspace=workspace)
    second = ingest(pd.DataFrame({"x": [3, 4], "y": ["c", "d"]}), "numbers", workspace=workspace)
    return first, second


def test_a_name_is_its_latest_version(workspace, two):
    assert datasets.resolve(workspace, "numbers").version == 2
    assert datasets.read(workspace, "numbers")["x"].tolist() == [3, 4]


def test_a_version_and_a_digest_name_exactly_one(workspace, two):
    assert datasets.resolve(workspace, "numbers/1").digest == two[0].digest
    assert datasets.resolve(workspace, f"numbers@{two[0].digest[:8]}").version == 1


def test_an_unknown_name_offers_the_nearest(workspace, two):
    with pytest.raises(DatasetNotFound, match="did you mean 'numbers'"):
        datasets.resolve(workspace, "number")


def test_an_unknown_version_tells_those_that_exist(workspace, two):
    with pytest.raises(DatasetNotFound, match=r"there is numbers/2, numbers/1$"):
        datasets.resolve(workspace, "numbers/7")


@pytest.mark.parametrize("ref", ["", "numbers/x", "numbers@12", None, "a/b/c"])
def test_what_is_no_reference_is_refused(workspace, ref):
    with pytest.raises(InvalidArgument, match="no dataset reference"):
        datasets.resolve(workspace, ref)


def test_some_columns_can_be_read_alone(workspace, two):
    assert list(two[0].read(["y"]).columns) == ["y"]
    with pytest.raises(UnknownName, match=r"(did you mean 'y'|known: x, y)"):
        two[0].read(["z"])


def test_content_is_found_under_whatever_name(workspace, two):
    same = Content.of(pd.DataFrame({"y": ["b", "a"], "x": [2, 1]}))
    assert datasets.find_digest(workspace, same.digest).ref == "numbers/1"
    assert datasets.find_digest(workspace, "0" * 64) is None


def test_a_lost_file_is_told_with_the_way_back(workspace, two):
    Path(two[0].path).unlink()
    with pytest.raises(SourceUnreadable, match="ingest its source again"):
        two[0].read()


def test_an_mlflow_input_carries_our_digest(workspace, two):
    used = two[0].mlflow_input("holdout")
    assert used.dataset.name == "numbers"
    assert two[0].digest.startswith(used.dataset.digest)
    assert {tag.key: tag.value for tag in used.tags} == {
        "mlflow.data.context": "holdout",
        "mlops.dataset": "numbers/1",
    }
