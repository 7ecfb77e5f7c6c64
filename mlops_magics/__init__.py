"""The whole MLOps lifecycle from notebook cells.

Each verb is a function that returns a record or raises an error of :mod:`mlops_magics.errors`.
Everything is imported when it is first used, so that ``import mlops_magics`` itself is light.

>>> import mlops_magics as mlops
>>> mlops.GateFailed.__name__
'GateFailed'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlops_magics.data import dataset as dataset
    from mlops_magics.data import datasets as datasets
    from mlops_magics.data import ingest as ingest
    from mlops_magics.deployment import deploy as deploy

_HOMES = {
    "data": ["Dataset", "Datasets", "dataset", "datasets", "ingest"],
    "training": ["ActiveRun", "Comparison", "Run", "Runs", "compare_runs", "log", "run", "runs"],
    "testing": ["TestReport", "test"],
    "packaging": ["Package", "package"],
    "registry": ["ModelVersion", "ModelVersions", "Promotion", "model_versions", "promote"],
    "deployment": [
        "Diagnosis",
        "Endpoint",
        "Endpoints",
        "Status",
        "Stopped",
        "deploy",
        "doctor",
        "endpoints",
        "init",
        "register",
        "rollback",
        "status",
        "stop",
        "undeploy",
    ],
    "serving": ["Predicted", "predict"],
    "monitoring": [
        "Feedback",
        "MonitorPicture",
        "Predictions",
        "feedback",
        "monitor",
        "predictions",
    ],
    "pipelines": ["PipelineRun", "output", "run_pipeline"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mlops_magics.{_HOME[name]}"), name)
    from mlops_magics import errors

    if name in errors.__all__:
        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """Answer ``%load_ext mlops_magics``."""
    from mlops_magics.magics import load_ipython_extension

    load_ipython_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Answer ``%unload_ext mlops_magics``."""
    from mlops_magics.magics import unload_ipython_extension

    unload_ipython_extension(shell)
