"""Dead events are replayed by a filter, from a page that counts them first and by the command."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.core.management.base import CommandError
from django.urls import reverse
from django.utils import timezone
from uuid_utils.compat import uuid7

from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.commands import run, run_json
from shop.tests.confirming import said
from shop.tests.delivering import dead, logged
from shop.tests.factories import SuperuserFactory
from shop.tests.racing import race
from shop.tests.sent_forms import fields_of
from shop.tests.test_dead_events import dead_rows
from shop.webhook_endpoints import deliveries
from shop.webhook_endpoints.deliveries import EventFilter

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = reverse("admin:shop_webhookdelivery_replay_events")


@pytest.fixture
def client() -> Any:
    return signed_in(SuperuserFactory(username="ada"))


WHY = {"reason": "its route is right"}


def counts(client: Any, **query: Any) -> dict[str, int]:
    """What the confirmation says of the filter in the address; empty if the form is shown again."""
    response = client.post(PAGE, fields_of(client.get(PAGE, query).content.decode(), **WHY))
    assert response.status_code == 200
    preview = response.context.get("preview")
    return {type: int(count) for type, count in preview.facts} if preview else {}


def replay(client: Any, **fields: Any) -> list[str]:
    return said(client, client.post(PAGE, WHY | {"form_id": str(uuid7()), "confirmed": "yes"} | fields))


def test_the_page_counts_what_matches_before_anything_is_replayed(client: Any) -> None:
    order_id, now = uuid4(), timezone.now()
    dead(order_id=order_id)
    dead("order.refunded", created_at=now - timedelta(days=3))
    dead("stock.low")
    dead(status="pending", next_attempt_at=now)

    assert counts(client) == {"order.paid": 1, "order.refunded": 1, "stock.low": 1}
    assert counts(client, type="order.") == {"order.paid": 1, "order.refunded": 1}
    assert counts(client, type="order.paid") == counts(client, order=order_id) == {"order.paid": 1}
    day = (now - timedelta(days=1)).date()
    assert counts(client, since=day) == {"order.paid": 1, "stock.low": 1}
    assert counts(client, before=f"{day} 12:30", type="order.refunded") == {"order.refunded": 1}
    assert counts(client, type="order.pai") == {}
    assert len(dead_rows()) == 3


def test_exactly_what_matches_is_replayed_with_actor_and_reason(client: Any) -> None:
    wanted, other = dead(), dead("stock.low")
    page = client.post(PAGE, WHY | {"form_id": str(uuid7()), "type": "order.paid"}).content.decode()
    assert "Replay 1 dead event?" in page

    assert replay(client, type="order.paid") == ["1 queued again: they are delivered within seconds."]

    assert dead_rows() == {other}
    wanted.refresh_from_db()
    assert (wanted.status, wanted.attempts) == ("pending", 0)
    noted = JournalLine.objects.get(what="event.resent")
    assert (noted.actor_name, noted.detail) == ("ada", "its route is right")


def test_a_repeated_replay_queues_nothing_again(client: Any) -> None:
    for _ in range(6):
        dead()
    browsers = [signed_in(client_user(client)) for _ in range(4)]
    race([partial(replay, browser) for browser in browsers])
    assert replay(client) == ["0 queued again: they are delivered within seconds."]
    assert JournalLine.objects.filter(what="event.resent").count() == 6


def client_user(client: Any) -> Any:
    return client.get(PAGE).wsgi_request.user


def test_a_replay_is_bounded_and_goes_on_when_it_is_repeated(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MOST_RESENT", 4)
    monkeypatch.setattr(deliveries, "RESENT_AT_ONCE", 3)
    made = [dead() for _ in range(6)]
    [message] = replay(client)
    assert message.startswith("4 queued again") and "2 are still dead" in message
    assert dead_rows() == set(made[4:])
    replay(client)
    assert dead_rows() == set()


@pytest.mark.parametrize(
    "wrong", [{"since": "yesterday"}, {"before": "2026-13-45"}, {"order": "7"}, {"type": "x" * 65}], ids=str
)
def test_a_filter_that_is_not_valid_replays_nothing(client: Any, wrong: dict[str, str]) -> None:
    kept = dead()
    assert counts(client, **wrong) == {}
    client.post(PAGE, wrong | {"reason": "x", "form_id": str(uuid7()), "confirmed": "yes"})
    assert dead_rows() == {kept}


def test_dead_events_are_found_by_the_index_on_deliveries() -> None:
    logged("delivered", number=2_000, delivered_at=timezone.now())
    dead()
    assert "shop_webhookdelivery_of_status" in EventFilter().rows()[:50].explain()


def test_the_command_lists_and_replays_by_the_same_filter() -> None:
    order_id, now = uuid4(), timezone.now()
    wanted = dead(order_id=order_id)
    others = {dead("stock.low"), dead(created_at=now - timedelta(days=3))}
    day = (now - timedelta(days=1)).date().isoformat()

    _, listed = run_json("replay_events", "--type", "order.", "--since", day)
    assert [event["id"] for event in listed["dead"]] == [str(wanted.event_id)]
    code, output = run("replay_events", "--order", str(order_id), "--all", "--reason", "put right")

    assert (code, output) == (0, "1 queued again: they are delivered within seconds.\n")
    assert dead_rows() == others
    assert JournalLine.objects.get(what="event.resent").detail == "put right"
    with pytest.raises(CommandError):
        run("replay_events", "--before", "tomorrow")
