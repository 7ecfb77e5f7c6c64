"""Steps run in the order of their needs."""

import pytest

from mlops_magics.errors import SpecInvalid
from mlops_magics.pipelines.graph import order


def test_needs_come_first_and_else_the_written_order_holds():
    assert order({"c": ["a"], "b": [], "a": []}) == ["b", "a", "c"]
    assert order({"x": [], "y": [], "z": ["x"]}) == ["x", "y", "z"]


def test_a_circle_is_named():
    with pytest.raises(SpecInvalid, match=r"a → c → b → a|c → b → a → c|b → a → c → b"):
        order({"a": ["c"], "b": ["a"], "c": ["b"]})
