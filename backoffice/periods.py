"""Periods of days of the shop's time zone: those that are one click away, and the one before another."""

from datetime import date, timedelta
from typing import NamedTuple

from foundation import clock, literals

DAY = timedelta(days=1)


class Period(NamedTuple):
    """From the first through the last of its days."""

    since: date
    through: date


def named() -> dict[str, Period]:
    """Those that have names now."""
    today = clock.today()
    month = today.replace(day=1)
    return {
        "today": Period(today, today),
        "yesterday": Period(today - DAY, today - DAY),
        "month": Period(month, today),
        "last_month": Period((month - DAY).replace(day=1), month - DAY),
    }


def days_before(day: date, days: int) -> date:
    """The day that many days earlier, or the first one that is read."""
    return date.fromordinal(max(literals.FIRST_DAY.toordinal(), day.toordinal() - days))


def before(period: Period) -> Period:
    """As many days right before; of a month, or its first days, the same days of the month before."""
    since, through = period
    last = days_before(since, 1)
    if since.day > 1 or since == through or through.replace(day=1) != since or since.year == 1:
        return Period(days_before(last, (through - since).days), last)
    is_whole = (through + DAY).day == 1
    return Period(last.replace(day=1), last if is_whole else last.replace(day=min(last.day, through.day)))
