"""Sales as rules read them, for tests of rules: each opened a minute ago and closes in an hour."""

from datetime import UTC, datetime, timedelta

from sales.sale_states import SaleState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
SALE_ID = 7


def sale(**changes) -> SaleState:
    """A sale with a waiting room in which nobody waits, and that admits one entry a second."""
    return SaleState(
        id=SALE_ID,
        admission="queue",
        opens_at=NOW - MINUTE,
        closes_at=NOW + 60 * MINUTE,
        paused_at=None,
        ended_at=None,
        rate_per_minute=60,
        is_ordered=True,
        last_position=0,
        passed_position=0,
        last_admitted_at=None,
        next_admission_at=None,
        admission_clock_ahead=timedelta(0),
    )._replace(**changes)
