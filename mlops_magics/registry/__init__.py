"""Model registering: versions with evidence, aliases that move only on it."""

from mlops_magics.registry.promotion import promote, rollback_alias
from mlops_magics.registry.records import ModelVersion, ModelVersions, Promotion
from mlops_magics.registry.versions import model_versions, register

__all__ = [
    "ModelVersion",
    "ModelVersions",
    "Promotion",
    "model_versions",
    "promote",
    "register",
    "rollback_alias",
]
