"""The five drivers of a package: data, code, artifacts, middleware, infrastructure."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["drivers_of"]


def drivers_of(
    workspace: Workspace, run: Any, data: Mapping[str, Any], artifacts: Mapping[str, Any]
) -> dict[str, Any]:
    """Name what a package was made of, from its run's records.

    Parameters
    ----------
    workspace : Workspace
        Whose MLflow holds the run.
    run : mlflow.entities.Run
        The run that trained the model.
    data : mapping
        Facts of the training frame.
    artifacts : mapping
        Facts of the model's own files.
    """
    inputs = run.inputs.dataset_inputs if run.inputs else []
    datasets = [{"name": one.dataset.name, "digest": one.dataset.digest} for one in inputs]
    tags = run.data.tags
    code = {
        name: value
        for name, value in sorted(tags.items())
        if name.startswith(("mlflow.source.", "mlops.")) and len(value) <= 1000
    }
    return {
        "data": {"datasets": datasets, **data},
        "code": {"run_id": run.info.run_id, **code},
        "artifacts": dict(artifacts),
        "middleware": {
            "mlflow": metadata.version("mlflow"),
            "tracking": _without_password(workspace.tracking.uri),
            "registry": _without_password(workspace.tracking.registry_uri),
        },
        "infrastructure": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))
