"""MLflow's deployments: the target ``mlops``, so that MLflow's own client and commands deploy here.

MLflow loads this module by its entry point, and looks in it for `run_local`, `target_help` and
one client. A deployment and an endpoint are the same here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from mlops_magics.deployment.deploy import deploy
from mlops_magics.deployment.endpoints import Endpoint, endpoints, undeploy
from mlops_magics.errors import (
    DatabaseUnavailable,
    DeployConflict,
    EndpointNotFound,
    InvalidArgument,
    MlopsError,
    NotFound,
    PredictionRefused,
    SchemaMismatch,
    ServerNotRunning,
    TrackingUnavailable,
    UnknownName,
)
from mlops_magics.serving.client import predict
from mlops_magics.store import models
from mlops_magics.store.workspace import Workspace

__all__ = ["MlopsDeploymentClient", "run_local", "target_help"]

# the most specific first
_CODES: dict[type[MlopsError], int] = {
    InvalidArgument: codes.INVALID_PARAMETER_VALUE,
    NotFound: codes.RESOURCE_DOES_NOT_EXIST,
    DeployConflict: codes.RESOURCE_CONFLICT,
    ServerNotRunning: codes.TEMPORARILY_UNAVAILABLE,
    DatabaseUnavailable: codes.TEMPORARILY_UNAVAILABLE,
    TrackingUnavailable: codes.TEMPORARILY_UNAVAILABLE,
    SchemaMismatch: codes.INVALID_PARAMETER_VALUE,
}


def _milliseconds(text: str) -> float:
    return float(text.strip().removesuffix("ms"))


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
        text.lower()
    ]


_CONFIG: dict[str, Callable[[str], Any]] = {
    "workers": int,
    "latency_budget": _milliseconds,
    "env": str,
    "log": str,
    "log_fraction": float,
    "log_mask": str,
    "retention": str,
    "canary": str,
    "shadow": str,
    "steps": str,
    "every": str,
    "min_requests": int,
    "analysis": str,
    "follow": _truth,
}

_HELP = f"""\
Deploys to the mlops server of a workspace, which is started if it does not run.

Target: "mlops" for the workspace that is found from the working directory (or MLOPS_WORKSPACE),
"mlops:/PATH/TO/PROJECT" for another one.

Models: models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-..., runs:/RUN/NAME; packaged by mlops
(mlops package, mlops register).

Config of create and update, as -C NAME=VALUE: {", ".join(_CONFIG)}.
They mean what "mlops deploy --help" says of the options of the same names.

A deployment is an endpoint: --endpoint names the same thing as --name.
"""


def target_help() -> str:
    """Return what ``mlflow deployments help -t mlops`` shows."""
    return _HELP


def run_local(
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Deploy to the workspace found from the working directory: this target is local."""
    MlopsDeploymentClient("mlops").create_deployment(name, model_uri, flavor, config)


