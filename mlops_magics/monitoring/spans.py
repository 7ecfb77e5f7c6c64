"""Spans of time as people write them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from mlops_magics.errors import InvalidArgument

__all__ = ["moment", "seconds", "words"]

_MOMENTS = "write it as 2013-06-01T12:00 or in seconds since 1970"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds(span: str | float) -> float:
    """Return a span in seconds.

    Parameters
    ----------
    span : str or float
        Seconds, or a number with s, m, h, d or w behind it.

    Raises
    ------
    InvalidArgument
        It is neither, or not positive.

    Examples
    --------
    >>> seconds("90s"), seconds("1.5h")
    (90.0, 5400.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", str(span))
    value = float(found[1]) * _UNITS[found[2] or "s"] if found else 0.0
    if value <= 0:
        raise InvalidArgument(
            f"{span!r} is no span of time", hint="write it as 30s, 15m, 1h, 7d or 2w"
        )
    return value


def words(span: float) -> str:
    """Write seconds as `seconds` reads them, in the largest unit of which they are a multiple.

    Examples
    --------
    >>> words(604800.0), words(5400.0), words(0.5)
    ('1w', '90m', '0.5s')
    """
    units = sorted(_UNITS.items(), key=lambda unit: -unit[1])
    name, length = next((unit for unit in units if span and span % unit[1] == 0), ("s", 1))
    return f"{span / length:g}{name}"


def moment(value: Any) -> float:
    """Return a moment as seconds since 1970.

    Parameters
    ----------
    value : float, str or datetime
        Seconds since 1970, or an ISO date and time; without an offset in local time.

    Raises
    ------
    InvalidArgument
        It is none of these.

    Examples
    --------
    >>> moment("2013-06-01T12:00:00+00:00")
    1370088000.0
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value)
    if isinstance(value, datetime):
        return value.timestamp()
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        pass  # not seconds: an ISO text
    else:
        return _finite(seconds)
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidArgument(f"{value!r} is no moment", hint=_MOMENTS) from exc


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise InvalidArgument(f"{seconds!r} is no moment", hint=_MOMENTS)
    return float(seconds)
