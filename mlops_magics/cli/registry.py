"""Registry: register, registry, promote, rollback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.caller import current
from mlops_magics.cli.parameters import (
    ALIAS,
    COLUMN,
    DATA,
    ENDPOINT,
    MODEL,
    REGISTERED,
    RUN,
    Choice,
    gather,
)
from mlops_magics.cli.testing import GATE
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["promote", "register", "registry", "rollback"]


@verb(
    "register",
    calls=["register"],
    in_shell="mlops register runs:/4f1c2a9b/model --name flight-delay --alias challenger",
    in_notebook="%mlops_register model --name flight-delay --data train --target late",
)
@click.argument("model", type=MODEL)
@click.option("--name", type=REGISTERED, required=True, help="Name of the registered model.")
@click.option("--alias", type=ALIAS, help="Alias to set on the new version.")
@click.option("--run", type=RUN, help="Run that made the model.")
@click.option("--data", type=DATA, help="Training rows, when MODEL is not packaged yet.")
@click.option("--target", type=COLUMN, help="Column of the data that is no input.")
@click.option("--holdout", type=DATA, help="Held-out rows, when MODEL is not tested yet.")
@click.option("--min", "minimum", type=GATE, multiple=True, help="Floor on held-out rows.")
@click.option("--max", "maximum", type=GATE, multiple=True, help="Ceiling on held-out rows.")
@click.option("--predict-fn", default="predict", show_default=True, help="Method that answers.")
@click.option("--trust", multiple=True, help="Type that the model file may hold; repeatable.")
@click.option(
    "--runtime",
    type=Choice(["native", "onnx"]),
    default="native",
    show_default=True,
    help="onnx: converted too, and served by ONNX Runtime where both answer the same.",
)
@click.option("--description", help="What is new in this version.")
def register(
    model: Any,
    name: str,
    alias: str | None,
    run: str | None,
    data: Any,
    target: str | None,
    holdout: Any,
    minimum: tuple[Mapping[str, float | str], ...],
    maximum: tuple[Mapping[str, float | str], ...],
    predict_fn: str,
    trust: tuple[str, ...],
    runtime: str,
    description: str | None,
    workspace: Workspace | None,
) -> Any:
    """Register MODEL as a new version, with its signature and test report as evidence.

    MODEL is a package, its URI, or a run's model, also one that a script has logged with MLflow;
    in a notebook also the object itself. What is no package yet is tested and packaged first. An
    alias needs a test with gates: --min, --max.
    """
    return mlops.register(
        model,
        name,
        alias=alias,
        run=run or current().run_of(model),
        data=data,
        target=target,
        holdout=holdout,
        min=gather(minimum),
        max=gather(maximum),
        predict_fn=predict_fn,
        trust=trust,
        runtime=runtime,
        description=description,
        workspace=workspace,
    )


@verb(
    "registry",
    calls=["model_versions"],
    in_shell="mlops registry flight-delay",
    in_notebook="%mlops_registry",
)
@click.argument("name", type=REGISTERED, required=False)
def registry(name: str | None, workspace: Workspace | None) -> Any:
    """List model versions with aliases and evidence; of one model, or of all."""
    return mlops.model_versions(name, workspace=workspace)


@verb(
    "promote",
    calls=["promote"],
    in_shell='mlops promote flight-delay/3 --reason "better on every carrier"',
    in_notebook="%mlops_promote flight-delay@challenger --alias champion",
)
@click.argument("model", type=MODEL)
@click.option("--alias", type=ALIAS, default="champion", show_default=True)
@click.option("--reason", help="Why; kept in the ledger.")
def promote(model: Any, alias: str, reason: str | None, workspace: Workspace | None) -> Any:
    """Move an alias to a version of MODEL that passed its tests."""
    return mlops.promote(model, alias, reason=reason, workspace=workspace)


@verb(
    "rollback",
    calls=["rollback"],
    in_shell="mlops rollback flight-delay@champion",
    in_notebook="%mlops_rollback flight-delay",
)
@click.argument("name", type=ENDPOINT)
@click.option("--reason", help="Why; kept in the ledger.")
def rollback(name: str, reason: str | None, workspace: Workspace | None) -> Any:
    """Go back: NAME@ALIAS moves an alias to its previous version, NAME an endpoint to its own.

    While a canary or shadow is beside an endpoint's champion, that is taken out.
    """
    return mlops.rollback(name, reason=reason, workspace=workspace)
