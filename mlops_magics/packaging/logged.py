"""Packages in MLflow: the run they belong to, and the logged model that holds their files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import ModelError, NotFound
from mlops_magics.packaging import examples, folder
from mlops_magics.packaging.drivers import drivers_of
from mlops_magics.packaging.flavors import Written
from mlops_magics.store import datasets, evidence, models, packages, predictors

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Draft", "dataset_of", "log", "run_of"]


@dataclass(frozen=True)
class Draft:
    """A package folder that lacks only what MLflow decides: the model's id.

    Attributes
    ----------
    folder : Path
        Private, with the model file, the environment and the examples.
    written : Written
        What the flavour says of it.
    content : dict
        The manifest's part that is known; ``data`` goes to its drivers.
    golden, outputs : DataFrame or arrays, list
        Rows, and the live model's predictions for them.
    """

    folder: Path
    written: Written
    content: dict[str, Any]
    golden: Any
    outputs: list[Any]


@contextlib.contextmanager
def run_of(workspace: Workspace, run: str | None, name: str) -> Iterator[str]:
    """Give the id of a run: the one named, MLflow's active one, or a new one that ends here.

    Raises
    ------
    RunNotFound
        The run named does not exist.
    """
    tracking = workspace.tracking
    if run is None:
        active = tracking.mlflow.active_run()
        run = active.info.run_id if active else None
    if run is not None:
        yield run
        return
    with tracking.mapped():
        run_id = tracking.client.create_run(tracking.experiment_id, run_name=name).info.run_id
    status = "FAILED"
    try:
        yield run_id
        status = "FINISHED"
    finally:
        with tracking.mapped():
            tracking.client.set_terminated(run_id, status)


def dataset_of(workspace: Workspace, run: str | None) -> str | None:
    """Return the reference of the dataset version that a run used for training, if it is ours."""
    if run is None:
        return None
    with workspace.tracking.mapped():
        inputs = workspace.tracking.client.get_run(run).inputs
    found = []
    for one in inputs.dataset_inputs if inputs else []:
        try:
            version = datasets.resolve(workspace, one.dataset.name)
        except (NotFound, ValueError):
            continue  # a dataset that another tool recorded
        if version.digest.startswith(one.dataset.digest):
            contexts = {tag.value for tag in one.tags if tag.key == "mlflow.data.context"}
            found.append(("training" not in contexts, version.ref))
    return min(found)[1] if found else None


def log(
    workspace: Workspace,
    draft: Draft,
    *,
    name: str,
    run_id: str,
    report: Mapping[str, Any] | None,
) -> tuple[str, str]:
    """Finish a package folder as a logged model of MLflow, verified before it is called ready.

    Returns
    -------
    model_id, digest : str
        The folder is then ``.mlops/packages/<digest>``.

    Raises
    ------
    ModelError
        Loaded again, the model predicts otherwise on the golden rows; nothing is kept.
    """
    private, content, manifest_part = draft.folder, draft.content, draft.written.manifest
    tracking = workspace.tracking
    client, entities = tracking.client, tracking.mlflow.entities
    with tracking.mapped():
        run = client.get_run(run_id)
        created = client.create_logged_model(
            run.info.experiment_id,
            name=name,
            source_run_id=run_id,
            params=dict(run.data.params),
            tags={"mlops.flavor": content["flavor"], "mlops.predict_fn": content["predict_fn"]},
        )
    model_id = str(created.model_id)
    try:
        folder.write_mlmodel(
            private,
            draft.written,
            content["signature"],
            model_id=model_id,
            run_id=run_id,
            location=str(created.artifact_location),
        )
        artifacts = {"flavor": content["flavor"], **manifest_part}
        facts = {**content["data"], "target": content["target"]}
        manifest = {
            **{key: value for key, value in content.items() if key != "data"},
            **manifest_part,
            "run_id": run_id,
            "model_id": model_id,
            "drivers": drivers_of(workspace, run, facts, artifacts),
        }
        digest = folder.write_manifest(private, manifest)
        _compare(draft, digest)
        tags = {models.DIGEST_TAG: digest}
        if report is not None:
            tags |= evidence.tags_of(report)
        with tracking.mapped():
            client.log_model_artifacts(model_id, str(private))
            client.set_logged_model_tags(model_id, tags)
            client.finalize_logged_model(model_id, "READY")
            client.log_outputs(run_id, [entities.LoggedModelOutput(model_id, step=0)])
            _log_metrics(workspace, run_id, model_id, report)
        settled = workspace.directory("packages") / digest
        models.settle(private, settled)
        logged = workspace.path / "artifacts" / "models"
        if (logged / model_id).is_dir():  # MLflow copies with the caller's umask
            logged.chmod(0o700)
            packages.close_to_others(logged / model_id)
    except BaseException:
        with tracking.mapped():
            client.delete_logged_model(model_id)
        raise
    return model_id, digest


def _compare(draft: Draft, digest: str) -> None:
    """Load the folder as a server would, and compare with the live model's predictions."""
    predictor = predictors.load(draft.folder, digest=digest)
    if not examples.same_outputs(draft.outputs, predictor.predict(draft.golden)):
        raise ModelError(
            "the model predicts otherwise after it was written and loaded again",
            hint="does it depend on state outside of it, or on chance? fix its seed",
        )


def _log_metrics(
    workspace: Workspace, run_id: str, model_id: str, report: Mapping[str, Any] | None
) -> None:
    """Show the test metrics on the logged model too, where MLflow's UI compares models."""
    if report is None:
        return
    entity = workspace.tracking.mlflow.entities.Metric
    now = int(time.time() * 1000)
    metrics = [
        entity(f"test.{one['name']}", one["value"], now, 0, model_id=model_id, run_id=run_id)
        for one in report.get("metrics", [])
        if one.get("value") is not None
    ]
    workspace.tracking.client.log_batch(run_id, metrics=metrics)
