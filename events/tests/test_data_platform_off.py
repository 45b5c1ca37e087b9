"""A shop without a data platform: its address is empty, so nothing waits for it, and pages say so."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import OuterRef
from django.urls import reverse
from django.utils import timezone

from accounts.tests.clients import problem_of
from events import doctor
from events.feed import reading, sequencing
from events.models import BUILT_IN, FeedEvent, WebhookDelivery, WebhookEndpoint
from events.tests.delivering import dead, deliver_due, note, statuses
from events.tests.own_data_platform import received_event_ids
from events.tests.test_webhook_endpoints import api
from events.webhooks import deliveries, dispatcher, endpoints
from foundation import journal
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.tests.commands import run
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.samples import exposed
from foundation.tests.waiting import shifted
from scripts.tests.simulator import everything

__all__ = ["api"]
pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timezone.now() - timedelta(hours=1)


@pytest.fixture(autouse=True)
def _is_off(settings):
    settings.DATA_PLATFORM_URL = ""


def left_from_before():
    """A dead event, and two that wait, one of which was refused."""
    dead(created_at=LONG_AGO)
    dead(status="pending", next_attempt_at=LONG_AGO, created_at=LONG_AGO)
    dead(status="pending", next_attempt_at=LONG_AGO, refused_at=LONG_AGO, created_at=LONG_AGO)


def test_nothing_is_sent_and_nothing_is_late_queued_or_dead():
    left_from_before()
    note("order.paid")
    FeedEvent.objects.update(at=LONG_AGO)
    sequencing.sequence()

    assert deliver_due() == 0
    assert not dispatcher.due_endpoints().exists()
    assert statuses() == ["failed", "pending", "pending"], "as they were"
    assert not WebhookDelivery.objects.filter(attempts__gt=7).exists()
    names = ("queued", "refused", "dead", "oldest_queued_seconds")
    found = exposed()
    assert [found[f"firstcome_events_{name}"] for name in names] == [0, 0, 0, 0]
    assert run("replay_events") == (0, "No event is dead.\n")


def test_the_doctor_and_the_endpoints_say_that_it_is_off(api, operator, settings):
    left_from_before()
    findings = {one.check: one for one in doctor.examine()}
    assert findings.keys() == {"data platform", "event feed", "positions of events"}
    assert (findings["data platform"].found, findings["data platform"].level) == (
        "off: DATA_PLATFORM_URL is empty",
        "ok",
    )
    shown = api.read(f"/webhook-endpoints/{BUILT_IN}")
    assert (shown["enabled"], shown["url"]) == (False, "")
    page = reverse("admin:events_webhookendpoint_changelist")
    assert "off: DATA_PLATFORM_URL is empty" in operator.get(page).text

    settings.DATA_PLATFORM_URL = "https://events.example.com"
    shown = api.read(f"/webhook-endpoints/{BUILT_IN}")
    assert (shown["enabled"], shown["url"]) == (True, "https://events.example.com/events")


def test_nothing_is_sent_again_to_no_platform(api):
    row, order_id = dead(), uuid4()
    line = {"what": "order.paid", "subject": f"order {order_id}", "order_id": order_id}
    transactions.run(lambda: journal.note(**line), transactions.ONCE)

    answer = api.post(f"/webhook-endpoints/{BUILT_IN}/deliveries/{row.pk}/resend", {})

    assert problem_of(answer) == (409, "endpoint_disabled")
    with pytest.raises(Rejected) as refused:
        deliveries.resend_order(order_id=order_id, reason="asked for")
    assert refused.value.code == "endpoint_disabled"
    assert deliveries.resend_dead([row.pk]) == []
    assert deliveries.of_order(order_id) == []
    assert statuses() == ["failed"]
    assert not times_noted("event.resent")


def test_events_are_deleted_after_the_retention_and_none_is_lost(settings):
    endpoints.find()
    note("order.paid")
    sequencing.sequence()
    with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
        assert reading.delete_old() == 1
    left_from_before()
    is_lost = deliveries.lost(OuterRef("event_id"))
    assert not WebhookDelivery.objects.filter(is_lost).exists()
    settings.DATA_PLATFORM_URL = "https://events.example.com"
    is_lost = deliveries.lost(OuterRef("event_id"))
    assert WebhookDelivery.objects.filter(is_lost).count() == 1


def test_turned_on_it_is_told_what_was_deleted_and_gets_what_is_kept(own_data_platform, settings):
    url, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, ""
    note("order.paid", "order.refunded")
    sequencing.sequence()
    with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
        assert reading.delete_old() == 2
    kept = note("order.paid", "coupon.issued")
    settings.DATA_PLATFORM_URL = url

    deliver_due()

    told, *others = everything(own_data_platform, "/events")
    assert (told["type"], told["data"]) == ("events.skipped", {"from": 1, "to": 2})
    assert [event["id"] for event in others] == kept == received_event_ids(own_data_platform)[1:]
    assert WebhookEndpoint.objects.get(pk=BUILT_IN).position == 4
    line = journal_line("webhook_endpoint.events_skipped")
    assert line.subject == f"webhook endpoint {BUILT_IN}"
