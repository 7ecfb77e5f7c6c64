"""The checks of a ``%%mlops_test`` cell: every ``assert`` is run, none stops the others."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_magics.testing.assertions import Check


__all__ = ["RECORDER", "Checks", "collecting"]

RECORDER = "__mlops_checks__"
"""The name by which a rewritten cell finds its recorder."""
_LONGEST = 80


@dataclass
class Checks:
    """Collects the checks of a cell while it runs."""

    namespace: Mapping[str, Any]
    found: dict[str, Check] = field(default_factory=dict)

    def holds(
        self, name: str, test: Callable[[], Any], message: Callable[[], Any], names: tuple[str, ...]
    ) -> None:
        """Run an ``assert``'s test."""
        detail = ""
        try:
            passed = bool(test())
        except AssertionError as exc:
            passed, detail = False, str(exc)
        if not passed:
            said = message()
            shown = [f"{known} = {value}" for known in names if (value := self._short(known))]
            detail = "; ".join(str(part) for part in (said, detail, *shown) if part)
        self._note(name, passed, detail)

    def calls(self, name: str, call: Callable[[], Any]) -> None:
        """Run a call that raises an AssertionError when it does not hold."""
        try:
            call()
        except AssertionError as exc:
            self._note(name, False, " ".join(str(exc).split())[:300])
        else:
            self._note(name, True, "")

    def _note(self, name: str, passed: bool, detail: str) -> None:
        from mlops_magics.store.secrets import redactor
        from mlops_magics.testing.assertions import Check

        detail = redactor.text(detail)
        known = self.found.get(name)
        if known is None:
            self.found[name] = Check(name, passed, detail)
            return
        self.found[name] = Check(
            name, known.passed and passed, known.detail or detail, known.times + 1
        )

    def _short(self, name: str) -> str:
        value = self.namespace.get(name)
        if isinstance(value, (bool, int, float, str)):
            return f"{value:.6g}" if isinstance(value, float) else repr(value)[:_LONGEST]
        return ""


def collecting(tree: ast.Module) -> ast.Module:
    """Rewrite a cell so that its checks report to ``__mlops_checks__`` instead of stopping it.

    Checks are ``assert`` statements, and calls of functions whose name begins with ``assert`` or
    ``check``; those inside functions and classes of the cell stay what they are.
    """
    rewritten: ast.Module = ast.fix_missing_locations(_Collector().visit(tree))
    return rewritten


class _Collector(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        names = {
            part.id
            for part in ast.walk(node.test)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)
        }
        message = node.msg or ast.Constant(None)
        arguments = [
            ast.Constant(_name(node.test)),
            _delayed(node.test),
            _delayed(message),
            ast.Tuple([ast.Constant(name) for name in sorted(names)], ast.Load()),
        ]
        return ast.copy_location(_reported("holds", arguments), node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if not isinstance(node.value, ast.Call) or not _is_check(node.value):
            return node
        arguments = [ast.Constant(_name(node.value)), _delayed(node.value)]
        return ast.copy_location(_reported("calls", arguments), node)


def _is_check(call: ast.Call) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name.startswith(("assert", "check"))


def _name(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _delayed(node: ast.expr) -> ast.expr:
    if any(isinstance(part, ast.NamedExpr) for part in ast.walk(node)):
        # `:=` would bind inside the function; a default's value is computed where the cell is
        value = ast.arguments(
            posonlyargs=[], args=[ast.arg("value")], kwonlyargs=[], kw_defaults=[], defaults=[node]
        )
        return ast.Lambda(value, ast.Name("value", ast.Load()))
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Lambda(nothing, node)


def _reported(method: str, arguments: list[ast.expr]) -> ast.Expr:
    recorder = ast.Name(RECORDER, ast.Load())
    return ast.Expr(ast.Call(ast.Attribute(recorder, method, ast.Load()), arguments, []))
