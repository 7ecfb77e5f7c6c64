"""A cell's code, run by a magic as the notebook itself would run it."""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlops_magics.cli.script import kept
from mlops_magics.errors import InvalidArgument

__all__ = ["Cell", "Outputs", "captured"]

FIGURES = 20


@dataclass
class Cell:
    """A cell's code, parsed.

    Attributes
    ----------
    source : str
        As the person wrote it.
    tree : ast.Module
        Its Python; line magics inside are calls already.
    """

    shell: Any
    source: str
    tree: ast.Module = field(init=False)
    _file: str = field(init=False)

    def __post_init__(self) -> None:
        # the magic's own line is the first, so that tracebacks count as the notebook does
        code = "\n" + self.shell.transform_cell(self.source)
        # under the name that IPython would give it: tracebacks and inspect find the source
        self._file = self.shell.compile.cache(
            code, self.shell.displayhook.prompt_count, raw_code=self.source
        )
        self.tree = self.shell.compile.ast_parse(code, filename=self._file)
        awaits = [node for node in ast.walk(self.tree) if isinstance(node, ast.Await)]
        functions = [node for node in ast.walk(self.tree) if isinstance(node, ast.AsyncFunctionDef)]
        inner = {id(node) for function in functions for node in ast.walk(function)}
        if any(id(node) not in inner for node in awaits):
            raise InvalidArgument(
                "a cell with await outside a function cannot run inside this magic",
                hint="await in a cell of its own, before",
            )

    @property
    def silent(self) -> bool:
        """Whether the cell ends in ``;``."""
        return bool(self.shell.displayhook.semicolon_at_end_of_expression(self.source))

    @property
    def bound(self) -> list[str]:
        """Names that the cell binds, and those of objects that it fits in place."""
        names: dict[str, None] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names[node.id] = None
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names[node.name] = None
            elif (
                isinstance(node, ast.Attribute)
                and node.attr in {"fit", "partial_fit", "fit_transform", "train"}
                and isinstance(node.value, ast.Name)
            ):
                names[node.value.id] = None
        return list(names)

    def run(self, tree: ast.Module | None = None) -> Any:
        """Run the code in the notebook's namespace; return the last expression's value."""
        __tracebackhide__ = True
        tree = self.shell.transform_ast(tree or self.tree)
        last = tree.body[-1] if tree.body else None
        namespace = self.shell.user_ns
        if not isinstance(last, ast.Expr):
            exec(self._compile(tree, "exec"), namespace)  # noqa: S102  # the person's own cell
            return None
        first = ast.Module(tree.body[:-1], tree.type_ignores)
        exec(self._compile(first, "exec"), namespace)  # noqa: S102  # as above
        return eval(self._compile(ast.Expression(last.value), "eval"), namespace)  # noqa: S307  # as above

    def _compile(self, tree: ast.AST, mode: str) -> Any:
        return self.shell.compile(tree, self._file, mode)


@dataclass
class Outputs:
    """What a cell showed.

    Attributes
    ----------
    printed : io.StringIO
        What it printed, standard error too.
    figures : list of bytes
        Its pictures as PNG, in their order.
    """

    printed: io.StringIO
    figures: list[bytes] = field(default_factory=list)


@contextmanager
def captured(shell: Any) -> Iterator[Outputs]:
    """Keep what a cell prints and draws, while it is shown as usual."""
    publisher = shell.display_pub
    publish = publisher.publish
    before = set(_open_figures())
    with kept() as printed:
        outputs = Outputs(printed)

        def keeping(data: Any, *args: Any, **kwargs: Any) -> Any:
            picture = data.get("image/png") if isinstance(data, dict) else None
            if picture is not None and len(outputs.figures) < FIGURES:
                outputs.figures.append(_bytes(picture))
            return publish(data, *args, **kwargs)

        publisher.publish = keeping
        try:
            yield outputs
        finally:
            del publisher.publish  # the class's own method shows again
            for number in _open_figures():
                # those that the notebook itself draws after the cell has ended
                if number not in before and len(outputs.figures) < FIGURES:
                    outputs.figures.append(_png(number))


def _open_figures() -> list[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return list(pyplot.get_fignums()) if pyplot is not None else []


def _png(number: int) -> bytes:
    figure = sys.modules["matplotlib.pyplot"].figure(number)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def _bytes(picture: Any) -> bytes:
    if isinstance(picture, bytes):
        return picture
    import base64

    return base64.b64decode(picture)
