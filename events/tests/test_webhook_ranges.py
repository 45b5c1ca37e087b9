"""Ranges of the log: a row for what a pass delivered at once, listed, sent again and deleted as rows are."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.tests.clients import problem_of, signed_in
from events import admin
from events.feed import reading
from events.models import BUILT_IN, FeedEvent, WebhookDelivery, WebhookEndpoint
from events.tests.delivering import deliver_all, delivered_count, logged_to, note
from events.tests.following import publish, record
from events.tests.test_webhook_deliveries import (
    _any_address,
    deliver,
    deliver_again,
    endpoint,
    endpoint_for,
    one_pass,
    receiver,
    statuses,
)
from events.tests.test_webhook_endpoints import api
from events.webhooks import deliveries, delivery_pass, endpoints, ranges
from foundation.models import JournalLine
from foundation.tests.factories import SuperuserFactory, reloaded
from foundation.tests.racing import race
from foundation.tests.waiting import in_background, shifted

__all__ = ["_any_address", "api", "endpoint", "receiver"]
pytestmark = pytest.mark.django_db(transaction=True)


def rows() -> list[tuple[int | None, int | None, str, int]]:
    """The rows of the log as they are stored."""
    columns = ("first_position", "position", "status", "attempts")
    return list(WebhookDelivery.objects.order_by("id").values_list(*columns))


def ids(*names: str) -> list[str]:
    """Of the events of these names."""
    found = {event.data["name"]: str(event.event_id) for event in FeedEvent.objects.all()}
    return [found[name] for name in names]


def pages(api, endpoint_id: UUID, *, limit: int, **query: str) -> Iterator[dict[str, Any]]:
    """All pages of the list, from the first to the last, and then back to the first."""
    words = "&".join(f"{name}={value}" for name, value in query.items())
    path = f"/webhook-endpoints/{endpoint_id}/deliveries?limit={limit}&{words}"
    for direction in ("next", "previous"):
        while True:
            answer = api.get(path)
            assert answer.status_code == 200, answer.json()
            body = answer.json()
            yield body
            if body[direction] is None:
                break
            path = f"/webhook-endpoints/{endpoint_id}/deliveries?{urlsplit(body[direction]).query}"


def listed(api, endpoint_id: UUID, **query: str) -> list[str]:
    [body, again] = pages(api, endpoint_id, limit=200, **query)
    assert body == again
    return [row["event"] for row in body["results"]]


def refuse(receiver, *names: str):
    receiver.answer = lambda request: 500 if request.body["data"].get("name") in names else 204


def test_what_a_pass_delivers_is_one_row_and_what_it_does_not_has_its_own(endpoint, receiver):
    deliver(endpoint, "a", "b", "c")
    assert rows() == [(1, 3, "delivered", 3)]
    refuse(receiver, "e")
    deliver(endpoint, "d", "e", "f")
    assert rows()[1:] == [(4, 6, "delivered", 2), (None, 5, "pending", 1)]
    assert [row.status for row in logged_to(endpoint.pk)] == ["delivered"] * 4 + ["pending", "delivered"]

    receiver.answer = lambda request: 204
    deliver_again(endpoint)
    deliver(endpoint, "alone")

    assert rows()[2:] == [(None, 5, "delivered", 2), (None, 7, "delivered", 1)]
    assert statuses(endpoint) == [("delivered", 1)] * 4 + [("delivered", 2)] + [("delivered", 1)] * 2


def test_an_event_that_was_answered_otherwise_has_a_row_of_its_own(endpoint, receiver):
    receiver.answer = lambda request: 200 if request.body["data"]["name"] == "b" else 202
    record("a", "b", "c", order_id=uuid4())
    deliver(endpoint)
    answers = [row.response_status for row in logged_to(endpoint.pk)]
    assert answers == [202, 200, 202]


def test_twenty_thousand_events_are_forty_rows_for_the_data_platform():
    for _ in range(20):
        note(*["coupon.issued"] * 1_000)
    deliver_all()
    assert delivered_count() == 20_000
    assert WebhookDelivery.objects.count() == 20_000 / delivery_pass.MOST_DUE


def test_a_range_is_opened_by_the_patterns_under_which_it_was_sent(receiver):
    endpoint = endpoint_for(receiver, "order.paid", "coupon.*")
    record("paid", "too")
    record("cancelled", type="order.cancelled")
    record("issued", type="coupon.issued")
    deliver(endpoint)
    endpoints.change(endpoint_id=endpoint.pk, events=["order.cancelled"])
    assert rows() == [(1, 4, "delivered", 3)]
    assert [str(row.event_id) for row in logged_to(endpoint.pk)] == ids("paid", "too", "issued")


def test_an_endpoint_whose_events_are_changed_during_a_pass_records_nothing_of_it(endpoint, receiver):
    def change(request) -> int:
        if request.body["data"]["name"] == "b":
            by = partial(endpoints.change, endpoint_id=endpoint.pk, events=["order.*"])
            in_background(by).result(timeout=10)
        return 204

    receiver.answer = change
    record("a", "b", "c", order_id=uuid4())
    with pytest.raises(delivery_pass.LeaseLost):
        one_pass(endpoint)
    assert rows() == []
    receiver.answer = lambda request: 204
    deliver(endpoint)
    assert WebhookDelivery.objects.get().patterns == ["order.*"]
    assert receiver.names() == ["a", "b", "a", "b", "c"]


def test_a_slow_endpoint_and_one_that_is_enabled_again_get_a_range_a_pass(receiver, monkeypatch):
    monkeypatch.setattr(delivery_pass, "PASS_SECONDS", 0.3)
    endpoint, receiver.delay_seconds = endpoint_for(receiver), 0.1
    names = [f"{number:02}" for number in range(12)]
    record(*names, order_id=uuid4())
    deliver(endpoint)
    taken = len(receiver.requests)
    assert rows()[0] == (1, 12, "delivered", taken)
    assert rows()[1:] == [(None, position, "pending", 0) for position in range(taken + 1, 13)]
    receiver.delay_seconds = 0
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=False)
    publish("off", "too")
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=True)
    monkeypatch.setattr(delivery_pass, "PASS_SECONDS", 30.0)
    deliver(endpoint)
    assert [name for name in receiver.names() if name in names] == names
    assert rows()[-1] == (13, 14, "delivered", 2)
    assert statuses(endpoint) == [("delivered", 1)] * 14


def fill(endpoint: WebhookEndpoint, receiver) -> list[str]:
    """Fill the log with ranges and rows; returns the events' names, in the order of the list."""
    deliver(endpoint, "a", "b", "c")
    refuse(receiver, "e")
    deliver(endpoint, "d", "e", "f")
    deliver(endpoint, "g")
    deliver(endpoint, "h", "i")
    return ["i", "h", "g", "e", "f", "d", "c", "b", "a"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 8, 9, 10])
