"""Training: run, log, runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import DATA, RUN, Pairs, gather
from mlops_magics.cli.script import ScriptVerb, execute
from mlops_magics.cli.verb import verb
from mlops_magics.errors import InvalidArgument

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["log", "run", "runs"]


@click.command(
    "run",
    cls=ScriptVerb,
    calls=["run"],
    in_shell="mlops run boosted --dataset flights train.py --depth 3",
    in_notebook="%%mlops_run boosted --param depth=3",
)
@click.option("--param", "params", type=Pairs(), multiple=True, help="A parameter; repeatable.")
@click.option("--tag", "tags", type=Pairs(text=True), multiple=True, help="A tag; repeatable.")
@click.option("--dataset", type=DATA, multiple=True, help="Data it trains on; repeatable.")
@click.option("--autolog/--no-autolog", default=True, help="Let MLflow log what it recognises.")
@click.argument("name")
@click.argument("script", required=False, type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(
    name: str,
    script: str | None,
    arguments: tuple[str, ...],
    params: tuple[Mapping[str, Any], ...],
    tags: tuple[Mapping[str, Any], ...],
    dataset: tuple[Any, ...],
    autolog: bool,
    workspace: Workspace | None,
) -> Any:
    """Run a script inside a tracked run called NAME; in a notebook, the cell.

    The run keeps parameters, metrics, code, commit and uncommitted diff, environment, dataset
    digests and what is printed. Options stand before SCRIPT; what follows it is given to it.
    A script that raises, or leaves with a status other than 0, fails the run; the exit status
    is then 1, and the run keeps the script's own.
    """
    if script is None:
        raise InvalidArgument(
            "nothing to run",
            hint=f"mlops run {name} SCRIPT.py   (a cell: %%mlops_run {name} above its code)",
        )
    tracked = mlops.run(
        name,
        params=gather(params),
        tags=gather(tags),
        dataset=list(dataset) or None,
        autolog=autolog,
        workspace=workspace,
    )
    return execute(script, arguments, name, tracked)


@verb(
    "log",
    calls=["log"],
    in_shell="mlops log auc=0.81 --param depth=3 --run boosted",
    in_notebook="%mlops_log auc={auc} --param depth=3",
)
@click.argument("metrics", nargs=-1, type=Pairs(numbers=True))
@click.option("--param", "params", type=Pairs(), multiple=True, help="A parameter; repeatable.")
@click.option("--tag", "tags", type=Pairs(text=True), multiple=True, help="A tag; repeatable.")
@click.option("--dataset", type=DATA, help="Dataset that the run uses.")
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    type=click.Path(exists=True),
    help="A file or folder to keep; repeatable.",
)
@click.option("--run", type=RUN, help="Id, id's beginning, or name; default: the active run.")
def log(
    metrics: tuple[Mapping[str, Any], ...],
    params: tuple[Mapping[str, Any], ...],
    tags: tuple[Mapping[str, Any], ...],
    dataset: Any,
    artifacts: tuple[str, ...],
    run: str | None,
    workspace: Workspace | None,
) -> Any:
    """Add METRICS (name=number), parameters, tags, data or files to a run."""
    return mlops.log(
        params=gather(params),
        metrics=gather(metrics),
        tags=gather(tags),
        dataset=dataset,
        artifacts=list(artifacts) or None,
        run=run,
        workspace=workspace,
    )


@verb(
    "runs",
    calls=["compare_runs", "runs"],
    in_shell="mlops runs --compare logistic boosted",
    in_notebook="""%mlops_runs "metrics.auc > 0.7" --limit 5""",
)
@click.argument("filter_", metavar="[FILTER]", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--compare", nargs=2, type=RUN, help="Two runs to set side by side.")
def runs(
    filter_: str | None, limit: int, compare: tuple[str, str] | None, workspace: Workspace | None
) -> Any:
    """List the runs, newest first; or compare two by parameters, metrics, data and code.

    FILTER is MLflow's query language, such as "metrics.auc > 0.7 and params.depth = '3'".
    """
    if compare:
        return mlops.compare_runs(*compare, workspace=workspace)
    return mlops.runs(filter_, limit=limit, workspace=workspace)
