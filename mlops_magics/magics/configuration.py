"""``%config MLOps.x = ...``: the settings as traits of the kernel.

A trait that is set becomes the environment variable of the same name, so that it also reaches the
Python verbs and the processes that this kernel starts.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import textwrap
from typing import Any

from traitlets import Bool, Int, TraitType, Unicode

from mlops_magics.settings import Settings

__all__ = ["apply", "traits"]

_KINDS = {bool: Bool, int: Int, str: Unicode}


def traits() -> dict[str, TraitType[Any, Any]]:
    """Return a trait for each setting, with its default and help."""
    helps = _helps()
    found: dict[str, TraitType[Any, Any]] = {
        field.name: _KINDS[type(field.default)](field.default, help=helps[field.name]).tag(
            config=True
        )
        for field in dataclasses.fields(Settings)
    }
    found["workspace"] = Unicode("", help="Folder .mlops of the workspace to use.").tag(config=True)
    return found


def apply(name: str, value: Any) -> None:
    """Make a trait's value this kernel's setting; the default gives the name free again."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    variable = f"MLOPS_{name.upper()}"
    if value == defaults.get(name, ""):
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = str(value)


def _helps() -> dict[str, str]:
    """Read the texts that stand below the settings' fields."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(Settings)))
    found: dict[str, str] = {}
    name = ""
    for node in tree.body[0].body:  # type: ignore[attr-defined]  # a module with one class
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            found[name] = ""
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = str(node.value.value)
    return found
