"""Workspace: init, status, doctor, start, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["doctor", "init", "start", "status", "stop"]


@verb(
    "init",
    calls=["init"],
    in_shell="mlops init",
    in_notebook="%mlops_init",
    finds_workspace=False,
)
@click.argument("path", required=False, type=click.Path(file_okay=False))
def init(path: str | None) -> Any:
    """Make a workspace in the project's folder PATH (default: this folder).

    A workspace is the folder .mlops, which holds the records of runs, models, endpoints and
    predictions. One that exists already is opened.
    """
    return mlops.init(path)


@verb("status", calls=["status"], in_shell="mlops status", in_notebook="%mlops_status")
def status(workspace: Workspace | None) -> Any:
    """Show the workspace by its five drivers, and what to do next."""
    return mlops.status(workspace=workspace)


@verb("doctor", calls=["doctor"], in_shell="mlops doctor", in_notebook="%mlops_doctor")
def doctor(workspace: Workspace | None) -> Any:
    """Check the workspace's parts, and name the command that mends each.

    In a shell the exit status is 1 when a check failed.
    """
    return mlops.doctor(workspace=workspace)


@verb("start", calls=["start"], in_shell="mlops start", in_notebook="%mlops_start")
def start(workspace: Workspace | None) -> Any:
    """Start the workspace's server: its endpoints answer, its triggers fire.

    Deploying a model and adding a trigger start it by themselves; this is for after mlops stop, or
    after the machine has come up again.
    """
    return mlops.start(workspace=workspace)


@verb("stop", calls=["stop"], in_shell="mlops stop", in_notebook="%mlops_stop")
def stop(workspace: Workspace | None) -> Any:
    """Stop the workspace's server; mlops start brings its endpoints back."""
    return mlops.stop(workspace=workspace)
