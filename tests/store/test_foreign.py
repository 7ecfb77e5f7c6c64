"""Files that nobody vouches for: what a tampered one can do is be refused."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import pytest
from sklearn.linear_model import LinearRegression

from mlops_magics import errors
from mlops_magics.store import foreign, models


@pytest.fixture
def folder(workspace) -> Path:
    """Where the files are of a model that MLflow logged in the run ``logged``."""
    mlflow = workspace.tracking.fluent()
    with mlflow.start_run(run_name="logged", experiment_id=workspace.tracking.experiment_id):
        model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
        mlflow.sklearn.log_model(model, name="model")
    ref = models.resolve(workspace, "runs:/logged/model")
    return Path(urlparse(ref.source).path)


def take(workspace):
    found = foreign.find(workspace, "runs:/logged/model")
    with foreign.opened(workspace, found) as model:
        return model


def test_what_mlflow_logged_is_the_estimator_and_its_copy_is_removed(workspace, folder):
    assert take(workspace).predict([[2.0]])[0] == pytest.approx(4.0)
    assert list((workspace.path / "packages").iterdir()) == []


@pytest.mark.parametrize(
    ("former", "text", "message"),
    [
        ("model.skops", "../../model.skops", "leaves its folder"),
        ("serialization_format: skops", "serialization_format: pickle", "pickle"),
        ("  sklearn:", "  keras:", "flavour keras"),
        ("flavors:", "flavors: [", "cannot be read"),
        ("flavors:", "others:", "cannot be read"),
    ],
)
def test_a_changed_description_is_refused(workspace, folder, former, text, message):
    path = folder / "MLmodel"
    assert former in path.read_text()
    path.write_text(path.read_text().replace(former, text))
    with pytest.raises(errors.ModelError, match=message):
        take(workspace)


def test_a_pickle_in_a_skops_files_place_is_not_loaded(workspace, folder):
    import pickle

    (folder / "model.skops").write_bytes(pickle.dumps(LinearRegression()))
    with pytest.raises(errors.ModelError, match="cannot be read as skops"):
        take(workspace)


def test_a_link_is_refused(workspace, folder):
    (folder / "model.skops").unlink()
    (folder / "model.skops").symlink_to("/etc/hostname")
    with pytest.raises(errors.PackageCorrupt, match="a link"):
        take(workspace)


@pytest.mark.parametrize(
    "name", ["os.system", "numpy.load", "sklearn.datasets._base.load_files", "builtins.eval", "x"]
)
def test_functions_that_read_or_run_are_not_harmless(name):
    assert not foreign.harmless(name)
