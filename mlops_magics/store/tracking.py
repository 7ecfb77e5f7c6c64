"""MLflow, the system of record: tracking store and model registry.

The only module that imports MLflow's client. MLflow's errors become ours here, from the original.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import (
    InvalidArgument,
    MlopsError,
    ModelNotFound,
    NotFound,
    RunNotFound,
    StoreError,
    TrackingUnavailable,
)

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Tracking", "quiet_environment"]


def quiet_environment() -> dict[str, str]:
    """Environment for child processes: MLflow's reports and bars off unless the user chose."""
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # bars for files of some kilobytes
    }
    return {name: os.environ.get(name, value) for name, value in quiet.items()}


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo what MLflow's setters write into the environment.

    Another workspace opened in this process would take it for the user's own wish.
    """
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    former = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Tracking:
    """The workspace's MLflow: its own SQLite file, or the server that the settings name.

    Attributes
    ----------
    uri, registry_uri : str
        What MLflow is pointed at.
    """

    def __init__(self, workspace: Workspace) -> None:
        settings = workspace.settings
        self.workspace = workspace
        self.embedded_uri = f"sqlite:///{workspace.path / 'mlflow.db'}"
        self.uri = (
            settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or self.embedded_uri
        )
        self.registry_uri = (
            settings.registry_uri or os.environ.get("MLFLOW_REGISTRY_URI") or self.uri
        )

    def __repr__(self) -> str:
        return f"Tracking({self.uri!r})"

    @property
    def embedded(self) -> bool:
        """Whether the store is the workspace's own SQLite file."""
        return self.uri == self.embedded_uri

    @cached_property
    def mlflow(self) -> ModuleType:
        """The ``mlflow`` module, pointed at this workspace, with usage reports off."""
        for name, value in quiet_environment().items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow
        # after the import, which sets levels of its own; MLflow's notices of each new table and
        # alembic's of each migration are no news to a notebook's reader
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        if self.embedded:
            path = self.workspace.path / "mlflow.db"
            path.touch(mode=0o600, exist_ok=True)
        with _environment_kept():
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.registry_uri)
        module: ModuleType = mlflow
        return module

    def fluent(self) -> ModuleType:
        """Return the ``mlflow`` module, pointed here again if anybody has pointed it elsewhere.

        For runs in which the user's own ``mlflow.log_metric`` and autologging must arrive.
        """
        mlflow = self.mlflow
        if (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) != (self.uri, self.registry_uri):
            with _environment_kept():
                mlflow.set_tracking_uri(self.uri)
                mlflow.set_registry_uri(self.registry_uri)
        return mlflow

    @cached_property
    def client(self) -> Any:
        """An ``mlflow.MlflowClient`` of this workspace."""
        return self.mlflow.MlflowClient(self.uri, self.registry_uri)

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return (
            self.workspace.settings.experiment
            or os.environ.get("MLFLOW_EXPERIMENT_NAME")
            or self.workspace.root.name
            or "default"
        )

    @cached_property
    def experiment_id(self) -> str:
        """The experiment's id; it is made on first use, artifacts in the workspace if embedded."""
        with self.mapped():
            found = self.client.get_experiment_by_name(self.experiment)
            if found is not None:
                return str(found.experiment_id)
            place = self.workspace.directory("artifacts").as_uri() if self.embedded else None
            try:
                return str(self.client.create_experiment(self.experiment, artifact_location=place))
            except self.mlflow.exceptions.MlflowException as exc:
                if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                # another process made it in between
                found = self.client.get_experiment_by_name(self.experiment)
                return str(found.experiment_id)

    @contextlib.contextmanager
    def mapped(self) -> Iterator[None]:
        """Map MLflow's and the network's errors to ours.

        Raises
        ------
        RunNotFound, ModelNotFound, NotFound, InvalidArgument, TrackingUnavailable, StoreError
            From the original error.
        """
        exceptions = self.mlflow.exceptions
        try:
            yield
        except MlopsError:
            raise
        except exceptions.MlflowException as exc:
            raise self._translate(exc) from exc
        except OSError as exc:  # requests' connection errors are OSErrors
            raise TrackingUnavailable(
                f"MLflow at {self.uri} cannot be reached: {exc}",
                hint="start it, or unset MLFLOW_TRACKING_URI to use the workspace's own",
            ) from exc

    def _translate(self, exc: Any) -> MlopsError:
        text = str(exc.message).strip().splitlines()[0] if str(exc.message).strip() else repr(exc)
        code = exc.error_code
        lower = text.lower()
        if code == "RESOURCE_DOES_NOT_EXIST" or "not found" in lower:
            if "run" in lower:
                return RunNotFound(text, hint="see them with: mlops runs")
            if "model" in lower or "alias" in lower:
                return ModelNotFound(text, hint="see them with: mlops registry")
            return NotFound(text)
        if code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}:
            return InvalidArgument(text)
        if "connection" in lower or "max retries" in lower or "api request to" in lower:
            return TrackingUnavailable(
                f"MLflow at {self.uri} cannot be reached: {text[:200]}",
                hint="start it, or unset MLFLOW_TRACKING_URI to use the workspace's own",
            )
        return StoreError(f"MLflow refused: {text}")
