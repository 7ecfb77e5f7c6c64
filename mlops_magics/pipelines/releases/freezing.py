"""Freezing: a copy of a pipeline's specification, notebooks, modules and lock files, by content.

The copy keeps the project's tree, so that imports and relative paths mean the same in it. What is
no code is not copied: the tree has links to the project's other files and folders, so that data are
read where they are. Code that was not frozen is not linked: a module that is missing fails the
smoke run, and is not taken from the project as it stands.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_magics.errors import ReleaseCorrupt
from mlops_magics.pipelines import dependencies
from mlops_magics.store.workspace import write_atomic

if TYPE_CHECKING:
    from mlops_magics.pipelines.specification import Pipeline
    from mlops_magics.store.workspace import Workspace

__all__ = ["Frozen", "freeze"]

LOCKS = (
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "pixi.lock",
    "pylock.toml",
    "Pipfile.lock",
    "conda-lock.yml",
    "requirements.lock",
    "requirements.txt",
    "constraints.txt",
    "environment.yml",
    "pyproject.toml",
)
"""Files of the project's folder that say what is to be installed."""

_CODE = {".py", ".pyc", ".pyd", ".so", ".pth", ".ipynb"}


@dataclass(frozen=True)
class Frozen:
    """A pipeline's copy.

    Attributes
    ----------
    folder : Path
        ``.mlops/releases/<digest>``; the copy is in ``tree`` below it.
    manifest : mapping
        ``path`` of the specification, ``files`` with their digests, ``places`` from which modules
        are imported, ``python`` and ``packages``: all that the digest covers.
    facts : mapping
        Where the code stood in git when it was frozen.
    base : Path
        The folder whose tree the copy has.
    """

    folder: Path
    manifest: Mapping[str, Any]
    facts: Mapping[str, Any]
    base: Path

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest."""
        return hashlib.sha256(_canonical(self.manifest)).hexdigest()

    @property
    def tree(self) -> Path:
        """The copy's root."""
        return self.folder / "tree"

    @property
    def path(self) -> Path:
        """The specification in the copy."""
        return self.tree / str(self.manifest["path"])

    @property
    def places(self) -> tuple[Path, ...]:
        """Folders of the copy from which modules are imported."""
        return tuple(self.tree / place for place in self.manifest["places"])

    @property
    def environment(self) -> dict[str, str]:
        """What the processes that run it need to know."""
        before = os.environ.get("PYTHONPATH")
        path = [*map(str, self.places), *([before] if before else [])]
        note = f"frozen by content: {self.digest[:16]}"
        found = {
            "PYTHONDONTWRITEBYTECODE": "1",  # the copy has sources only
            "MLOPS_CODE": json.dumps({**self.facts, "folder": str(self.tree), "note": note}),
        }
        return found | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})

    def prepare(self) -> None:
        """Check that the copy is what was frozen, and link it to the project's data.

        Raises
        ------
        ReleaseCorrupt
            A file is changed, missing or a link; it is named.
        """
        for name, digest in sorted(self.manifest["files"].items()):
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts or str(pure) != name:
                raise self._corrupt(f"the path {name!r} leaves its folder")
            if any((self.tree / parent).is_symlink() for parent in [*pure.parents][:-1]):
                raise self._corrupt(f"{name} is reached by a link")
            try:
                found = _digest_of(self.tree / name)
            except OSError as exc:
                raise self._corrupt(f"{name} cannot be read: {exc.strerror}") from exc
            if found != digest:
                raise self._corrupt(f"{name} was changed")
        self._clean()
        self._link()

    def drift(self) -> list[str]:
        """Return the packages that are installed in another version than it was tested with."""
        from mlops_magics.packaging import environment

        found = []
        for line in self.manifest["packages"]:
            name, _, version = line.partition("==")
            now = environment.version_of(name)
            if now != version:
                found.append(f"{name} {version} → {now or 'missing'}")
        return found

    def check(self, digest: str) -> None:
        """Check that the manifest has a digest.

        Raises
        ------
        ReleaseCorrupt
            It was changed.
        """
        if self.digest != digest:
            raise self._corrupt(f"its manifest was changed, its digest is not {digest[:12]}")

    def _corrupt(self, what: str) -> ReleaseCorrupt:
        return ReleaseCorrupt(
            f"the release in {self.folder.name[:12]}: {what}",
            hint="release the pipeline again, or go back: mlops pipeline rollback PIPELINE",
        )

    def _folders(self) -> set[PurePosixPath]:
        """Return the folders of the tree that hold frozen files, the root among them."""
        return {parent for name in self.manifest["files"] for parent in PurePosixPath(name).parents}

    def _clean(self) -> None:
        """Remove code that was not frozen: it would be imported before what is installed."""
        for folder in self._folders():
            for entry in os.scandir(self.tree / folder):
                name = str(folder / entry.name)
                if entry.is_symlink() or name in self.manifest["files"]:
                    continue
                path = Path(entry.path)
                if entry.is_dir() and folder / entry.name not in self._folders():
                    if _is_code(path):
                        shutil.rmtree(path)
                elif path.suffix in _CODE:
                    path.unlink()

    def _link(self) -> None:
        wanted: dict[Path, Path] = {}
        folders = {str(folder) for folder in self._folders()}
        for folder in sorted(folders):
            place = self.base / folder
            for path in place.iterdir() if place.is_dir() else ():
                name = str(PurePosixPath(folder) / path.name)
                if path.name[0] != "." and name not in folders and not _is_code(path):
                    wanted[self.tree / name] = path
        for folder in folders:
            for entry in os.scandir(self.tree / folder):
                path = Path(entry.path)
                if entry.is_symlink() and (path not in wanted or path.readlink() != wanted[path]):
                    path.unlink()
        for link, target in wanted.items():
            if not link.is_symlink() and not link.exists():
                link.symlink_to(target)


