"""Pipelines: pipeline run, show, report."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.caller import current
from mlops_magics.cli.parameters import ASSIGNMENT, PIPELINE_RUN, gather
from mlops_magics.cli.verb import Verbs, verb
from mlops_magics.errors import InvalidArgument

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["pipeline", "pipeline_report", "pipeline_run", "pipeline_show"]


@verb(
    "run",
    calls=["run_pipeline"],
    in_shell="mlops pipeline run notebooks/flight_delay/pipeline.yaml --param month=3",
    in_notebook="%mlops_pipeline run notebooks/flight_delay/pipeline.yaml --param month={month}",
    watched=True,
)
@click.argument("path", type=click.Path())
@click.option("--param", "params", type=ASSIGNMENT, multiple=True, help="A parameter; repeatable.")
@click.option("--smoke", is_flag=True, help="A short run: the specification's smoke parameters.")
@click.option("--parallel", type=click.IntRange(min=1), help="Steps that may run at once.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the cells print, as they print it.")
def pipeline_run(
    path: str,
    params: tuple[str | Mapping[str, Any], ...],
    smoke: bool,
    parallel: int | None,
    verbose: bool,
    workspace: Workspace | None,
) -> Any:
    """Run the notebooks of the pipeline at PATH in the order of their needs.

    Parameters are checked before a kernel starts. Every step leaves its executed notebook, its
    outputs, and a child run.
    """
    with current().watch(verbose=verbose) as watch:
        return mlops.run_pipeline(
            path,
            params=_parameters(params),
            smoke=smoke,
            parallel=parallel,
            watch=watch,
            workspace=workspace,
        )


@verb(
    "show",
    calls=["pipeline_run"],
    in_shell="mlops pipeline show --follow",
    in_notebook="%mlops_pipeline show",
    watched=True,
)
@click.argument("run", type=PIPELINE_RUN, required=False)
@click.option("--follow", is_flag=True, help="Watch it until it ends.")
@click.option("-v", "--verbose", is_flag=True, help="With --follow: show what the cells print.")
def pipeline_show(run: str | None, follow: bool, verbose: bool, workspace: Workspace | None) -> Any:
    """Show a run, by its id or how that begins; default: the newest.

    Tells of each step why it ran; of one that failed the cell, its source, the error, parameters,
    memory and environment. Exit status 0, whatever became of the run.
    """
    record = mlops.pipeline_run(run, workspace=workspace)
    if not follow:
        return record
    from mlops_magics.pipelines.observation import follow as events

    with current().watch(verbose=verbose) as watch, contextlib.suppress(KeyboardInterrupt):
        for event in events(record.id, workspace=workspace):
            watch(event)
    return mlops.pipeline_run(record.id, workspace=workspace)


@verb(
    "report",
    calls=["pipeline_report"],
    in_shell="mlops pipeline report --output report.html",
    in_notebook="%mlops_pipeline report",
)
@click.argument("run", type=PIPELINE_RUN, required=False)
@click.option("--output", type=click.Path(dir_okay=False), help="Default: beside its notebooks.")
def pipeline_report(run: str | None, output: str | None, workspace: Workspace | None) -> Any:
    """Write a run as one HTML file that can be sent or kept; default: the newest run.

    It has the graph of the steps, when each ran and why, parameters and outputs, what failed, and
    the executed notebooks. It needs no network and runs no script.
    """
    return mlops.pipeline_report(run, output=output, workspace=workspace)


def _parameters(given: tuple[str | Mapping[str, Any], ...]) -> Mapping[str, Any] | list[str]:
    texts = [item for item in given if isinstance(item, str)]
    mappings = tuple(item for item in given if not isinstance(item, str))
    if not mappings:
        return texts  # the pipeline reads them by the types that its notebooks declare
    if texts:
        raise InvalidArgument(
            f"--param {texts[0]} and --param {{mapping}} cannot be mixed",
            hint="put it into the mapping",
        )
    return gather(mappings) or {}


pipeline = Verbs("pipeline", help="Run pipelines of parameterized notebooks, and see how they ran.")
pipeline.add_command(pipeline_run)
pipeline.add_command(pipeline_show)
pipeline.add_command(pipeline_report)
