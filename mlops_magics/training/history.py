"""Hidden state: what a kernel remembers and the notebook's cells do not show."""

from __future__ import annotations

import ast
import builtins
import itertools
import json
import re
import symtable
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Verdict", "judge"]

# IPython puts these in every namespace
_GIVEN = {*dir(builtins), "get_ipython", "display", "In", "Out", "exit", "quit", "_", "__", "___"}
_PYTHON_MAGICS = ("time", "timeit", "capture", "prun", "mlops_run", "mlops_register", "mlops_test")
_OUT = re.compile(r"(?:^|\s)(?:-o|--out)[ =]([A-Za-z_]\w*)")
_ASSIGNED = re.compile(r"^\s*([A-Za-z_]\w*)\s*=\s*[%!]")


@dataclass(frozen=True)
class Verdict:
    """What a notebook's past has that its cells do not show.

    Attributes
    ----------
    clean : bool or None
        None: cannot be told, ``reasons`` says why.
    reasons : tuple of str
        Sentences for a reader.
    undefined : tuple of str
        Names that cells use and no cell defines.
    """

    clean: bool | None
    reasons: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()

    def __str__(self) -> str:
        word = {True: "clean", False: "hidden state", None: "unknown"}[self.clean]
        return f"{word}: {'; '.join(self.reasons)}" if self.reasons else word


def judge(
    history: Sequence[str],
    notebook: Path | None = None,
    *,
    given: Iterable[str] = (),
) -> Verdict:
    """Compare what the kernel executed with what the saved notebook says.

    Parameters
    ----------
    history : sequence of str
        The shell's ``In``: the source of each executed cell at its number, position 0 empty. The
        last entry may be the cell that runs now.
    notebook : Path, optional
        The saved notebook; without it nothing can be told.
    given : iterable of str
        Names that the host put in the namespace before the first cell.

    Examples
    --------
    >>> print(judge(["", "x = 1"]))
    unknown: the notebook's file is not known
    """
    if notebook is None:
        return Verdict(None, ("the notebook's file is not known",))
    try:
        cells = _cells(json.loads(notebook.read_text("utf-8")))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as exc:
        return Verdict(None, (f"{notebook.name} cannot be read: {type(exc).__name__}",))
    executed = {number: source for number, source in enumerate(history) if number}
    reasons: list[str] = []
    numbers = _numbers(cells, executed)
    order = [number for number in numbers if number is not None]
    if order != sorted(order):
        late = next(i for i, (a, b) in enumerate(itertools.pairwise(order)) if a > b)
        reasons.append(f"cells ran out of order: [{order[late]}] stands above [{order[late + 1]}]")
    edited = [
        str(saved)
        for (saved, source), number in zip(cells, numbers, strict=True)
        if number is None and saved in executed and _same(source) != _same(executed[saved])
    ]
    if edited:
        reasons.append(f"edited after running: {_brackets(edited)}")
    undefined = _undefined(cells, numbers, set(given))
    if undefined:
        reasons.append(f"no cell defines: {', '.join(undefined)}")
    return Verdict(not reasons, tuple(reasons), tuple(undefined))


def _cells(notebook: Mapping[str, Any]) -> list[tuple[int | None, str]]:
    found = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source.strip():
            found.append((cell.get("execution_count"), source))
    return found


def _same(source: str) -> str:
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _numbers(
    cells: Sequence[tuple[int | None, str]], executed: Mapping[int, str]
) -> list[int | None]:
    """For each cell the number of its execution, None when it has not run as it stands.

    The saved number counts when its source is the one executed; else, as a notebook is saved
    behind the kernel, the last execution of the very source.
    """
    last = {_same(source): number for number, source in executed.items()}
    return [
        saved
        if saved is not None and _same(executed.get(saved, "\0")) == _same(source)
        else last.get(_same(source))
        for saved, source in cells
    ]


def _undefined(
    cells: Sequence[tuple[int | None, str]], numbers: Sequence[int | None], given: set[str]
) -> list[str]:
    defined: set[str] = set(_GIVEN) | given
    used: list[str] = []
    for (_, source), number in zip(cells, numbers, strict=True):
        sets, reads = _names(source)
        if "*" in sets:
            return []  # a star import or %run defines names that cannot be seen
        defined |= sets
        if number is not None:
            used += reads
    return list(dict.fromkeys(name for name in used if name not in defined))[:10]


def _names(source: str) -> tuple[set[str], list[str]]:
    """Return the names that a cell sets at its top level, and the global names that it reads."""
    sets: set[str] = set()
    lines = source.splitlines()
    head = lines[0].strip() if lines else ""
    if head.startswith("%%"):
        sets |= set(_OUT.findall(head))
        if head[2:].split()[0] not in _PYTHON_MAGICS:
            return sets, []
        lines = lines[1:]
    kept = []
    for line in lines:
        text = line.strip()
        if text.startswith(("%", "!", "?")) or text.endswith("?") or _ASSIGNED.match(line):
            sets |= set(_ASSIGNED.findall(line)) | set(_OUT.findall(line))
            if text.startswith(("%run", "%load", "%pylab", "%store")):
                sets.add("*")
            indent = line[: len(line) - len(line.lstrip())]
            kept.append(f"{indent}pass")
        else:
            kept.append(line)
    body = "\n".join(kept)
    try:
        tree = ast.parse(body)
        table = symtable.symtable(body, "cell", "exec")
    except SyntaxError:  # top-level await, or a cell that never ran
        return sets, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(name.name == "*" for name in node.names):
            sets.add("*")
    reads: list[str] = []
    _walk(table, sets, reads, top=True)
    return sets, reads


def _walk(table: symtable.SymbolTable, sets: set[str], reads: list[str], *, top: bool) -> None:
    for symbol in table.get_symbols():
        name = symbol.get_name()
        own = symbol.is_assigned() or symbol.is_imported()
        if own and (top or symbol.is_declared_global()):
            sets.add(name)
        if symbol.is_referenced() and (top or symbol.is_global()):
            reads.append(name)
    for child in table.get_children():
        _walk(child, sets, reads, top=False)


def _brackets(numbers: Sequence[str]) -> str:
    return ", ".join(f"[{number}]" for number in numbers[:5]) + ("…" if len(numbers) > 5 else "")
