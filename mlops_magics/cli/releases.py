"""Releases: pipeline release, releases, rollback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.caller import current
from mlops_magics.cli.parameters import ASSIGNMENT, PIPELINE, RELEASE
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["pipeline_release", "pipeline_releases", "pipeline_rollback"]


@verb(
    "release",
    calls=["release_pipeline"],
    in_shell="mlops pipeline release notebooks/flight_delay --smoke rows=2000",
    in_notebook="%mlops_pipeline release notebooks/flight_delay",
    watched=True,
)
@click.argument("path", type=click.Path())
@click.option(
    "--smoke",
    type=ASSIGNMENT,
    multiple=True,
    help="A parameter of the smoke run, over the specification's; repeatable.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show what the cells print, as they print it.")
def pipeline_release(
    path: str,
    smoke: tuple[str | Mapping[str, Any], ...],
    verbose: bool,
    workspace: Workspace | None,
) -> Any:
    """Freeze the pipeline at PATH, try it on little data, and have triggers run it from then on.

    Its smoke run is in a scratch workspace: nothing that it registers or deploys reaches anybody.
    If it fails, the release before it stays current and every endpoint is as it was.
    """
    with current().watch(verbose=verbose) as watch:
        return mlops.release_pipeline(path, smoke=smoke, watch=watch, workspace=workspace)


@verb(
    "releases",
    calls=["releases"],
    in_shell="mlops pipeline releases flight-delay",
    in_notebook="%mlops_pipeline releases",
)
@click.argument("pipeline", type=PIPELINE, required=False)
def pipeline_releases(pipeline: str | None, workspace: Workspace | None) -> Any:
    """List releases, the newest first: which is current, and why others failed."""
    return mlops.releases(pipeline, workspace=workspace)


@verb(
    "rollback",
    calls=["rollback_pipeline"],
    in_shell="mlops pipeline rollback flight-delay --reason 'too slow'",
    in_notebook="%mlops_pipeline rollback flight-delay",
)
@click.argument("pipeline", type=PIPELINE)
@click.argument("release", type=RELEASE, required=False)
@click.option("--reason", help="Why; kept in the ledger.")
def pipeline_rollback(
    pipeline: str, release: str | None, reason: str | None, workspace: Workspace | None
) -> Any:
    """Go back to an earlier RELEASE of PIPELINE; default: the one before the current."""
    return mlops.rollback_pipeline(pipeline, release, reason=reason, workspace=workspace)
