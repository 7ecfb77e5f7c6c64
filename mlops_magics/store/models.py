"""Models in the registry: find one, fetch a verified private copy, load it to predict."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from mlops_magics.errors import InvalidArgument, ModelNotFound, PackageCorrupt
from mlops_magics.store import packages, runs
from mlops_magics.store.predictors import Predictor, load

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = [
    "DIGEST_TAG",
    "LOG_IT",
    "ModelRef",
    "Predictor",
    "download",
    "fetch",
    "load",
    "models_of",
    "resolve",
    "settle",
]

DIGEST_TAG = "mlops.digest"

LOG_IT = "end the script with mlops.package(model, data=train, target=TARGET)"
"""What a run's script must do to leave a model."""

_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelRef:
    """A model that exists in MLflow.

    Attributes
    ----------
    name : str
        Registered model's name; of a model that is not registered, its own.
    version : str
        Empty for a model that is not registered.
    model_id : str
        MLflow's logged model, ``m-…``; empty for one of MLflow 2.
    run_id : str
    uri : str
        ``models:/name/3`` or ``models:/m-…``.
    aliases : tuple of str
    tags : mapping
        Of the version, else of the logged model.
    source : str
        Where its files are.
    """

    name: str
    version: str
    model_id: str
    run_id: str
    uri: str
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}" if self.version else self.uri


def resolve(workspace: Workspace, uri: str) -> ModelRef:
    """Find a model by name, alias, version or MLflow's URI.

    Parameters
    ----------
    workspace : Workspace
        Whose MLflow is asked.
    uri : str
        ``name``: its ``@champion`` if there is one, else the latest version; ``name@alias``,
        ``name/3``, ``models:/…``, ``models:/m-…``, ``m-…``, ``runs:/RUN[/NAME]``, where RUN is
        an id, the beginning of one, or a run's name.

    Raises
    ------
    ModelNotFound
        There is none.
    InvalidArgument
        The text is no model reference.
    """
    text = uri.strip()
    if text.startswith("runs:/"):
        return _of_run(workspace, text)
    body = text.removeprefix("models:/")
    if re.fullmatch(r"m-[0-9a-f]{32}", body):
        return _logged(workspace, body)
    name, separator, rest = body, "", ""
    for mark in ("@", "/"):
        if mark in body:
            name, separator, rest = body.rpartition(mark)
            break
    if not name or "/" in name or ":" in body or (separator and not rest):
        raise InvalidArgument(
            f"{uri!r} names no model",
            hint="forms: name, name@alias, name/3, models:/name@alias, models:/m-…, runs:/RUN_ID",
        )
    client = workspace.tracking.client
    with workspace.tracking.mapped():
        try:
            registered = client.get_registered_model(name)
        except workspace.tracking.mlflow.exceptions.MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise _unknown_name(workspace, name) from exc
        aliases = {str(key): str(value) for key, value in registered.aliases.items()}
        if separator == "@":
            if rest not in aliases:
                shown = ", ".join(f"@{alias}" for alias in sorted(aliases)) or "none yet"
                raise ModelNotFound(
                    f"model {name!r} has no alias {rest!r}",
                    hint=f"its aliases: {shown}; set it: mlops promote {name}/VERSION "
                    f"--alias {rest}",
                )
            version = aliases[rest]
        elif separator == "/" and rest != "latest":
            version = rest
        elif not separator and "champion" in aliases:
            version = aliases["champion"]
        else:
            version = _latest(client, name)
        if not version.isdigit():
            raise InvalidArgument(f"{version!r} is no version of {name!r}: versions are numbers")
        try:
            found = client.get_model_version(name, version)
        except workspace.tracking.mlflow.exceptions.MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise ModelNotFound(
                f"model {name!r} has no version {version}", hint=f"see: mlops registry {name}"
            ) from exc
    return from_version(found)


def from_version(version: Any) -> ModelRef:
    """Make a reference from an ``mlflow.entities.ModelVersion``."""
    return ModelRef(
        name=str(version.name),
        version=str(version.version),
        model_id=model_id_of(version),
        run_id=str(version.run_id or ""),
        uri=f"models:/{version.name}/{version.version}",
        aliases=tuple(sorted(str(alias) for alias in version.aliases or ())),
        tags=dict(version.tags or {}),
        source=str(version.source or ""),
    )


def model_id_of(version: Any) -> str:
    """Return the logged model of an ``mlflow.entities.ModelVersion``; empty when there is none.

    MLflow's SQL registry keeps it in the source only.
    """
    found = re.search(r"(?<![0-9A-Za-z])m-[0-9a-f]{32}(?![0-9A-Za-z])", str(version.source or ""))
    return str(version.model_id or (found.group() if found else ""))


