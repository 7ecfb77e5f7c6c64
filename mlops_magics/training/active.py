"""Logging to a run."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_magics.errors import InvalidArgument, RunNotFound
from mlops_magics.store import datasets
from mlops_magics.store.secrets import redactor
from mlops_magics.store.workspace import Workspace, resolve
from mlops_magics.training import catalogue
from mlops_magics.training.catalogue import Run

__all__ = ["ActiveRun", "dataset_input", "log"]

_BATCH = 100  # params or tags that MLflow takes at once


class ActiveRun:
    """A run that is under way; see :func:`mlops_magics.training.run`.

    Attributes
    ----------
    run_id : str
        MLflow's.
    record : Run
        What MLflow holds of it now; after the ``with`` block, its final state.
    """

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace = workspace
        self.run_id = run_id

    def __repr__(self) -> str:
        return f"ActiveRun({self.run_id!r})"

    @property
    def record(self) -> Run:
        """The run as MLflow holds it now."""
        tracking = self.workspace.tracking
        with tracking.mapped():
            found = tracking.client.get_run(self.run_id)
            return catalogue.from_mlflow(self.workspace, found, whole=True)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; a parameter's value cannot be changed later.

        Raises
        ------
        InvalidArgument
            A name that MLflow does not take, or another value for a known name.
        """
        from mlflow.entities import Param

        values = [
            Param(_name(key, "parameter"), redactor.text(str(value)))
            for key, value in params.items()
        ]
        self._batches(params=values)

    def log_metrics(self, metrics: Mapping[str, Any], *, step: int = 0) -> None:
        """Log metrics.

        Parameters
        ----------
        metrics : mapping of str to number
            NumPy's scalars too; NaN is kept as NaN.
        step : int
            Epoch or iteration.

        Raises
        ------
        InvalidArgument
            A value that is no number; names the metric.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._batches(
            metrics=[
                Metric(_name(key, "metric"), _number(key, value), now, step)
                for key, value in metrics.items()
            ]
        )

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; a tag can be set anew."""
        from mlflow.entities import RunTag

        values = [
            RunTag(_name(key, "tag"), redactor.text(str(value))) for key, value in tags.items()
        ]
        self._batches(tags=values)

    def _batches(self, **entities: Sequence[Any]) -> None:
        tracking = self.workspace.tracking
        for kind, values in entities.items():
            for start in range(0, len(values), _BATCH):
                with tracking.mapped():
                    part = {kind: values[start : start + _BATCH]}
                    tracking.client.log_batch(self.run_id, **part)

    def use_dataset(self, dataset: Any, *, context: str = "training") -> None:
        """Record that the run uses a dataset.

        Parameters
        ----------
        dataset : str, Dataset or DataFrame
            A DataFrame is known by its content's digest: if that is a version in the workspace,
            the version is recorded.
        context : str
            What for: ``training``, ``holdout``. MLflow holds the same content once in a run,
            with its first context.

        Raises
        ------
        DatasetNotFound
            There is no such dataset.
        """
        self.use([dataset_input(self.workspace, dataset, context)])

    def use(self, inputs: Sequence[Any]) -> None:
        """Record MLflow's own dataset inputs."""
        tracking = self.workspace.tracking
        with tracking.mapped():
            tracking.client.log_inputs(self.run_id, list(inputs))

    def keep_text(self, name: str, text: str) -> None:
        """Keep a text as an artifact, for example ``mlops/output.txt``."""
        self.keep({name: redactor.text(text).encode("utf-8", "backslashreplace")})

    def keep_figure(self, name: str, png: bytes) -> None:
        """Keep a picture as an artifact, for example ``figures/roc.png``."""
        self.keep({name: png})

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Keep files as artifacts, all in one go.

        Parameters
        ----------
        files : mapping of str to bytes
            By path inside the run's artifacts.

        Raises
        ------
        InvalidArgument
            A path that leads out of the artifacts.
        """
        if not files:
            return
        tracking = self.workspace.tracking
        with tempfile.TemporaryDirectory(prefix="mlops-") as folder:
            for name, content in files.items():
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or not path.parts:
                    raise InvalidArgument(
                        f"{name!r} is no path inside the run's artifacts",
                        hint="for example figures/roc.png",
                    )
                target = Path(folder, *path.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            with tracking.mapped():
                tracking.client.log_artifacts(self.run_id, folder)


def dataset_input(workspace: Workspace, dataset: Any, context: str) -> Any:
    """Return what stands for a dataset in a run, an ``mlflow.entities.DatasetInput``."""
    if isinstance(dataset, str):
        return datasets.resolve(workspace, dataset).mlflow_input(context)
    if isinstance(dataset, datasets.DatasetVersion):
        return dataset.mlflow_input(context)
    import pandas as pd

    if not isinstance(dataset, pd.DataFrame):
        raise InvalidArgument(
            f"an object of type {type(dataset).__name__} is no dataset",
            hint="give a dataset's name, what mlops.ingest returned, or a DataFrame",
        )
    from mlops_magics.store.content import Content

    digest = Content.of(dataset).digest
    version = datasets.find_digest(workspace, digest)
    if version is not None:
        return version.mlflow_input(context)
    from mlflow.entities import Dataset, DatasetInput, InputTag

    facts = {"num_rows": len(dataset), "digest": digest}
    entity = Dataset("DataFrame", digest[:32], "code", "{}", profile=json.dumps(facts))
    return DatasetInput(entity, [InputTag("mlflow.data.context", context)])


def _name(name: object, kind: str) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"{name!r} cannot be a {kind}'s name; names are text")
    return name


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str):  # float("7") would be kind, and hide a mistake
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as exc:
        raise InvalidArgument(
            f"the metric {name!r} is {value!r}, not a number",
            hint="texts belong in params or tags",
        ) from exc


def log(
    *,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    dataset: Any = None,
    artifacts: Sequence[Path | str] | None = None,
    run: str | None = None,
    workspace: Workspace | None = None,
) -> Run:
    """Log to a run: the active one, or one named, also after its end.

    Parameters
    ----------
    params, metrics, tags : mapping, optional
        What to log.
    dataset : str, Dataset or DataFrame, optional
        What the run uses.
    artifacts : sequence of path, optional
        Files and folders to keep.
    run : str, optional
        Run id, its beginning, or a run's name. Default: MLflow's active run.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    RunNotFound
        No run is active, or there is none of that name.
    InvalidArgument
        Nothing to log, a metric that is no number, a file that does not exist.

    Examples
    --------
    >>> import tempfile
    >>> from mlops_magics.training import run
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> with run("baseline", workspace=workspace):
    ...     kept = log(metrics={"roc_auc": 0.71}, workspace=workspace)
    >>> log(tags={"owner": "ann"}, run="baseline", workspace=workspace).tags
    {'owner': 'ann'}
    """
    workspace = resolve(workspace)
    tracking = workspace.tracking
    if not (params or metrics or tags or artifacts) and dataset is None:
        raise InvalidArgument("nothing to log", hint="give params, metrics, tags or a dataset")
    paths = [Path(path).expanduser() for path in artifacts or ()]
    for path in paths:
        if not path.exists():
            raise InvalidArgument(f"there is no file {path} to keep")
    if run is not None:
        run_id = catalogue.find(workspace, run).run_id
    else:
        active_run = tracking.fluent().active_run()
        if active_run is None:
            raise RunNotFound(
                "no run is active", hint="name one: --run RUN   (see them: mlops runs)"
            )
        run_id = active_run.info.run_id
    active = ActiveRun(workspace, run_id)
    inputs = [] if dataset is None else [dataset_input(workspace, dataset, "training")]
    for method, values in (
        (active.log_params, params),
        (active.log_metrics, metrics),
        (active.set_tags, tags),
    ):
        if values:
            method(values)
    if inputs:
        active.use(inputs)
    for path in paths:
        with tracking.mapped():
            if path.is_dir():
                tracking.client.log_artifacts(run_id, str(path), path.name)
            else:
                tracking.client.log_artifact(run_id, str(path))
    return active.record
