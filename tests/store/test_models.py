"""Models are found by every name, and loaded only as they were packaged."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from mlops_magics import errors
from mlops_magics.deployment.build import register
from mlops_magics.packaging import package
from mlops_magics.store import models, packages


@pytest.fixture
def rows():
    return load_iris(as_frame=True).frame.sample(frac=1, random_state=0)


@pytest.fixture
def model(rows):
    return LogisticRegression(max_iter=500).fit(rows.drop(columns="target"), rows["target"])


@pytest.fixture
def packed(workspace, model, rows):
    return package(model, name="iris", data=rows, target="target", workspace=workspace)


def origin_of(workspace, packed):
    logged = workspace.tracking.client.get_logged_model(packed.model_id)
    return models.Path(models.urlparse(logged.artifact_location).path)


def test_a_version_is_found_by_each_of_its_names(workspace, model, rows):
    version = register(
        model,
        "iris",
        data=rows,
        target="target",
        holdout=rows,
        min={"accuracy": 0.8},
        alias="champion",
        workspace=workspace,
    )
    for text in ("iris", "iris/1", "iris@champion", "models:/iris/1", "models:/iris@champion"):
        ref = models.resolve(workspace, text)
        assert (ref.name, ref.version, ref.model_id) == ("iris", "1", version.model_id), text
    for text in (f"models:/{version.model_id}", f"runs:/{version.run_id}"):
        assert models.resolve(workspace, text).model_id == version.model_id


@pytest.mark.parametrize(
    ("text", "message"),
    [("iriss", "did you mean 'iris'"), ("iris/9", "no version 9"), ("iris@x", "no alias 'x'")],
)
def test_a_name_that_does_not_exist_gets_the_nearest(workspace, model, rows, text, message):
    register(model, "iris", data=rows, target="target", holdout=rows, workspace=workspace)
    with pytest.raises(errors.ModelNotFound, match=message):
        models.resolve(workspace, text)


def test_text_that_is_no_reference_is_refused(workspace):
    for text in ("", "a/b/c", "s3://bucket/model", "iris@", "iris/latest/x"):
        with pytest.raises(errors.InvalidArgument):
            models.resolve(workspace, text)


def test_a_fetched_copy_predicts_as_the_live_model(workspace, packed, model, rows):
    shutil.rmtree(packed.path)
    path = models.fetch(workspace, packed.uri)
    assert path == packed.path
    features = rows.drop(columns="target")
    shuffled = features[features.columns[::-1]]
    np.testing.assert_array_equal(models.load(path).predict(shuffled), model.predict(features))


def test_a_missing_column_is_named(packed, rows):
    with pytest.raises(errors.SchemaMismatch, match="sepal width"):
        models.load(packed.path).predict(rows.drop(columns="sepal width (cm)"))


def test_a_flipped_bit_in_the_registry_is_refused_and_the_file_named(workspace, packed):
    file = origin_of(workspace, packed) / "model.skops"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    shutil.rmtree(packed.path)
    with pytest.raises(errors.PackageCorrupt, match=r"model\.skops does not match"):
        models.fetch(workspace, packed.uri)
    assert not packed.path.exists()


def test_a_damaged_private_copy_is_fetched_again(workspace, packed):
    (packed.path / "model.skops").write_bytes(b"")
    models.load(models.fetch(workspace, packed.uri))


def test_types_added_to_the_manifest_change_the_digest_and_are_refused(workspace, packed):
    manifest = json.loads((packed.path / packages.MANIFEST).read_text())
    manifest["trusted_types"].append("builtins.eval")
    (packed.path / packages.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(errors.PackageCorrupt, match=r"manifest\.json was changed"):
        models.load(packed.path)


def test_a_surplus_file_and_a_missing_one_are_refused(packed):
    extra = packed.path / "extra.py"
    extra.write_text("")
    with pytest.raises(errors.PackageCorrupt, match=r"extra\.py is not listed"):
        models.load(packed.path)
    extra.unlink()
    (packed.path / "MLmodel").unlink()
    with pytest.raises(errors.PackageCorrupt, match="MLmodel is missing"):
        models.load(packed.path)


def test_a_link_in_the_registry_is_refused_before_it_is_followed(workspace, packed, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    file = origin_of(workspace, packed) / "requirements.txt"
    file.unlink()
    file.symlink_to(secret)
    shutil.rmtree(packed.path)
    with pytest.raises(errors.PackageCorrupt, match=r"requirements\.txt is a link"):
        models.fetch(workspace, packed.uri)


def test_a_path_that_leaves_the_package_is_refused(packed):
    manifest = json.loads((packed.path / packages.MANIFEST).read_text())
    manifest["files"]["../../token"] = "0" * 64
    (packed.path / packages.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(errors.PackageCorrupt, match="leaves the package's folder"):
        models.load(packed.path)


def test_a_model_that_another_tool_pickled_is_refused(workspace, model):
    mlflow = workspace.tracking.mlflow
    with mlflow.start_run(experiment_id=workspace.tracking.experiment_id):
        info = mlflow.sklearn.log_model(
            model, name="foreign", serialization_format="pickle", pip_requirements=[]
        )
    with pytest.raises(errors.PackageCorrupt, match="not packaged by mlops"):
        models.fetch(workspace, info.model_uri)


@pytest.mark.xdist_group("mlflow_server")
def test_a_package_in_a_real_mlflow_server_is_fetched_and_verified(
    workspace, mlflow_server, model, rows, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    remote = type(workspace).find(workspace.root)
    version = register(
        model,
        "iris",
        data=rows,
        target="target",
        holdout=rows,
        min={"accuracy": 0.8},
        alias="champion",
        workspace=remote,
    )
    shutil.rmtree(remote.path / "packages" / version.digest)
    predictor = models.load(models.fetch(remote, "iris@champion"))
    features = rows.drop(columns="target")
    np.testing.assert_array_equal(predictor.predict(features), model.predict(features))
