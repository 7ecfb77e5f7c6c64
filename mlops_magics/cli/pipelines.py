"""Pipelines: pipeline run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import ASSIGNMENT, gather
from mlops_magics.cli.verb import Verbs, verb
from mlops_magics.errors import InvalidArgument

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["pipeline", "pipeline_run"]


@verb(
    "run",
    calls=["run_pipeline"],
    in_shell="mlops pipeline run notebooks/flight_delay/pipeline.yaml --param month=3",
    in_notebook="%mlops_pipeline run notebooks/flight_delay/pipeline.yaml --param month={month}",
)
@click.argument("path", type=click.Path())
@click.option("--param", "params", type=ASSIGNMENT, multiple=True, help="A parameter; repeatable.")
@click.option("--parallel", type=click.IntRange(min=1), help="Steps that may run at once.")
def pipeline_run(
    path: str,
    params: tuple[str | Mapping[str, Any], ...],
    parallel: int | None,
    workspace: Workspace | None,
) -> Any:
    """Run the notebooks of the pipeline at PATH in the order of their needs.

    Parameters are checked before a kernel starts. Every step leaves its executed notebook, its
    outputs, and a child run.
    """
    return mlops.run_pipeline(
        path,
        params=_parameters(params),
        parallel=parallel,
        workspace=workspace,
    )


def _parameters(given: tuple[str | Mapping[str, Any], ...]) -> Mapping[str, Any] | list[str]:
    texts = [item for item in given if isinstance(item, str)]
    mappings = tuple(item for item in given if not isinstance(item, str))
    if not mappings:
        return texts  # the pipeline reads them by the types that its notebooks declare
    if texts:
        raise InvalidArgument(
            f"--param {texts[0]} and --param {{mapping}} cannot be mixed",
            hint="put it into the mapping",
        )
    return gather(mappings) or {}


pipeline = Verbs("pipeline", help="Run pipelines of parameterized notebooks.")
pipeline.add_command(pipeline_run)
