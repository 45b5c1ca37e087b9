"""Checks of events: whether they reach the data platform, and programs that follow the feed."""

from django.db import Error

from shop.event_feed import reading
from shop.events import outbox, replaying
from shop.operations.doctor.findings import Finding, judge_all

LATE_SECONDS = 600
LATE_POSITION_SECONDS = 60


def examine() -> list[Finding]:
    """The findings; none while the database is unreachable, which has its own finding."""
    try:
        dead, refused = replaying.dead_count(), outbox.refused_count()
        queued, oldest_seconds = outbox.queued_count(), outbox.oldest_age_seconds()
        unsequenced_seconds, missing = reading.unsequenced_seconds(), reading.missing_positions()
    except Error:
        return []
    return judge_all(
        [
            (
                "dead events",
                f"{dead} were refused for good, or given up" if dead else "none",
                dead > 0,
                "warning",
                "The data platform lacks them and all later events of their orders: see what is wrong with "
                "`manage.py replay_events`, fix it, and replay them.",
            ),
            (
                "refused events",
                f"{refused} are refused for good, and retried for EVENT_REFUSED_SECONDS"
                if refused
                else "none",
                refused > 0,
                "warning",
                "Look at the answer in the journal (Event: queued) and at DATA_PLATFORM_URL: a wrong route "
                "answers 404 to all. If it is fixed in time, they are delivered; after that they are dead.",
            ),
            (
                "queued events",
                f"{queued}, the oldest for {oldest_seconds:,.0f} s",
                oldest_seconds > LATE_SECONDS,
                "warning",
                "Check whether the data platform accepts them (the journal has each one's last error), and "
                "whether beat and a worker run.",
            ),
            (
                "event feed",
                f"the oldest event without a position has waited for {unsequenced_seconds:,.0f} s",
                unsequenced_seconds > LATE_POSITION_SECONDS,
                "warning",
                "Programs that follow `GET /events` don't get it yet: check whether a web process, or beat "
                "and a worker run, and look for `events get no positions` in their logs.",
            ),
            (
                "positions of events",
                f"{missing:,} have no event" if missing else "without gaps",
                missing > 0,
                "warning",
                "Readers of `GET /events` may lack events: rows were deleted by hand, or a restore lost "
                "some. Have them read the present state of what they follow.",
            ),
        ]
    )
