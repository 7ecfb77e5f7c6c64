"""Deployment: deploy, endpoints, undeploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import ENDPOINT, LATENCY, MODEL, Choice
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["deploy", "endpoints", "undeploy"]


@verb(
    "deploy",
    calls=["deploy"],
    in_shell="mlops deploy flight-delay@champion --workers 2 --latency-budget 50ms",
    in_notebook="%mlops_deploy flight-delay@champion",
)
@click.argument("model", type=MODEL)
@click.option("--endpoint", type=ENDPOINT, help="Default: the model's name.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--latency-budget", type=LATENCY, help="Refuse when slower, such as 50ms.")
@click.option(
    "--log",
    type=Choice(["durable", "off"]),
    default="durable",
    show_default=True,
    help="Whether each request is kept in the inference table.",
)
def deploy(
    model: Any,
    endpoint: str | None,
    workers: int,
    latency_budget: float | None,
    log: str,
    workspace: Workspace | None,
) -> Any:
    """Serve a version of MODEL at an endpoint, after its pre-checks have passed."""
    return mlops.deploy(
        model,
        endpoint,
        workers=workers,
        latency_budget=latency_budget,
        log=log,
        workspace=workspace,
    )


@verb("endpoints", calls=["endpoints"], in_shell="mlops endpoints", in_notebook="%mlops_endpoints")
@click.argument("name", type=ENDPOINT, required=False)
def endpoints(name: str | None, workspace: Workspace | None) -> Any:
    """List the endpoints with address, traffic, revisions and health."""
    return mlops.endpoints(name, workspace=workspace)


@verb(
    "undeploy",
    calls=["undeploy"],
    in_shell="mlops undeploy flight-delay",
    in_notebook="%mlops_undeploy flight-delay",
)
@click.argument("endpoint", type=ENDPOINT)
def undeploy(endpoint: str, workspace: Workspace | None) -> Any:
    """Take ENDPOINT out of service; its inference table stays."""
    return mlops.undeploy(endpoint, workspace=workspace)
