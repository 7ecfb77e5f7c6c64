"""Model deployment: endpoints and their revisions, the workspace's health, the whole build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_magics.deployment.deploy import deploy
from mlops_magics.deployment.doctor import Diagnosis, doctor
from mlops_magics.deployment.endpoints import Endpoint, Endpoints, endpoints, undeploy
from mlops_magics.deployment.rollback import rollback
from mlops_magics.deployment.status import Status, init, status
from mlops_magics.deployment.stop import Stopped, stop
from mlops_magics.deployment.traffic import Traffic, traffic

if TYPE_CHECKING:
    from mlops_magics.deployment.build import register

__all__ = [
    "Diagnosis",
    "Endpoint",
    "Endpoints",
    "Status",
    "Stopped",
    "Traffic",
    "deploy",
    "doctor",
    "endpoints",
    "init",
    "register",
    "rollback",
    "status",
    "stop",
    "traffic",
    "undeploy",
]


def __getattr__(name: str) -> Any:
    # testing and packaging load pandas and scikit-learn, which no other verb here needs
    if name == "register":
        from mlops_magics.deployment.build import register

        return register
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
