"""The doctor's checks of what waits: events for the data platform and for the feed's readers."""

from collections.abc import Iterator

from events.feed import reading
from events.webhooks import deliveries
from shop.operations.doctor.findings import Finding, judge

LATE_SECONDS = 600
LATE_POSITION_SECONDS = 60


def examine() -> Iterator[Finding]:
    """The findings. Raises Django's `Error` while the database is unreachable."""
    dead, refused = deliveries.dead_count(), deliveries.refused_count()
    missing = reading.missing_positions()
    yield judge("dead events", f"{dead} were refused for good, or given up" if dead else "none", dead > 0)
    found = f"{refused} are refused for good, and retried for an hour at most" if refused else "none"
    yield judge("refused events", found, refused > 0)
    seconds = deliveries.oldest_queued_seconds()
    found = f"{deliveries.queued_count()}, the oldest for {seconds:,.0f} s"
    yield judge("queued events", found, seconds > LATE_SECONDS)
    seconds = reading.unsequenced_seconds()
    found = f"the oldest event without a position has waited for {seconds:,.0f} s"
    yield judge("event feed", found, seconds > LATE_POSITION_SECONDS)
    found = f"{missing:,} have no event" if missing else "without gaps"
    yield judge("positions of events", found, missing > 0)
