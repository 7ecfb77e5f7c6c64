"""Models as code: the source of a function, with all that it uses, as a module of its own.

Nothing is pickled. What a function names is looked for where Python would look: a literal becomes
a constant, an installed module an import, a function or class of the notebook or project its own
source. Anything else is live state that source cannot carry, and is refused by name.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import linecache
import symtable
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from mlops_magics.errors import UnsupportedModel

__all__ = ["ENTRY", "Source", "is_local", "source_of_function", "source_of_object"]

ENTRY = "mlops_predict"
"""Name of the function that a generated module predicts with."""

_LARGEST_LITERAL = 100_000


@dataclass
class Source:
    """A module in the making.

    Attributes
    ----------
    imports, constants, definitions : dict
        Lines by the name that they bind, in the order in which they must run.
    modules : set of str
        Top-level modules that are imported.
    """

    imports: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)

    def text(self, ending: str) -> str:
        """Return the module's text; ``ending`` binds the entry."""
        blocks = [
            '"""Written by mlops_magics from the source of a model; see mlops/manifest.json."""',
            "from __future__ import annotations",
            "\n".join(self.imports.values()),
            "\n".join(self.constants.values()),
            *self.definitions.values(),
            ending,
        ]
        return "\n\n".join(block for block in blocks if block) + "\n"


def source_of_function(function: Callable[..., Any]) -> tuple[str, set[str]]:
    """Return a module that predicts with a function, and the modules that it imports.

    Raises
    ------
    UnsupportedModel
        The function uses live state, or its source cannot be found.
    """
    if not isinstance(function, FunctionType):
        raise _refused(function, "it is not a function written in Python")
    if function.__name__ == "<lambda>":
        raise _refused(function, "a lambda has no source of its own", "write it with def")
    source = Source()
    _add_definition(source, function.__name__, function, [function.__name__])
    return source.text(f"{ENTRY} = {function.__name__}"), source.modules


def source_of_object(
    model: Any, predict_fn: str, takes_params: bool = False
) -> tuple[str, set[str]]:
    """Return a module that makes an object again from its class and its literal attributes.

    Its entry passes parameters on where the method has some.

    Raises
    ------
    UnsupportedModel
        An attribute is no literal, or the class's source cannot be found.
    """
    kind = type(model)
    state = dict(getattr(model, "__dict__", {}))
    for name, value in state.items():
        if _literal(value) is None:
            raise _refused(
                model,
                f"its attribute {name!r} is a {type(value).__name__}, which source cannot carry",
                "package the fitted estimator itself, or a function with literal constants",
            )
    source = Source()
    _add_definition(source, kind.__name__, kind, [kind.__name__])
    takes_context = "context" in inspect.signature(getattr(model, predict_fn)).parameters
    params = ", **params" if takes_params else ""
    call = f"_model.{predict_fn}({'None, ' if takes_context else ''}data{params})"
    ending = "\n".join(
        [
            f"_model = object.__new__({kind.__name__})",
            f"vars(_model).update({state!r})",
            "",
            "",
            f"def {ENTRY}(data{params}):",
            f"    return {call}",
        ]
    )
    return source.text(ending), source.modules


def is_local(module_name: str) -> bool:
    """Tell whether a module is the user's own: neither installed nor of Python itself.

    Examples
    --------
    >>> is_local("numpy"), is_local("json"), is_local("__main__")
    (False, False, True)
    """
    top = module_name.partition(".")[0]
    if top == "__main__":
        return True
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    module = sys.modules.get(top)
    origin = getattr(module, "__file__", None)
    if origin is None:
        spec = importlib.util.find_spec(top) if module is None else module.__spec__
        places = list(spec.submodule_search_locations or []) if spec else []
        origin = (spec.origin or (places[0] if places else None)) if spec else None
    if origin is None:
        return True
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if any(Path(origin).is_relative_to(folder) for folder in folders):
        return False
    # an editable installation is a distribution too, and its name can be pinned
    from mlops_magics.packaging.environment import distribution_of

    return distribution_of(top) is None


def _add_definition(source: Source, name: str, found: Any, path: list[str]) -> None:
    """Add a function's or class's source after the sources of all that it names."""
    if name in source.definitions:
        return
    text = _text_of(found)
    # taken before its needs, so that mutual recursion ends; put in its place after them
    source.definitions[name] = ""
    names = _scope(found)
    for used in _globals_in(text):
        if used == name:
            continue
        if used in names:
            _add(source, used, names[used], [*path, used])
        elif not hasattr(builtins, used):
            raise _refused(path[0], f"{path[-1]} uses the name {used!r}, which is not defined")
    del source.definitions[name]
    source.definitions[name] = text


