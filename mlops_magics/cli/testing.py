"""Testing: test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

import mlops_magics as mlops
from mlops_magics.cli.caller import current
from mlops_magics.cli.parameters import COLUMN, DATA, MODEL, RUN, Choice, Pairs, gather
from mlops_magics.cli.verb import verb

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["GATE", "test"]


class _Gate(Pairs):
    """A metric and its threshold; the verb reads numbers and units, as in latency_p95=20ms."""

    def __init__(self) -> None:
        super().__init__(text=True)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the metrics' names."""
        from mlops_magics.testing.gates import LATENCY
        from mlops_magics.testing.metrics import METRICS

        metrics = [metric.name for some in METRICS.values() for metric in some]
        names = dict.fromkeys([*metrics, *LATENCY])
        return [CompletionItem(f"{name}=") for name in names if name.startswith(incomplete)]


GATE = _Gate()


@verb(
    "test",
    calls=["test"],
    in_shell="mlops test flight-delay@challenger --data holdout --target late --min roc_auc=0.7",
    in_notebook="%mlops_test model --data holdout --target late --min roc_auc=0.7",
)
@click.argument("model", type=MODEL)
@click.option("--data", type=DATA, required=True, help="Held-out rows: dataset or table.")
@click.option("--target", type=COLUMN, required=True, help="Column that holds the truth.")
@click.option("--task", type=Choice(["classification", "regression"]), help="Default: by target.")
@click.option("--min", "minimum", type=GATE, multiple=True, help="Floor of a metric; repeatable.")
@click.option("--max", "maximum", type=GATE, multiple=True, help="Ceiling; repeatable.")
@click.option("--no-worse-than", type=MODEL, help="Model that must not do better.")
@click.option(
    "--slice",
    "--slices",
    "slices",
    type=COLUMN,
    multiple=True,
    help="Column to test by; repeatable.",
)
@click.option(
    "--group",
    "--groups",
    "groups",
    type=COLUMN,
    multiple=True,
    help="Column that says who belongs to which group of people; repeatable.",
)
@click.option(
    "--max-gap",
    "gaps",
    type=Pairs(numbers=True),
    multiple=True,
    metavar="METRIC:COLUMN=GAP",
    help="Largest gap of a metric between two slices; repeatable.",
)
@click.option("--name", help="The registered model's name; default: the model's own.")
@click.option("--run", type=RUN, help="Run that keeps the report; default: the model's.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the resampling.")
def test(
    model: Any,
    data: Any,
    target: str,
    task: str | None,
    minimum: tuple[Mapping[str, float | str], ...],
    maximum: tuple[Mapping[str, float | str], ...],
    no_worse_than: Any,
    slices: tuple[str, ...],
    groups: tuple[str, ...],
    gaps: tuple[Mapping[str, float], ...],
    name: str | None,
    run: str | None,
    seed: int,
    workspace: Workspace | None,
) -> Any:
    """Test MODEL on held-out data: metrics with confidence intervals, slices, gates.

    A gate that does not hold fails the command, after the report has been stored.
    """
    return mlops.test(
        model,
        data,
        target,
        task=task,
        min=gather(minimum),
        max=gather(maximum),
        no_worse_than=no_worse_than,
        slices=slices,
        groups=groups,
        max_gap=gather(gaps),
        name=name,
        run=run or current().run_of(model),
        seed=seed,
        workspace=workspace,
    )
