"""Small packages to deploy: good ones, and ones that go wrong in their own ways."""

import pandas as pd
import pytest

import mlops_magics as mlops

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 10, "n": [1, 2, 3, 4] * 10})


def double(data):
    return (data["x"] * 2).to_numpy()


def triple(data):
    return (data["x"] * 3).to_numpy()


def broken_at_load(data):
    from pathlib import Path

    # the packager is no worker: it goes wrong where it is served
    if Path("plan.json").exists():
        raise RuntimeError("the weights are gone")
    return (data["x"] * 2).to_numpy()


def different_here(data):
    from pathlib import Path

    return (data["x"] * (5 if Path("plan.json").exists() else 2)).to_numpy()


def deadly(data):
    import os
    from pathlib import Path

    if Path("plan.json").exists():
        os.abort()
    return (data["x"] * 2).to_numpy()


FUNCTIONS = [double, triple, broken_at_load, different_here, deadly]


@pytest.fixture
def packaged(workspace):
    """Package one of the functions above, by its name."""
    functions = {function.__name__: function for function in FUNCTIONS}

    def make(name):
        return mlops.package(functions[name], name=name, data=ROWS, workspace=workspace)

    return make
