"""Deliveries to the data platform, and which of its responses blame the events."""

import hashlib
import hmac
import time
from collections.abc import Iterable, Iterator

import pytest
from django.conf import LazySettings
from django.utils import timezone

from events.tests.receivers import Receiver, receiving
from events.webhooks import data_platform
from events.webhooks.sending import Attempt

EVENT = {"id": "evt_1", "type": "test.happened", "at": timezone.now(), "data": {"order": None}}


@pytest.fixture
def receiver(settings: LazySettings) -> Iterator[Receiver]:
    with receiving() as one:
        settings.DATA_PLATFORM_URL, one.text = one.url, b"{}"
        yield one


def results_by_status(receiver: Receiver, statuses: Iterable[int]) -> dict[int, Attempt]:
    """The result of a delivery that is answered with each status."""
    results = {}
    for status in statuses:
        receiver.answer = lambda request, status=status: status  # type: ignore[misc]
        results[status] = data_platform.send([EVENT])
    return results


def test_any_2xx_status_is_a_success_and_one_that_blames_the_events_is_final(receiver):
    receiver.text, statuses = b"", (200, 202, 204)
    assert results_by_status(receiver, statuses) == {one: Attempt(one, "") for one in statuses}
    receiver.text, statuses = b'{"code":"invalid"}', (400, 404, 409, 410, 413, 415, 422)
    assert results_by_status(receiver, statuses) == {
        status: Attempt(status, f'HTTP {status} {{"code":"invalid"}}', is_final=True) for status in statuses
    }


def test_a_temporary_status_or_one_that_we_can_correct_is_not_final(receiver):
    statuses = (302, 401, 403, 408, 425, 429, 500, 502, 503, 504)
    assert results_by_status(receiver, statuses) == {
        status: Attempt(status, f"HTTP {status} {{}}") for status in statuses
    }


def test_an_endless_response_is_cut_off_and_counts_as_none(receiver):
    receiver.answer, receiver.text = lambda request: 500, b"x" * 5_000_000
    assert data_platform.send([EVENT]) == Attempt(None, "no answer: the reply is too large")


def test_the_signature_covers_the_time_and_the_exact_bytes(receiver, settings):
    settings.EVENT_SECRET = "known to both"
    data_platform.send([EVENT])
    [request] = receiver.requests
    seconds, _, signature = request.headers["firstcome-signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(b"known to both", f"{seconds}.".encode() + request.raw, hashlib.sha256).hexdigest()
    assert signature == expected
    assert abs(time.time() - int(seconds)) < 5


def test_without_a_secret_nothing_is_signed(receiver, settings):
    settings.EVENT_SECRET = ""
    data_platform.send([EVENT])
    assert "firstcome-signature" not in receiver.requests[0].headers


def test_a_hanging_platform_has_a_second_and_is_not_given_up(receiver, monkeypatch):
    monkeypatch.setattr(data_platform, "TIMEOUT_SECONDS", 0.2)
    receiver.delay_seconds = 5
    result = data_platform.send([EVENT])
    assert result.error.startswith("no answer") and not result.is_final
    receiver.delay_seconds = 0
    assert data_platform.send([EVENT]).is_delivered
