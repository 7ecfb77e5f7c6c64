"""Ending a pipeline's run early, with nothing wrong: there is nothing to do this time."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from mlops_magics.cards import Badge, Card
from mlops_magics.errors import InvalidArgument

__all__ = ["MEDIA_TYPE", "reason_in", "skip"]

MEDIA_TYPE = "application/vnd.mlops.skip+json"


def skip(reason: str) -> NoReturn:
    """End the notebook here, and the pipeline's run with it: there is nothing to do this time.

    The step, those after it and the run are SKIPPED with the reason, and the command exits with
    status 0. The notebook alone ends at this cell, by hand as well as under papermill, which takes
    it for done.

    Parameters
    ----------
    reason : str
        For whoever looks at the run later.

    Raises
    ------
    SystemExit
        With status 0, always: what papermill takes for an end without fault.

    Examples
    --------
    >>> skip("no new rows since yesterday")
    Traceback (most recent call last):
    ...
    SystemExit: 0
    """
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidArgument("skip needs a reason", hint='mlops.skip("no new rows")')
    # asked without importing it: in a plain script there is nobody to show it to
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import display

        card = Card("skipped", badge=Badge("SKIPPED", "neutral"), notes=[reason])
        bundle = {
            MEDIA_TYPE: {"reason": reason},
            "text/plain": f"skipped: {reason}",
            "text/html": card.html(),
        }
        display(bundle, raw=True)
    raise SystemExit(0)


def reason_in(cells: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the reason with which an executed notebook's cells ended the run; None: they did not.

    Examples
    --------
    >>> reason_in([{"outputs": [{"data": {MEDIA_TYPE: {"reason": "no new rows"}}}]}])
    'no new rows'
    """
    for cell in cells:
        for item in cell.get("outputs", []):
            data = item.get("data", {}).get(MEDIA_TYPE)
            if isinstance(data, Mapping):
                return str(data.get("reason", ""))
    return None
