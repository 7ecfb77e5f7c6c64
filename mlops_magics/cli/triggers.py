"""Triggers: trigger add, list, show, pause, resume, remove, fire, history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import (
    ASSIGNMENT,
    DURATION,
    ENDPOINT,
    REGISTERED,
    TRIGGER,
    Choice,
)
from mlops_magics.cli.verb import Verbs, verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["trigger"]

_START = click.option(
    "--start/--no-start",
    default=True,
    help="Start the server, which watches, unless it runs; at first: yes.",
)


@verb(
    "add",
    calls=["trigger"],
    in_shell="mlops trigger add notebooks/flight_delay --cron '0 3 * * sun' --tz Europe/Berlin",
    in_notebook="%mlops_trigger add notebooks/flight_delay --data flights --rows 10000",
)
@click.argument("pipeline", type=click.Path())
@click.option("--name", help="Default: the pipeline's name and the kind of trigger.")
@click.option("--cron", metavar="FIELDS", help="Minute, hour, day, month, weekday: '0 3 * * sun'.")
@click.option("--tz", metavar="ZONE", help="Of the schedule, such as Europe/Berlin; default UTC.")
@click.option(
    "--data",
    metavar="SOURCE",
    help="New data of a dataset, or in a file, a folder, a glob, a URL: --rows or --files of it.",
)
@click.option(
    "--predictions", metavar="ENDPOINT", type=ENDPOINT, help="So many --rows that it has predicted."
)
@click.option("--rows", type=click.IntRange(min=1), help="Rows since it last fired.")
@click.option("--files", type=click.IntRange(min=1), help="New or changed files, or versions.")
@click.option(
    "--alert",
    metavar="[ENDPOINT]",
    is_flag=False,
    flag_value="",
    help="An alert that opens, of an endpoint or of any.",
)
@click.option(
    "--severity",
    type=Choice(["info", "warning", "critical"]),
    help="Of the alert, at least.  [default: warning]",
)
@click.option(
    "--kind",
    "kinds",
    type=Choice(["errors", "latency", "data", "drift", "quality", "server"]),
    multiple=True,
    help="Of the alert; repeatable.  [default: any]",
)
@click.option("--decay", metavar="METRIC", help="Worse at --endpoint than in the model's test.")
@click.option("--by", type=float, help="The loss of the metric that is allowed, such as 0.02.")
@click.option("--endpoint", type=ENDPOINT, help="Where the decay is measured.")
@click.option("--window", type=DURATION, help="Over which it is measured.  [default: 7d]")
@click.option(
    "--min-labels", type=click.IntRange(min=1), help="Labels in the window.  [default: 200]"
)
@click.option(
    "--commit",
    metavar="[BRANCH]",
    is_flag=False,
    flag_value="",
    help="A commit to a branch, or to what is checked out.",
)
@click.option("--paths", multiple=True, help="Files or folders that it must touch; repeatable.")
@click.option(
    "--registry",
    metavar="MODEL[@ALIAS]",
    type=REGISTERED,
    help="A new version of a model, or an alias that was moved.",
)
@click.option("--param", "params", type=ASSIGNMENT, multiple=True, help="A parameter; repeatable.")
@click.option(
    "--cooldown", type=DURATION, help="Not again for so long; alerts, decay: 1h, else none."
)
@click.option(
    "--retries", type=click.IntRange(min=0), default=0, help="How often a failed run is repeated."
)
@click.option("--overlap", is_flag=True, help="Run also while the pipeline runs.")
@_START
def add(
    pipeline: str,
    alert: str | None,
    commit: str | None,
    params: tuple[str | Mapping[str, Any], ...],
    workspace: Workspace | None,
    **options: Any,
) -> Any:
    """Have PIPELINE run by itself when something happens; one run each time.

    What it waits for is one of --cron, --data, --predictions, --alert, --decay, --commit,
    --registry. The workspace's server watches, with no notebook open. A pipeline that has a current
    release runs that one, else its files as they are.
    """
    return mlops.trigger(
        pipeline,
        alert=True if alert == "" else alert,
        commit=True if commit == "" else commit,
        params=params,
        workspace=workspace,
        **options,
    )


@verb("list", calls=["triggers"], in_shell="mlops trigger list", in_notebook="%mlops_trigger list")
def listing(workspace: Workspace | None) -> Any:
    """List the triggers: what each waits for, and when it fires next."""
    return mlops.triggers(workspace=workspace)


@verb(
    "show",
    calls=["triggers"],
    in_shell="mlops trigger show flight-delay-cron",
    in_notebook="%mlops_trigger show flight-delay-cron",
)
@click.argument("name", type=TRIGGER)
def show(name: str, workspace: Workspace | None) -> Any:
    """Show the trigger NAME."""
    return mlops.triggers(name, workspace=workspace)


@verb(
    "pause",
    calls=["pause_trigger"],
    in_shell="mlops trigger pause flight-delay-cron",
    in_notebook="%mlops_trigger pause flight-delay-cron",
)
@click.argument("name", type=TRIGGER)
def pause(name: str, workspace: Workspace | None) -> Any:
    """Let the trigger NAME watch no more, until it is resumed."""
    return mlops.pause_trigger(name, workspace=workspace)


@verb(
    "resume",
    calls=["resume_trigger"],
    in_shell="mlops trigger resume flight-delay-cron",
    in_notebook="%mlops_trigger resume flight-delay-cron",
)
@click.argument("name", type=TRIGGER)
@_START
def resume(name: str, start: bool, workspace: Workspace | None) -> Any:
    """Let the trigger NAME watch again, from now on."""
    return mlops.resume_trigger(name, start=start, workspace=workspace)


@verb(
    "remove",
    calls=["remove_trigger"],
    in_shell="mlops trigger remove flight-delay-cron",
    in_notebook="%mlops_trigger remove flight-delay-cron",
)
@click.argument("name", type=TRIGGER)
def remove(name: str, workspace: Workspace | None) -> Any:
    """Remove the trigger NAME and its history; the runs that it made stay."""
    return mlops.remove_trigger(name, workspace=workspace)


@verb(
    "fire",
    calls=["fire_trigger"],
    in_shell="mlops trigger fire flight-delay-cron",
    in_notebook="%mlops_trigger fire flight-delay-cron",
)
@click.argument("name", type=TRIGGER)
@_START
def fire(name: str, start: bool, workspace: Workspace | None) -> Any:
    """Fire the trigger NAME now, whatever it waits for."""
    return mlops.fire_trigger(name, start=start, workspace=workspace)


@verb(
    "history",
    calls=["firings"],
    in_shell="mlops trigger history flight-delay-cron",
    in_notebook="%mlops_trigger history flight-delay-cron",
)
@click.argument("name", type=TRIGGER, required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def history(name: str | None, limit: int, workspace: Workspace | None) -> Any:
    """Tell why each run ran and what came of it, the newest first."""
    return mlops.firings(name, limit=limit, workspace=workspace)


trigger = Verbs("trigger", help="Run pipelines by themselves: at times, on new data, on alerts.")
for command in (add, listing, show, pause, resume, remove, fire, history):
    trigger.add_command(command)
