"""The data platform as a webhook endpoint: its answers, health, log, dead letters, and resending events."""

import hashlib
import hmac
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management.base import CommandError
from django.urls import reverse
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from events.models import BUILT_IN, WebhookDelivery, WebhookEndpoint
from events.tests.delivering import dead, deliver_due, deliver_to_nobody, delivery, logged, make_due, note
from events.tests.own_data_platform import REFUSED, received_event_ids
from events.tests.receivers import receiving
from events.tests.test_webhook_endpoints import api, created
from events.webhooks import data_platform, deliveries, endpoints
from events.webhooks.sending import Attempt
from foundation.models import JournalLine
from foundation.tests.commands import run, run_json
from foundation.tests.confirming import said
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race_each
from foundation.tests.sent_forms import fields_of

__all__ = ["api"]
pytestmark = pytest.mark.django_db(transaction=True)
PATH = f"/webhook-endpoints/{BUILT_IN}"


def dead_rows() -> set[WebhookDelivery]:
    return set(WebhookDelivery.objects.filter(status="failed"))


def test_dead_events_are_listed_and_some_or_all_are_replayed():
    assert run("replay_events") == (0, "No event is dead.\n")
    first, order_id = dead(), uuid4()
    second, third = dead("order.refunded", order_id=order_id), dead()
    dead(status="pending", next_attempt_at=timezone.now())

    _, listed = run_json("replay_events")
    assert listed["replayed"] == []
    ids = [str(each.event_id) for each in (first, second, third)]
    found = [(event["id"], event["order"], event["attempts"]) for event in listed["dead"]]
    assert found == [(ids[0], None, 7), (ids[1], str(order_id), 7), (ids[2], None, 7)]

    said = "1 queued again: they are delivered within seconds.\n"
    assert run("replay_events", str(first.event_id)) == (0, said)
    assert dead_rows() == {second, third}
    code, output = run_json("replay_events", "--all")
    assert (code, output["replayed"], output["dead"]) == (0, ids[1:], [])
    queued = WebhookDelivery.objects.filter(status="pending", attempts=0, next_attempt_at__lte=timezone.now())
    assert set(queued) == {first, second, third}
    assert JournalLine.objects.filter(what="event.resent", actor="system").count() == 3


@pytest.mark.parametrize("arguments", [["evt_1"], ["--all", "evt_1"], ["order.paid"], [str(UUID(int=1))]])
def test_an_id_that_cannot_be_replayed_is_reported_and_nothing_is_replayed(arguments):
    kept = dead()
    with pytest.raises(CommandError):
        run("replay_events", *arguments, *([str(kept.event_id)] if arguments == ["evt_1"] else []))
    assert dead_rows() == {kept}


def test_the_journal_is_read_only_in_the_admin(operator):
    kept = JournalLine.objects.create(at=timezone.now(), actor="system", what="order.paid")

    assert operator.get(reverse("admin:shop_journalline_add")).status_code == 403
    changed = operator.post(reverse("admin:shop_journalline_change", args=[kept.pk]), {"what": "else"})
    assert changed.status_code == 403
    assert operator.post(reverse("admin:shop_journalline_delete", args=[kept.pk])).status_code == 403


def rows_logged(api, status="") -> list[dict[str, Any]]:
    answer = api.get(f"{PATH}/deliveries" + (f"?status={status}" if status else ""))
    assert answer.status_code == 200, answer.json()
    return answer.json()["results"]


def failing_since():
    return WebhookEndpoint.objects.get(pk=BUILT_IN).failing_since


def test_its_log_has_each_event_in_the_shape_of_any_delivery(api, own_data_platform, settings):
    settings.EVENT_REFUSED_SECONDS = 0
    settings.WEBHOOK_PRIVATE_ADDRESSES = True
    [accepted], [refused] = note("order.paid"), note(REFUSED)
    deliver_due()
    [queued] = note("order.refunded")
    deliver_to_nobody()

    rows = {row["event"]: row for row in rows_logged(api)}

    assert list(rows) == [queued, refused, accepted], "newest first"
    row = delivery(accepted)
    outcome = {"status": "delivered", "attempts": 1, "response_status": 202, "error": ""}
    instants = ("delivered_at", "created_at")
    times = {name: f"{getattr(row, name):%Y-%m-%dT%H:%M:%S.%fZ}" for name in instants}
    named = {"id": row.pk, "event": accepted, "type": "order.paid", "next_attempt_at": None}
    assert rows[accepted] == named | outcome | times
    assert (rows[refused]["status"], rows[refused]["response_status"]) == ("failed", 422)
    assert rows[refused]["error"].startswith("HTTP 422")
    for status, event in (("pending", queued), ("failed", refused), ("delivered", accepted)):
        assert [row["event"] for row in rows_logged(api, status)] == [event]
    other = created(api)
    assert api.rows(f"/webhook-endpoints/{other['id']}/deliveries") == []
    assert rows[queued].keys() == api.post(f"/webhook-endpoints/{other['id']}/test", {}).json().keys()


