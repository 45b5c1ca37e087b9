"""Checks of events: whether they reach the data platform, and programs that follow the feed."""

from django.db import Error

from shop.event_feed import reading
from shop.events import dead_events, outbox
from shop.operations.doctor.findings import Finding, ok, warning

LATE_SECONDS = 600
LATE_POSITION_SECONDS = 60


def examine() -> list[Finding]:
    """The findings; none while the database is unreachable, which has its own finding."""
    try:
        return [
            dead(dead_events.dead_count()),
            refused(outbox.refused_count()),
            waiting(outbox.queued_count(), outbox.oldest_age_seconds()),
            sequenced(reading.unsequenced_seconds()),
            without_gaps(reading.missing_positions()),
        ]
    except Error:
        return []


def dead(count: int) -> Finding:
    if count:
        return warning(
            "dead events",
            f"{count} were refused for good, or given up",
            "The data platform lacks them and all later events of their orders: see what is wrong with "
            "`manage.py replay_events`, fix it, and replay them.",
        )
    return ok("dead events", "none")


def refused(count: int) -> Finding:
    if count:
        return warning(
            "refused events",
            f"{count} are refused for good, and retried for EVENT_REFUSED_SECONDS",
            "Look at the answer in the journal (Event: queued) and at DATA_PLATFORM_URL: a wrong route "
            "answers 404 to all. If it is fixed in time, they are delivered; after that they are dead.",
        )
    return ok("refused events", "none")


def waiting(count: int, oldest_seconds: float) -> Finding:
    found = f"{count}, the oldest for {oldest_seconds:,.0f} s"
    if oldest_seconds > LATE_SECONDS:
        return warning(
            "queued events",
            found,
            "Check whether the data platform accepts them (the journal has each one's last error), and "
            "whether beat and a worker run.",
        )
    return ok("queued events", found)


def sequenced(oldest_seconds: float) -> Finding:
    if oldest_seconds > LATE_POSITION_SECONDS:
        return warning(
            "event feed",
            f"an event has had no position for {oldest_seconds:,.0f} s",
            "Programs that follow `GET /events` don't get it yet: check whether a web process, or beat and a "
            "worker run, and look for `events get no positions` in their logs.",
        )
    return ok("event feed", "each committed event has its position")


def without_gaps(missing: int) -> Finding:
    if missing:
        return warning(
            "positions of events",
            f"{missing:,} have no event",
            "Readers of `GET /events` may lack events: rows were deleted by hand, or a restore lost some. "
            "Have them read the present state of what they follow.",
        )
    return ok("positions of events", "without gaps")
