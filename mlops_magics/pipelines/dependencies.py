"""What a notebook depends on, as far as its text tells: its code, the project's modules, files.

Nothing is executed. Imports are followed as Python would, from the notebook's folder and the other
places of ``sys.path`` that are no installation; what is installed counts by its version elsewhere.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Code", "Notebook", "imports", "modules", "places", "read_notebook"]

# cell magics whose body is Python
_PYTHON_MAGICS = ("time", "timeit", "capture", "prun", "mlops_run", "mlops_register", "mlops_test")
_ASSIGNED = re.compile(r"^(\s*)[\w.,\s]+=\s*([%!].*)$")
# calls whose texts name what is written, or shown; a file that is written is no input
_WRITES = re.compile(
    r"(?i)^_?((to_|save|write|dump|export|mkdir|makedirs|unlink|remove|rmtree|touch|rename|replace"
    r"|output|ingest|register|log|print|display)|(Path|PurePath|getenv|get|pop|join|split|strip)$)"
)
_INSTALLS = {"pip", "conda", "mamba", "uv", "env", "set_env", "load_dotenv"}
_CHANGES = {"update", "setdefault", "pop", "clear", "popitem"}
_READS_FOLDER = re.compile(r"(?i)^_?(read|load|scan|glob|iglob|rglob|list|iterdir|walk|open)")
_LONGEST = 1000  # characters of a text that may name something


@dataclass
class Code:
    """What some Python names.

    Attributes
    ----------
    imports : set of str
        Dotted names; ``.`` in front for each level of a relative one.
    texts : set of str
        All text literals: a dataset, an alias, a model may be among them.
    files : set of str
        Texts given to calls that do not write: paths, if files of that name exist.
    folders : set of str
        Texts given to calls that read: folders and globs as well.
    places : set of str
        Folders that it adds to ``sys.path``.
    hidden : bool
        It imports what only a run can tell.
    fresh : bool
        It may change what an import gives: the environment, or what is installed.
    """

    imports: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    hidden: bool = False
    fresh: bool = False

    def add(self, other: Code) -> None:
        """Take in what other code names, but its imports, which are relative to its own place."""
        self.texts |= other.texts
        self.files |= other.files
        self.folders |= other.folders
        self.hidden |= other.hidden
        self.fresh |= other.fresh


@dataclass(frozen=True)
class Notebook:
    """An input notebook's code.

    Attributes
    ----------
    cells : tuple of (int, str)
        Number of each code cell, from 1 among all cells, and its digest: source and tags.
    kernel, language : str
        What it asks for; empty if it does not say.
    code : Code
    """

    cells: tuple[tuple[int, str], ...]
    kernel: str
    language: str
    code: Code

    def to_dict(self) -> dict[str, Any]:
        """Return what its outcome depends on."""
        return {"cells": [digest for _, digest in self.cells], "kernel": self.kernel}


def read_notebook(path: Path) -> Notebook:
    """Read a notebook's code cells; outputs and other metadata do not count.

    Parameters
    ----------
    path : Path
        A notebook of any version of the format from 4.
    """
    content = json.loads(path.read_text("utf-8"))
    spec = content.get("metadata", {}).get("kernelspec", {})
    cells, code = [], Code()
    for number, cell in enumerate(content.get("cells", []), 1):
        if cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        source = source if isinstance(source, str) else "".join(source)
        tags = sorted(map(str, cell.get("metadata", {}).get("tags", [])))
        cells.append((number, _digest(json.dumps([source, tags]).encode())))
        _add_cell(code, source)
    return Notebook(tuple(cells), spec.get("name", ""), spec.get("language", ""), code)


def modules(code: Code, folder: Path, first: Iterable[Path] = ()) -> tuple[dict[str, str], Code]:
    """Follow the imports into the project's own modules.

    Parameters
    ----------
    code : Code
        Of a notebook.
    folder : Path
        The notebook's, from which its kernel imports first.
    first : iterable of Path
        Folders from which it imports then, before the other places.

    Returns
    -------
    dict of str
        Digest of each module's file, by its path as seen from the folder.
    Code
        What those modules name.
    """
    added = ((folder / place).resolve() for place in sorted(code.places))
    known = [folder, *added, *first, *places()]
    found: dict[Path, str] = {}
    named = Code()
    waiting: list[tuple[str, Path | None]] = [(name, None) for name in sorted(code.imports)]
    hidden = code.hidden
    while waiting:
        name, package = waiting.pop()
        for file in _find(name, package, known):
            if file in found:
                continue
            inner, found[file] = _module(file, file.stat().st_mtime_ns)
            named.add(inner)
            hidden |= inner.hidden
            waiting += [(each, file.parent) for each in inner.imports]
    if hidden:  # what cannot be told may be any of them
        for file in sorted(folder.rglob("*.py")):
            if not any(part[0] == "." for part in file.relative_to(folder).parts):
                found[file] = _module(file, file.stat().st_mtime_ns)[1]
    return {_shown(file, folder): digest for file, digest in sorted(found.items())}, named


def imports(file: Path) -> set[str]:
    """Return the top-level modules that a Python file imports by absolute names."""
    code, _ = _module(file, file.stat().st_mtime_ns)
    return {name.partition(".")[0] for name in code.imports if not name.startswith(".")}


@cache
def _module(file: Path, _modified: int) -> tuple[Code, str]:
    content = file.read_bytes()
    code = Code()
    if file.suffix == ".py":
        try:
            _visit(code, ast.parse(content))
        except (SyntaxError, ValueError, RecursionError):
            code.hidden = True
    return code, _digest(content)


def _find(name: str, package: Path | None, places: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that an import of a dotted name loads, if they are the project's own."""
    stem = name.lstrip(".")
    level = len(name) - len(stem)
    if level:
        if package is None:
            return
        base = package
        for _ in range(level - 1):
            base = base.parent
        yield from _below(base, stem.split(".") if stem else [])
        return
    top, *rest = stem.split(".")
    if top == "mlops_magics" or top in sys.stdlib_module_names:
        return  # of the environment
    for place in places:
        if below := list(_below(place, [top, *rest])):
            yield from below
            return


