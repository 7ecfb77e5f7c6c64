"""Settings: argument > environment > project file > default.

Each field can be given as ``MLOPS_<FIELD>`` in the environment, or under ``[tool.mlops]`` in the
project's ``pyproject.toml``; in a notebook, ``%config MLOps.<field> = value`` sets it for the
kernel.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_magics.errors import InvalidSetting, UnknownName

__all__ = ["Settings"]

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured, with its default.

    Examples
    --------
    >>> Settings.load(environ={"MLOPS_PORT": "8700"}).port
    8700
    """

    database_url: str = ""
    """SQLAlchemy URL of the database; empty: SQLite in the workspace."""
    tracking_uri: str = ""
    """MLflow tracking URI; empty: ``MLFLOW_TRACKING_URI``, else SQLite in the workspace."""
    registry_uri: str = ""
    """MLflow registry URI; empty: ``MLFLOW_REGISTRY_URI``, else the tracking URI."""
    experiment: str = ""
    """MLflow experiment; empty: ``MLFLOW_EXPERIMENT_NAME``, else the project folder's name."""
    host: str = "127.0.0.1"
    """Address the server listens on."""
    port: int = 0
    """Port the server listens on; 0: a free one, kept for the workspace's life."""
    workers: int = 1
    """Worker processes for each model version."""
    max_batch: int = 256
    """Rows that may join one batch."""
    max_queue: int = 1024
    """Requests that may wait for one revision; past it the answer is 429."""
    max_body: int = 16 * 1024 * 1024
    """Bytes of a request body."""
    worker_timeout: int = 120
    """Seconds that a model may take for one batch; past it its worker is started again."""
    worker_memory: int = 0
    """Bytes of memory that a worker may hold; past it it is started again. 0: no limit."""
    spool_limit: int = 2 * 1024**3
    """Bytes of the inference log that may wait on disk for the database."""
    retention: str = ""
    """How long rows of the inference table are kept, such as ``30d``; empty: for ever."""
    webhook_hosts: str = ""
    """Hosts beside public ones that alerts may be posted to: ``hooks.lan,localhost:9000``."""
    owner: str = ""
    """Who acts; empty: the operating system's user."""

    @classmethod
    def load(
        cls,
        root: Path | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> Settings:
        """Merge the four sources into one object.

        Parameters
        ----------
        root : Path, optional
            The project's folder, whose ``pyproject.toml`` is read.
        environ : mapping, optional
            Default: the process's environment.
        **arguments
            Values that win over all others; None counts as not given.

        Raises
        ------
        InvalidSetting
            A value of the wrong type, or a project file that cannot be read.
        UnknownName
            A field that does not exist.
        """
        environ = os.environ if environ is None else environ
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, value in _project(root).items():
            if name not in fields:
                raise UnknownName("setting", name, fields, hint="see [tool.mlops]")
            values[name] = _cast(value, fields[name].default, f"[tool.mlops] {name}")
        for name, field in fields.items():
            text = environ.get(f"MLOPS_{name.upper()}")
            if text:
                values[name] = _cast(text, field.default, f"MLOPS_{name.upper()}")
        for name, value in arguments.items():
            if name not in fields:
                raise UnknownName("setting", name, fields)
            if value is not None:
                values[name] = _cast(value, fields[name].default, name)
        return cls(**values)


def _project(root: Path | None) -> dict[str, Any]:
    path = root / "pyproject.toml" if root else None
    if path is None or not path.is_file():
        return {}
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("mlops", {})
    except (OSError, ValueError) as exc:
        raise InvalidSetting(f"{path} cannot be read: {exc}") from exc
    return dict(table)


def _cast(value: Any, default: Any, where: str) -> Any:
    kind = type(default)
    if kind is bool and isinstance(value, str):
        if value.lower() in _TRUE | _FALSE:
            return value.lower() in _TRUE
    elif kind is int and isinstance(value, str):
        if value.strip().lstrip("-").isdigit():
            return int(value)
    elif type(value) is kind:
        return value
    raise InvalidSetting(f"{where} = {value!r} is not of type {kind.__name__}")
