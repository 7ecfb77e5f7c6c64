"""Packaging: package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import mlops_magics as mlops
from mlops_magics.cli.caller import current
from mlops_magics.cli.parameters import COLUMN, DATA, MODEL, REPORT, RUN, Choice
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["package"]


@verb(
    "package",
    calls=["package"],
    in_shell="mlops package runs:/4f1c2a9b/model --data train --target late",
    in_notebook="%mlops_package model --data train --target late --predict-fn predict_proba",
)
@click.argument("model", type=MODEL)
@click.option("--name", help="Name in MLflow; default: its own, or the type's.")
@click.option("--run", type=RUN, help="Run that made the model.")
@click.option("--data", type=DATA, help="Training rows: for signature, example and reference.")
@click.option("--target", type=COLUMN, help="Column of the data that is no input.")
@click.option("--predict-fn", default="predict", show_default=True, help="Method that answers.")
@click.option("--report", type=REPORT, help="Test report to put in; default: the run's.")
@click.option("--trust", multiple=True, help="Type that the model file may hold; repeatable.")
@click.option(
    "--runtime",
    type=Choice(["native", "onnx"]),
    default="native",
    show_default=True,
    help="onnx: converted too, and served by ONNX Runtime where both answer the same.",
)
def package(
    model: Any,
    name: str | None,
    run: str | None,
    data: Any,
    target: str | None,
    predict_fn: str,
    report: Any,
    trust: tuple[str, ...],
    runtime: str,
    workspace: Workspace | None,
) -> Any:
    """Package MODEL with signature, example, golden predictions, reference and digests.

    MODEL is what a script has logged, such as runs:/RUN/model, or the path of a .skops file; in a
    notebook also the object itself.
    """
    return mlops.package(
        model,
        name=name,
        run=run or current().run_of(model),
        data=data,
        target=target,
        predict_fn=predict_fn,
        report=report,
        trust=trust,
        runtime=runtime,
        workspace=workspace,
    )
