"""Running a pipeline: notebooks by papermill, in order of their needs, parallel where allowed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import InvalidArgument
from mlops_magics.pipelines import arguments, history, specification
from mlops_magics.pipelines.arguments import Given
from mlops_magics.pipelines.execution import Execution
from mlops_magics.pipelines.executor import Event
from mlops_magics.pipelines.location import copied, fetch, is_url
from mlops_magics.pipelines.result import PipelineRun
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    Watch = Callable[[Event], object]

__all__ = ["run_pipeline"]


def run_pipeline(
    path: Path | str,
    *,
    params: Given | None = None,
    smoke: bool = False,
    output: Path | str | None = None,
    workspace: Workspace | None = None,
    watch: Watch | None = None,
    parallel: int | None = None,
    cache: bool = True,
    why: Mapping[str, Any] | None = None,
    release: str | None = None,
) -> PipelineRun:
    """Run a pipeline of notebooks.

    Everything that can be known beforehand is checked before any kernel starts: the
    specification, the notebooks, the names and types of all parameters.

    Parameters
    ----------
    path : path or str
        A ``pipeline.yaml``, a folder with one, or a notebook (a pipeline of one step). What a URL
        names is fetched by fsspec, with the notebooks and modules that belong to it.
    params : mapping, or iterable
        JSON values by name. Or several of them, the later ones win: mappings, and texts that the
        declared types read, ``"month=3"`` or ``("month", "3")``. ``secret:NAME`` is a reference.
    smoke : bool
        Take the specification's ``smoke`` parameters where `params` has none: a short run.
    output : path or str, optional
        Folder for the executed notebooks; default: one for each run, in the workspace. To a URL
        they are copied when the run has ended.
    workspace : Workspace, optional
        Default: the one found from the working directory.
    watch : callable, optional
        Takes what happens as it happens, each an `Event`.
    parallel : int, optional
        Steps that may run at once; default: one for each processor.
    cache : bool
        Whether steps that depend on nothing that has changed are left out, their outcome taken
        from the run in which they finished.
    why : mapping, optional
        What asked for the run, for its history: ``kind``, ``reason``, ``trigger``, ``firing``.
    release : str, optional
        Id of the release that `path` is of.

    Returns
    -------
    PipelineRun
        Steps with times, outputs and executed notebooks.

    Raises
    ------
    SpecInvalid, ParameterInvalid, SecretNotFound
        Before anything has run.
    StepFailed
        Names step, cell and error; its ``run`` is the record of what happened.

    Examples
    --------
    >>> import nbformat, tempfile
    >>> source = "import mlops_magics as mlops; mlops.output('next', month + 1)"
    >>> cells = [
    ...     nbformat.v4.new_code_cell("month: int = 3", metadata={"tags": ["parameters"]}),
    ...     nbformat.v4.new_code_cell(source),
    ... ]
    >>> python = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> notebook = workspace.root / "plan.ipynb"
    >>> nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=python), notebook)
    >>> run_pipeline(notebook, params={"month": 4}, workspace=workspace).outputs
    {'plan': {'next': 5}}
    """
    if parallel is not None and parallel < 1:
        raise InvalidArgument(f"parallel = {parallel} lets no step run")
    if is_url(path):
        path = fetch(str(path), resolve(workspace))
    pipeline = specification.read(path)
    values = arguments.settle(pipeline, params, smoke=smoke)
    space = resolve(workspace)
    history.mark_crashed(space)
    folder, url = (None, str(output)) if is_url(output) else (output, None)
    run = Execution(
        space,
        pipeline,
        values,
        output=folder,
        watch=watch,
        parallel=parallel or os.cpu_count() or 1,
        cache=cache,
        why=why,
        release=release,
    )
    with copied(run.folder, url):
        return run.go()
