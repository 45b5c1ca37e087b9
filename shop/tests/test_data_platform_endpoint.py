"""The data platform as a webhook endpoint: its health, the log of its deliveries, and sending one again."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.utils import timezone

from scripts.tests.simulator import Simulator
from shop.events import data_platform, outbox
from shop.models import JournalLine
from shop.tests.clients import Api
from shop.tests.own_data_platform import REFUSED, data_platform_process, own_data_platform, received_event_ids
from shop.tests.test_outbox import NOWHERE, line, make_due, note
from shop.tests.test_webhook_endpoints import api, created
from shop.webhook_endpoints import endpoints
from shop.webhook_models import BUILT_IN, WebhookDelivery, WebhookEndpoint

__all__ = ["api", "data_platform_process", "own_data_platform"]
pytestmark = pytest.mark.django_db(transaction=True)
PATH = f"/webhook-endpoints/{BUILT_IN}"


def logged(api: Api, status: str = "") -> list[dict[str, Any]]:
    answer = api.get(f"{PATH}/deliveries" + (f"?status={status}" if status else ""))
    assert answer.status_code == 200, answer.json()
    rows: list[dict[str, Any]] = answer.json()["results"]
    return rows


def failing_since() -> Any:
    return WebhookEndpoint.objects.get(pk=BUILT_IN).failing_since


def test_its_log_has_each_event_in_the_shape_of_any_delivery(
    api: Api, own_data_platform: Simulator, settings: LazySettings
) -> None:
    settings.EVENT_REFUSED_SECONDS = 0
    settings.DEBUG = True
    # A line that is no event.
    JournalLine.objects.create(at=timezone.now(), actor="system", what="test.noted")
    [accepted], [refused] = note("order.paid"), note(REFUSED)
    outbox.deliver_due()
    [queued] = note("order.refunded")

    rows = {row["event"]: row for row in logged(api)}

    assert list(rows) == [queued, refused, accepted], "newest first"
    assert rows[accepted] == {
        "id": line(accepted).pk,
        "event": accepted,
        "type": "order.paid",
        "status": "delivered",
        "attempts": 1,
        "response_status": None,
        "error": "",
        "next_attempt_at": None,
        "delivered_at": f"{line(accepted).delivered_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "created_at": f"{line(accepted).at:%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    assert (rows[refused]["status"], rows[refused]["response_status"]) == ("failed", 422)
    assert rows[refused]["error"].startswith("HTTP 422")
    for status, event in (("pending", queued), ("failed", refused), ("delivered", accepted)):
        assert [row["event"] for row in logged(api, status)] == [event]
    other = created(api)
    assert api.get(f"/webhook-endpoints/{other['id']}/deliveries").json()["results"] == []
    assert rows[queued].keys() == api.post(f"/webhook-endpoints/{other['id']}/test", {}).json().keys()


def test_a_delivered_event_is_sent_again_with_the_same_id(api: Api, own_data_platform: Simulator) -> None:
    order_id = uuid4()
    first, second = note("order.paid", "order.refunded", order_id=order_id)
    outbox.deliver_due()
    assert outbox.deliver_due() == 0

    answer = api.post(f"{PATH}/deliveries/{line(first).pk}/resend", {"reason": "lost there"})

    assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (202, "pending", 0)
    assert outbox.deliver_due() == 1
    assert received_event_ids(own_data_platform) == [first, second]
    assert own_data_platform.get("/summary")[1] == {"events": 2, "repeated": 1}
    noted = JournalLine.objects.get(what="event.resent")
    assert (noted.subject, noted.detail, noted.order_id) == (f"event {first}", "lost there", order_id)
    assert noted.before["delivery"] == "delivered" and noted.is_internal
    assert not WebhookDelivery.objects.exists(), "its log has no rows of its own"


def test_a_dead_event_is_sent_again_once_the_receiver_is_right(
    api: Api, own_data_platform: Simulator, settings: LazySettings
) -> None:
    settings.EVENT_REFUSED_SECONDS = 0
    [dead] = note(REFUSED)
    outbox.deliver_due()
    JournalLine.objects.filter(event_id=dead).update(what="test.taken")
    assert api.post(f"{PATH}/deliveries/{line(dead).pk}/resend", {}).status_code == 202
    assert outbox.deliver_due() == 1
    assert logged(api)[0]["error"] == "", "what was wrong before is no longer"


def test_what_is_no_event_is_not_sent(api: Api) -> None:
    noted = JournalLine.objects.create(at=timezone.now(), actor="system", what="test.noted")
    for id in (noted.pk, noted.pk + 1_000):
        answer = api.post(f"{PATH}/deliveries/{id}/resend", {})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    noted.refresh_from_db()
    assert noted.delivery == "" and not JournalLine.objects.filter(what="event.resent").exists()


def test_it_shows_since_when_nothing_is_delivered(
    api: Api, own_data_platform: Simulator, settings: LazySettings
) -> None:
    endpoints.find()
    right, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, NOWHERE
    note("test.happened")
    outbox.deliver_due()
    since = failing_since()
    assert timezone.now() - since < timedelta(seconds=10)
    make_due()
    outbox.deliver_due()
    assert failing_since() == since
    assert api.get(PATH).json()["failing_since"] is not None

    settings.DATA_PLATFORM_URL = right
    make_due()
    assert outbox.deliver_due() == 1
    assert failing_since() is None


def test_a_process_that_delivers_clears_what_another_one_noted(
    own_data_platform: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints.find()
    data_platform.note_health(is_failing=False)
    WebhookEndpoint.objects.filter(pk=BUILT_IN).update(failing_since=timezone.now())
    data_platform.note_health(is_failing=False)
    assert failing_since() is not None, "looked at a moment ago"
    monkeypatch.setattr(data_platform, "HEALTH_SECONDS", 0.0)
    data_platform.note_health(is_failing=False)
    assert failing_since() is None
