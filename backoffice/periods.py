"""Periods of days of the shop's time zone: those that are one click away, and the one before another."""

from datetime import date, timedelta
from typing import NamedTuple

from foundation import clock

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


def before(period: Period) -> Period:
    """As many days right before; of a month, or its first days, the same days of the month before."""
    since, through = period
    last = since - DAY
    if since.day > 1 or since == through or through.replace(day=1) != since:
        return Period(last - (through - since), last)
    is_whole = (through + DAY).day == 1
    return Period(last.replace(day=1), last if is_whole else last.replace(day=min(last.day, through.day)))
