"""Alerts: alerts list, show, acknowledge, resolve, configure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import ALERT, DURATION, ENDPOINT, LATENCY, Choice, Unless
from mlops_magics.cli.verb import Verbs, verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["alerts"]

_REASON = click.option("--reason", help="For the alert and the ledger.")


@verb(
    "list",
    calls=["alerts"],
    in_shell="mlops alerts list flight-delay",
    in_notebook="%mlops_alerts list flight-delay",
)
@click.argument("endpoint", type=ENDPOINT, required=False)
@click.option(
    "--status",
    type=Choice(["active", "open", "acknowledged", "resolved", "all"]),
    default="active",
    show_default=True,
    help="Which; active: open or acknowledged.",
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
def listing(endpoint: str | None, status: str, limit: int, workspace: Workspace | None) -> Any:
    """List alerts: what is wrong now, or what was, of ENDPOINT or of all."""
    return mlops.alerts(endpoint, status=status, limit=limit, workspace=workspace)


@verb(
    "show",
    calls=["alert"],
    in_shell="mlops alerts show 12",
    in_notebook="%mlops_alerts show 12 -o alert",
)
@click.argument("number", type=ALERT)
def show(number: int, workspace: Workspace | None) -> Any:
    """Show alert NUMBER: its evidence, what was delivered, the runs that it caused.

    In Python, alert.requests has the rows behind it, alert.notebook the cell that made the model.
    """
    return mlops.alert(number, workspace=workspace)


@verb(
    "acknowledge",
    calls=["acknowledge_alert"],
    in_shell="mlops alerts acknowledge 12 --reason 'the new season'",
    in_notebook="%mlops_alerts acknowledge 12",
)
@click.argument("number", type=ALERT)
@_REASON
def acknowledge(number: int, reason: str | None, workspace: Workspace | None) -> Any:
    """Say that alert NUMBER has been seen; it is no more shown as open."""
    return mlops.acknowledge_alert(number, reason=reason, workspace=workspace)


@verb(
    "resolve",
    calls=["resolve_alert"],
    in_shell="mlops alerts resolve 12 --reason 'the feed is mended'",
    in_notebook="%mlops_alerts resolve 12",
)
@click.argument("number", type=ALERT)
@_REASON
def resolve(number: int, reason: str | None, workspace: Workspace | None) -> Any:
    """Say that alert NUMBER is over; if it is not, the windows to come open it again."""
    return mlops.resolve_alert(number, reason=reason, workspace=workspace)


@verb(
    "configure",
    calls=["configure_alerts"],
    in_shell="mlops alerts configure flight-delay --false-alarms 0.01 --persistence 2 "
    "--webhook secret:CHAT_URL --action pipeline:notebooks/flight_delay",
    in_notebook="%mlops_alerts configure flight-delay --window 15m --action rollback",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option("--on/--off", "on", default=None, help="Judge its windows, or not.")
@click.option("--window", type=DURATION, help="Span that is judged; at first 5m.")
@click.option(
    "--false-alarms",
    type=float,
    help="Of windows with nothing wrong, the share that may look otherwise; at first 0.01.",
)
@click.option(
    "--persistence",
    type=click.IntRange(min=1),
    help="Windows in a row in which it must hold, or be gone; at first 2.",
)
@click.option(
    "--cooldown",
    type=Unless(DURATION),
    help="After its end the same is not delivered again for so long; at first 1h.",
)
@click.option(
    "--errors", metavar="SHARE", help="Of the requests that may fail; at first 0.05; or none."
)
@click.option(
    "--latency",
    type=Unless(LATENCY),
    help="Within which 95 % of the requests are answered, such as 50ms; at first none.",
)
@click.option("--rows", type=int, help="That a verdict on data needs; at first 200.")
@click.option("--labels", type=int, help="That a verdict on quality needs; at first 200.")
@click.option(
    "--severity",
    type=Choice(["info", "warning", "critical"]),
    help="The least that is delivered; at first warning.",
)
@click.option(
    "--webhook",
    metavar="URL",
    multiple=True,
    help="Where alerts are posted to: https://…, or secret:NAME; repeatable; or none.",
)
@click.option(
    "--command",
    metavar="COMMAND",
    multiple=True,
    help="Is given each alert as JSON; no shell; repeatable; or none.",
)
@click.option(
    "--action",
    metavar="ACTION",
    multiple=True,
    help="pipeline:PATH on alerts about data, drift, quality; rollback on errors, latency, "
    "quality; repeatable; or none.",
)
@click.option(
    "--silence", type=Unless(DURATION), help="Deliver and do nothing for so long; or none."
)
def configure(
    endpoint: str,
    webhook: tuple[str, ...],
    command: tuple[str, ...],
    action: tuple[str, ...],
    workspace: Workspace | None,
    **options: Any,
) -> Any:
    """Say what alerts of ENDPOINT ask for, or show it; what is not given stays as it is.

    Sinks and actions that are given replace those that were.
    """
    return mlops.configure_alerts(
        endpoint,
        webhook=webhook or None,
        command=command or None,
        action=action or None,
        workspace=workspace,
        **options,
    )


alerts = Verbs("alerts", help="See what is wrong at endpoints, and say what is done about it.")
for each in (listing, show, acknowledge, resolve, configure):
    alerts.add_command(each)