class MlopsDeploymentClient(BaseDeploymentClient):  # type: ignore[misc]  # mlflow ships no types
    """MLflow's client for the target ``mlops``.

    Parameters
    ----------
    target_uri : str
        ``mlops`` or ``mlops:/path/to/project``.
    """

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        path = str(target_uri).partition(":")[2]
        with _mapped():
            self.workspace = Workspace.find(Path(path) if path.strip("/") else None)

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Deploy a model at an endpoint that is not in use.

        Raises
        ------
        MlflowException
            It is in use, or the model was not deployed.
        """
        with _mapped():
            name = _same(name, endpoint)
            if any(one.name == name for one in endpoints(workspace=self.workspace)):
                raise MlflowException(
                    f"the deployment {name!r} exists already; update it: "
                    f"mlflow deployments update -t mlops --name {name}",
                    error_code=codes.RESOURCE_ALREADY_EXISTS,
                )
            return self._deploy(name, model_uri, flavor, config)

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: Mapping[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Deploy another model, or the same one with another configuration.

        Raises
        ------
        MlflowException
            There is no such deployment, or the model was not deployed.
        """
        with _mapped():
            name = _same(name, endpoint)
            found = self._find(name)
            if model_uri is None:
                model_uri = str(found.version)
                if not model_uri.startswith("m-"):
                    model_uri = f"{found.model}/{found.version}"
            return self._deploy(name, model_uri, flavor, config)

    def delete_deployment(
        self, name: str, config: Mapping[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Take an endpoint out of service; its inference table stays. Twice is no error."""
        with _mapped(), contextlib.suppress(EndpointNotFound):
            undeploy(_same(name, endpoint), workspace=self.workspace)

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """Return all endpoints that are in service, or the one."""
        with _mapped():
            found = endpoints(workspace=self.workspace)
            return [self._told(one) for one in found if endpoint in (None, one.name)]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Return one endpoint.

        Raises
        ------
        MlflowException
            There is none of that name.
        """
        with _mapped():
            return self._told(self._find(_same(name, endpoint)))

    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Ask an endpoint for predictions.

        Parameters
        ----------
        deployment_name, endpoint : str
            Its name; one of them.
        inputs : DataFrame, list of mappings, mapping
            Rows; also as MLflow's ``dataframe_split`` or ``dataframe_records``.

        Raises
        ------
        MlflowException
            It was refused, or there is no such endpoint.
        """
        with _mapped():
            name = _same(deployment_name, endpoint)
            answer = predict(name, _rows(inputs), workspace=self.workspace)
            told = {"predictions": answer.values, "prediction_ids": answer.ids}
            return PredictionsResponse({**told, "version": answer.version})

    def create_endpoint(self, name: str, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Refuse: an endpoint begins with its first deployment."""
        raise MlflowException(
            "an endpoint begins with its first deployment: "
            f"mlflow deployments create -t mlops --name {name} -m MODEL_URI",
            error_code=codes.INVALID_PARAMETER_VALUE,
        )

    def update_endpoint(self, endpoint: str, config: Mapping[str, Any] | None = None) -> None:
        """Deploy the same model with another configuration."""
        self.update_deployment(endpoint, config=config)

    def delete_endpoint(self, endpoint: str) -> None:
        """Take an endpoint out of service."""
        self.delete_deployment(endpoint)

    def list_endpoints(self) -> list[dict[str, Any]]:
        """Return all endpoints that are in service."""
        return self.list_deployments()

    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Return one endpoint."""
        return self.get_deployment(endpoint)

    def _deploy(
        self, name: str, model_uri: str, flavor: str | None, config: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        package = models.fetch(self.workspace, models.resolve(self.workspace, model_uri))
        manifest = json.loads((package / "mlops" / "manifest.json").read_bytes())
        if flavor is not None and flavor != manifest["flavor"]:
            raise InvalidArgument(
                f"the model has the flavor {manifest['flavor']!r}, not {flavor!r}"
            )
        settings = _settings(config or {})
        return self._told(deploy(model_uri, name, workspace=self.workspace, **settings))

    def _find(self, name: str) -> Endpoint:
        found: Endpoint = endpoints(name, workspace=self.workspace)[0]
        if found.state == "undeployed":
            raise EndpointNotFound(f"the deployment {name!r} was deleted")
        return found

    def _told(self, endpoint: Endpoint) -> dict[str, Any]:
        told = endpoint.to_dict()
        return {"name": told.pop("name"), "flavor": self._flavor(endpoint), **told}

    def _flavor(self, endpoint: Endpoint) -> str | None:
        if endpoint.model is None:
            return None
        ref = str(endpoint.version)
        ref = ref if ref.startswith("m-") else f"{endpoint.model}/{ref}"
        package = models.fetch(self.workspace, ref)
        manifest = json.loads((package / "mlops" / "manifest.json").read_bytes())
        return str(manifest["flavor"])


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Raise our errors as MLflow's, with the code that fits and ours as the cause."""
    try:
        yield
    except MlopsError as exc:
        code = next((code for kind, code in _CODES.items() if isinstance(exc, kind)), None)
        if isinstance(exc, PredictionRefused) and exc.status < 500:
            code = codes.INVALID_PARAMETER_VALUE
        raise MlflowException(str(exc), error_code=code or codes.INTERNAL_ERROR) from exc


def _same(name: str | None, endpoint: str | None) -> str:
    if name is not None and endpoint not in (None, name):
        raise InvalidArgument(
            f"deployment {name!r} at endpoint {endpoint!r}: here they are one and have one name"
        )
    found = name or endpoint
    if found is None:
        raise InvalidArgument("neither a deployment nor an endpoint was named")
    return found


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as `deploy` takes it; commands give everything as text."""
    found = {}
    for key, value in config.items():
        if key not in _CONFIG:
            raise UnknownName("config", key, _CONFIG)
        try:
            found[key] = _CONFIG[key](value) if isinstance(value, str) else value
        except (ValueError, KeyError) as exc:
            raise InvalidArgument(f"{key} = {value!r} cannot be understood") from exc
    return found


def _rows(inputs: Any) -> Any:
    if isinstance(inputs, Mapping) and len(inputs) == 1:
        split, records = inputs.get("dataframe_split"), inputs.get("dataframe_records")
        if split is not None:
            return pd.DataFrame(split["data"], columns=split["columns"])
        if records is not None:
            return records
    return inputs
