"""Package folders: what their files must be, and their digest.

A package is an MLflow model folder with ``mlops/manifest.json``, which lists every other file with
its SHA-256. The digest covers that list and the manifest itself, so that what the manifest allows
(types to trust, a loader) cannot be changed either.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_magics.errors import PackageCorrupt

__all__ = [
    "MANIFEST",
    "close_to_others",
    "digest_of",
    "files_of",
    "hashes_of",
    "read_manifest",
    "verify",
]

MANIFEST = "mlops/manifest.json"

# MLflow adds this file to each copy that it downloads of a registered version
_ADDED_BY_MLFLOW = "registered_model_meta"


def files_of(folder: Path) -> list[str]:
    """Return the relative paths of a folder's files, sorted; refuse links and special files.

    Raises
    ------
    PackageCorrupt
        A link, socket, pipe or device is in it; named.
    """
    found: list[str] = []
    pending = [folder]
    while pending:
        current = pending.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                path = Path(entry.path)
                relative = path.relative_to(folder).as_posix()
                if stat.S_ISDIR(mode):
                    pending.append(path)
                elif not stat.S_ISREG(mode):
                    kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
                    raise _corrupt(folder, f"{relative} is {kind}")
                elif relative != _ADDED_BY_MLFLOW:
                    found.append(relative)
    return sorted(found)


def hashes_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file but the manifest, by relative path."""
    return {name: _sha256(folder / name) for name in files_of(folder) if name != MANIFEST}


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return a package's digest: SHA-256 over its sorted "path sha256" lines.

    The manifest's own line is the hash of its JSON without the list of files, with sorted keys.

    Examples
    --------
    >>> digest_of({"format": 1, "files": {"model.skops": "ab" * 32}})[:12]
    '05e2deef0d05'
    """
    body = {key: value for key, value in manifest.items() if key != "files"}
    text = json.dumps(body, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    lines = dict(manifest["files"])
    lines[MANIFEST] = hashlib.sha256(text.encode()).hexdigest()
    joined = "".join(f"{name} {lines[name]}\n" for name in sorted(lines))
    return hashlib.sha256(joined.encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a package's manifest.

    Raises
    ------
    PackageCorrupt
        There is none, or it cannot be understood.
    """
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise _corrupt(folder, f"{MANIFEST} is missing: it was not packaged by mlops")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        files = manifest["files"]
        well_formed = manifest["format"] == 1 and all(
            isinstance(name, str) and isinstance(value, str) for name, value in files.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _corrupt(folder, f"{MANIFEST} cannot be read: {exc!r}") from exc
    if not well_formed:
        raise _corrupt(folder, f"{MANIFEST} has an unknown format {manifest['format']!r}")
    return dict(manifest)


def verify(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """Compare a package's files with its manifest, and the whole with a digest.

    Parameters
    ----------
    folder : Path
        A private copy: nobody else may write to it between this and the loading.
    digest : str, optional
        What the package's digest must be.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    PackageCorrupt
        A file is changed, missing, surplus, a link or outside; named.
    """
    manifest = read_manifest(folder)
    expected: dict[str, str] = manifest["files"]
    for name in expected:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or str(pure) != name:
            raise _corrupt(folder, f"the path {name!r} leaves the package's folder")
    present = set(files_of(folder)) - {MANIFEST}
    for name in sorted(set(expected) - present):
        raise _corrupt(folder, f"{name} is missing")
    for name in sorted(present - set(expected)):
        raise _corrupt(folder, f"{name} is not listed in its manifest")
    for name, value in sorted(expected.items()):
        if _sha256(folder / name) != value:
            raise _corrupt(folder, f"{name} does not match its digest")
    found = digest_of(manifest)
    if digest is not None and found != digest:
        raise _corrupt(
            folder, f"{MANIFEST} was changed: digest {found[:12]}…, recorded {digest[:12]}…"
        )
    return manifest


def _sha256(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _corrupt(folder: Path, what: str) -> PackageCorrupt:
    return PackageCorrupt(
        f"package {folder.name}: {what}",
        hint="do not load it; package the model again: mlops package MODEL --data DATA",
    )


def close_to_others(folder: Path) -> None:
    """Give a folder and all in it to its owner alone, whatever the umask was."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