def test_a_delivered_event_is_sent_again_with_the_same_id(api, own_data_platform):
    order_id = uuid4()
    first, second = note("order.paid", "order.refunded", order_id=order_id)
    deliver_due()
    assert deliver_due() == 0

    answer = api.post(f"{PATH}/deliveries/{delivery(first).pk}/resend", {"reason": "lost there"})

    assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (202, "pending", 0)
    assert deliver_due() == 1
    assert received_event_ids(own_data_platform) == [first, second]
    assert own_data_platform.get("/summary")[1] == {"events": 2, "repeated": 1}
    noted = journal_line("event.resent")
    assert (noted.subject, noted.detail, noted.order_id) == (f"event {first}", "lost there", order_id)
    assert noted.before["status"] == "delivered" and noted.is_internal


def test_a_dead_event_is_sent_again_once_the_receiver_is_right(api, own_data_platform, settings):
    settings.EVENT_REFUSED_SECONDS = 0
    [dead] = note(REFUSED)
    deliver_due()
    row = delivery(dead)
    WebhookDelivery.objects.update(payload=row.payload | {"type": "test.taken"})
    assert api.post(f"{PATH}/deliveries/{row.pk}/resend", {}).status_code == 202
    assert deliver_due() == 1
    assert rows_logged(api)[0]["error"] == "", "what was wrong before is no longer"


def test_it_shows_since_when_nothing_is_delivered(api, own_data_platform):
    endpoints.find()
    note("test.happened")
    deliver_to_nobody()
    since = failing_since()
    assert timezone.now() - since < timedelta(seconds=10)
    make_due()
    deliver_to_nobody()
    assert failing_since() == since
    assert api.read(PATH)["failing_since"] is not None

    make_due()
    assert deliver_due() == 1
    assert failing_since() is None


PAGE = reverse("admin:events_webhookdelivery_replay_events")
WHY = {"reason": "its route is right"}


def counts(operator, **query) -> dict[str, int]:
    """What the confirmation says of the filter in the address; empty if the form is shown again."""
    response = operator.post(PAGE, fields_of(operator.get(PAGE, query).text, **WHY))
    assert response.status_code == 200
    preview = response.context.get("preview")
    return {type: int(count) for type, count in preview.facts} if preview else {}


def replay(operator, **fields) -> list[str]:
    return said(operator, operator.post(PAGE, WHY | {"form_id": str(uuid7()), "confirmed": "yes"} | fields))


def test_the_page_counts_what_matches_before_anything_is_replayed(operator):
    order_id, now = uuid4(), timezone.now()
    dead(order_id=order_id)
    dead("order.refunded", created_at=now - timedelta(days=3))
    dead("stock.low")
    dead(status="pending", next_attempt_at=now)

    assert counts(operator) == {"order.paid": 1, "order.refunded": 1, "stock.low": 1}
    assert counts(operator, type="order.") == {"order.paid": 1, "order.refunded": 1}
    assert counts(operator, type="order.paid") == counts(operator, order=order_id) == {"order.paid": 1}
    day = (now - timedelta(days=1)).date()
    assert counts(operator, since=day) == {"order.paid": 1, "stock.low": 1}
    assert counts(operator, before=f"{day} 12:30", type="order.refunded") == {"order.refunded": 1}
    assert counts(operator, type="order.pai") == {}
    assert len(dead_rows()) == 3


def test_exactly_what_matches_is_replayed_with_actor_and_reason(operator):
    wanted, other = dead(), dead("stock.low")
    page = operator.post(PAGE, WHY | {"form_id": str(uuid7()), "type": "order.paid"}).text
    assert "Send 1 event again?" in page

    assert replay(operator, type="order.paid") == [
        "Events that are sent again: 1. They arrive within seconds."
    ]

    assert dead_rows() == {other}
    wanted.refresh_from_db()
    assert (wanted.status, wanted.attempts) == ("pending", 0)
    noted = journal_line("event.resent")
    assert (noted.actor_name, noted.detail) == ("ada", "its route is right")


def test_a_repeated_replay_queues_nothing_again(operator):
    for _ in range(6):
        dead()
    browsers = [signed_in(operator.get(PAGE).wsgi_request.user) for _ in range(4)]
    race_each(replay, browsers)
    assert replay(operator) == ["Events that are sent again: 0. They arrive within seconds."]
    assert times_noted("event.resent") == 6


def test_a_replay_is_bounded_and_goes_on_when_it_is_repeated(operator, monkeypatch):
    monkeypatch.setattr(deliveries, "MOST_RESENT", 4)
    made = [dead() for _ in range(6)]
    [message] = replay(operator)
    assert message.startswith("Events that are sent again: 4.") and "Not delivered yet: 2." in message
    assert dead_rows() == set(made[4:])
    replay(operator)
    assert dead_rows() == set()


