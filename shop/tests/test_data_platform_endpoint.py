"""The data platform as a webhook endpoint: its health, the log of its deliveries, and sending one again."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.utils import timezone

from scripts.tests.simulator import Simulator
from shop.models import JournalLine
from shop.tests.clients import Api
from shop.tests.delivering import NOWHERE, deliver_due, delivery, make_due, note
from shop.tests.own_data_platform import REFUSED, data_platform_process, own_data_platform, received_event_ids
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
    [accepted], [refused] = note("order.paid"), note(REFUSED)
    deliver_due()
    settings.DATA_PLATFORM_URL = NOWHERE
    [queued] = note("order.refunded")
    deliver_due()

    rows = {row["event"]: row for row in logged(api)}

    assert list(rows) == [queued, refused, accepted], "newest first"
    assert rows[accepted] == {
        "id": delivery(accepted).pk,
        "event": accepted,
        "type": "order.paid",
        "status": "delivered",
        "attempts": 1,
        "response_status": 202,
        "error": "",
        "next_attempt_at": None,
        "delivered_at": f"{delivery(accepted).delivered_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "created_at": f"{delivery(accepted).created_at:%Y-%m-%dT%H:%M:%S.%fZ}",
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
    deliver_due()
    assert deliver_due() == 0

    answer = api.post(f"{PATH}/deliveries/{delivery(first).pk}/resend", {"reason": "lost there"})

    assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (202, "pending", 0)
    assert deliver_due() == 1
    assert received_event_ids(own_data_platform) == [first, second]
    assert own_data_platform.get("/summary")[1] == {"events": 2, "repeated": 1}
    noted = JournalLine.objects.get(what="event.resent")
    assert (noted.subject, noted.detail, noted.order_id) == (f"event {first}", "lost there", order_id)
    assert noted.before["status"] == "delivered" and noted.is_internal


def test_a_dead_event_is_sent_again_once_the_receiver_is_right(
    api: Api, own_data_platform: Simulator, settings: LazySettings
) -> None:
    settings.EVENT_REFUSED_SECONDS = 0
    [dead] = note(REFUSED)
    deliver_due()
    row = delivery(dead)
    WebhookDelivery.objects.update(payload=row.payload | {"type": "test.taken"})
    assert api.post(f"{PATH}/deliveries/{row.pk}/resend", {}).status_code == 202
    assert deliver_due() == 1
    assert logged(api)[0]["error"] == "", "what was wrong before is no longer"


def test_it_shows_since_when_nothing_is_delivered(
    api: Api, own_data_platform: Simulator, settings: LazySettings
) -> None:
    endpoints.find()
    right, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, NOWHERE
    note("test.happened")
    deliver_due()
    since = failing_since()
    assert timezone.now() - since < timedelta(seconds=10)
    make_due()
    deliver_due()
    assert failing_since() == since
    assert api.get(PATH).json()["failing_since"] is not None

    settings.DATA_PLATFORM_URL = right
    make_due()
    assert deliver_due() == 1
    assert failing_since() is None
