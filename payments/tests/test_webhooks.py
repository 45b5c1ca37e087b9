"""Receiving events: each is stored once, however often it is sent, and tried until it is handled."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from payments import webhooks
from payments.models import WebhookEvent
from payments.tests import events
from shop.tests.racing import race

pytestmark = pytest.mark.django_db


def row(event: WebhookEvent) -> WebhookEvent:
    return WebhookEvent.objects.get(id=event.id)


def test_an_event_is_stored_as_unhandled() -> None:
    event = events.take(id="evt_1", key="payment-1")
    stored = WebhookEvent.objects.get()
    assert (stored.gateway, stored.event_id, stored.type) == ("simulator", "evt_1", "charge.succeeded")
    assert (stored.charge_key, stored.handled_at, stored.attempts) == ("payment-1", None, 0)
    assert webhooks.get_unhandled(event.id) == stored


def test_the_same_event_again_is_the_one_that_was_stored_first() -> None:
    first = events.take(id="evt_1", key="payment-1")
    again = events.take(id="evt_1", key="payment-2")
    assert (again.id, again.charge_key) == (first.id, "payment-1")


@pytest.mark.django_db(transaction=True)
def test_the_same_event_20_times_at_once_is_stored_once() -> None:
    body = events.body_of(key="payment-1")
    outcomes = race([lambda: events.take(body).id] * 20)
    assert outcomes == [WebhookEvent.objects.get().id] * 20


@pytest.mark.django_db(transaction=True)
def test_the_database_alone_refuses_a_second_row_of_one_event() -> None:
    """Without the read before the insert, which `take` makes."""
    event = events.take(id="evt_1")
    twin = WebhookEvent(
        gateway="simulator", event_id="evt_1", received_at=timezone.now(), next_attempt_at=timezone.now()
    )
    with pytest.raises(IntegrityError, match="webhookevent"):
        twin.save()
    assert WebhookEvent.objects.get() == event


def test_the_database_refuses_an_event_that_is_handled_and_still_due() -> None:
    event = events.take()
    rows = WebhookEvent.objects.filter(id=event.id)
    for fields in ({"handled_at": timezone.now()}, {"next_attempt_at": None}):
        with pytest.raises(IntegrityError, match="unhandled_has_next_attempt"), transaction.atomic():
            rows.update(**fields)


def test_due_events_are_returned_at_intervals_until_they_are_handled() -> None:
    event = events.take()
    assert webhooks.dequeue_due(limit=10) == []
    rows = WebhookEvent.objects.filter(id=event.id)
    for _ in range(2):
        rows.update(next_attempt_at=timezone.now())
        assert webhooks.dequeue_due(limit=10) == [event.id]
        assert webhooks.dequeue_due(limit=10) == []
    webhooks.finish(event, "done")
    webhooks.postpone(event, "too late")
    assert webhooks.get_unhandled(event.id) is None
    assert (row(event).next_attempt_at, row(event).outcome) == (None, "done")


def test_pauses_grow_from_a_second_to_five_minutes() -> None:
    event = events.take()
    pauses = []
    for _ in range(14):
        before = timezone.now()
        webhooks.postpone(row(event), "the payment is pending")
        later = row(event).next_attempt_at
        assert later
        pauses.append((later - before).total_seconds())
    assert 0.5 <= pauses[0] <= 1.5
    assert all(2**turn * 0.5 <= pause <= 2**turn + 1 for turn, pause in enumerate(pauses[:8]))
    assert all(150 <= pause <= 301 for pause in pauses[9:])
    assert row(event).attempts == 14


def test_only_events_that_were_handled_long_ago_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "SWEEP_BATCH", 2)
    old = [events.take() for _ in range(3)]
    for event in old:
        webhooks.finish(event, "done")
    unhandled, fresh = events.take(), events.take()
    webhooks.finish(fresh, "done")
    long_ago = timezone.now() - webhooks.RETENTION - timedelta(days=1)
    WebhookEvent.objects.exclude(id=fresh.id).update(received_at=long_ago)
    assert webhooks.sweep() == 3
    assert set(WebhookEvent.objects.values_list("id", flat=True)) == {unhandled.id, fresh.id}
