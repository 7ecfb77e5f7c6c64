"""Build: from a live model to a registered version, each step with its record."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_magics import packaging, registry, testing
from mlops_magics.errors import EvidenceMissing, InvalidArgument
from mlops_magics.store import foreign, models, runs
from mlops_magics.store.workspace import Workspace, resolve

if TYPE_CHECKING:
    import pandas as pd

    from mlops_magics.registry import ModelVersion

__all__ = ["register"]


def register(
    model: Any,
    name: str,
    *,
    alias: str | None = None,
    run: str | None = None,
    data: pd.DataFrame | str | None = None,
    target: str | None = None,
    holdout: pd.DataFrame | str | None = None,
    min: Mapping[str, float | str] | None = None,  # noqa: A002 - the gate's word in all faces
    max: Mapping[str, float | str] | None = None,  # noqa: A002 - likewise
    predict_fn: str = "predict",
    trust: Sequence[str] = (),
    runtime: str = "native",
    description: str | None = None,
    workspace: Workspace | None = None,
) -> ModelVersion:
    """Register a model as a new version; a live object is tested and packaged first.

    Parameters
    ----------
    model : object, Package or str
        A live model, a package, or a reference such as ``models:/m-…`` or ``runs:/RUN/model``,
        also to what a script has logged with MLflow itself.
    name : str
        The registered model.
    alias : str, optional
        Alias to move to the new version; needs a report with gates that all held.
    run : str, optional
        MLflow's run that trained it: id, its beginning, or name.
    data : DataFrame or str, optional
        Training rows, for a live model; default: the dataset of the run.
    target : str, optional
        The column with the truth.
    holdout : DataFrame or str, optional
        Held-out rows to test on; default: the report that the run or package has already.
    min, max : mapping of str to float, optional
        Floors and ceilings by metric that it must keep to on the held-out rows.
    predict_fn : str
        The method that the package predicts with.
    trust : sequence of str
        Types that loading may construct.
    runtime : {"native", "onnx"}
        With ``onnx`` it is converted too, and served by ONNX Runtime where both answer the same.
    description : str, optional
        What is new in this version.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EvidenceMissing
        There is no test report, or for an alias none with gates; the hint is the way to one.
    SignatureMissing, UnsupportedModel, UntrustedTypes, GateFailed
        From the steps.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> rows = load_iris(as_frame=True).frame.sample(frac=1, random_state=0)
    >>> train, holdout = rows[:100], rows[100:]
    >>> model = LogisticRegression(max_iter=500)
    >>> model = model.fit(train.drop(columns="target"), train["target"])
    >>> version = register(model, "iris", data=train, target="target", holdout=holdout,
    ...                    min={"accuracy": 0.8}, alias="champion", workspace=workspace)
    >>> version.version, version.aliases, version.passed
    ('1', ['champion'], True)
    """
    workspace = resolve(workspace)
    registry.check_name(name)
    if alias is not None:
        registry.check_alias(alias)
    if holdout is not None and target is None:
        raise InvalidArgument("holdout rows without a target test nothing", hint="--target COLUMN")
    if holdout is None and (min or max):
        raise InvalidArgument("gates without held-out rows ask nothing", hint="--holdout DATASET")
    if alias is not None and holdout is not None and not (min or max):
        raise EvidenceMissing(
            f"an alias moves only to a version that was tested with gates, so {alias!r} cannot",
            hint="give one: --min METRIC=VALUE   (in Python: min={'METRIC': VALUE})",
        )
    if run is not None:
        run = runs.find(workspace, run).info.run_id
    uri = model if isinstance(model, str) else getattr(model, "uri", None)
    with contextlib.ExitStack() as stack:
        live, packaged = model, False
        if isinstance(uri, str):
            found = foreign.find(workspace, uri)
            logged = isinstance(found, models.ModelRef)
            packaged = isinstance(found, models.ModelRef) and models.DIGEST_TAG in found.tags
            if not packaged:
                live = stack.enter_context(foreign.opened(workspace, found, trust))
            if isinstance(found, models.ModelRef) and run is None:
                run = found.run_id or None
        if not packaged:
            packaging.check(live, data=data, target=target, run=run, workspace=workspace)
        report = None
        if holdout is not None:
            assert target is not None
            report = testing.test(
                live, holdout, target, min=min, max=max, name=name, run=run, workspace=workspace
            )
        if not packaged:
            model = packaging.package(
                model,
                # what a script has logged keeps its name, so that runs:/RUN/NAME is the package
                name=None if isinstance(uri, str) and logged else name.replace(".", "-"),
                run=report.run_id if report is not None else run,
                data=data,
                target=target,
                predict_fn=predict_fn,
                report=report,
                trust=trust,
                runtime=runtime,
                workspace=workspace,
            )
        elif runtime == "onnx":
            model = packaging.package(
                model, data=data, target=target, runtime=runtime, workspace=workspace
            )
    return registry.register(model, name, alias=alias, description=description, workspace=workspace)
