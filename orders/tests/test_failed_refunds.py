"""Refunds that fail after they had succeeded: the gateway takes back what it had given to a closed card."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from accounts.tests.clients import signed_in
from coupons.models import Coupon
from events.models import FeedEvent
from foundation import clock
from foundation.tests.factories import SuperuserFactory
from foundation.tests.racing import race
from inventory.models import Product
from orders import selectors
from orders.models import Refund, Saga
from orders.payment import gateway_bookings, gateway_events, refunding
from orders.placement.decisions import PlacedOrder
from orders.tests import at_stripe, buying, hanging
from orders.tests.buying import sell
from orders.tests.owners import charge_of, kept_amount, payment_of
from payments import ledger
from payments.gateways import calls, stripe_calls
from payments.models import GATEWAY_CLEARING, Entry, WebhookEvent
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.tests import events, stripe_proxy
from payments.tests.own_gateway import on_its_page
from payments.tests.stripe_proxy import StripeProxy

pytestmark = pytest.mark.django_db(transaction=True)


def refund(placed: PlacedOrder, **wanted) -> Refund:
    refunded = buying.refunded(placed.order, **wanted)
    assert refunded.status == "succeeded"
    return refunded


def made_there(placed: PlacedOrder) -> list[dict[str, Any]]:
    """The refunds of the order's charge in the simulator's book."""
    query = {"charge": payment_of(placed).charge_reference}
    results: list[dict[str, Any]] = calls.request_json("GET", "/refunds", query=query).content["results"]
    return results


def fail_at_simulator(placed: PlacedOrder) -> dict[str, Any]:
    """The newest refund fails there; returns what the webhook says of it."""
    made = made_there(placed)[-1]
    for _ in range(2):
        assert on_its_page(f"/refunds/{made['id']}/fail")["status"] == "failed"
    [sent] = [
        one
        for one in calls.request_json("GET", "/webhooks").content["results"]
        if one["type"] == "refund.failed" and one["data"]["key"] == made["key"]
    ]
    return dict(sent["data"])


def hear(data: dict[str, Any]) -> WebhookEvent:
    return events.take(type="refund.failed", **data)


def handle(placed: PlacedOrder) -> WebhookEvent:
    """The newest refund fails, and its event is handled."""
    event = hear(fail_at_simulator(placed))
    assert gateway_events.handle(event.id)
    event.refresh_from_db()
    return event


def reconcile():
    return reconciling.reconcile(fix=Fix.OURS)


def shown(placed: PlacedOrder) -> tuple[str, int]:
    order = buying.order_now(placed)
    return order.status, order.refunded_amount


def to_do(placed: PlacedOrder) -> list[str]:
    """What the home page of operators says of the order's refunds."""
    page = signed_in(SuperuserFactory()).get("/admin/")
    [work] = [work for section, work in page.context["sections"] if section.name == "disputes"]
    return [row.detail.split(" · ")[0] for row in work.rows if str(placed.order.id) in row.link]


def assert_books_agree(placed: PlacedOrder):
    """Every law holds, and ledger, payment and gateway say the same."""
    assert buying.broken_laws() == []
    payment = payment_of(placed)
    booked = Entry.objects.filter(account=GATEWAY_CLEARING, transfer__order=placed.order.id)
    assert -sum(booked.values_list("amount", flat=True)) == kept_amount(placed)
    assert payment.card_amount - payment.refunded_amount == kept_amount(placed)


