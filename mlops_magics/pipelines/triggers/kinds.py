"""Kinds of triggers: what each watches for."""

from __future__ import annotations

from mlops_magics.pipelines.triggers.alarms import Alerts, Decay
from mlops_magics.pipelines.triggers.arrivals import Data, Predictions
from mlops_magics.pipelines.triggers.commits import Commits
from mlops_magics.pipelines.triggers.condition import Condition
from mlops_magics.pipelines.triggers.cron import Cron
from mlops_magics.pipelines.triggers.registrations import Registrations

__all__ = ["conditions"]


def conditions() -> dict[str, Condition]:
    """Return a condition of each kind; they keep what they have counted.

    Examples
    --------
    >>> conditions()["cron"].words({"cron": "0 3 * * sun", "tz": "UTC"})
    'at 03:00 on Sunday (UTC)'
    """
    return {
        "alert": Alerts(),
        "code": Commits(),
        "cron": Cron(),
        "data": Data(),
        "decay": Decay(),
        "predictions": Predictions(),
        "registry": Registrations(),
    }