def freeze(workspace: Workspace, pipeline: Pipeline) -> Frozen:
    """Copy what a pipeline is made of; what was copied before is not copied again.

    Parameters
    ----------
    workspace : Workspace
        Which keeps the copy.
    pipeline : Pipeline
        Its specification, read and checked.
    """
    from mlops_magics.packaging import environment
    from mlops_magics.training import drivers

    sources, imports = _sources(workspace, pipeline)
    root = workspace.root
    inside = all(path.is_relative_to(root) for path in sources)
    base = root if inside else Path(os.path.commonpath([path.parent for path in sources]))
    if base == root:
        sources |= {root / name for name in LOCKS if (root / name).is_file()}
    contents = {path.relative_to(base).as_posix(): _content(path) for path in sorted(sources)}
    # this package's own needs are those of the processes that run it
    distributions = {environment.distribution_of(name) for name in imports} | {"mlops-magics"}
    manifest = {
        "format": 1,
        "path": pipeline.path.relative_to(base).as_posix(),
        "files": {name: _digest(content) for name, content in contents.items()},
        "places": list(_places(base, contents)),
        "python": ".".join(map(str, sys.version_info[:3])),
        "packages": list(environment.lock(tuple(sorted(filter(None, distributions))))),
    }
    code = drivers.code(pipeline.path.parent)
    facts = {key: value for key, value in code.to_dict().items() if key != "untracked"}
    facts["diff"] = _digest(code.diff.encode()) if code.diff else None
    frozen = Frozen(Path(), manifest, facts, base)
    folder = workspace.directory("releases") / frozen.digest
    frozen = Frozen(folder, manifest, facts, base)
    if folder.is_dir():
        try:
            frozen.prepare()
        except ReleaseCorrupt:
            _remove(folder)  # it is made again from the sources
        else:
            return frozen
    _write(folder, contents, manifest)
    frozen.prepare()
    return frozen


def _sources(workspace: Workspace, pipeline: Pipeline) -> tuple[set[Path], set[str]]:
    """Return the files of a pipeline, and the top-level modules that they import."""
    found, imports = {pipeline.path}, set[str]()
    for step in pipeline.steps.values():
        found.add(step.notebook)
        folder = step.notebook.parent
        code = dependencies.read_notebook(step.notebook).code
        names, _ = dependencies.modules(code, folder)
        files = {(folder / name).resolve() for name in names}
        # a package's own file is there to be imported, if only as the way to a module
        packages = {
            parent / "__init__.py"
            for file in files
            for parent in file.parents
            if parent.is_relative_to(workspace.root) and (parent / "__init__.py").is_file()
        }
        found |= files | packages
        imports |= {name.partition(".")[0] for name in code.imports}
        for file in files:
            if file.suffix == ".py":
                imports |= dependencies.imports(file)
    return found, imports - set(sys.stdlib_module_names) - {"", "mlops_magics"}


def _places(base: Path, contents: Iterable[str]) -> Iterator[str]:
    """Yield the folders, as they are in the tree, from which Python imports modules of its own."""
    names = [PurePosixPath(name) for name in contents if name.endswith((".py", ".so"))]
    for place in dependencies.places():
        if place.is_relative_to(base):
            inner = PurePosixPath(place.relative_to(base).as_posix())
            if any(name.is_relative_to(inner) for name in names):
                yield str(inner)


def _content(path: Path) -> bytes:
    """Read a file; a notebook without its outputs, which are no part of what it does."""
    content = path.read_bytes()
    if path.suffix != ".ipynb":
        return content
    notebook = json.loads(content)
    notebook.get("metadata", {}).pop("widgets", None)
    for cell in notebook.get("cells", ()):
        if cell.get("cell_type") == "code":
            cell["outputs"], cell["execution_count"] = [], None
        cell.get("metadata", {}).pop("execution", None)
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _write(folder: Path, contents: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    private = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        for name, content in contents.items():
            target = private / "tree" / name
            for parent in reversed(target.relative_to(private).parents):
                (private / parent).mkdir(mode=0o700, exist_ok=True)
            write_atomic(target, content, mode=0o400)
        write_atomic(private / "manifest.json", _canonical(manifest), mode=0o400)
        private.rename(folder)
    except BaseException:
        _remove(private)
        raise


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _is_code(path: Path) -> bool:
    """Whether a file or folder can be imported, or was compiled."""
    if path.is_dir():
        return path.name == "__pycache__" or (path / "__init__.py").is_file()
    return path.suffix in _CODE


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(manifest, order="sorted")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
