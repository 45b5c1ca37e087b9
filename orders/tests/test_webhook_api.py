"""The webhook over HTTP: what is accepted, what is refused, and what becomes of it."""

import time

import pytest
from django.test import Client

from accounts.tests.clients import problem_of
from foundation.http.json_format import dump
from foundation.tests import outages
from foundation.tests.case_tables import in_one_test
from foundation.tests.racing import race
from orders import tasks
from orders.tests import buying, owners
from payments.models import Payment, WebhookEvent
from payments.tests import events

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/api/v1/webhooks/simulator"


def post(body: bytes, headers: dict[str, str] | None = None, *, path: str = PATH):
    signed = events.signed(body) if headers is None else headers
    client = Client(raise_request_exception=False)
    return client.generic("POST", path, body, content_type="application/json", headers=signed)


def test_an_event_is_recorded_and_handled_and_one_that_was_not_enqueued_is_found_by_the_sweep():
    placed = owners.order("tok_ok")
    response = post(events.body_of(key=owners.payment_of(placed).charge_key))
    assert (response.status_code, response.json()) == (200, {"received": True})
    # The process crashed before it enqueued the event: the sweep finds it.
    assert tasks.handle_webhooks_due() == 0
    event = WebhookEvent.objects.get()
    WebhookEvent.objects.update(next_attempt_at=event.received_at)
    assert tasks.handle_webhooks_due() == 1
    tasks.handle_webhook(event.id)
    assert buying.status_of(placed) == "paid"


def test_the_content_type_is_ignored():
    for sort in (
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ):
        body = events.body_of()
        answer = Client().generic("POST", PATH, body, content_type=sort, headers=events.signed(body))
        assert answer.status_code == 200
    assert WebhookEvent.objects.count() == 4


def test_20_equal_ones_at_once_are_one_event_and_unknown_types_are_accepted_too():
    body, strange = events.body_of(key="payment-1"), events.body_of(type="customer.created")
    assert [one.status_code for one in race([lambda: post(body)] * 20)] == [200] * 20
    assert WebhookEvent.objects.count() == 1
    assert [post(one).status_code for one in (body, strange)] == [200, 200]
    assert WebhookEvent.objects.count() == 2


def test_what_the_gateway_has_not_signed_is_400_before_anything_is_parsed(settings):
    body = events.body_of()
    for sent, headers in [
        (body, {}),
        (body, {"Firstcome-Signature": "t=,v1="}),
        (body, events.signed(body, secret="guessed")),
        (body, events.signed(body, seconds_ago=400)),
        (body, events.signed(body, seconds_ago=-310)),
        (body.replace(b"succeeded", b"refunded"), events.signed(body)),
        (b"no json at all", {}),
    ]:
        assert problem_of(post(sent, headers)) == (400, "signature_invalid")
    assert problem_of(post(body, path="/api/v1/webhooks/stripe")) == (400, "signature_invalid")
    settings.WEBHOOK_SECRET_SIMULATOR = ""
    assert problem_of(post(body, events.signed(body, secret="any"))) == (400, "signature_invalid")
    assert not WebhookEvent.objects.exists()


def test_stripes_events_are_accepted_while_another_gateway_is_in_use(settings):
    settings.WEBHOOK_SECRET_STRIPE = secret = "whsec_of_this_test"
    payment = owners.payment_of(owners.order("tok_ok"))
    charge = {"object": "payment_intent", "id": "pi_1", "metadata": {"firstcome_key": payment.charge_key}}
    event = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {"object": charge}}
    body = dump(event | {"created": int(time.time())})
    headers = {"Stripe-Signature": events.signed(body, secret=secret)["Firstcome-Signature"]}
    assert post(body, headers, path="/api/v1/webhooks/stripe").status_code == 200
    event = WebhookEvent.objects.get()
    assert (event.gateway, event.type, event.charge_key) == ("stripe", "charge.succeeded", payment.charge_key)
    tasks.handle_webhook(event.id)
    event.refresh_from_db()
    assert event.outcome == "ignored: STRIPE_API_KEY is empty"
    assert event.handled_at and Payment.objects.get().status == "pending"


@in_one_test("name", ["paypal", "Simulator", "%00", "x" * 300])
def test_another_gateway_is_not_found(name):
    assert problem_of(post(events.body_of(), path=f"/api/v1/webhooks/{name}")) == (404, "not_found")


@in_one_test("body", [b"no json", b"", b"[]", b"NaN", b'{"id": "evt_1"}'])
def test_a_signed_body_that_is_no_event_is_200_so_that_it_is_not_sent_for_ever(body):
    response = post(body)
    assert (response.status_code, response.json()) == (200, {"received": True})
    assert not WebhookEvent.objects.exists()


@pytest.mark.django_db
@in_one_test(
    "claims", [{"type": "t" * 65}, {"id": "évt_1"}, {"id": "e" * 256}, {"key": "k" * 97}, {"key": "ключ"}]
)
def test_an_event_whose_names_are_too_long_is_200_so_that_it_is_not_sent_for_ever(claims):
    body = events.body_of(**claims)
    assert [post(body).status_code for _ in range(2)] == [200, 200]
    tasks.handle_webhook(WebhookEvent.objects.get().id)
    assert WebhookEvent.objects.get().handled_at


def test_without_the_database_the_gateway_gets_503():
    body = events.body_of(key="payment-1")
    with outages.database_away():
        response = post(body)
        assert problem_of(response) == (503, "unavailable")
        assert int(response["Retry-After"]) >= 1
    assert post(body).status_code == 200
