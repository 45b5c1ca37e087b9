"""Orders, refunds and top-ups through Stripe, end to end: localstripe behind the recording proxy.

`payments/tests/stripe_proxy.py` describes what the proxy does in place of localstripe.
"""

import pytest

from coupons.models import Coupon
from foundation.tests.factories import reloaded
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import race_each, wait_until
from inventory.tests.factories import ProductFactory
from orders import tasks
from orders.models import Order, Refund, Saga
from orders.payment import gateway_events, refunding
from orders.tests import buying, hanging
from orders.tests.at_stripe import PATH, order, post_event, tried
from orders.tests.owners import kept_amount, payment_of, time_is_over
from payments import ledger
from payments.gateways import gateway, stripe_calls
from payments.models import WebhookEvent
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.tests.own_stripe import SECRET

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def stripe_book(own_stripe, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 2
    return own_stripe


def test_an_order_is_paid_by_card_points_and_coupon(stripe_book):
    product, buyer = buying.product_and_buyer(on_hand=5, price=500, points=100)
    coupon = buying.coupon_code(buyer, discount_value=300)
    placed = buying.place(buyer, {product: 2}, token="pm_card_visa", points=100, coupon=coupon)
    paid = buying.advance(placed)
    assert (paid.status, paid.card_amount, kept_amount(placed)) == ("paid", 600, 600)
    assert payment_of(placed).charge_reference.startswith("pi_")
    assert stripe_book.paths() == ["/v1/payment_intents", "/v1/payment_intents/confirm"]
    assert Coupon.objects.get(code=coupon).status == "redeemed"


def test_a_decline_that_could_not_be_cancelled_at_once_fails_its_order_after_a_look_up(stripe_book):
    placed = order("pm_declined_uncancelled")

    assert buying.advance(placed).status == "paying"
    assert payment_of(placed).status == "in_doubt"

    buying.settle_everything()
    ended = buying.order_now(placed)
    assert (ended.status, ended.failure_code) == ("payment_failed", "card_declined")
    [intent] = stripe_calls._client().payment_intents.list({"limit": 100}).data
    assert (intent.status, kept_amount(placed)) == ("canceled", 0)


def test_a_charge_that_succeeds_after_its_order_gave_up_is_refunded(stripe_book):
    """Stripe can't cancel a charge that the bank is processing; the proxy simulates the slow bank."""
    placed = order("pm_processing")
    assert buying.advance(placed).status == "paying"
    time_is_over(placed)

    buying.settle_everything()

    assert (buying.status_of(placed), payment_of(placed).status) == ("payment_failed", "reversed")
    [booked] = gateway().charges(order_id=placed.order.id)
    assert (booked.amount, booked.refunded_amount) == (1_000, 1_000)


def test_20_orders_at_once_are_20_charges():
    product = ProductFactory(on_hand=20, price=500)
    placed = [buying.place_for_newcomer(product, token="pm_card_visa") for _ in range(20)]

    race_each(buying.advance, placed)

    buying.settle_everything()
    assert {*Order.objects.values_list("status", flat=True)} == {"paid"}
    assert len(list(gateway().charges())) == 20


@pytest.mark.parametrize(
    ("token", "is_retried"),
    [("pm_refund_not_taken", True), ("pm_refund_not_taken", False), ("pm_card_visa", False)],
)
def test_a_refund_that_the_card_does_not_take_is_made_again_or_ends_without_it(
    stripe_book, token, is_retried
):
    """A retry got the failed refund by its key for ever, and two operators could not end it either.

    Nor could they where a dispute in another currency holds the charge.
    """
    placed = tried(token, points=100)
    if token == "pm_card_visa":
        stripe_book.dispute(payment_of(placed).charge_reference, amount=3, currency="usd")
    started = buying.refund(placed.order)
    assert buying.execute_refund(started).status == "pending"
    row = Saga.objects.get(id=started.saga_id)
    hanging.let_stick(row)
    made = len(stripe_calls._client().refunds.list({}).data)
    assert made == (token == "pm_refund_not_taken"), "only an operator's retry makes another one"
    if is_retried:
        hanging.retry(row)
    else:
        assert hanging.approve(hanging.complete(row, reference="transfer 7")).status == "approved"
    assert hanging.advance(row) == Saga.State.DONE

    refund = Refund.objects.get()
    assert (refund.status, refund.card_amount) == ("succeeded", 900 if is_retried else 0)
    assert ledger.balance_amount(placed.order.account_id) == 100
    assert buying.status_of(placed) == ("refunded" if is_retried else "paid")
    assert kept_amount(placed) == (900 if (token, is_retried) == ("pm_refund_not_taken", False) else 0)
    reconciling.reconcile(fix=Fix.OURS)


@pytest.fixture
def webhooks(stripe_book, live_server):
    """localstripe calls a running server a second after each charge; only its event types can be changed."""
    hook = {"url": live_server.url + PATH, "secret": SECRET, "events": ["payment_intent.succeeded"]}
    stripe_book.configure("webhooks/shop", hook)
    yield
    stripe_book.configure("webhooks/shop", hook | {"events": []})


@pytest.mark.usefixtures("webhooks")
def test_localstripes_own_webhook_settles_what_was_in_doubt():
    """Signed and sent by localstripe itself, possibly after those of earlier tests' charges."""
    placed = order("pm_timeout_charged")
    assert buying.advance(placed).status == "paying"

    events = WebhookEvent.objects.filter(charge_key=payment_of(placed).charge_key)
    wait_until(events.exists)

    event = events.get()
    assert event.type == "charge.succeeded"
    tasks.handle_webhook(event.id)
    assert (buying.status_of(placed), kept_amount(placed)) == ("paid", 1_000)


@pytest.mark.parametrize("is_disputed", [False, True])
def test_a_charge_whose_webhook_arrives_after_the_end_is_refunded_unless_it_is_disputed(
    stripe_book, is_disputed
):
    """Here Stripe has forgotten the key, and another intent is confirmed with it.

    A dispute in another currency held nothing: it can't be compared, so it holds the whole charge.
    """
    placed = tried("pm_card_visa_chargeDeclined")
    payment = payment_of(placed)
    stripe_book.forget_keys()
    charged = {"key": payment.charge_key, "amount": 1_000, "currency": "KRW", "order_id": placed.order.id}
    intent = stripe_calls.create(**charged, payment_method="pm_card_visa")
    stripe_calls.confirm(intent.id, key=payment.charge_key)
    assert kept_amount(placed) == 1_000
    if is_disputed:
        stripe_book.dispute(intent.id, amount=3, currency="usd")

    response = post_event("payment_intent.succeeded", {"id": intent.id, "metadata": intent.metadata})

    assert response.status_code == 200
    assert gateway_events.handle(WebhookEvent.objects.get(charge_key=payment.charge_key).id)
    assert (kept_amount(placed), payment_of(placed).status) == (0, "failed")
    assert ("/v1/refunds" in stripe_book.paths()) != is_disputed


def test_a_refund_in_the_dashboard_is_booked_when_stripe_tells_it(stripe_book):
    placed = tried()
    payment = payment_of(placed)
    made = {"payment_intent": payment.charge_reference, "amount": 300}
    status, refunded = stripe_book.ask("POST", "/v1/refunds", fields=made, encode_multipart=False)
    assert (status, refunded["amount"]) == (200, 300)

    metadata = {"firstcome_key": payment.charge_key}
    post_event("charge.refunded", {"id": "ch_1", "object": "charge", "metadata": metadata})
    about = {"id": "re_1", "object": "refund", "payment_intent": payment.charge_reference, "metadata": {}}
    post_event("refund.updated", about)
    for event in WebhookEvent.objects.all():
        assert gateway_events.handle(event.id)

    [refund] = Refund.objects.all()
    assert (refund.source, refund.card_amount) == ("gateway", 300)
    rest = buying.refunded(placed.order)
    assert (rest.card_amount, buying.status_of(placed)) == (700, "refunded")
    assert kept_amount(placed) == 0


@pytest.mark.parametrize(
    ("amount", "currency", "booked"),
    [(400, "krw", 400), (1_200, "krw", 1_000), (3, "usd", 1_000), (0, "krw", 0)],
)
@pytest.mark.parametrize("is_compared", [False, True])
def test_a_dispute_at_stripe_is_found_by_the_reference_that_its_event_has(
    stripe_book, amount, currency, booked, is_compared
):
    """One above the charge was never booked; one in another currency held nothing: it can't be compared."""
    placed = tried()
    payment = payment_of(placed)
    dispute = stripe_book.dispute(payment.charge_reference, amount=amount, currency=currency)
    for type, status in (("charge.dispute.created", "needs_response"), ("charge.dispute.closed", "lost")):
        dispute["status"] = status
        if is_compared:
            assert [one["kind"] for one in reconciling.reconcile().findings] == ["disputed"]
            assert reconciling.is_clean(reconciling.reconcile(fix=Fix.OURS))
        post_event(type, dispute)
        [event] = WebhookEvent.objects.filter(handled_at=None)
        assert gateway_events.handle(event.id)
        assert reloaded(event).charge_key == payment.charge_key
        assert buying.broken_laws() == []

    assert [(one.status, one.amount) for one in payment.disputes.all()] == [("lost", booked)]
    left = refunding.refundable(buying.order_now(placed))
    assert kept_amount(placed) == left.card_amount == 1_000 - booked
    line = journal_line("payment.disputed")
    part = f" {currency.upper()} disputed: {booked} of this charge"
    assert line.detail == f"{amount}{' disputed' if amount == booked else part}"
