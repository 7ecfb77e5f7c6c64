"""Monitoring: drift, feedback, monitor, quality, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import COMPARED, DATA, DURATION, ENDPOINT, SCORED
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["drift", "feedback", "monitor", "quality", "report"]


@verb(
    "drift",
    calls=["drift"],
    in_shell="mlops drift flight-delay --last 1h --against 1d",
    in_notebook="%mlops_drift june --reference may",
)
@click.argument("subject", type=COMPARED)
# eager: what SUBJECT is depends on it
@click.option("--reference", type=DATA, is_eager=True, help="Table to compare SUBJECT with.")
@click.option("--last", type=DURATION, default="1h", show_default=True, help="Length of the view.")
@click.option("--since", help="Begin: 2013-06-01T12:00, or seconds since 1970.")
@click.option("--until", help="End, likewise; default: now.")
@click.option(
    "--against",
    default="training",
    show_default=True,
    help="An earlier window: 1d is the one a day before; or SINCE/UNTIL.",
)
@click.option(
    "--rate",
    type=float,
    default=0.01,
    show_default=True,
    help="Asked false-alarm rate of a window.",
)
def drift(
    subject: Any,
    reference: Any,
    last: str,
    since: str | None,
    until: str | None,
    against: str,
    rate: float,
    workspace: Workspace | None,
) -> Any:
    """Compare an endpoint's traffic with its training data or an earlier window, or two tables.

    SUBJECT is an endpoint; with --reference, a DataFrame, a dataset or a file. Column by column,
    with thresholds that are calibrated for the asked false-alarm rate, and as a whole by a
    classifier, which also sees what no column shows alone. Exits with 0 also when something
    drifted: --json has the verdict.
    """
    return mlops.drift(
        subject,
        reference=reference,
        last=last,
        since=since,
        until=until,
        against=against,
        rate=rate,
        workspace=workspace,
    )


@verb(
    "feedback",
    calls=["feedback"],
    in_shell="mlops feedback flight-delay --labels labels.csv --label-column late",
    in_notebook="%mlops_feedback flight-delay --labels labels --label-column late",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option("--labels", type=SCORED, required=True, help="Ids and labels: dataset or table.")
@click.option(
    "--id-column",
    default="prediction_id",
    show_default=True,
    help="Predictions' ids, or those that the callers sent.",
)
@click.option("--label-column", default="label", show_default=True)
def feedback(
    endpoint: str, labels: Any, id_column: str, label_column: str, workspace: Workspace | None
) -> Any:
    """Tell what really happened: LABELS join ENDPOINT's predictions by their id.

    What is not fit (an unknown id, a label that the model does not have) is left out and named;
    all others are stored. A label for a prediction that has one already replaces it.
    """
    return mlops.feedback(
        endpoint, labels, id_column=id_column, label_column=label_column, workspace=workspace
    )


@verb(
    "monitor",
    calls=["monitor"],
    in_shell="mlops monitor flight-delay --last 1h",
    in_notebook="%mlops_monitor flight-delay",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option("--last", type=DURATION, default="1h", show_default=True, help="Length of the view.")
@click.option("--since", help="Begin: 2013-06-01T12:00, or seconds since 1970.")
@click.option("--until", help="End, likewise.")
def monitor(
    endpoint: str,
    last: str,
    since: str | None,
    until: str | None,
    workspace: Workspace | None,
) -> Any:
    """Show ENDPOINT's traffic, latency, errors, drift and quality; in a notebook live."""
    return mlops.monitor(endpoint, last=last, since=since, until=until, workspace=workspace)


@verb(
    "quality",
    calls=["quality"],
    in_shell="mlops quality flight-delay --last 7d --by origin",
    in_notebook="%mlops_quality flight-delay --last 7d --by origin",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option("--last", type=DURATION, default="7d", show_default=True, help="When predicted.")
@click.option("--since", help="Begin: 2013-06-01T12:00, or seconds since 1970.")
@click.option("--until", help="End, likewise.")
@click.option("--by", multiple=True, help="Column of slices; repeatable. Default: as tested.")
@click.option(
    "--group", "--groups", "groups", multiple=True, help="Column of groups; repeatable. Likewise."
)
@click.option("--attribution", is_flag=True, help="Also what the model lives on; takes longer.")
def quality(
    endpoint: str,
    last: str,
    since: str | None,
    until: str | None,
    by: tuple[str, ...],
    groups: tuple[str, ...],
    attribution: bool,
    workspace: Workspace | None,
) -> Any:
    """Tell how good ENDPOINT's predictions were, by the labels that came, and before they come.

    Metrics with intervals beside the model's test, by slice and by group; whether labels still go
    with the scores; what the scores alone lead to expect.
    """
    return mlops.quality(
        endpoint,
        last=last,
        since=since,
        until=until,
        by=by,
        groups=groups,
        attribution=attribution,
        workspace=workspace,
    )


@verb(
    "report",
    calls=["monitor_report"],
    in_shell="mlops report flight-delay --last 7d --output week.html",
    in_notebook="%mlops_report flight-delay --last 7d",
)
@click.argument("endpoint", type=ENDPOINT)
@click.option(
    "--last", type=DURATION, default="1h", show_default=True, help="Length of the window."
)
@click.option("--since", help="Begin: 2013-06-01T12:00, or seconds since 1970.")
@click.option("--until", help="End, likewise.")
@click.option("--output", type=click.Path(dir_okay=False), help="The file.")
def report(
    endpoint: str,
    last: str,
    since: str | None,
    until: str | None,
    output: str | None,
    workspace: Workspace | None,
) -> Any:
    """Write ENDPOINT's window as one HTML file, to keep or to send."""
    return mlops.monitor_report(
        endpoint, last=last, since=since, until=until, output=output, workspace=workspace
    )
