"""Passes over an endpoint whose receiver hangs at times or is slow, or that is changed meanwhile."""

import threading
from functools import partial
from uuid import uuid4

import pytest
from django.db import OperationalError

from accounts import accounts
from events.feed import reading
from events.models import BUILT_IN, WebhookDelivery, WebhookEndpoint
from events.tests.following import publish, record
from events.tests.receivers import receiving
from events.tests.test_public_addresses import resolving_to
from events.tests.test_webhook_deliveries import (
    _any_address,
    an_owner,
    deliver,
    deliver_again,
    dispatching,
    endpoint,
    endpoint_for,
    make_due,
    one_pass,
    receiver,
    statuses,
)
from events.webhooks import delivery_pass, dispatcher, endpoints
from firstcome_client import verify_webhook
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.instants import ago
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import wait_until
from foundation.tests.waiting import in_background, shifted

__all__ = ["_any_address", "endpoint", "receiver"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def release():
    event = threading.Event()
    yield event
    event.set()


def hanging_at(receiver, beginning: str, release: threading.Event):
    """Have the receiver hang at events whose names begin so."""

    def answer(request):
        if request.body["data"]["name"].startswith(beginning):
            release.wait(20)
        return 204

    receiver.answer = answer


def test_events_that_make_their_receiver_hang_hold_up_no_others(endpoint, receiver, settings, release):
    # On a busy machine an answer may take a second.
    settings.WEBHOOK_TIMEOUT_SECONDS = 2.5
    hanging_at(receiver, "hang", release)
    record(*[f"hang {number}" for number in range(12)])
    deliver(endpoint, passes=4)
    healthy = [f"fine {number}" for number in range(60)]
    record(*healthy)

    # Of twelve that hang the first pass tries four, or up to seven if these don't run out of time together,
    # and each further one tries one: up to five are left, then one that is answered, then all others.
    for _ in range(7):
        deliver_again(endpoint)

    assert set(healthy) <= set(receiver.names())
    assert WebhookDelivery.objects.filter(status="pending").count() == 12


def test_a_receiver_that_hangs_now_and_then_takes_the_rest_of_a_pass(endpoint, receiver, settings, release):
    settings.WEBHOOK_TIMEOUT_SECONDS = 1.0
    hanging_at(receiver, "hang", release)
    record(*[f"{'hang' if number % 20 == 0 else 'fine'} {number}" for number in range(40)])
    deliver(endpoint)
    assert sum(status == "delivered" for status, _ in statuses(endpoint)) == 38


def test_what_is_due_the_longest_is_tried_first(endpoint, receiver, monkeypatch):
    """Else events that are always refused, and older, take all places of each pass."""
    monkeypatch.setattr(delivery_pass, "MOST_DUE", 3)
    receiver.answer = lambda request: 400 if request.body["data"]["name"] == "refused" else 503
    record(*["refused"] * 3, "unlucky")
    deliver(endpoint)
    make_due()
    early = ago(seconds=5)
    set_columns(WebhookDelivery.objects.latest("pk"), next_attempt_at=early)
    receiver.answer = lambda request: 400 if request.body["data"]["name"] == "refused" else 204
    deliver(endpoint)
    assert [status for status, _ in statuses(endpoint)] == ["pending"] * 3 + ["delivered"]


def test_a_url_that_is_changed_during_a_pass_gets_all_of_it(receiver, release):
    endpoint = endpoint_for(receiver)
    hanging_at(receiver, "03", release)
    names = [f"{number:02}" for number in range(8)]
    record(*names, order_id=uuid4())
    with receiving() as corrected:
        first = in_background(partial(one_pass, endpoint))
        wait_until(lambda: len(receiver.requests) == 4)
        endpoints.change(endpoint_id=endpoint.pk, url=corrected.url)
        release.set()
        with pytest.raises(delivery_pass.LeaseLost):
            first.result(timeout=10)
        assert not WebhookDelivery.objects.exists()
        deliver(endpoint)
        assert corrected.names() == names
    assert len(receiver.requests) == 4, "the pass ended with the change"


@pytest.mark.parametrize("how", ["disabled", "deleted", "without rights"])
def test_nothing_is_sent_once_the_endpoint_is(how, receiver, release):
    endpoint = endpoint_for(receiver)
    hanging_at(receiver, "01", release)
    record(*[f"{number:02}" for number in range(20)], order_id=uuid4())
    first = in_background(partial(one_pass, endpoint))
    wait_until(lambda: len(receiver.requests) == 2)
    match how:
        case "deleted":
            endpoints.delete(endpoint_id=endpoint.pk)
        case "disabled":
            endpoints.change(endpoint_id=endpoint.pk, is_enabled=False)
        case _:
            accounts.disable(account_ids=[endpoint.owner_id or 0])
    release.set()

    if how == "deleted":
        with pytest.raises(delivery_pass.LeaseLost):
            first.result(timeout=10)
        assert receiver.names() == ["00", "01"]
        return
    first.result(timeout=10)
    assert receiver.names() == ["00", "01"]
    if how == "without rights":
        assert deliver(endpoint).disabled_by == "rights"
        assert receiver.names() == ["00", "01"]
        return
    assert statuses(endpoint) == [("delivered", 1)] * 2 + [("pending", 0)] * 18
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=True)
    deliver(endpoint)
    assert receiver.names() == [f"{number:02}" for number in range(20)], "each once"


