"""Data: ingest, data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.parameters import DATASET, SOURCE, Pairs, gather
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["data", "ingest"]


@verb(
    "ingest",
    calls=["ingest"],
    in_shell="mlops ingest flights.csv flights --owner ana",
    in_notebook="%mlops_ingest df flights",
)
@click.argument("source", type=SOURCE)
@click.argument("name")
@click.option("--query", help="SQL, when SOURCE is a database's URL.")
@click.option("--owner", help="Who answers for the data.")
@click.option("--tag", "tags", type=Pairs(text=True), multiple=True, help="A tag; repeatable.")
@click.option("--description", help="What the data are.")
def ingest(
    source: Any,
    name: str,
    query: str | None,
    owner: str | None,
    tags: tuple[Mapping[str, Any], ...],
    description: str | None,
    workspace: Workspace | None,
) -> Any:
    """Store SOURCE as a new version of the dataset NAME.

    SOURCE is a file, a glob, a URL or a database; in a notebook also a DataFrame. The version is
    named by its content: the same rows give the same digest and no second version.
    """
    return mlops.ingest(
        source,
        name,
        query=query,
        owner=owner,
        tags=gather(tags),
        description=description,
        workspace=workspace,
    )


@verb(
    "data",
    calls=["dataset", "datasets"],
    in_shell="mlops data flights",
    in_notebook="%mlops_data flights",
)
@click.argument("ref", type=DATASET, required=False)
@click.option("--search", help="List only datasets with this text in name, tags or columns.")
def data(ref: str | None, search: str | None, workspace: Workspace | None) -> Any:
    """List the datasets, or show one: REF is NAME, NAME/VERSION or NAME@DIGEST."""
    if ref is not None:
        return mlops.dataset(ref, workspace=workspace)
    return mlops.datasets(search, workspace=workspace)