def _below(folder: Path, parts: list[str]) -> Iterator[Path]:
    """Yield a package's own file and those of the names below it that are modules."""
    if (folder / "__init__.py").is_file() and not parts:
        yield folder / "__init__.py"
    for part in parts:
        inner = folder / part
        if (inner / "__init__.py").is_file():
            yield inner / "__init__.py"
        elif (folder / f"{part}.py").is_file():
            yield folder / f"{part}.py"
            return
        elif compiled := sorted(folder.glob(f"{part}.*.so")):
            yield compiled[0]
            return
        elif not inner.is_dir():
            return
        folder = inner


@cache
def places() -> tuple[Path, ...]:
    """Return where modules may be that are neither installed nor of Python itself."""
    installed = {
        Path(path).resolve()
        for path in sysconfig.get_paths().values()
        if Path(path) != Path(sys.prefix)
    }
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    found = []
    for entry in sys.path:
        path = Path(entry).resolve()
        inside = path in installed or path.is_relative_to(standard) or "site-packages" in path.parts
        if path.is_dir() and not inside:
            found.append(path)
    return tuple(found)


def _add_cell(code: Code, source: str) -> None:
    text, words = _plain(source)
    code.fresh |= not _INSTALLS.isdisjoint(words)
    for word in words:
        code.texts.add(word)
        code.files.add(word)
        if word.endswith(".py"):  # %run module.py
            code.imports.add(word.removesuffix(".py").replace("/", "."))
    try:
        _visit(code, ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        code.hidden = True


def _plain(source: str) -> tuple[str, list[str]]:
    """Return a cell's Python without magics and shell lines, and the words of those."""
    lines = source.splitlines()
    first = next((line for line in lines if line.strip()), "")
    words: list[str] = []
    if first.startswith("%%"):
        words += _words(first[2:])
        lines = lines[lines.index(first) + 1 :]
        if not words or words[0] not in _PYTHON_MAGICS:
            return "", words + [word for line in lines for word in _words(line)]
    kept = []
    for line in lines:
        stripped = line.lstrip()
        indent = line[: len(line) - len(stripped)]
        assigned = _ASSIGNED.match(line)
        if stripped.startswith(("%", "!")):
            words += _magic_words(stripped)
            kept.append(f"{indent}pass")
        elif assigned:
            words += _magic_words(assigned[2])
            kept.append(f"{assigned[1]}pass")
        elif stripped.startswith("?") or (stripped.endswith("?") and not stripped.startswith("#")):
            kept.append(f"{indent}pass")
        else:
            kept.append(line)
    return "\n".join(kept), words


def _magic_words(line: str) -> list[str]:
    words = _words(line.lstrip("%!"))
    verb = words[1] if words[:1] == ["mlops"] and len(words) > 1 else (words or [""])[0]
    # the words of what writes name what it makes
    return [] if _WRITES.match(verb.removeprefix("mlops_")) else words


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.split()
    return [word.partition("=")[2] or word for word in words if len(word) <= _LONGEST]


def _visit(code: Code, tree: ast.AST) -> None:
    constants: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (text := _text(node.value, constants)):
            constants |= {to.id: text for to in node.targets if isinstance(to, ast.Name)}
    made: set[int] = set()  # texts given to what writes: ids of their nodes
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            code.imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            joint = "" if base.endswith(".") or not base else "."
            code.imports.add(base)
            code.imports |= {f"{base}{joint}{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Subscript):
            changes = not isinstance(node.ctx, ast.Load)
            code.fresh |= changes and _name(node.value) == "environ"
        elif isinstance(node, ast.Constant):
            value = node.value
            if isinstance(value, str) and 0 < len(value) <= _LONGEST and id(node) not in made:
                code.texts.add(value)
        elif isinstance(node, ast.Call):
            if _WRITES.match(_name(node.func)):
                made |= {id(value) for value in node.args}
            _visit_call(code, node, constants)


def _visit_call(code: Code, call: ast.Call, constants: Mapping[str, str]) -> None:
    name = _name(call.func)
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    texts = [text for value in given if (text := _text(value, constants))]
    if name in {"putenv", "unsetenv", "load_dotenv"} or (
        name in _CHANGES and _name(getattr(call.func, "value", call)) == "environ"
    ):
        code.fresh = True
    if name in {"import_module", "__import__"}:
        code.imports |= set(texts[:1])
        code.hidden |= not texts
        return
    if name in {"append", "insert"} and _name(getattr(call.func, "value", call)) == "path":
        code.places |= set(texts)
        code.fresh = True
        return
    # Path("data.csv").read_text()
    owner = _text(call.func.value, constants) if isinstance(call.func, ast.Attribute) else ""
    if name == "open":
        modes = texts[:1] if owner else texts[1:2]
        if any(set(mode) <= set("rwax+bt") and set(mode) & set("wax+") for mode in modes):
            return
    if owner:
        texts.append(owner)
    if not _WRITES.match(name):
        code.files |= set(texts)
    if _READS_FOLDER.match(name):
        code.folders |= set(texts)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr, constants: Mapping[str, str]) -> str:
    """Return the text or path that an expression is, if that can be told; else nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if len(node.value) <= _LONGEST else ""
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    if isinstance(node, ast.Call) and _name(node.func) in {"Path", "PurePath", "str", "open"}:
        given = node.args[:1] if _name(node.func) == "open" else node.args
        parts = [_text(value, constants) for value in given]
        return "/".join(parts) if parts and all(parts) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
        joint = "/" if isinstance(node.op, ast.Div) else ""
        parts = [_text(node.left, constants), _text(node.right, constants)]
        return joint.join(parts) if all(parts) else ""
    return ""


def _shown(file: Path, folder: Path) -> str:
    try:
        return str(file.relative_to(folder))
    except ValueError:
        return str(file)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
