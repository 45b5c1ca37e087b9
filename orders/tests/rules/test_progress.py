"""When a saga is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from orders.saga import progress

pytestmark = pytest.mark.rules
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("overdue_seconds", "is_uncalled", "is_undo", "pause"),
    [
        pytest.param(-60, False, False, (9, None), id="in time"),
        pytest.param(-60, True, False, (4, None), id="not called"),
        pytest.param(-60, False, True, (9, 30.0), id="a compensation"),
        pytest.param(0, False, False, (9, 30.0), id="at the deadline"),
        pytest.param(599, False, False, (9, 30.0), id="soon after it"),
        pytest.param(600, False, True, (9, None), id="long after it"),
    ],
)
def test_what_holds_something_is_retried_soon_after_its_deadline(
    overdue_seconds, is_uncalled, is_undo, pause
):
    deadline_at = NOW - timedelta(seconds=overdue_seconds)

    found = progress.retry_pause(9, NOW, deadline_at, is_uncalled=is_uncalled, is_undo=is_undo)

    assert found == pause
