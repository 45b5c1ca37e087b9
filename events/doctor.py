"""The doctor's checks of what waits: events for the data platform and for the feed's readers."""

from collections.abc import Iterator

from django.conf import settings

from events.feed import reading
from events.webhooks import deliveries
from foundation.operations.doctor.findings import Finding, judge

LATE_SECONDS = 600
LATE_POSITION_SECONDS = 60


def examine() -> Iterator[Finding]:
    """The findings. Raises Django's `Error` while the database is unreachable."""
    if settings.DATA_PLATFORM_URL:
        yield from _data_platform()
    else:
        yield judge("data platform", "off: DATA_PLATFORM_URL is empty", False)
    seconds = reading.unsequenced_seconds()
    missing = reading.missing_positions()
    found = f"the oldest event without a position has waited for {seconds:,.0f} s"
    yield judge("event feed", found, seconds > LATE_POSITION_SECONDS)
    found = f"{missing:,} have no event" if missing else "without gaps"
    yield judge("positions of events", found, missing > 0)


def _data_platform() -> Iterator[Finding]:
    dead = deliveries.dead_count()
    refused = deliveries.refused_count()
    yield judge("dead events", f"{dead} were refused for good, or given up" if dead else "none", dead > 0)
    found = f"{refused} are refused for good, and retried for an hour at most" if refused else "none"
    yield judge("refused events", found, refused > 0)
    seconds = deliveries.oldest_queued_seconds()
    found = f"{deliveries.queued_count()}, the oldest for {seconds:,.0f} s"
    yield judge("queued events", found, seconds > LATE_SECONDS)
