"""The cell magics: a cell as a tracked run, as a registered model, as a named test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli import registry, training
from mlops_magics.cli.parameters import gather
from mlops_magics.cli.verb import Verb
from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.magics.checks import RECORDER, Checks, collecting
from mlops_magics.magics.execution import Cell, captured
from mlops_magics.magics.interrupts import Interrupted
from mlops_magics.magics.lines import Variable
from mlops_magics.magics.notebook import Notebook

if TYPE_CHECKING:
    from mlops_magics.training import ActiveRun

__all__ = ["MAGICS"]

Parse = Callable[[], Mapping[str, Any]]


_OUT = click.Option(
    ["-o", "--out"], type=Variable(), metavar="NAME", help="Variable that gets the record."
)
_NAME = click.Argument(["name"], required=False, metavar="NAME")
_NAMED = click.Option(["--name", "named"], metavar="NAME", help="The same as NAME.")


class _CellVerb(Verb):
    """A command of a cell; NAME stands alone, or behind ``--name`` as on a line."""

    default: str | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and make one of both ways to give the name."""
        rest = super().parse_args(ctx, args)
        named, name = ctx.params.pop("named", None), ctx.params.get("name")
        if name and named and name != named:
            raise click.UsageError(f"two names are given: {name!r} and --name {named!r}", ctx)
        ctx.params["name"] = name or named or self.default
        if ctx.params["name"] is None and not ctx.resilient_parsing:
            raise click.MissingParameter(ctx=ctx, param=_NAME)
        return rest


def _command(verb: Verb, text: str, example: str, default: str | None = None) -> Verb:
    """Derive a cell magic's command from a verb's: its options, and ``-o/--out``."""
    dropped = {"name", "model", "run", "script", "arguments", "as_json"}
    kept = [param for param in verb.params if param.name not in dropped]
    command = _CellVerb(
        verb.name, help=text, calls=verb.calls, in_notebook=example, finds_workspace=False
    )
    command.params = [_NAME, _NAMED, *kept, _OUT]
    command.default = default
    return command


def run_cell(notebook: Notebook, source: str, parse: Parse) -> Any:
    """Run a cell inside a tracked run; return its value, or the run's record if it has none."""
    __tracebackhide__ = True
    given = parse()
    cell = Cell(notebook.shell, source)
    active, value = _tracked(notebook, cell, given["name"], given)
    return _shown(notebook, cell, active.record, value, given["out"])


def register_cell(notebook: Notebook, source: str, parse: Parse) -> Any:
    """Run a cell inside a tracked run, then register its last expression's value."""
    __tracebackhide__ = True
    cell = Cell(notebook.shell, source)
    try:
        given = parse()
    except UnknownName as exc:
        if exc.kind != "variable" or exc.name not in cell.bound:
            raise
        raise InvalidArgument(
            f"{{{exc.name}}} is bound by the cell itself, and is not known before it runs",
            hint=f"give its bare name, or bind {exc.name!r} in a cell before",
        ) from None
    register = registry.register.callback
    assert register is not None
    active, value = _tracked(notebook, cell, given["name"], {"workspace": given["workspace"]})
    if value is None:
        raise InvalidArgument(
            "the cell's last line is no expression, so there is no model to register",
            hint="end the cell with the model's name",
        )
    given = dict(parse())  # again: the cell has bound what the options name
    out = given.pop("out")
    try:
        version = register(value, run=active.run_id, **given)
    except KeyboardInterrupt as exc:
        raise Interrupted("%%mlops_register") from exc
    if out:
        notebook.shell.user_ns[out] = version
    return None if cell.silent else version


def test_cell(notebook: Notebook, source: str, parse: Parse) -> Any:
    """Run every check of a cell, keep them with a run, and fail if one does not hold."""
    __tracebackhide__ = True
    from mlops_magics.testing.assertions import CheckReport, keep_checks

    given = parse()
    cell = Cell(notebook.shell, source)
    namespace = notebook.shell.user_ns
    checks = Checks(namespace)

    def keep(active: ActiveRun) -> None:
        report = CheckReport(given["name"], active.run_id, tuple(checks.found.values()))
        if not report.checks:
            raise InvalidArgument("the cell has no check", hint="write one: assert auc > 0.7")
        reports.append(report)
        keep_checks(report, workspace=given["workspace"])

    reports: list[CheckReport] = []
    namespace[RECORDER] = checks
    try:
        cell.tree = collecting(cell.tree)
        _, value = _tracked(notebook, cell, given["name"], given, finish=keep)
    finally:
        namespace.pop(RECORDER, None)
        if given["out"] and reports:
            namespace[given["out"]] = reports[0]
    return _shown(notebook, cell, reports[0], value, given["out"])


def _tracked(
    notebook: Notebook,
    cell: Cell,
    name: str,
    given: Mapping[str, Any],
    finish: Callable[[ActiveRun], None] | None = None,
) -> tuple[ActiveRun, Any]:
    __tracebackhide__ = True
    from mlops_magics.training import judge, locate

    located = locate(notebook.namespace)
    state = judge(notebook.history, located.path, given=notebook.given)
    tracked = mlops.run(
        name,
        params=gather(given.get("params", ())),
        tags=gather(given.get("tags", ())),
        source=cell.source,
        notebook=located.path,
        state=state,
        autolog=given.get("autolog", True),
        dataset=list(given.get("dataset", ())) or None,
        workspace=given.get("workspace"),
    )
    with tracked as active:
        with captured(notebook.shell) as outputs:
            try:
                value = cell.run()
            finally:
                if outputs.printed.getvalue():
                    active.keep_text("mlops/output.txt", outputs.printed.getvalue())
        for number, figure in enumerate(outputs.figures, start=1):
            active.keep_figure(f"figures/{number}.png", figure)
        if finish is not None:
            finish(active)
    notebook.remember(active.run_id, cell.bound)
    return active, value


def _shown(notebook: Notebook, cell: Cell, record: Any, value: Any, out: str | None) -> Any:
    """Bind the record, show it, and give back what the cell itself would show."""
    if out:
        notebook.shell.user_ns[out] = record
    if cell.silent:
        return None
    if value is None:
        return record
    from IPython.display import display

    display(record)
    return value


_RUN = _command(
    training.run,
    "Run the cell inside a tracked run called NAME.\n\nThe run keeps the cell's source, "
    "parameters, metrics, figures, what is printed, commit and uncommitted diff, environment "
    "and dataset digests. A cell that raises leaves it FAILED.",
    "%%mlops_run boosted --param depth=3 -o run",
)
_REGISTER = _command(
    registry.register,
    "Run the cell inside a tracked run, then register its last expression as NAME.",
    "%%mlops_register flight-delay --data train --target late --holdout holdout",
)
_TEST = _command(
    training.run,
    "Run the cell's checks as one recorded test called NAME.\n\nEach assert, and each call of a "
    "function named assert... or check..., is a check. All are run; those that fail are "
    "reported together.",
    "%%mlops_test sanity",
    default="checks",
)

MAGICS: dict[str, tuple[Verb, Callable[[Notebook, str, Parse], Any]]] = {
    "mlops_run": (_RUN, run_cell),
    "mlops_register": (_REGISTER, register_cell),
    "mlops_test": (_TEST, test_cell),
}
"""Each cell magic: the command that parses its line, and the function that runs the cell."""