def _add(source: Source, name: str, value: Any, path: list[str]) -> None:
    if isinstance(value, ModuleType):
        if is_local(value.__name__):
            raise _refused(
                path[0],
                f"it uses the local module {value.__name__!r} as a whole",
                f"import the functions it needs: from {value.__name__} import …",
            )
        source.modules.add(value.__name__.partition(".")[0])
        source.imports[name] = f"import {value.__name__} as {name}"
        return
    module = getattr(value, "__module__", None)
    if isinstance(value, (FunctionType, type)) and isinstance(module, str) and is_local(module):
        if value.__name__ != name:
            _add_definition(source, value.__name__, value, [*path, value.__name__])
            source.constants.pop(name, None)
            source.definitions[name] = f"{name} = {value.__name__}"
        else:
            _add_definition(source, name, value, path)
        return
    literal = _literal(value)
    if literal is not None:
        source.constants[name] = f"{name} = {literal}"
        return
    imported = _importable(value)
    if imported:
        module_name, attribute = imported
        source.modules.add(module_name.partition(".")[0])
        as_name = f" as {name}" if attribute != name else ""
        source.imports[name] = f"from {module_name} import {attribute}{as_name}"
        return
    raise _refused(
        path[0],
        f"it uses the global {name!r}, a live {type(value).__name__} that source cannot carry",
        "make it a literal, build it inside the function, or package the fitted object itself",
    )


def _importable(value: Any) -> tuple[str, str] | None:
    name = getattr(value, "__name__", None)
    if not isinstance(name, str):
        return None
    # a universal function of NumPy or SciPy does not say where it comes from
    for module in (getattr(value, "__module__", None), "numpy", "scipy.special"):
        if not isinstance(module, str) or is_local(module):
            continue
        if getattr(sys.modules.get(module), name, None) is value:
            return module, name
    return None


def _literal(value: Any) -> str | None:
    text = repr(value)
    if len(text) > _LARGEST_LITERAL:
        return None
    try:
        same = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return text if type(same) is type(value) and same == value else None


def _scope(found: Any) -> Mapping[str, Any]:
    """Return the names that a function's or class's body can see."""
    if isinstance(found, FunctionType):
        closure = inspect.getclosurevars(found).nonlocals if found.__closure__ else {}
        return {**found.__globals__, **closure}
    module = vars(sys.modules[found.__module__]) if found.__module__ in sys.modules else {}
    for method in _methods(found):
        return _scope(method)
    return module


def _methods(kind: type) -> Iterator[FunctionType]:
    for value in vars(kind).values():
        inner = inspect.unwrap(value) if callable(value) else getattr(value, "__func__", value)
        if isinstance(inner, FunctionType):
            yield inner


def _text_of(found: Any) -> str:
    """Return the source of a function or class, also of one from a notebook's cell.

    ``inspect.getsource`` finds no class of a notebook before Python 3.13, so its cell is searched.
    """
    try:
        if isinstance(found, FunctionType):
            return textwrap.dedent(inspect.getsource(found)).rstrip()
        for method in _methods(found):
            lines = linecache.getlines(method.__code__.co_filename)
            for node in ast.walk(ast.parse("".join(lines))):
                if isinstance(node, ast.ClassDef) and node.name == found.__name__:
                    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                    return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).rstrip()
        return textwrap.dedent(inspect.getsource(found)).rstrip()
    except (OSError, TypeError, SyntaxError) as exc:
        raise _refused(
            found,
            f"the source of {found.__name__!r} cannot be found",
            "define it in a notebook cell or a .py file",
        ) from exc


def _globals_in(text: str) -> list[str]:
    """Return the global names that a definition's source reads, in order.

    Annotations do not count: the module is written with postponed evaluation.
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    plain = ast.unparse(tree)
    found: dict[str, None] = {}

    def visit(table: symtable.SymbolTable, top: bool) -> None:
        for symbol in table.get_symbols():
            reads = symbol.is_referenced() and (top or symbol.is_global())
            if reads and not (top and symbol.is_assigned()):
                found[symbol.get_name()] = None
        for child in table.get_children():
            visit(child, False)

    visit(symtable.symtable(plain, "<model>", "exec"), True)
    return sorted(found)


def _refused(model: Any, why: str, hint: str | None = None) -> UnsupportedModel:
    name = model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__)
    return UnsupportedModel(f"{name} cannot be packaged as code: {why}", hint=hint)