def test_a_refund_that_failed_after_it_had_succeeded_is_refundable_again():
    """It was dropped: the order stayed refunded, the gateway kept all, and no act of an operator fitted."""
    placed = sell(points=400, discount=100)
    first = refund(placed)
    assert (shown(placed), Coupon.objects.get().status) == (("refunded", 900), "issued")

    event = handle(placed)

    assert event.charge_key == payment_of(placed).charge_key
    first.refresh_from_db()
    assert (first.status, first.card_amount, first.points_amount) == ("failed", 500, 400)
    # The points stay in the wallet, the goods in stock and the coupon with its owner.
    assert shown(placed) == ("paid", 400)
    assert ledger.balance_amount(placed.order.account_id) == 1_000
    assert (Product.objects.get().on_hand, Coupon.objects.get().status) == (5, "issued")
    line = selectors.timeline(placed.order.id, for_staff=False)[-1]
    assert (line.what, line.detail) == ("refund.failed", "500 of a refund came back to the shop")
    said = FeedEvent.objects.get(type="refund.failed", order_id=placed.order.id).data
    assert (said["refund"]["id"], said["status"], said["refunded_amount"]) == (str(first.id), "paid", 400)
    assert_books_agree(placed)
    assert to_do(placed) == ["500 KRW"]

    again = refund(placed)
    assert (again.points_amount, again.card_amount, again.id != first.id) == (0, 500, True)
    assert (shown(placed), kept_amount(placed)) == (("refunded", 900), 0)
    assert Product.objects.get().on_hand == 5
    assert to_do(placed) == []
    assert [one["status"] for one in made_there(placed)] == ["failed", "succeeded"]
    assert_books_agree(placed)


def test_a_part_that_failed_is_given_back_alone_or_with_the_rest():
    placed = sell()
    product = Product.objects.get()
    refund(placed, wanted=product)
    handle(placed)
    assert shown(placed) == ("paid", 0)
    order = buying.order_now(placed)
    assert refunding.owed_amount(order) == 500
    assert to_do(placed) == ["500 KRW"]
    owed = buying.refunded(placed.order, {})
    assert to_do(placed) == []
    assert (owed.card_amount, owed.lines.count(), shown(placed)) == (500, 0, ("paid", 500))
    assert buying.refusal_of(lambda: buying.refund(placed.order, {})).code == "nothing_to_refund"
    assert refund(placed).card_amount == 500
    assert_books_agree(placed)


def test_while_another_refund_is_under_way_the_order_stays_refunding():
    placed = sell()
    product = Product.objects.get()
    refund(placed, wanted=product)
    started = buying.refund(placed.order, product)
    fail_at_simulator(placed)
    gateway_bookings.look_up(payment_of(placed))
    assert shown(placed) == ("refunding", 0)
    assert buying.execute_refund(started).status == "succeeded"
    assert (shown(placed), kept_amount(placed)) == (("paid", 500), 500)
    assert_books_agree(placed)


def test_without_an_event_the_comparison_finds_and_books_it():
    placed = sell()
    refund(placed)
    fail_at_simulator(placed)
    [finding] = reconciling.reconcile().findings
    assert (finding["kind"], finding["done"], shown(placed)) == ("wrong_refunds", "", ("refunded", 1_000))
    assert [one["done"] for one in reconcile().findings] == ["booked"]
    assert shown(placed) == ("paid", 0)
    assert reconciling.is_clean(reconcile())
    assert_books_agree(placed)


@pytest.mark.parametrize("look", ["event", "comparison"])
def test_one_that_was_made_at_the_gateway_by_hand_fails_as_well(look):
    placed = sell()
    on_its_page("/refunds", charge=payment_of(placed).charge_reference, amount=300)
    reconcile()
    refund(placed)
    assert shown(placed) == ("refunded", 1_000)
    made = made_there(placed)[0]
    on_its_page(f"/refunds/{made['id']}/fail")
    if look == "event":
        assert gateway_events.handle(hear({"key": made["key"], "charge": made["charge"]}).id)
    else:
        reconcile()
    found = Refund.objects.order_by("id").values_list("source", "status", "card_amount")
    assert [*found] == [("gateway", "failed", 300), ("staff", "succeeded", 700)]
    assert shown(placed) == ("paid", 700)
    assert_books_agree(placed)


def test_events_comparisons_and_look_ups_that_race_take_it_back_once():
    placed = sell()
    refund(placed)
    data = fail_at_simulator(placed)
    handled = [partial(gateway_events.handle, hear(data).id) for _ in range(4)]
    looked_up = partial(gateway_bookings.look_up, payment_of(placed))
    outcomes = race([*handled, *[reconcile] * 2, *[looked_up] * 2])
    assert [one for one in outcomes if isinstance(one, BaseException)] == []
    assert FeedEvent.objects.filter(type="refund.failed").count() == 1
    assert (shown(placed), Refund.objects.count()) == (("paid", 0), 1)
    for event in WebhookEvent.objects.filter(handled_at=None):
        assert gateway_events.handle(event.id)
    assert_books_agree(placed)