def test_an_endpoint_disabled_in_the_middle_of_a_burst_gets_what_is_under_way_alone(endpoint, receiver):
    at_disable = list[int]()

    def answer(request):
        if request.body["data"]["name"] == "20":
            disable = partial(endpoints.change, endpoint_id=endpoint.pk, is_enabled=False)
            in_background(disable).result(timeout=10)
            at_disable.append(len(receiver.requests))
        return 204

    receiver.answer = answer
    record(*map(str, range(100)))
    one_pass(endpoint)
    assert len(receiver.requests) < at_disable[0] + delivery_pass.SENDING_AT_ONCE
    assert statuses(endpoint).count(("delivered", 1)) == len(receiver.requests)


@pytest.fixture
def behind(receiver, settings):
    """Was disabled for longer than events are kept, with one pending: three were deleted, one is kept."""
    receiver.answer = lambda request: 500
    endpoint = endpoint_for(receiver)
    deliver(endpoint, "pending")
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=False)
    publish("b", "c", "d")
    with shifted(seconds=settings.EVENT_RETENTION_SECONDS + 60):
        WebhookEndpoint.objects.filter(pk=BUILT_IN).update(position=reading.read_state().last_position)
        assert reading.delete_old() == 4
        publish("kept")
        receiver.answer, receiver.requests[:] = lambda request: 204, []
        endpoints.change(endpoint_id=endpoint.pk, is_enabled=True)
        yield endpoint


def types(receiver) -> list[str]:
    return [request.body["type"] for request in receiver.requests]


def test_an_endpoint_that_was_off_longer_than_the_retention_is_first_told_what_it_missed(behind, receiver):
    assert one_pass(behind), "more follows at once"
    [told] = receiver.requests
    assert (told.body["type"], told.body["data"]) == ("events.skipped", {"from": 2, "to": 4})
    assert told.body["id"] == told.headers["webhook-id"]

    deliver(behind, "later", passes=2)

    assert sorted(receiver.names()[1:]) == ["kept", "later", "pending"]
    row = WebhookDelivery.objects.get(type="events.skipped")
    assert (str(row.event_id), row.status) == (told.body["id"], "delivered")
    line = journal_line("webhook_endpoint.events_skipped")
    assert (line.subject, line.actor) == (f"webhook endpoint {behind.pk}", "system")
    assert line.after == {"from": 2, "to": 4, "event": told.body["id"]}


def test_nothing_is_sent_before_a_receiver_has_answered_what_it_missed(behind, receiver, settings):
    settings.WEBHOOK_TIMEOUT_SECONDS, receiver.delay_seconds = 0.3, 1.0
    for _ in range(3):
        make_due()
        assert not one_pass(behind)
    assert types(receiver) == ["events.skipped"] * 3
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert reloaded(behind).failing_since

    settings.WEBHOOK_TIMEOUT_SECONDS, receiver.delay_seconds = 5.0, 0.0
    deliver_again(behind, passes=2)
    assert types(receiver)[3:] == ["events.skipped", "order.paid", "order.paid"]
    assert times_noted("webhook_endpoint.events_skipped") == 1


def test_a_receiver_that_refuses_to_be_told_gets_the_rest_and_is_told_again(behind, receiver):
    receiver.answer = lambda request: 400 if request.body["type"] == "events.skipped" else 204
    deliver(behind, passes=2)
    assert sorted(receiver.names()) == ["", "kept", "pending"]
    receiver.answer = lambda request: 204
    deliver_again(behind)
    assert types(receiver)[3:] == ["events.skipped"]
    assert {status for status, _ in statuses(behind)} == {"delivered"}


