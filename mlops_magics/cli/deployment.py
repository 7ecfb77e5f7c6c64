"""Deployment: deploy, endpoints, undeploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import (
    DURATION,
    ENDPOINT,
    LATENCY,
    MODEL,
    PERCENT,
    Choice,
    Pairs,
    gather,
)
from mlops_magics.cli.verb import PROGRESS, verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["deploy", "endpoints", "replay", "traffic", "undeploy"]


@verb(
    "deploy",
    calls=["deploy"],
    in_shell="mlops deploy flight-delay@champion --workers 2 --latency-budget 50ms",
    in_notebook="%mlops_deploy flight-delay@champion",
)
@click.argument("model", type=MODEL)
@click.option("--endpoint", type=ENDPOINT, help="Default: the model's name.")
@click.option("--canary", type=PERCENT, help="Its first share of the requests, such as 10%.")
@click.option(
    "--shadow",
    type=PERCENT,
    is_flag=False,
    flag_value="100%",
    help="Mirror requests to it instead; its answers reach nobody. Alone: all of them.",
)
@click.option("--steps", help="A canary's shares, one after another: 10%,25%,50%.")
@click.option("--every", type=DURATION, help="How long a step lasts at least.  [default: 60s]")
@click.option(
    "--min-requests",
    type=click.IntRange(min=1),
    help="Requests that it must have answered in a step.  [default: 200]",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    type=Pairs(text=True),
    metavar="RULE=LIMIT",
    help="What it may do worse: errors=1%, latency=1.5, quality=2%, shift=0.25; or off.",
)
@click.option(
    "--analysis",
    type=Choice(["auto", "watch", "off"]),
    help="Who decides: the rules; the rules, but a person promotes; a person.  [default: auto]",
)
@click.option("--follow", is_flag=True, help="Swap whenever MODEL's alias is moved.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--runtime",
    type=Choice(["native", "onnx"]),
    help="What computes the model; default: what it was packaged for.",
)
@click.option("--latency-budget", type=LATENCY, help="Refuse when slower, such as 50ms.")
@click.option(
    "--log",
    type=Choice(["durable", "strict", "off"]),
    help="Whether each request is kept in the inference table, at first durable; strict: no answer "
    "without its row.",
)
@click.option("--log-fraction", type=float, help="Of the requests, those that are kept: 0.1.")
@click.option("--log-mask", metavar="COLUMNS", help="Inputs that are not kept: ssn,email.")
@click.option("--retention", metavar="SPAN", help="How long rows are kept: 30d, or forever.")
@click.option(
    "--env",
    type=Choice(["shared", "own"]),
    default="shared",
    show_default=True,
    help="Workers in the server's environment, or in one of their own, made from its exact lock.",
)
def deploy(
    model: Any,
    endpoint: str | None,
    canary: str | None,
    shadow: str | None,
    steps: str | None,
    every: str | None,
    min_requests: int | None,
    rules: tuple[Any, ...],
    analysis: str | None,
    follow: bool,
    workers: int,
    runtime: str | None,
    latency_budget: float | None,
    log: str | None,
    log_fraction: float | None,
    log_mask: str | None,
    retention: str | None,
    env: str,
    workspace: Workspace | None,
) -> Any:
    """Serve a version of MODEL at an endpoint, after its pre-checks have passed.

    With --canary or --shadow it comes beside the champion, and the server compares the two by the
    rules: see mlops traffic. With --follow the endpoint goes where MODEL's alias goes.
    """
    return mlops.deploy(
        model,
        endpoint,
        canary=canary,
        shadow=shadow,
        steps=steps,
        every=every,
        min_requests=min_requests,
        rules=gather(rules),
        analysis=analysis,
        follow=follow,
        workers=workers,
        runtime=runtime,
        latency_budget=latency_budget,
        log=log,
        log_fraction=log_fraction,
        log_mask=log_mask,
        retention=retention,
        env=env,
        workspace=workspace,
    )


@verb(
    "traffic",
    calls=["traffic"],
    in_shell="mlops traffic flight-delay --canary 25%",
    in_notebook="%mlops_traffic flight-delay",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option("--canary", type=PERCENT, help="The canary's share from now on; of a shadow, too.")
@click.option("--shadow", type=PERCENT, help="How many requests are mirrored from now on.")
@click.option("--promote", is_flag=True, help="Make the candidate the champion.")
@click.option("--rollback", is_flag=True, help="Take the candidate out.")
@click.option("--reason", help="Why; kept in the ledger.")
def traffic(
    endpoint: str,
    canary: str | None,
    shadow: str | None,
    promote: bool,
    rollback: bool,
    reason: str | None,
    workspace: Workspace | None,
) -> Any:
    """Show how ENDPOINT's requests are shared and how its candidate does; or change it."""
    return mlops.traffic(
        endpoint,
        canary=canary,
        shadow=shadow,
        promote=promote,
        rollback=rollback,
        reason=reason,
        workspace=workspace,
    )


@verb(
    "replay",
    calls=["replay"],
    in_shell="mlops replay flight-delay flight-delay@challenger --last 1h",
    in_notebook="%mlops_replay flight-delay flight-delay@challenger --last 1h",
)
@click.argument("endpoint", type=ENDPOINT)
@click.argument("model", type=MODEL)
@click.option("--last", type=DURATION, help="Only requests of this span until now, such as 1h.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Rows at the most, the newest.",
)
@click.pass_context
def replay(
    ctx: click.Context,
    endpoint: str,
    model: Any,
    last: str | None,
    limit: int,
    workspace: Workspace | None,
) -> Any:
    """Let MODEL answer ENDPOINT's captured requests, and compare with what was answered."""
    return mlops.replay(
        endpoint,
        model,
        last=last,
        limit=limit,
        progress=ctx.meta.get(PROGRESS),
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
