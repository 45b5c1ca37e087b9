"""When deliveries are tried again and given up, and when their endpoint rests."""

from datetime import UTC, datetime, timedelta

import pytest

from events import retries
from events.retries import FEWEST_ATTEMPTS, Attempt, Health, Limits

pytestmark = pytest.mark.rules
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LIMITS = Limits(give_up_seconds=100, refused_seconds=10)
ACCEPTED = Attempt(200, "")
FAILED = Attempt(503, "HTTP 503")
HANGING = Attempt(None, "no answer")
REFUSED = Attempt(422, "HTTP 422", is_final=True)


def status(attempt, attempts=1, refused_at=None, age=0):
    created_at = NOW - age * SECOND
    return retries.status_after(
        attempt, LIMITS, attempts=attempts, refused_at=refused_at, created_at=created_at, now=NOW
    )


@pytest.mark.parametrize(
    ("attempt", "given", "expected"),
    [
        pytest.param(ACCEPTED, {}, "delivered", id="accepted"),
        pytest.param(ACCEPTED, {"attempts": 9, "age": 101}, "delivered", id="accepted at last"),
        pytest.param(FAILED, {}, "pending", id="failed, to be tried again"),
        pytest.param(FAILED, {"attempts": 5, "age": 100}, "pending", id="failed, and not old enough"),
        pytest.param(FAILED, {"attempts": 4, "age": 101}, "pending", id="failed, and not often enough"),
        pytest.param(FAILED, {"attempts": 5, "age": 101}, "failed", id="given up, old and often tried"),
        pytest.param(REFUSED, {"refused_at": NOW - 9 * SECOND}, "pending", id="refused lately"),
        pytest.param(REFUSED, {"refused_at": NOW - 10 * SECOND}, "failed", id="refused for long enough"),
    ],
)
def test_a_delivery_is(attempt, given, expected):
    assert status(attempt, **given) == expected


def test_an_old_event_gets_five_attempts():
    assert FEWEST_ATTEMPTS == 5


@pytest.mark.parametrize(
    ("attempt", "last_status", "refused_at", "since"),
    [
        pytest.param(REFUSED, None, None, NOW, id="from the first refusal on"),
        pytest.param(REFUSED, 422, NOW - SECOND, NOW - SECOND, id="as long as the status is the same"),
        pytest.param(REFUSED, 400, NOW - SECOND, NOW, id="anew with another status"),
        pytest.param(REFUSED, 422, None, NOW, id="after the same status without a refusal"),
        pytest.param(FAILED, 503, NOW - SECOND, None, id="no more once it may be tried again"),
    ],
)
def test_a_delivery_is_refused(attempt, last_status, refused_at, since):
    assert retries.refused_since(attempt, last_status=last_status, refused_at=refused_at, now=NOW) == since


@pytest.mark.parametrize(
    ("refused_at", "expected"),
    [
        pytest.param(None, False, id="not refused"),
        pytest.param(NOW - 9 * SECOND, False, id="lately"),
        pytest.param(NOW - 10 * SECOND, True, id="for long enough"),
    ],
)
def test_a_refusal_is_for_good(refused_at, expected):
    assert LIMITS.is_refused(refused_at, NOW) is expected


@pytest.mark.parametrize(
    ("attempts", "failing_since", "failures"),
    [
        pytest.param([ACCEPTED], None, 0, id="well once anything is accepted"),
        pytest.param([FAILED, ACCEPTED, HANGING], None, 0, id="well though others fail"),
        pytest.param([FAILED], NOW - SECOND, 0, id="failing as before, and not silent"),
        pytest.param([HANGING, FAILED], NOW - SECOND, 0, id="not silent if one is answered"),
        pytest.param([HANGING], NOW - SECOND, 4, id="silent for one more pass"),
    ],
)
def test_an_endpoint_is(attempts, failing_since, failures):
    before = Health(NOW - SECOND, 3)

    assert retries.health_after(before, attempts, NOW) == Health(failing_since, failures)


def test_an_endpoint_begins_to_fail_now():
    assert retries.health_after(Health(), [FAILED], NOW).failing_since == NOW
