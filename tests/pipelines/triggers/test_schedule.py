"""A schedule names the same moments as Debian's cron, also where the clock is changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mlops_magics.errors import InvalidArgument, UnknownName
from mlops_magics.pipelines.triggers.schedule import Schedule

UTC = ZoneInfo("UTC")


def moments(schedule: Schedule, begin: str, count: int) -> list[str]:
    """The next moments after one, in UTC."""
    at, found = datetime.fromisoformat(begin).replace(tzinfo=UTC).timestamp(), []
    for _ in range(count):
        at = schedule.next(at)
        found.append(datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M"))
    return found


# in Berlin 2026-03-29 has no time from 2:00 to 3:00, and 2026-10-25 has it twice
@pytest.mark.parametrize(
    ("expression", "begin", "expected"),
    [
        # the hour that is left out: the job runs right after the leap, then as before
        ("30 2 * * *", "2026-03-28T00:00", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        ("0 3 * * sun", "2026-03-23T00:00", ["03-29 01:00", "04-05 01:00"]),
        ("0 * * * *", "2026-03-28T23:30", ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
        ("*/30 * * * *", "2026-03-29T00:00", ["03-29 00:30", "03-29 01:00", "03-29 01:30"]),
        # the hour that comes twice: a job of a fixed time runs once, an hourly one each hour
        ("30 2 * * *", "2026-10-24T12:00", ["10-25 00:30", "10-26 01:30"]),
        ("0 3 * * sun", "2026-10-19T00:00", ["10-25 02:00", "11-01 02:00"]),
        ("0 * * * *", "2026-10-24T23:30", ["10-25 00:00", "10-25 01:00", "10-25 02:00"]),
    ],
)
def test_a_changed_clock_loses_no_run_and_makes_none_twice(expression, begin, expected):
    assert moments(Schedule(expression, "Europe/Berlin"), begin, len(expected)) == expected


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
@pytest.mark.parametrize(("expression", "runs"), [("30 2 * * *", 1), ("0 * * * *", None)])
def test_looking_every_minute_over_a_changed_clock_finds_each_moment_once(day, expression, runs):
    schedule = Schedule(expression, "Europe/Berlin")
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    end = (start.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=start.tzinfo)
    last, found, now = start.timestamp() - 1, [], start.timestamp()
    while now < end.timestamp() - 1:
        count, moment = schedule.due(last, now)
        if moment is not None:
            assert count == 1
            assert last < moment <= now
            found.append(moment)
            last = moment
        now += 60
    hours = round((end.timestamp() - start.timestamp()) / 3600)
    assert hours in (23, 25)
    assert len(found) == (runs or hours)


def test_what_was_missed_is_counted_and_the_last_one_named():
    schedule = Schedule("0 * * * *")
    begin = datetime(2026, 1, 1, 0, 30, tzinfo=UTC).timestamp()
    assert schedule.due(begin, begin + 600) == (0, None)
    count, last = schedule.due(begin, begin + 24 * 3600)
    assert (count, datetime.fromtimestamp(last, UTC).hour) == (24, 0)
    # years of every minute are not gone through one by one
    minutes = Schedule("* * * * *")
    count, last = minutes.due(begin, begin + 10 * 365 * 86400.0)
    assert count == 2000
    assert last == begin + 10 * 365 * 86400.0


@pytest.mark.parametrize(
    ("expression", "zone", "message"),
    [
        ("0 3 * *", "UTC", "does not have five fields"),
        ("0 0 3 * * *", "UTC", "does not have five fields"),
        ("0 25 * * *", "UTC", "bad hour"),
        ("0 3 * * sunday", "UTC", "bad day-of-week"),
        ("0 0 30 feb *", "UTC", "bad day-of-month"),
        ("0 3 * * sun", "Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("0 3 * * sun", "../../etc/passwd", "no time zone"),
        ("0 3 * * sun", "Europe", "no time zone"),
    ],
)
def test_what_is_no_schedule_is_refused_at_once(expression, zone, message):
    with pytest.raises((InvalidArgument, UnknownName), match=message):
        Schedule(expression, zone)


def test_a_schedule_says_itself_in_words():
    assert Schedule("0  3 * * sun", "Europe/Berlin").words == "at 03:00 on Sunday (Europe/Berlin)"