def test_pages_lead_over_ranges_and_rows_to_the_end_and_back(endpoint, receiver, api, limit):
    names = fill(endpoint, receiver)
    found = [[row["event"] for row in body["results"]] for body in pages(api, endpoint.pk, limit=limit)]
    assert len(found) % 2 == 0
    there, back = found[: len(found) // 2], found[len(found) // 2 :]
    assert [event for page in there for event in page] == ids(*names)
    assert there == back[::-1], "and each page is the same again"
    assert all(len(page) == limit for page in there[:-1])


def test_each_event_of_a_range_is_listed_with_the_members_of_a_row(endpoint, receiver, api):
    fill(endpoint, receiver)
    [body, _] = pages(api, endpoint.pk, limit=200)
    by_event = {row["event"]: row for row in body["results"]}
    [of_range, of_row] = [by_event[id] for id in ids("h", "g")]
    assert of_range.keys() == of_row.keys()
    same = ("type", "status", "attempts", "response_status", "error", "next_attempt_at")
    assert [of_range[name] for name in same] == [of_row[name] for name in same]
    assert of_range["id"] == ranges.OPENED + 8 < 2**53
    assert of_range["created_at"] <= of_range["delivered_at"]
    assert len({row["id"] for row in body["results"]}) == 9


def test_the_list_is_filtered_by_status(endpoint, receiver, api):
    names = fill(endpoint, receiver)
    assert listed(api, endpoint.pk, status="pending") == ids("e")
    assert listed(api, endpoint.pk, status="failed") == []
    assert listed(api, endpoint.pk, status="delivered") == ids(*(name for name in names if name != "e"))


def test_a_page_goes_on_where_its_range_was_deleted_or_its_event_sent_again(endpoint, receiver, api):
    names = fill(endpoint, receiver)
    path = f"/webhook-endpoints/{endpoint.pk}/deliveries?limit=8"
    following = f"/webhook-endpoints/{endpoint.pk}/deliveries?{urlsplit(api.read(path)['next']).query}"
    resend(api, endpoint, ranges.OPENED + 2)
    assert [row["event"] for row in api.read(following)["results"]] == ids("a")
    WebhookDelivery.objects.filter(first_position=1).delete()
    body = api.read(following)
    assert body["results"] == []
    back = api.read(f"/webhook-endpoints/{endpoint.pk}/deliveries?{urlsplit(body['previous']).query}")
    assert [row["event"] for row in back["results"]] == ids("b", *names[:6])
    WebhookDelivery.objects.filter(first_position__isnull=False).delete()
    assert api.read(following)["results"] == []


def test_a_page_goes_on_at_the_row_before_its_deleted_range(endpoint, receiver, api):
    for names in (["a", "b"], ["c"], ["d", "e"]):
        deliver(endpoint, *names)
    path = f"/webhook-endpoints/{endpoint.pk}/deliveries"
    following = urlsplit(api.read(f"{path}?limit=1")["next"]).query
    WebhookDelivery.objects.filter(first_position=4).delete()
    body = api.read(f"{path}?{following}")
    assert [row["event"] for row in body["results"]] == ids("c")


def resend(api, endpoint: WebhookEndpoint, id: int, *, status=202):
    answer = api.post(f"/webhook-endpoints/{endpoint.pk}/deliveries/{id}/resend", {"reason": "lost there"})
    assert answer.status_code == status, answer.json()
    return answer


def test_an_event_of_a_range_that_is_sent_again_gets_a_row_once(endpoint, receiver, api):
    deliver(endpoint, "a", "b", "c")
    id = ranges.OPENED + 2

    [first, second] = [resend(api, endpoint, id).json() for _ in range(2)]

    assert first["id"] == second["id"] < ranges.OPENED
    assert (first["event"], first["status"], first["attempts"]) == (*ids("b"), "pending", 0)
    assert listed(api, endpoint.pk) == ids("b", "c", "a")
    assert listed(api, endpoint.pk, status="delivered") == ids("c", "a")
    refuse(receiver, "b")
    deliver(endpoint)
    assert listed(api, endpoint.pk, status="pending") == ids("b"), "the row says what became of it"
    refuse(receiver)
    deliver_again(endpoint)
    assert receiver.names()[3:] == ["b", "b"]
    assert {request.headers["webhook-id"] for request in receiver.requests[3:]} == {*ids("b")}
    assert sorted(listed(api, endpoint.pk, status="delivered")) == sorted(ids("a", "b", "c"))
    line = JournalLine.objects.filter(what="event.resent").earliest("pk")
    assert (line.before["status"], line.detail) == ("delivered", "lost there")
    assert "delivered_at" in line.before and line.after["delivery"] == first["id"]


def test_an_event_of_a_range_is_sent_again_once_where_many_ask_at_once(endpoint, receiver):
    deliver(endpoint, "a", "b")
    ask = partial(deliveries.resend, endpoint_id=endpoint.pk, delivery_id=ranges.OPENED + 1)
    made = race([ask] * 6)
    assert len({row.pk for row in made}) == 1
    deliver(endpoint)
    assert receiver.names()[2:] == ["a"]


def test_what_no_range_has_is_not_sent_again(endpoint, receiver, api):
    deliver(endpoint, "a", "b")
    record("cancelled", type="order.cancelled")
    other = endpoint_for(receiver, "order.cancelled")
    for position in (0, 3, 4, 2**62):
        assert problem_of(resend(api, endpoint, ranges.OPENED + position, status=404))[1] == "not_found"
    resend(api, other, ranges.OPENED + 1, status=404)
    of_range = WebhookDelivery.objects.get().pk
    resend(api, endpoint, of_range, status=404)
    assert rows() == [(1, 2, "delivered", 2)]


def test_an_event_of_a_range_that_was_deleted_is_not_sent_again(endpoint, receiver, api, settings):
    deliver(endpoint, "a", "b")
    WebhookEndpoint.objects.filter(pk=BUILT_IN).update(position=2)
    with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
        assert reading.delete_old() == 2
    assert problem_of(resend(api, endpoint, ranges.OPENED + 2, status=409)) == (409, "event_expired")
    assert listed(api, endpoint.pk) == []
    assert rows() == [(1, 2, "delivered", 2)]


def test_a_range_is_as_old_as_the_rows_of_its_pass(endpoint, receiver):
    """Else it would say, once those are deleted, that what was given up was delivered."""
    refuse(receiver, "b")
    deliver(endpoint, "a", "b", "c")
    assert len(set(WebhookDelivery.objects.values_list("created_at", flat=True))) == 1
    assert len(rows()) == 2


def test_ranges_are_deleted_after_the_retention_those_of_the_platform_with_their_events(endpoint, settings):
    deliver(endpoint, "a", "b")
    deliver_all()
    assert WebhookDelivery.objects.count() == 2
    with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
        assert deliveries.delete_old() == 1
        assert WebhookDelivery.objects.get().endpoint_id == BUILT_IN
        assert reading.delete_old() == 2
        assert deliveries.delete_old() == 1


def test_the_admin_shows_a_range_as_a_line_and_sends_its_events_again(endpoint, receiver, monkeypatch):
    deliver(endpoint, "a", "b", "c")
    client, page = signed_in(SuperuserFactory()), reverse("admin:events_webhookdelivery_changelist")
    assert "positions 1 to 3" in client.get(page).text
    row = WebhookDelivery.objects.get()
    shown = client.get(reverse("admin:events_webhookdelivery_change", args=[row.pk]))
    assert shown.status_code == 200

    def send_again() -> list[str]:
        sent = {"action": "resend", "_selected_action": [row.pk], "form_id": str(uuid7()), "reason": "lost"}
        done = client.post(page, sent, follow=True)
        return [str(message) for message in done.context["messages"]] or [done.text]

    monkeypatch.setattr(admin, "MOST_SENT_AGAIN", 2)
    [refused] = send_again()
    assert "Nothing was done: that is too many. Send at most 2 events at a time." in refused
    monkeypatch.setattr(admin, "MOST_SENT_AGAIN", 3)
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=False)
    assert send_again()[1:] == ["Sent again: 0."], "and one message says why"
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=True)
    assert send_again() == ["Sent again: 3."]
    deliver(endpoint)
    assert sorted(receiver.names()[3:]) == ["a", "b", "c"]
    assert sorted(str(row.event_id) for row in logged_to(endpoint.pk)) == sorted(ids("a", "b", "c"))


def test_a_worker_records_a_range_although_recording_it_is_repeated(endpoint, monkeypatch):
    record_health, failures = delivery_pass._record_health, [OperationalError(1213, "Deadlock found")]

    def fail_once(*of) -> None:
        if failures:
            raise failures.pop()
        record_health(*of)

    monkeypatch.setattr(delivery_pass, "_record_health", fail_once)
    deliver(endpoint, "a", "b")
    assert rows() == [(1, 2, "delivered", 2)]
    assert (reloaded(endpoint).position, failures) == (2, [])
