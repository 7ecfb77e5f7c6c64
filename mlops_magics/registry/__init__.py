"""Model registering: versions with evidence, aliases that move only on it."""

from mlops_magics.registry.promotion import check_alias, promote, rollback_alias
from mlops_magics.registry.records import ModelVersion, ModelVersions, Promotion
from mlops_magics.registry.versions import check_name, model_versions, register

__all__ = [
    "ModelVersion",
    "ModelVersions",
    "Promotion",
    "check_alias",
    "check_name",
    "model_versions",
    "promote",
    "register",
    "rollback_alias",
]
