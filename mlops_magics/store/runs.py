"""Runs in MLflow: find one by what people see of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import InvalidArgument, RunNotFound, UnknownName

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["find"]

_WHOLE = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"[0-9a-f]{4,32}")
_NEWEST = ["attributes.start_time DESC"]


def find(workspace: Workspace, ref: str) -> Any:
    """Find one run, an ``mlflow.entities.Run``.

    Parameters
    ----------
    workspace : Workspace
        Where to look.
    ref : str
        A run id, the beginning of one (four digits or more) if only one run begins so, or a
        run's name: the newest of that name.

    Raises
    ------
    RunNotFound
        There is none.
    InvalidArgument
        The beginning fits several runs.

    Examples
    --------
    >>> from mlops_magics.store.workspace import Workspace
    >>> client, experiment = workspace.tracking.client, workspace.tracking.experiment_id
    >>> made = client.create_run(experiment, run_name="boosted")
    >>> find(workspace, made.info.run_id[:8]).info.run_name
    'boosted'
    >>> find(workspace, "boosted").info.run_id == made.info.run_id
    True
    """
    if not isinstance(ref, str) or not ref.strip():
        raise InvalidArgument(f"{ref!r} is no run", hint="see them with: mlops runs")
    ref = ref.strip()
    tracking = workspace.tracking
    client = tracking.client
    with tracking.mapped():
        if _WHOLE.fullmatch(ref):
            try:
                return client.get_run(ref)
            except tracking.mlflow.exceptions.MlflowException as exc:
                if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        elif _ID.fullmatch(ref):
            places = [one.experiment_id for one in client.search_experiments(max_results=1000)]
            found = client.search_runs(places, f"attributes.run_id LIKE '{ref}%'", max_results=2)
            if len(found) > 1:
                ids = ", ".join(each.info.run_id[: len(ref) + 4] for each in found)
                raise InvalidArgument(
                    f"more than one run begins with {ref!r}: {ids}", hint="give more digits"
                )
            if found:
                return found[0]
        here = [tracking.experiment_id]
        quote = '"' if "'" in ref else "'"
        if quote not in ref:
            query = f"attributes.run_name = {quote}{ref}{quote}"
            found = client.search_runs(here, query, max_results=1, order_by=_NEWEST)
            if found:
                return found[0]
        last = client.search_runs(here, max_results=200, order_by=_NEWEST)
    names = {str(each.info.run_name or "") for each in last}
    raise RunNotFound(f"no run {ref!r}", hint=UnknownName("run", ref, names).hint)
