"""Chosen: which version of which model scores, and its verified package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import EndpointNotFound, InvalidArgument, UnknownName
from mlops_magics.store import models, packages, tables

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["Chosen", "choose"]


@dataclass(frozen=True)
class Chosen:
    """A version, and what is needed to run it.

    Attributes
    ----------
    name, version : str
        The version is that of the registry; of a model that is not registered, its id.
    package : Path
        A verified private copy.
    runtime : {"native", "onnx"}
        What computes it: what its package, or the endpoint's revision, says.
    python : str or None
        The interpreter of its own environment, if a deployment has made one.
    """

    name: str
    version: str
    package: Path
    runtime: str = "native"
    python: str | None = None

    @property
    def digest(self) -> str:
        """The package's."""
        return self.package.name

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


def choose(workspace: Workspace, model: Any, endpoint: str | None = None) -> Chosen:
    """Find the version that is meant, and fetch its package.

    Parameters
    ----------
    workspace : Workspace
        Whose registry and endpoints are asked.
    model : str, ModelVersion or Package
        As ``deploy`` takes it; None when an endpoint is named.
    endpoint : str, optional
        The version that it serves, of several the champion.

    Raises
    ------
    ModelNotFound, EndpointNotFound, PackageCorrupt
    InvalidArgument
        Neither or both are given.
    """
    if (model is None) == (endpoint is None):
        raise InvalidArgument(
            "name a model or an endpoint, one of the two",
            hint="mlops score MODEL --data ROWS, or mlops score --endpoint NAME --data ROWS",
        )
    if endpoint is not None:
        return _served(workspace, endpoint)
    uri = model if isinstance(model, str) else getattr(model, "uri", None)
    if not isinstance(uri, str):
        raise InvalidArgument(
            f"{type(model).__name__} is nothing that can score",
            hint="package it first: mlops package MODEL --data TRAIN",
        )
    ref = models.resolve(workspace, uri)
    package = models.fetch(workspace, ref)
    python = _interpreter(workspace, package.name)
    runtime = str(packages.read_manifest(package).get("runtime", "native"))
    return Chosen(ref.name, ref.version or ref.model_id, package, runtime, python)


def _served(workspace: Workspace, endpoint: str) -> Chosen:
    named, revisions = tables.endpoints, tables.revisions
    with workspace.database.read() as connection:
        traffic = connection.execute(
            sa.select(named.c.traffic).where(named.c.name == endpoint)
        ).scalar()
        known = connection.execute(sa.select(named.c.name)).scalars().all()
        if not traffic:
            if endpoint in known:
                raise EndpointNotFound(f"endpoint {endpoint!r} serves nothing at present")
            raise EndpointNotFound(
                f"no endpoint {endpoint!r}", hint=UnknownName("endpoint", endpoint, known).hint
            )
        share = next((s for s in traffic if s["variant"] == "champion"), traffic[0])
        row = connection.execute(
            sa.select(revisions).where(revisions.c.id == share["revision"])
        ).one()
    version, package = str(row.version), Path(row.package)
    if not package.is_dir():  # another workspace with the same database has deployed it
        uri = f"models:/{row.model}/{version}" if version.isdigit() else f"models:/{version}"
        package = models.fetch(workspace, uri)
    runtime = row.runtime or packages.read_manifest(package).get("runtime", "native")
    python = _interpreter(workspace, package.name)
    return Chosen(str(row.model), version, package, str(runtime), python)


def _interpreter(workspace: Workspace, digest: str) -> str | None:
    """Return the interpreter that a revision of the same package runs in."""
    revisions = tables.revisions
    with workspace.database.read() as connection:
        found = connection.execute(
            sa.select(revisions.c.environment)
            .where(revisions.c.digest == digest, revisions.c.environment.is_not(None))
            .order_by(revisions.c.id.desc())
        ).scalars()
        for environment in found:
            python = (environment or {}).get("python")
            if python and Path(python).exists():
                return str(python)
    return None
