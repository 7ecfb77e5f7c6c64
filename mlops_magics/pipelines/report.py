"""A pipeline's run as one HTML file: what ran, when, why, with what, and the executed notebooks."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlops_magics import __version__
from mlops_magics.cards import Block, Card, Code, Time, text
from mlops_magics.errors import InvalidArgument, MlopsError
from mlops_magics.pipelines import drawing, specification
from mlops_magics.pipelines.observation import executed, pipeline_run
from mlops_magics.pipelines.result import PipelineRun, PipelineStep
from mlops_magics.records import Record
from mlops_magics.store.workspace import Workspace, resolve, write_atomic

__all__ = ["PipelineReport", "pipeline_report"]


@dataclass(frozen=True)
class PipelineReport(Record):
    """The report of a run.

    Attributes
    ----------
    run, pipeline, status : str
        Of the run.
    path : str
        The HTML file.
    size : int
        Bytes.
    """

    run: str
    pipeline: str
    status: str
    path: str
    size: int

    def card(self) -> Card:
        """Tell where it is."""
        facts = [("run", Code(self.run)), ("report", Code(self.path))]
        facts.append(("size", Code(f"{self.size / 1000:,.0f} kB")))
        return Card(self.pipeline, subtitle="report of a run", facts=facts)


def pipeline_report(
    run: str | None = None,
    *,
    output: Path | str | None = None,
    workspace: Workspace | None = None,
) -> PipelineReport:
    """Write a run's report: a single HTML file that needs nothing else and runs nothing.

    It has the graph of the steps, when each ran and why, parameters and outputs, what failed with
    its circumstances, and the executed notebooks.

    Parameters
    ----------
    run : str, optional
        Id of the run, or how it begins; default: the newest.
    output : path, optional
        The file; default: ``report.html`` beside the executed notebooks.
    workspace : Workspace, optional
        Default: the one found from the working directory.

    Raises
    ------
    RunNotFound
        There is none.
    InvalidArgument
        The file cannot be written.

    Examples
    --------
    >>> pipeline_report("20260101", workspace=workspace)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlops_magics.errors.RunNotFound: no pipeline run '20260101'...
    """
    record = pipeline_run(run, workspace=resolve(workspace))
    path = Path(output or Path(record.folder) / "report.html").expanduser().absolute()
    content = _page(record).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as exc:
        raise InvalidArgument(f"{path} cannot be written: {exc.strerror}") from exc
    return PipelineReport(record.id, record.pipeline, record.status, str(path), len(content))


def _page(run: PipelineRun) -> str:
    needs = _needs(run)
    notebooks = {item.step: _cells(item.notebook) for item in run.steps if _left(item)}
    return str(
        _template().render(
            run=run,
            told=any(item.reason for item in run.steps),
            failures=[card for item in run.steps if (card := item.failure()) is not None],
            graph=drawing.graph(run, needs, notebooks) if needs is not None else "",
            timeline=drawing.timeline(run),
            notebooks=notebooks,
            facts=_facts(run),
            version=__version__,
            now=text(Time(time.time())),
            style=(files("mlops_magics.pipelines") / "report.css").read_text("utf-8"),
        )
    )


@functools.cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mlops_magics.pipelines", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # what rendering and drawing return is escaped or sanitised already
    environment.filters |= {
        "markup": Markup,
        "text": text,
        "plain": _plain,
        "is_block": lambda value: isinstance(value, Block),
        "is_code": lambda value: isinstance(value, Code),
    }
    return environment.get_template("report.html.j2")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _facts(run: PipelineRun) -> list[tuple[str, Any]]:
    """Return the facts of the run's own card, without what the page shows larger."""
    return [(name, value) for name, value in run.card().facts if name != "parameters"]


def _needs(run: PipelineRun) -> Mapping[str, Sequence[str]] | None:
    """Return what each step needs, if the specification still is the one that ran."""
    try:
        pipeline = specification.read(run.path)
    except MlopsError:
        return None
    if set(pipeline.steps) != {item.step for item in run.steps}:
        return None
    return {name: step.needs for name, step in pipeline.steps.items()}


def _left(step: PipelineStep) -> bool:
    """Tell whether a step should have left a notebook, or has: a cached one has another's."""
    return step.started is not None or Path(step.notebook).is_file()


def _cells(path: str) -> list[Any]:
    from mlops_magics.pipelines.rendering import cells

    return cells({"metadata": {}, **executed(path)})
