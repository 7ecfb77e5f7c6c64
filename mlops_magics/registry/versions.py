"""Register packages as versions, and list them. MLflow's registry is the store."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from mlops_magics.errors import EvidenceMissing, InvalidArgument, ModelNotFound, SignatureMissing
from mlops_magics.registry import promotion
from mlops_magics.registry.records import FLAVOR_TAG, METRIC_TAG, ModelVersion, ModelVersions
from mlops_magics.store import evidence, ledger, models, packages, tables
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mlops_magics.store.models import ModelRef

__all__ = ["check_name", "model_versions", "register"]


def register(
    model: Any,
    name: str,
    *,
    alias: str | None = None,
    description: str | None = None,
    workspace: Workspace | None = None,
) -> ModelVersion:
    """Register a package as a new version of a model.

    Its files are verified against their digest first. The same package registered again under the
    same name gives the version that it has already.

    Parameters
    ----------
    model : Package or str
        The package, or what `mlops_magics.store.models.resolve` takes.
    name : str
        The registered model; made when it does not exist.
    alias : str, optional
        Alias to move to the new version; needs a report with gates that all held.
    description : str, optional
        What is new in this version.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    SignatureMissing, EvidenceMissing, PackageCorrupt
        The package has no signature or no test report, or is not what its digest says.
    """
    workspace = resolve(workspace)
    check_name(name)
    if alias is not None:
        promotion.check_alias(alias)
    ref = models.resolve(workspace, getattr(model, "uri", model))
    path = models.fetch(workspace, ref)
    manifest = packages.read_manifest(path)
    if not manifest["signature"]["inputs"]:
        raise SignatureMissing(
            f"model {ref} has no signature", hint="package it with its training rows: --data train"
        )
    report = evidence.report_of(workspace, ref, path)
    if report is None:
        raise EvidenceMissing(
            f"model {ref} has no test report, so it cannot be registered",
            hint=f"mlops test {ref.uri} --data HOLDOUT --target {manifest['target'] or 'TARGET'} "
            "--min METRIC=VALUE",
        )
    if alias is not None:
        promotion.check_evidence(ref, report)
    with workspace.lock("registry"):
        version = _existing(workspace, name, ref)
        if version is None:
            version = _create(workspace, name, ref, manifest, report, description)
        else:
            with workspace.database.begin() as connection:
                # of one whose registration was killed before its entry was committed
                if not _recorded(connection, name, version):
                    _record(connection, workspace, name, version, ref, report, description)
            registered = models.resolve(workspace, f"{name}/{version}")
            promotion.tag_evidence(workspace, registered, report)
    if alias is not None:
        promotion.promote(f"{name}/{version}", alias, reason=description, workspace=workspace)
    with workspace.tracking.mapped():
        return ModelVersion.of(workspace.tracking.client.get_model_version(name, version))


def _create(
    workspace: Workspace,
    name: str,
    ref: ModelRef,
    manifest: dict[str, Any],
    report: dict[str, Any],
    description: str | None,
) -> str:
    tracking = workspace.tracking
    tags = {
        models.DIGEST_TAG: ref.tags[models.DIGEST_TAG],
        FLAVOR_TAG: manifest["flavor"],
        **evidence.tags_of(report),
    }
    if report["metrics"]:
        tags[METRIC_TAG] = json.dumps(report["metrics"][0])
    # the ledger's entry is committed only when MLflow has the version
    with workspace.database.begin() as connection, tracking.mapped():
        codes = tracking.mlflow.exceptions
        try:
            tracking.client.create_registered_model(name)
        except codes.MlflowException as exc:
            if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        created = tracking.client.create_model_version(
            name,
            source=f"models:/{ref.model_id}" if ref.model_id else ref.source,
            run_id=ref.run_id or None,
            tags=tags,
            description=description,
            model_id=ref.model_id or None,
        )
        version = str(created.version)
        _record(connection, workspace, name, version, ref, report, description)
    return version


def _record(
    connection: Connection,
    workspace: Workspace,
    name: str,
    version: str,
    ref: ModelRef,
    report: dict[str, Any],
    description: str | None,
) -> None:
    """Enter a registration in the ledger."""
    ledger.append(
        connection,
        actor=workspace.actor,
        action="register",
        subject=f"{name}/{version}",
        details={
            "digest": ref.tags[models.DIGEST_TAG],
            "model_id": ref.model_id,
            "run_id": ref.run_id,
            "report_run": report["run_id"],
            "passed": evidence.verdict(report),
            "description": description or "",
        },
    )


def _recorded(connection: Connection, name: str, version: str) -> bool:
    entries = sa.select(tables.ledger.c.seq).where(
        tables.ledger.c.action == "register", tables.ledger.c.subject == f"{name}/{version}"
    )
    return connection.execute(entries).first() is not None


def _existing(workspace: Workspace, name: str, ref: ModelRef) -> str | None:
    digest = ref.tags[models.DIGEST_TAG]
    with workspace.tracking.mapped():
        found = workspace.tracking.client.search_model_versions(
            f"name = '{name}' and tags.`{models.DIGEST_TAG}` = '{digest}'", max_results=1
        )
    return str(found[0].version) if found else None


def model_versions(name: str | None = None, *, workspace: Workspace | None = None) -> ModelVersions:
    """List registered versions, newest first.

    Parameters
    ----------
    name : str, optional
        Of one model; default: of all.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    ModelNotFound
        No model of that name.

    Examples
    --------
    >>> print(model_versions(workspace=workspace))
    model versions
      no version is registered yet: mlops register MODEL --name NAME
    """
    workspace = resolve(workspace)
    client = workspace.tracking.client
    with workspace.tracking.mapped():
        found, token = [], None
        query = f"name = '{check_name(name)}'" if name is not None else None
        while True:
            page = client.search_model_versions(query, max_results=1000, page_token=token)
            found += list(page)
            token = page.token
            if not token:
                break
        # a search does not give the aliases
        aliases: dict[tuple[str, str], list[str]] = {}
        for each in sorted({version.name for version in found}):
            registered = client.get_registered_model(each)
            for alias, version in registered.aliases.items():
                aliases.setdefault((each, str(version)), []).append(alias)
    if name is not None and not found:
        raise ModelNotFound(
            f"no registered model {name!r}", hint=f"mlops register MODEL --name {name}"
        )
    rows = []
    for version in found:
        version.aliases = aliases.get((version.name, str(version.version)), [])
        rows.append(ModelVersion.of(version))
    rows.sort(key=lambda row: (-row.created, row.name, -int(row.version)))
    return ModelVersions(rows, name=name)


def check_name(name: str) -> str:
    """Refuse what MLflow, a URI or a file's name would not take as a model's name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise InvalidArgument(
            f"{name!r} cannot be a registered model's name",
            hint="letters, digits, '.', '-' and '_', beginning with a letter or digit",
        )
    return name
