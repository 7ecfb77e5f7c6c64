"""Orders: what a person asks a trigger to wait for, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.monitoring import spans
from mlops_magics.monitoring.alerts.conditions import KINDS
from mlops_magics.monitoring.alerts.policy import SEVERITIES
from mlops_magics.pipelines.triggers.alarms import METRICS
from mlops_magics.pipelines.triggers.arrivals import source_of
from mlops_magics.pipelines.triggers.schedule import Schedule

if TYPE_CHECKING:
    from mlops_magics.store.workspace import Workspace

__all__ = ["condition", "cooldown"]

_KINDS = {
    "cron": ("cron", {"tz"}),
    "data": ("data", {"rows", "files"}),
    "predictions": ("predictions", {"rows"}),
    "alert": ("alert", {"severity", "kinds"}),
    "decay": ("decay", {"by", "endpoint", "window", "min_labels"}),
    "commit": ("code", {"paths"}),
    "registry": ("registry", set()),
}
"""By the argument that makes a trigger of it: the kind, and the arguments that go with it."""

_COOLDOWN = {"alert": 3600.0, "decay": 3600.0}
_LABELS = 200


def condition(workspace: Workspace, **given: Any) -> tuple[str, dict[str, Any]]:
    """Return the kind of a trigger and what its condition needs to know.

    Parameters
    ----------
    workspace : Workspace
        Where the names are looked up.
    **given
        The arguments of `trigger`; those that are None, False or empty were not given.

    Raises
    ------
    InvalidArgument
        They name no condition, or two, or one that cannot be.

    Examples
    --------
    >>> condition(workspace, cron="0 3 * * sun", tz=None)
    ('cron', {'cron': '0 3 * * sun', 'tz': 'UTC'})
    """
    asked = {
        name: value
        for name, value in given.items()
        if value is not None and value is not False and value != ()
    }
    chosen = [name for name in _KINDS if name in asked]
    options = ", ".join(f"--{name}" for name in _KINDS)
    if not chosen:
        raise InvalidArgument("a trigger needs something to wait for", hint=f"one of {options}")
    if len(chosen) > 1:
        raise InvalidArgument(
            f"--{chosen[0]} and --{chosen[1]} are two triggers", hint="add one for each"
        )
    kind, belongs = _KINDS[chosen[0]]
    for name in asked:
        if name != chosen[0] and name not in belongs:
            owners = [f"--{one}" for one, (_, names) in _KINDS.items() if name in names]
            option = "--kind" if name == "kinds" else f"--{name.replace('_', '-')}"
            raise InvalidArgument(f"{option} goes with {' or '.join(owners)}, not --{chosen[0]}")
    make = {
        "cron": _cron,
        "data": _data,
        "predictions": _predictions,
        "alert": _alert,
        "decay": _decay,
        "code": _code,
        "registry": _registry,
    }
    return kind, make[kind](workspace, asked)


def cooldown(kind: str, given: str | float | None) -> float:
    """Return a trigger's cooldown in seconds; 0: none.

    Examples
    --------
    >>> cooldown("cron", None), cooldown("alert", None), cooldown("alert", "0s")
    (0.0, 3600.0, 0.0)
    """
    if given is None:
        return _COOLDOWN.get(kind, 0.0)
    if str(given).strip().rstrip("smhdw").strip() in ("0", "0.0"):
        return 0.0
    return spans.seconds(given)


def _cron(workspace: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    schedule = Schedule(asked["cron"], asked.get("tz", "UTC"))
    return {"cron": schedule.expression, "tz": schedule.zone}


def _data(workspace: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    if ("rows" in asked) == ("files" in asked):
        raise InvalidArgument("say how much new data: --rows N or --files N")
    counted = "rows" if "rows" in asked else "files"
    least = _positive(counted, asked[counted])
    return {"source": source_of(workspace, str(asked["data"])), "count": counted, "least": least}


def _predictions(workspace: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    if "rows" not in asked:
        raise InvalidArgument("say how many predictions: --rows N")
    least = _positive("rows", asked["rows"])
    return {"endpoint": str(asked["predictions"]), "least": least}


def _alert(workspace: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    severity = str(asked.get("severity", "warning"))
    if severity not in SEVERITIES:
        raise UnknownName("severity", severity, SEVERITIES)
    kinds = list(dict.fromkeys(asked.get("kinds", ())))
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName("kind of alert", str(kind), KINDS)
    return {
        "endpoint": None if asked["alert"] is True else str(asked["alert"]),
        "severity": severity,
        "kinds": kinds,
    }


def _decay(workspace: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    metric = str(asked["decay"])
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    for name in ("by", "endpoint"):
        if name not in asked:
            raise InvalidArgument(f"--decay {metric} needs --{name}")
    if not float(asked["by"]) >= 0:
        raise InvalidArgument(f"by = {asked['by']} is below 0", hint="0.02 allows a loss of 0.02")
    return {
        "metric": metric,
        "by": float(asked["by"]),
        "endpoint": str(asked["endpoint"]),
        "window": spans.seconds(asked.get("window", "7d")),
        "labels": _positive("min_labels", asked.get("min_labels", _LABELS)),
    }


def _code(workspace: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    branch = "HEAD" if asked["commit"] is True else str(asked["commit"])
    return {"branch": branch, "paths": [str(path) for path in asked.get("paths", ())]}


def _registry(workspace: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    model, sign, alias = str(asked["registry"]).removeprefix("models:/").partition("@")
    if not model or "/" in model or (sign and not alias):
        raise InvalidArgument(
            f"{asked['registry']!r} names no registered model", hint="MODEL or MODEL@ALIAS"
        )
    return {"model": model, "alias": alias or None}


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(f"{name} = {value!r} is no number from 1 on")
    return value