def test_what_the_gateway_said_before_the_failure_books_nothing():
    """A refund of 1,000 would be booked once more, as made at the gateway."""
    placed = sell()
    refund(placed)
    payment = payment_of(placed)
    before = gateway_bookings.read_booked(payment.id)
    stale = charge_of(payment)
    handle(placed)
    booked = gateway_bookings.book(payment.id, stale, before=before)
    assert booked == (False, "a refund has failed meanwhile")
    assert (shown(placed), Refund.objects.count()) == (("paid", 0), 1)
    assert_books_agree(placed)


def test_a_claim_of_an_event_alone_takes_nothing_back():
    placed = sell()
    refunded = refund(placed)
    made = made_there(placed)[0]
    event = hear({"key": made["key"], "charge": made["charge"], "amount": 1_000})
    assert gateway_events.handle(event.id)
    refunded.refresh_from_db()
    assert (refunded.status, shown(placed)) == ("succeeded", ("refunded", 1_000))


def test_a_refund_of_a_top_up_that_failed_gives_the_points_back():
    buyer = buying.account()
    payment = buying.top_up(buyer, 1_000)
    for _ in range(2):
        on_its_page("/refunds", charge=payment.charge_reference, amount=300)
        reconcile()
        assert ledger.balance_amount(buyer.id) == 700
        made = calls.request_json("GET", "/refunds", query={"charge": payment.charge_reference})
        on_its_page(f"/refunds/{made.content['results'][-1]['id']}/fail")
        reconcile()
        payment.refresh_from_db()
        assert (ledger.balance_amount(buyer.id), payment.refunded_amount) == (1_000, 0)
        assert buying.broken_laws() == []


@pytest.mark.parametrize("type", ["refund.failed", "charge.refund.updated", "refund.updated"])
def test_at_stripe_it_is_heard_by_an_event_of_the_shops_own_refund(own_stripe, type):
    """As Stripe does with cards that are closed: succeeded, and days later failed."""
    placed = at_stripe.order("pm_card_visa")
    buying.advance(placed)
    refund(placed)
    about = fail_at_stripe(own_stripe, placed)

    for _ in range(2):
        assert at_stripe.post_event(type, about).status_code == 200
    for event in WebhookEvent.objects.all():
        assert gateway_events.handle(event.id)

    assert (Refund.objects.get().status, shown(placed), kept_amount(placed)) == ("failed", ("paid", 0), 1_000)
    assert reconcile().findings == []
    assert refund(placed).card_amount == 1_000
    assert (shown(placed), kept_amount(placed)) == (("refunded", 1_000), 0)
    assert_books_agree(placed)


def test_at_stripe_the_comparison_finds_it_without_an_event(own_stripe):
    placed = at_stripe.order("pm_card_visa")
    buying.advance(placed)
    refund(placed)
    fail_at_stripe(own_stripe, placed)
    assert [one["done"] for one in reconcile().findings] == ["booked"]
    assert (Refund.objects.get().status, shown(placed)) == ("failed", ("paid", 0))
    assert_books_agree(placed)


def fail_at_stripe(proxy: StripeProxy, placed: PlacedOrder) -> dict[str, Any]:
    """The order's refund fails at Stripe; returns what its events are about."""
    reference = payment_of(placed).charge_reference
    [made] = stripe_calls._client().refunds.list({"payment_intent": reference}).data
    proxy.memory.refunds_not_taken[made.id] = reference, made.amount
    about = {"id": made.id, "object": "refund", "status": "failed", "payment_intent": reference}
    return about | {"amount": made.amount, "metadata": made.metadata.to_dict()}