def _latest(client: Any, name: str) -> str:
    versions = client.search_model_versions(
        f"name='{name}'", order_by=["version_number DESC"], max_results=1
    )
    if not versions:
        raise ModelNotFound(
            f"model {name!r} has no version", hint=f"mlops register MODEL --name {name}"
        )
    return str(versions[0].version)


def _unknown_name(workspace: Workspace, name: str) -> ModelNotFound:
    import difflib

    names = [model.name for model in workspace.tracking.client.search_registered_models()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else "see them with: mlops registry"
    return ModelNotFound(f"no registered model {name!r}", hint=hint)


def _logged(workspace: Workspace, model_id: str) -> ModelRef:
    with workspace.tracking.mapped():
        model = workspace.tracking.client.get_logged_model(model_id)
    return ModelRef(
        name=str(model.name),
        version="",
        model_id=model_id,
        run_id=str(model.source_run_id or ""),
        uri=f"models:/{model_id}",
        tags={str(key): str(value) for key, value in (model.tags or {}).items()},
        source=str(model.artifact_location),
    )


def _of_run(workspace: Workspace, uri: str) -> ModelRef:
    text, _, name = uri.removeprefix("runs:/").rstrip("/").partition("/")
    run = runs.find(workspace, text)
    refs = models_of(workspace, run)
    matching = [ref for ref in refs if not name or ref.name == name]
    # a package of ours comes before what autologging left
    packaged = [ref for ref in matching if DIGEST_TAG in ref.tags]
    if not matching:
        known = ", ".join(sorted({ref.name for ref in refs}))
        raise ModelNotFound(
            f"run {text} has no model {name!r}" if name else f"run {text} has no model",
            hint=f"its models: {known}"
            if known
            else f"{LOG_IT}; or in a notebook: "
            f"%mlops_package MODEL --data TRAIN --run {run.info.run_id[:12]}",
        )
    return (packaged or matching)[-1]


def models_of(workspace: Workspace, run: Any) -> list[ModelRef]:
    """Return the models that an ``mlflow.entities.Run`` has logged, the last one last."""
    outputs = run.outputs.model_outputs if run.outputs else []
    with workspace.tracking.mapped():
        return [_logged(workspace, output.model_id) for output in outputs]


def fetch(workspace: Workspace, ref: ModelRef | str) -> Path:
    """Copy a model's package to a private folder, verified against its recorded digest.

    Parameters
    ----------
    workspace : Workspace
        Whose MLflow is asked, and which keeps the copy.
    ref : ModelRef or str
        The model, or what `resolve` takes.

    Returns
    -------
    Path
        ``.mlops/packages/<digest>``.

    Raises
    ------
    PackageCorrupt
        A file is changed, missing, surplus, a link or outside; or the model is no package.
    """
    if isinstance(ref, str):
        ref = resolve(workspace, ref)
    digest = ref.tags.get(DIGEST_TAG)
    if digest is None or not _HEX64.fullmatch(digest):
        raise PackageCorrupt(
            f"model {ref} has no recorded digest: it was not packaged by mlops",
            hint=f"package it: mlops package {ref.uri} --data TRAIN --target TARGET",
        )
    place = workspace.directory("packages")
    target = place / digest
    if target.is_dir():
        try:
            packages.verify(target, digest)
        except PackageCorrupt:
            shutil.rmtree(target)  # the copy was damaged; the origin may be whole
        else:
            return target
    private = Path(tempfile.mkdtemp(dir=place, prefix=".fetch-"))
    try:
        copied = download(workspace, ref, private / digest)
        packages.verify(copied, digest)
        return settle(copied, target)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def settle(folder: Path, target: Path) -> Path:
    """Move a complete package to its place; another process may have been faster."""
    packages.close_to_others(folder)
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    return target


def download(workspace: Workspace, ref: ModelRef, destination: Path) -> Path:
    """Copy a model's files, unverified, to a folder that does not exist yet; links are refused."""
    source = ref.source
    if ref.model_id:
        source = _logged(workspace, ref.model_id).source
    parsed = urlparse(source)
    if parsed.scheme in {"", "file"}:
        origin = Path(unquote(parsed.path))
        if not origin.is_dir():
            raise PackageCorrupt(f"the files of model {ref} are gone: {origin} does not exist")
        packages.files_of(origin)  # links are refused before they would be followed
        # MLflow, loading a model from here, leaves compiled files that nobody verified
        compiled = shutil.ignore_patterns("__pycache__")
        shutil.copytree(origin, destination, symlinks=True, ignore=compiled)
        return destination
    destination.mkdir(mode=0o700)
    with workspace.tracking.mapped():
        mlflow = workspace.tracking.mlflow
        uri = f"models:/{ref.model_id}" if ref.model_id else ref.uri
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=destination))
