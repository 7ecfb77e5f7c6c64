"""The IPython extension: a magic for every click command, and three cell magics."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import click
from IPython.core.magic import Magics, magics_class, no_var_expand

from mlops_magics.cli.parameters import explain
from mlops_magics.cli.usage import translate
from mlops_magics.errors import InvalidArgument, NotFound, SourceUnreadable
from mlops_magics.magics import cells, configuration
from mlops_magics.magics.arguments import split, strip_semicolon
from mlops_magics.magics.completion import matcher
from mlops_magics.magics.interrupts import Interrupted
from mlops_magics.magics.lines import mlops
from mlops_magics.magics.notebook import Notebook

__all__ = ["MLOps"]

_Configured = type("_Configured", (Magics,), configuration.traits())


@magics_class
class MLOps(_Configured):  # type: ignore[misc, valid-type]  # a base made of the settings' fields
    """The magics of mlops_magics; its traits are the settings (``%config MLOps``)."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.notebook = Notebook(shell)
        self.observe(
            lambda change: configuration.apply(change["name"], change["new"]),
            names=list(configuration.traits()),
        )
        for name, command in mlops.commands.items():
            self._define("line", f"mlops_{name}", command, self._line(f"mlops_{name}", command))
        self._define("line", "mlops", mlops, self._line("mlops", mlops))
        for name, (command, run) in cells.MAGICS.items():
            self._define("cell", name, command, self._cell(name, command, run))
        self.matcher = matcher(self.notebook)
        self.corrector = _UnknownMagics(set(self.magics["line"]), set(self.magics["cell"]))

    def attach(self) -> None:
        """Join the shell: magics, completion, names that do not exist."""
        self.shell.register_magics(self)
        self.shell.Completer.custom_matchers.append(self.matcher)
        self.shell.ast_transformers.append(self.corrector)

    def detach(self) -> None:
        """Leave the shell as it was."""
        for kind, table in self.magics.items():
            for name in table:
                self.shell.magics_manager.magics[kind].pop(name, None)
        _drop(self.shell.Completer.custom_matchers, self.matcher)
        _drop(self.shell.ast_transformers, self.corrector)
        _drop(self.shell.configurables, self)
        self.shell.magics_manager.registry.pop(type(self).__name__, None)

    def call(self, magic: str, command: click.Command, line: str) -> Any:
        """Parse a magic's line and run its command; return the record."""
        arguments = split(line, self.notebook.variables, self.shell.ev)
        if command is mlops and not arguments:
            arguments = ["status"]
        try:
            with command.make_context(magic, arguments, obj=self.notebook) as ctx:
                return command.invoke(ctx)
        except click.exceptions.Exit:
            return None  # after --help
        except click.exceptions.NoArgsIsHelpError as exc:
            click.echo(exc.format_message())
            return None
        except click.ClickException as exc:
            raise translate(exc) from None
        except (KeyboardInterrupt, click.Abort) as exc:
            raise Interrupted(magic, str(exc)) from exc

    def _define(
        self, kind: str, name: str, command: click.Command, function: Callable[..., Any]
    ) -> None:
        sign = "%%" if kind == "cell" else "%"
        function.__name__ = name
        with command.make_context(f"{sign}{name}", [], resilient_parsing=True) as ctx:
            function.__doc__ = command.get_help(ctx)
        self.magics[kind][name] = no_var_expand(function)

    def _line(self, name: str, command: click.Command) -> Callable[[str], Any]:
        def magic(line: str) -> Any:
            text, silent = strip_semicolon(line)
            result = self.call(f"%{name}", command, text)
            return None if silent and not self._assigned(name, line) else result

        return magic

    def _cell(
        self, name: str, command: click.Command, run: Callable[..., Any]
    ) -> Callable[[str, str], Any]:
        def magic(line: str, cell: str) -> Any:
            __tracebackhide__ = True
            parsed: list[click.Context] = []

            def parse() -> Mapping[str, Any]:
                arguments = split(line, self.notebook.variables, self.shell.ev)
                with command.make_context(f"%%{name}", arguments, obj=self.notebook) as ctx:
                    parsed.append(ctx)
                    return dict(ctx.params)

            try:
                return run(self.notebook, cell, parse)
            except (NotFound, InvalidArgument, SourceUnreadable) as exc:
                if parsed:
                    explain(exc, parsed[-1])
                raise
            except click.exceptions.Exit:
                return None  # after --help
            except click.ClickException as exc:
                raise translate(exc) from None

        return magic

    def _assigned(self, name: str, line: str) -> bool:
        """Tell whether the cell binds the magic's result: then it is no display to silence."""
        parsed = self.shell.history_manager.input_hist_parsed
        call = f"= get_ipython().run_line_magic({name!r}, {line!r})"
        return bool(parsed) and call in parsed[-1]


class _UnknownMagics(ast.NodeTransformer):
    """Sends ``%mlops_VERB`` of an unknown verb to ``%mlops``, which names the nearest.

    IPython's own answer to an unknown magic is a UsageError, which nbval passes and papermill
    reports without a message; so it is to a cell magic without a body, which may ask for help.
    """

    def __init__(self, lines: set[str], cells: set[str]) -> None:
        self.known = {"run_line_magic": lines, "run_cell_magic": cells}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        known = self.known.get(getattr(node.func, "attr", ""))
        if known is None or len(node.args) < 2:
            return node
        name, line = node.args[:2]
        body = node.args[-1]
        if (
            isinstance(name, ast.Constant)
            and name.value in self.known["run_cell_magic"]
            and isinstance(body, ast.Constant)
            and body.value == ""
        ):
            node.args[-1] = ast.copy_location(ast.Constant("\n"), body)
        elif (
            isinstance(name, ast.Constant)
            and isinstance(line, ast.Constant)
            and isinstance(name.value, str)
            and isinstance(line.value, str)
            and name.value.startswith("mlops_")
            and name.value not in known
        ):
            assert isinstance(node.func, ast.Attribute)
            verb = name.value.removeprefix("mlops_")
            node.func.attr = "run_line_magic"
            arguments = [ast.Constant("mlops"), ast.Constant(f"{verb} {line.value}")]
            node.args = [ast.copy_location(argument, node) for argument in arguments]
        return node


def _drop(items: list[Any], item: Any) -> None:
    if item in items:
        items.remove(item)
