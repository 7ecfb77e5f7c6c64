"""Build: from a live model to a registered version, each step with its record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops_magics import packaging, registry, testing
from mlops_magics.errors import InvalidArgument
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
    predict_fn: str = "predict",
    trust: Sequence[str] = (),
    description: str | None = None,
    workspace: Workspace | None = None,
) -> ModelVersion:
    """Register a model as a new version; a live object is tested and packaged first.

    Parameters
    ----------
    model : object, Package or str
        A live model, a package, or a reference such as ``models:/m-…`` or ``runs:/RUN_ID``.
    name : str
        The registered model.
    alias : str, optional
        Alias to move to the new version.
    run : str, optional
        MLflow's run that trained it.
    data : DataFrame or str, optional
        Training rows, for a live model; default: the dataset of the run.
    target : str, optional
        The column with the truth.
    holdout : DataFrame or str, optional
        Held-out rows to test on; default: the report that the run or package has already.
    predict_fn : str
        The method that the package predicts with.
    trust : sequence of str
        Types that loading may construct.
    description : str, optional
        What is new in this version.
    workspace : Workspace, optional
        Default: found from the working directory.

    Raises
    ------
    EvidenceMissing
        There is no test report; the hint is the command that makes one.
    SignatureMissing, UnsupportedModel, UntrustedTypes, GateFailed
        From the steps.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> workspace = getfixture("workspace")
    >>> rows = load_iris(as_frame=True).frame.sample(frac=1, random_state=0)
    >>> train, holdout = rows[:100], rows[100:]
    >>> model = LogisticRegression(max_iter=500)
    >>> model = model.fit(train.drop(columns="target"), train["target"])
    >>> version = register(model, "iris", data=train, target="target", holdout=holdout,
    ...                    alias="champion", workspace=workspace)
    >>> version.version, version.aliases, version.passed
    ('1', ['champion'], True)
    """
    workspace = resolve(workspace)
    if holdout is not None and target is None:
        raise InvalidArgument("holdout rows without a target test nothing", hint="--target COLUMN")
    packaged = isinstance(model, (str, packaging.Package))
    if not packaged:
        packaging.check(model, data=data, target=target, run=run, workspace=workspace)
    report = None
    if holdout is not None:
        assert target is not None
        report = testing.test(model, holdout, target, name=name, run=run, workspace=workspace)
    if not packaged:
        model = packaging.package(
            model,
            name=name.replace(".", "-"),
            run=report.run_id if report is not None else run,
            data=data,
            target=target,
            predict_fn=predict_fn,
            report=report,
            trust=trust,
            workspace=workspace,
        )
    return registry.register(model, name, alias=alias, description=description, workspace=workspace)
