"""Continuous integration: ci, and what a workflow posts, pipeline compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import MODEL_NAME, PIPELINE_RUN, Choice
from mlops_magics.cli.verb import verb
from mlops_magics.errors import InvalidArgument

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["ci", "pipeline_compare"]


@verb(
    "ci",
    calls=["ci"],
    in_shell="mlops ci github notebooks/flight_delay --champion flight-delay",
    in_notebook="%mlops_ci gitlab notebooks/flight_delay --output -",
    finds_workspace=False,
)
@click.argument("host", type=Choice(["github", "gitlab"]))
@click.argument("path", type=click.Path(), default=".")
@click.option(
    "--champion", type=MODEL_NAME, help="Model to compare with; default: the registered one."
)
@click.option("--output", help="The file; - prints it. Default: where the host looks for it.")
@click.option("--force", is_flag=True, help="Replace a file that mlops ci has not written.")
def ci(
    host: str,
    path: str,
    champion: str | None,
    output: str | None,
    force: bool,
) -> Any:
    """Write a workflow for HOST (github, gitlab) that tests the pipeline at PATH on every push.

    In a clean checkout it installs what the project asks for, runs the notebooks as tests (nbval),
    runs the pipeline with the specification's smoke parameters, and posts the metrics beside the
    champion's.
    """
    written = mlops.ci(host, path, champion=champion, output=output, force=force)
    if output == "-":
        click.echo(written.text, nl=False)
        return None
    return written


@verb(
    "compare",
    calls=["compare_pipeline"],
    in_shell='mlops pipeline compare --champion flight-delay --markdown >> "$GITHUB_STEP_SUMMARY"',
    in_notebook="%mlops_pipeline compare --champion flight-delay",
)
@click.argument("run", type=PIPELINE_RUN, required=False)
@click.option(
    "--champion", type=MODEL_NAME, help="NAME or NAME@ALIAS; default: what it registered."
)
@click.option("--registry", help="URI of the MLflow that has the champion; default: this one.")
@click.option("--markdown", is_flag=True, help="Print Markdown.")
@click.option("--metrics", type=click.Path(dir_okay=False), help="Write OpenMetrics to this file.")
def pipeline_compare(
    run: str | None,
    champion: str | None,
    registry: str | None,
    markdown: bool,
    metrics: str | None,
    workspace: Workspace | None,
) -> Any:
    """Set what a run's tests measured beside the champion's evidence; default: the newest run.

    With intervals: a difference is called one where they lie apart. Gates decide; this tells.
    """
    found = mlops.compare_pipeline(run, champion=champion, registry=registry, workspace=workspace)
    if metrics:
        try:
            Path(metrics).write_text(found.openmetrics(), "utf-8")
        except OSError as exc:
            raise InvalidArgument(f"{metrics} cannot be written: {exc.strerror}") from exc
    if markdown:
        click.echo(found.markdown())
        return None
    return found