@pytest.mark.parametrize(
    "wrong", [{"since": "yesterday"}, {"before": "2026-13-45"}, {"order": "7"}, {"type": "x" * 65}], ids=str
)
def test_a_filter_that_is_not_valid_replays_nothing(operator, wrong):
    kept = dead()
    assert counts(operator, **wrong) == {}
    operator.post(PAGE, wrong | {"reason": "x", "form_id": str(uuid7()), "confirmed": "yes"})
    assert dead_rows() == {kept}


def test_dead_events_are_found_by_the_index_on_deliveries():
    logged("delivered", number=2_000, delivered_at=timezone.now())
    dead()
    assert "events_webhookdelivery_status" in deliveries.find_dead()[:50].explain()


def test_the_command_lists_and_replays_by_the_same_filter():
    order_id, now = uuid4(), timezone.now()
    wanted = dead(order_id=order_id)
    others = {dead("stock.low"), dead(created_at=now - timedelta(days=3))}
    day = (now - timedelta(days=1)).date().isoformat()

    _, listed = run_json("replay_events", "--type", "order.", "--since", day)
    assert [event["id"] for event in listed["dead"]] == [str(wanted.event_id)]
    code, output = run("replay_events", "--order", str(order_id), "--all", "--reason", "put right")

    assert (code, output) == (0, "1 queued again: they are delivered within seconds.\n")
    assert dead_rows() == others
    assert journal_line("event.resent").detail == "put right"
    with pytest.raises(CommandError):
        run("replay_events", "--before", "tomorrow")


EVENT = {"id": "evt_1", "type": "test.happened", "at": timezone.now(), "data": {"order": None}}


@pytest.fixture
def receiver(settings):
    with receiving() as one:
        settings.DATA_PLATFORM_URL, one.text = one.url, b"{}"
        yield one


def results_by_status(receiver, statuses: Iterable[int]) -> dict[int, Attempt]:
    """The result of a delivery that is answered with each status."""
    results = {}
    for status in statuses:
        receiver.answer = lambda request, status=status: status  # type: ignore[misc]
        results[status] = data_platform.send([EVENT])
    return results


def test_any_2xx_status_is_a_success_and_no_other_is_final_but_those_that_blame_the_events(receiver):
    receiver.text, statuses = b"", (200, 202, 204)
    assert results_by_status(receiver, statuses) == {one: Attempt(one, "") for one in statuses}
    receiver.text, final = b'{"code":"invalid"}', (400, 404, 409, 410, 413, 415, 422)
    statuses = (302, 401, 403, 408, 425, 429, 500, 502, 503, 504, *final)
    assert results_by_status(receiver, statuses) == {
        one: Attempt(one, f'HTTP {one} {{"code":"invalid"}}', is_final=one in final) for one in statuses
    }


def test_an_endless_response_is_cut_off_and_counts_as_none(receiver):
    receiver.answer, receiver.text = lambda request: 500, b"x" * 5_000_000
    assert data_platform.send([EVENT]) == Attempt(None, "no answer: the reply is too large")


def test_the_signature_covers_the_time_and_the_bytes_and_there_is_none_without_a_secret(receiver, settings):
    for settings.EVENT_SECRET in ("", "known to both"):
        data_platform.send([EVENT])
    [unsigned, request] = receiver.requests
    assert "firstcome-signature" not in unsigned.headers
    seconds, _, signature = request.headers["firstcome-signature"].removeprefix("t=").partition(",v1=")
    expected = hmac.new(b"known to both", f"{seconds}.".encode() + request.raw, hashlib.sha256).hexdigest()
    assert signature == expected
    assert abs(time.time() - int(seconds)) < 5


def test_a_receiver_that_answers_204_sends_no_body_that_would_begin_the_next_response(receiver):
    receiver.text = b"no part of a response"
    assert [data_platform.send([EVENT]) for _ in range(100)] == [Attempt(204, "")] * 100


def test_a_receiver_on_the_port_of_an_earlier_one_gets_what_is_sent_to_it(settings):
    with receiving() as earlier:
        settings.DATA_PLATFORM_URL = earlier.url
        data_platform.send([EVENT])
    with receiving(port=earlier.port) as later:
        assert data_platform.send([EVENT]).is_delivered
    assert (len(earlier.requests), len(later.requests)) == (1, 1)


def test_a_hanging_platform_has_a_second_and_is_not_given_up(receiver, monkeypatch):
    monkeypatch.setattr(data_platform, "TIMEOUT_SECONDS", 0.2)
    receiver.delay_seconds = 5
    result = data_platform.send([EVENT])
    assert result.error.startswith("no answer") and not result.is_final
    receiver.delay_seconds = 0
    assert data_platform.send([EVENT]).is_delivered
