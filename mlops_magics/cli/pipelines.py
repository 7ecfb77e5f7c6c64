"""Pipelines: pipeline run, resume, runs, show, report, compare, inspect, schema."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.caller import current
from mlops_magics.cli.continuous import pipeline_compare
from mlops_magics.cli.parameters import (
    ASSIGNMENT,
    PARAMETERS_FILE,
    PARAMETERS_YAML,
    PIPELINE_RUN,
    VALUE,
)
from mlops_magics.cli.releases import pipeline_release, pipeline_releases, pipeline_rollback
from mlops_magics.cli.verb import Verbs, verb

if TYPE_CHECKING:
    from mlops_magics.pipelines.arguments import Entry
    from mlops_magics.store.workspace import Workspace

__all__ = [
    "pipeline",
    "pipeline_inspect",
    "pipeline_report",
    "pipeline_resume",
    "pipeline_run",
    "pipeline_runs",
    "pipeline_schema",
    "pipeline_show",
]


@verb(
    "run",
    calls=["run_pipeline"],
    in_shell="mlops pipeline run notebooks/flight_delay/pipeline.yaml --param month=3",
    in_notebook="%mlops_pipeline run notebooks/flight_delay/pipeline.yaml --param month={month}",
    watched=True,
)
@click.argument("path", type=click.Path())
@click.option("--param", "params", type=ASSIGNMENT, multiple=True, help="A parameter; repeatable.")
@click.option(
    *("-p", "--parameters", "pairs"),
    type=(str, VALUE),
    multiple=True,
    metavar="NAME VALUE",
    help="The same in two words, as papermill takes it.",
)
@click.option(
    *("-r", "--parameters_raw", "raw"),
    type=(str, VALUE),
    multiple=True,
    metavar="NAME TEXT",
    help="A parameter whose value stays text.",
)
@click.option(
    *("-y", "--parameters_yaml", "texts"),
    type=PARAMETERS_YAML,
    multiple=True,
    help="Parameters as YAML or JSON.",
)
@click.option(
    *("-f", "--parameters_file", "files"),
    type=PARAMETERS_FILE,
    multiple=True,
    help="A file of parameters, YAML or JSON; a URL too.",
)
@click.option("--output", help="Folder, or URL, for the executed notebooks.")
@click.option("--smoke", is_flag=True, help="A short run: the specification's smoke parameters.")
@click.option("--parallel", type=click.IntRange(min=1), help="Steps that may run at once.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the cells print, as they print it.")
@click.option(
    "--no-cache", "cache", is_flag=True, default=True, flag_value=False, help="Run every step."
)
def pipeline_run(
    path: str,
    params: tuple[Entry, ...],
    pairs: tuple[tuple[str, Any], ...],
    raw: tuple[tuple[str, Any], ...],
    texts: tuple[Mapping[str, Any], ...],
    files: tuple[Mapping[str, Any], ...],
    output: str | None,
    smoke: bool,
    parallel: int | None,
    verbose: bool,
    cache: bool,
    workspace: Workspace | None,
) -> Any:
    """Run the notebooks of the pipeline at PATH in the order of their needs.

    PATH is a pipeline.yaml, a folder with one, a notebook alone, or a URL of these. Parameters are
    checked before a kernel starts; of one that is given twice the last counts, in the order -f,
    -y, --param, -p, -r. A value secret:NAME is looked up in the kernel. Every step leaves its
    executed notebook, its outputs, and a child run. A step that depends on
    nothing that has changed is not run again.
    """
    with current().watch(verbose=verbose) as watch:
        return mlops.run_pipeline(
            path,
            params=[*files, *texts, *params, *pairs, *({name: text} for name, text in raw)],
            smoke=smoke,
            output=output,
            parallel=parallel,
            cache=cache,
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


@verb(
    "inspect",
    calls=["inspect_notebook"],
    in_shell="mlops pipeline inspect notebooks/flight_delay/train.ipynb",
    in_notebook="%mlops_pipeline inspect train.ipynb",
    finds_workspace=False,
)
@click.argument("path", type=click.Path())
def pipeline_inspect(path: str) -> Any:
    """Show what the notebook at PATH takes and gives; of an executed one also how it ran.

    Parameters with types, defaults and help; outputs; of an executed notebook the parameters it
    got, the values it gave, the time of each cell, and the error of the first that failed.
    """
    return mlops.inspect_notebook(path)


@verb(
    "schema",
    calls=["pipeline_schema"],
    in_shell="mlops pipeline schema > pipeline.schema.json",
    in_notebook="%mlops_pipeline schema",
    finds_workspace=False,
)
def pipeline_schema() -> Any:
    """Print the JSON schema of pipeline.yaml, for editors and CI."""
    return mlops.pipeline_schema()


@verb(
    "resume",
    calls=["resume_pipeline"],
    in_shell="mlops pipeline resume 20261124-1806",
    in_notebook="%mlops_pipeline resume",
    watched=True,
)
@click.argument("run", type=PIPELINE_RUN, required=False)
@click.option("--parallel", type=click.IntRange(min=1), help="Steps that may run at once.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the cells print, as they print it.")
def pipeline_resume(
    run: str | None, parallel: int | None, verbose: bool, workspace: Workspace | None
) -> Any:
    """Go on with RUN where it failed, was interrupted or was killed.

    RUN is its id, or how that begins; default: the newest that did not finish. Steps that had
    finished are not run again.
    """
    with current().watch(verbose=verbose) as watch:
        return mlops.resume_pipeline(run, parallel=parallel, watch=watch, workspace=workspace)


@verb(
    "runs",
    calls=["pipeline_runs"],
    in_shell="mlops pipeline runs flight-delay",
    in_notebook="%mlops_pipeline runs",
)
@click.argument("pipeline", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
def pipeline_runs(pipeline: str | None, limit: int, workspace: Workspace | None) -> Any:
    """List runs, the newest first: how they ended, why they ran, how long it took.

    PIPELINE shows only those of the pipeline of this name.
    """
    return mlops.pipeline_runs(pipeline, limit=limit, workspace=workspace)


pipeline = Verbs("pipeline", help="Run pipelines of parameterized notebooks, and see how they ran.")
pipeline.add_command(pipeline_run)
pipeline.add_command(pipeline_show)
pipeline.add_command(pipeline_report)
pipeline.add_command(pipeline_compare)
pipeline.add_command(pipeline_inspect)
pipeline.add_command(pipeline_schema)
pipeline.add_command(pipeline_resume)
pipeline.add_command(pipeline_runs)
pipeline.add_command(pipeline_release)
pipeline.add_command(pipeline_releases)
pipeline.add_command(pipeline_rollback)
