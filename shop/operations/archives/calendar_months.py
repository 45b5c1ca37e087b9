"""Calendar months in UTC, by their names such as 2026-07."""

from datetime import UTC, datetime, timedelta


def first_instant(month: str) -> datetime:
    """The instant at which the month begins. Raises `ValueError`, for another spelling such as 2026-7 too.

    Names of months are compared as texts, so each has one.
    """
    begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    if begin.isoformat()[:7] != month:
        raise ValueError(f"{month} is not written as {begin.isoformat()[:7]}.")
    return begin


def bounds(month: str) -> tuple[datetime, datetime]:
    """The instants at which the month and the next one begin. Raises `ValueError`."""
    begin = first_instant(month)
    return begin, (begin + timedelta(days=31)).replace(day=1)