def test_a_late_charge_whose_refund_failed_is_refunded_under_another_key(own_stripe):
    """It had one key for ever: the failed refund was the answer to each attempt."""
    placed = at_stripe.order("pm_card_visa_chargeDeclined")
    buying.advance(placed)
    payment = payment_of(placed)
    own_stripe.forget_keys()
    charged = {"key": payment.charge_key, "amount": 1_000, "currency": "KRW", "order_id": placed.order.id}
    intent = stripe_calls.create(**charged, payment_method="pm_refund_not_taken")
    stripe_calls.confirm(intent.id, key=payment.charge_key)

    assert [one["done"] for one in reconcile().findings] == ["refund failed"]
    assert (kept_amount(placed), Refund.objects.count()) == (1_000, 0)
    assert [one["done"] for one in reconcile().findings] == ["refunded"]
    made = stripe_calls._client().refunds.list({"payment_intent": intent.id}).data
    assert sorted(one.status for one in made) == ["failed", "succeeded"]
    assert (kept_amount(placed), Refund.objects.get().status) == (0, "succeeded")

    newest = next(one for one in made if one.status == "succeeded")
    own_stripe.memory.refunds_not_taken[newest.id] = intent.id, newest.amount
    about = {"object": "refund", "status": "failed", "payment_intent": intent.id}
    for _ in range(2):
        at_stripe.post_event(
            "refund.failed", about | {"id": newest.id, "metadata": newest.metadata.to_dict()}
        )
    for event in WebhookEvent.objects.all():
        assert gateway_events.handle(event.id)
    late = Refund.objects.order_by("id").values_list("source", "status", "amount")
    assert [*late] == [("late_charge", "failed", 1_000), ("late_charge", "succeeded", 1_000)]
    assert (kept_amount(placed), payment_of(placed).status) == (0, "failed")
    whats = [line.what for line in selectors.timeline(placed.order.id, for_staff=False)]
    assert whats[-3:] == ["charge.late_refunded", "charge.late_refund_failed", "charge.late_refunded"]
    assert reconcile().findings == []


def test_refunds_of_a_late_charge_are_not_made_without_end(own_stripe, monkeypatch, unlawful):
    placed = at_stripe.order("pm_card_visa_chargeDeclined")
    buying.advance(placed)
    payment = payment_of(placed)
    own_stripe.forget_keys()
    never = replace(stripe_proxy.CARDS["pm_refund_not_taken"], refunds_not_taken=99)
    monkeypatch.setitem(stripe_proxy.CARDS, "pm_never", never)
    charged = {"key": payment.charge_key, "amount": 1_000, "currency": "KRW", "order_id": placed.order.id}
    intent = stripe_calls.create(**charged, payment_method="pm_never")
    stripe_calls.confirm(intent.id, key=payment.charge_key)
    runs = [reconcile() for _ in range(reconciling.MOST_FAILED + 2)]
    assert {one["done"] for run in runs for one in run.findings} == {"refund failed"}
    made = stripe_calls._client().refunds.list({"payment_intent": intent.id, "limit": 100}).data
    assert len(made) == reconciling.MOST_FAILED


def test_a_failed_refund_is_none_in_place_of_which_another_was_made_by_hand(away):
    """The stuck refund was made all the same, as what was given back by hand counted as the failed one."""
    placed = sell(units=3)
    product = Product.objects.get()
    refund(placed, wanted=product)
    handle(placed)
    row = Saga.objects.get(id=buying.refund(placed.order, product).saga_id)
    away.take("GATEWAY_URL")
    hanging.let_stick(row)
    away.back()
    on_its_page("/refunds", charge=payment_of(placed).charge_reference, amount=500)
    assert hanging.advance(row) == Saga.State.STUCK
    hanging.complete(row)
    assert (hanging.advance(row), shown(placed)) == (Saga.State.DONE, ("paid", 500))
    assert_books_agree(placed)


def test_another_order_may_have_been_the_first_when_a_refund_fails():
    """Its coupon had expired, and so was not given back."""
    product, buyer = buying.product_and_buyer(on_hand=5, price=500)
    terms = {"first_order_only": True, "discount_value": 100}
    first, second = (buying.coupon_code(buyer, **terms) for _ in range(2))
    placed = buying.place(buyer, product, token="tok_ok", coupon=first)
    buying.advance(placed)
    Coupon.objects.filter(code=first).update(expires_at=clock.now())
    refund(placed)
    other = buying.place(buyer, product, token="tok_ok", coupon=second)
    assert buying.advance(other).status == "paid"
    handle(placed)
    assert (shown(placed)[0], Coupon.objects.get(code=first).status) == ("paid", "redeemed")
    assert_books_agree(placed)