def test_what_is_deleted_while_a_receiver_is_told_of_a_gap_is_told_too(behind, receiver, settings):
    with shifted(seconds=2 * settings.EVENT_RETENTION_SECONDS + 120):

        def delete(request):
            WebhookEndpoint.objects.filter(pk=BUILT_IN).update(position=5)
            in_background(reading.delete_old).result(timeout=10)
            receiver.answer = lambda request: 204
            return 204

        receiver.answer = delete
        deliver(behind, passes=3)
    told = [request.body["data"] for request in receiver.requests if request.body["type"] == "events.skipped"]
    assert told == [{"from": 2, "to": 4}, {"from": 5, "to": 5}]


def test_an_endpoint_that_staff_disable_during_a_failing_pass_is_not_disabled_by_failures(receiver, release):
    endpoint = endpoint_for(receiver)

    def answer(request):
        release.wait(20)
        return 500

    receiver.answer = answer
    record("a")
    first = in_background(partial(one_pass, endpoint))
    wait_until(lambda: bool(receiver.requests))
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=False)
    release.set()
    first.result(timeout=10)
    assert endpoints.count_disabled() == {"staff": 1, "failures": 0, "rights": 0}


def test_a_pass_over_a_slow_receiver_is_recorded_soon(receiver, monkeypatch):
    monkeypatch.setattr(delivery_pass, "PASS_SECONDS", 0.3)
    endpoint, receiver.delay_seconds = endpoint_for(receiver), 0.2
    names = [f"{number:02}" for number in range(20)]
    record(*names, order_id=uuid4())
    deliver(endpoint)
    sent = len(receiver.requests)
    assert 0 < sent < 15
    assert statuses(endpoint) == [("delivered", 1)] * sent + [("pending", 0)] * (20 - sent)
    receiver.delay_seconds = 0
    monkeypatch.setattr(delivery_pass, "PASS_SECONDS", 30.0)
    deliver(endpoint)
    assert receiver.names() == names


def test_an_endpoint_whose_row_stays_locked_delays_no_other(receiver, monkeypatch):
    with receiving() as other:
        both = sorted((endpoint_for(receiver), endpoint_for(other)), key=lambda one: one.pk)
        lease = dispatcher.lease

        def stuck(endpoint_id, token):
            if endpoint_id == both[0].pk:
                raise OperationalError(1205, "Lock wait timeout exceeded")
            return lease(endpoint_id, token)

        monkeypatch.setattr(dispatcher, "lease", stuck)
        publish("a")
        with dispatching():
            wait_until(lambda: statuses(both[1]) == [("delivered", 1)])
        assert statuses(both[0]) == []


def test_the_next_address_is_tried_when_the_first_refuses_connections(receiver, monkeypatch):
    resolving_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    url = f"http://receiver.example:{receiver.port}/hooks"
    endpoint = endpoints.create(url=url, events=["*"], owner=an_owner())
    deliver(endpoint, "a")
    assert (receiver.names(), statuses(endpoint)) == (["a"], [("delivered", 1)])


def test_a_url_with_an_ipv6_address_is_reached():
    with receiving("::1") as receiver:
        endpoint = endpoint_for(receiver)
        deliver(endpoint, "a")
        assert (receiver.names(), statuses(endpoint)) == (["a"], [("delivered", 1)])


def test_the_clients_code_takes_what_the_shop_sends_and_refuses_what_was_changed(receiver):
    endpoint = endpoint_for(receiver)
    deliver(endpoint, "a")
    secret, [request] = endpoint.secret, receiver.requests

    event = verify_webhook(request.headers, request.raw, secret)
    assert (str(event.id), event.type_) == (request.body["id"], request.body["type"])
    wrong = {"webhook-id": "another"}, {"webhook-timestamp": "1000000000"}
    for change in (*wrong, {"webhook-signature": "v1,AAAA"}, {"webhook-signature": ""}):
        with pytest.raises(ValueError, match=r"signature|too old"):
            verify_webhook(dict(request.headers) | change, request.raw, secret)
    with pytest.raises(ValueError, match="signature"):
        verify_webhook(request.headers, request.raw + b" ", secret)
