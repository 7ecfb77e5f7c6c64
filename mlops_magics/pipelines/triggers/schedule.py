"""Schedules: moments that a cron expression names, in a time zone.

Where the clock is put forward or back, as Debian's cron does it: a job of a fixed time that the
clock leaps over runs right after the leap, and one whose time comes twice runs once; a job of
every hour or every so many minutes follows real time.
"""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from cronsim import CronSim, CronSimError

from mlops_magics.errors import InvalidArgument, UnknownName

__all__ = ["Schedule"]

_COUNTED = 2000  # missed moments that are counted one by one; of more only the last is looked for
_FIELDS = "minute, hour, day of month, month, day of week"


class Schedule:
    """A cron expression in a time zone.

    Parameters
    ----------
    expression : str
        Five fields: minute, hour, day of month, month, day of week; names such as ``sun`` and
        ``jan``, lists, ranges, steps, ``L`` for the last day of a month, ``mon#1`` for its first
        Monday.
    zone : str
        A name of the IANA database, such as ``Europe/Berlin``.

    Raises
    ------
    InvalidArgument
        The expression is none, or names no moment that ever comes.
    UnknownName
        There is no such time zone.

    Examples
    --------
    >>> from datetime import timezone
    >>> sunday = Schedule("0 3 * * sun", "Europe/Berlin")
    >>> after = datetime(2026, 3, 28, tzinfo=timezone.utc).timestamp()
    >>> datetime.fromtimestamp(sunday.next(after), timezone.utc).isoformat()
    '2026-03-29T01:00:00+00:00'
    """

    def __init__(self, expression: str, zone: str = "UTC") -> None:
        self.expression = " ".join(str(expression).split())
        self.zone = zone
        if len(self.expression.split()) != 5:
            raise InvalidArgument(
                f"cron = {expression!r} does not have five fields",
                hint=f"they are: {_FIELDS}; every Sunday at 3 is '0 3 * * sun'",
            )
        self._zone = _zone(zone)
        try:
            first = self.next(datetime.now(self._zone).timestamp())
        except CronSimError as exc:
            raise InvalidArgument(
                f"cron = {expression!r}: {str(exc)[:1].lower()}{str(exc)[1:]}",
                hint=f"the fields are: {_FIELDS}; every Sunday at 3 is '0 3 * * sun'",
            ) from exc
        if first is None:
            raise InvalidArgument(f"cron = {expression!r} names no day that ever comes")

    @cached_property
    def words(self) -> str:
        """The expression in words."""
        text = CronSim(self.expression, datetime.now(self._zone)).explain()
        return f"{text[:1].lower()}{text[1:]} ({self.zone})"

    def next(self, after: float) -> float | None:
        """Return the first moment after one, in seconds since 1970; None if none ever comes."""
        return next(self._moments(after), None)

    def due(self, after: float, now: float) -> tuple[int, float | None]:
        """Return how many moments there were after one, up to now, and the last of them.

        Of very many it is only told that there were at least so many.
        """
        count, last = 0, None
        for moment in self._moments(after):
            if moment > now:
                break
            count, last = count + 1, moment
            if count == _COUNTED:
                back = CronSim(
                    self.expression,
                    datetime.fromtimestamp(math.floor(now) + 1, self._zone),
                    reverse=True,
                )
                return count, max(last, next(back).timestamp())
        return count, last

    def _moments(self, after: float) -> Iterator[float]:
        # fractions of a second are dropped by cronsim: a moment that has just begun is over
        for moment in CronSim(self.expression, datetime.fromtimestamp(after, self._zone)):
            # in the hour that comes twice it names the first one again
            if moment.timestamp() > after:
                yield moment.timestamp()


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise UnknownName(
            "time zone", str(name), zoneinfo.available_timezones(), hint="such as Europe/Berlin"
        ) from exc
