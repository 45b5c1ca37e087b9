"""The shop at a Stripe that fails as its reference says: `payments/tests/stripe_proxy.py` quotes it.

Whatever fails, a payment ends by its deadline or at the first attempt after it, its stock is sold or free,
nothing is charged or refunded twice, and every law holds.
"""

from typing import Any

import pytest

from foundation.tests.factories import set_columns
from inventory.models import Product
from orders.models import Refund, Saga
from orders.payment import gateway_events
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, hanging
from orders.tests.at_stripe import post_event, tried
from orders.tests.owners import kept_amount, payment_of, time_is_over
from payments.gateways import gateway, stripe_calls
from payments.models import WebhookEvent
from payments.tests.stripe_proxy import (
    HALF_DONE,
    IN_USE,
    INVALID,
    LOST,
    NOT_BEGUN,
    RATE_LIMITED,
    REFUSED,
    REFUSED_AND_LOST,
    SERVER_ERROR,
)

pytestmark = pytest.mark.django_db(transaction=True)
FAULTS = {
    "500": SERVER_ERROR,
    "500, and done": HALF_DONE,
    "503 before it began": NOT_BEGUN,
    "429": RATE_LIMITED,
    "409": IN_USE,
    "lost": LOST,
}
CALLS = ["create", "confirm"]
by_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@pytest.fixture(autouse=True)
def stripe_book(own_stripe, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 1
    return own_stripe


def end(placed: PlacedOrder, *, attempts=1) -> str:
    """Let the payment's time be over, and advance its saga; returns the order's status.

    Of a saga that has ended every unit is sold or free.
    """
    time_is_over(placed)
    for _ in range(attempts):
        hanging.advance(placed.started.saga)
    return ended(placed)


def ended(placed: PlacedOrder) -> str:
    saga, product = buying.saga_of(placed), Product.objects.get()
    status = buying.status_of(placed)
    assert saga.ended_at, f"{saga.state} {saga.direction}, {product.reserved} reserved: {saga.last_error}"
    assert (product.reserved, product.on_hand) == (0, 3 if status == "paid" else 5)
    assert kept_amount(placed) == (1_000 if status == "paid" else 0)
    return status


def charged_amounts() -> list[int]:
    return [one.amount for one in gateway().charges() if one.status == "succeeded"]


@pytest.mark.parametrize("asked", CALLS)
@by_fault
def test_an_order_is_paid_once_though_a_call_of_its_charge_failed(stripe_book, asked, fault):
    stripe_book.fail(asked, fault)
    placed = tried(times=3)

    assert ended(placed) == "paid"
    assert charged_amounts() == [1_000]


@pytest.mark.parametrize("asked", CALLS)
@by_fault
def test_an_order_whose_time_is_over_after_a_call_that_failed_is_paid_or_undone_at_once(
    stripe_book, asked, fault
):
    stripe_book.fail(asked, fault)
    placed = tried()

    is_charged = asked == "confirm" and fault.is_executed
    assert end(placed) == ("paid" if is_charged else "payment_failed")


@pytest.mark.parametrize("asked", CALLS)
def test_an_order_is_undone_though_stripe_failed_until_its_time_was_over(stripe_book, asked):
    stripe_book.fail(asked, *[SERVER_ERROR] * 20)
    placed = tried(times=12)
    assert buying.status_of(placed) == "paying"
    del stripe_book.memory.faults[asked]

    assert end(placed) == "payment_failed"


@pytest.mark.parametrize(
    "fault", [REFUSED, INVALID, REFUSED_AND_LOST], ids=["kept", "not kept", "kept, lost"]
)
def test_a_charge_whose_parameters_are_refused_fails_its_order(stripe_book, fault):
    stripe_book.fail("create", fault)
    placed = tried(times=2)

    assert ended(placed) == "payment_failed"


def test_a_refusal_that_was_lost_is_undone_when_its_time_is_over(stripe_book):
    stripe_book.fail("create", REFUSED_AND_LOST)
    placed = tried()

    assert end(placed) == "payment_failed"


@by_fault
@pytest.mark.parametrize("asked", ["create", "cancel"])
def test_a_payment_is_undone_at_once_though_a_call_of_that_fails(stripe_book, asked, fault):
    """The next attempt may be five minutes away. What is still under way, or too much, has to wait for it."""
    stripe_book.fail("create", LOST if asked == "cancel" else NOT_BEGUN)
    placed = tried()
    stripe_book.fail(asked, fault)

    assert end(placed, attempts=1 if fault.status >= 500 else 2) == "payment_failed"


def test_an_operator_undoes_a_payment_whose_create_keeps_an_error(stripe_book):
    stripe_book.fail("create", SERVER_ERROR)
    placed = tried()
    saga = placed.started.saga
    set_columns(saga, state=Saga.State.STUCK)

    hanging.compensate(saga)
    hanging.advance(saga)

    assert ended(placed) == "payment_failed"


@pytest.mark.parametrize("fault", [LOST, HALF_DONE], ids=["lost", "500, and done"])
@pytest.mark.parametrize("is_over", [False, True])
def test_a_charge_that_the_search_is_minutes_behind_of_is_found_among_more_than_a_page_of_newer_ones(
    stripe_book, monkeypatch, fault, is_over
):
    monkeypatch.setattr(stripe_calls, "PAGE", 2)
    stripe_book.memory.search_is_behind = True
    stripe_book.fail("confirm", fault)
    placed = tried()
    for number in range(3):
        card = {"amount": 700, "currency": "krw", "payment_method": "pm_card_visa", "confirm": True}
        stripe_calls._client().payment_intents.create(card | {"metadata": {"other": f"{number}"}})

    if is_over:
        time_is_over(placed)
    hanging.advance(placed.started.saga)

    saga = buying.saga_of(placed)
    assert saga.ended_at, f"{saga.state} {saga.direction}: {saga.last_error}"
    stripe_book.memory.search_is_behind = False
    assert ended(placed) == ("payment_failed" if is_over else "paid")
    assert charged_amounts() == [1_000]


@pytest.mark.parametrize("fault", [NOT_BEGUN, RATE_LIMITED], ids=["503", "429"])
def test_a_look_up_that_fails_leaves_the_payment_as_it_is_until_the_next(stripe_book, fault):
    stripe_book.fail("confirm", LOST)
    placed = tried()
    stripe_book.fail("look", fault)
    buying.advance(placed)
    assert payment_of(placed).status == "in_doubt"

    buying.advance(placed)
    assert ended(placed) == "paid"
    assert charged_amounts() == [1_000]


REFUND_FAULTS = FAULTS | {"400": REFUSED, "400 not kept": INVALID}


@pytest.mark.parametrize("fault", REFUND_FAULTS.values(), ids=REFUND_FAULTS)
def test_a_refund_of_one_unit_that_failed_once_is_made_once_at_the_next_attempt(stripe_book, fault):
    placed = tried()
    stripe_book.fail("refund", fault)
    started = buying.refund(placed.order, Product.objects.get())
    for _ in range(2):
        buying.execute_refund(started)

    row = Saga.objects.get(id=started.saga_id)
    assert (row.state, kept_amount(placed)) == (Saga.State.DONE, 500), row.last_error
    assert Refund.objects.get().status == "succeeded"


@pytest.mark.parametrize("fault", REFUND_FAULTS.values(), ids=REFUND_FAULTS)
def test_a_charge_that_came_too_late_is_given_back_though_its_refund_failed_once(stripe_book, fault):
    """Before the deadline the look-up fails: what was charged is known only when it is undone."""
    stripe_book.fail("confirm", LOST)
    placed = tried()
    stripe_book.fail("look", NOT_BEGUN)
    stripe_book.fail("refund", fault)

    assert end(placed, attempts=2) == "payment_failed"
    assert payment_of(placed).status == "reversed"
    assert charged_amounts() == [1_000]


def test_a_stuck_refund_is_retried_by_an_operator_though_stripe_kept_its_refusal(stripe_book):
    placed = tried()
    stripe_book.fail("refund", REFUSED, SERVER_ERROR)
    started = buying.refund(placed.order)
    row = Saga.objects.get(id=started.saga_id)
    hanging.make_overdue(row)
    assert [hanging.advance(row) for _ in range(2)] == [Saga.State.STUCK] * 2

    hanging.retry(row)
    assert hanging.advance(row) == Saga.State.DONE
    assert (buying.status_of(placed), kept_amount(placed)) == ("refunded", 0)


def deliver(events: list[tuple[str, dict[str, Any]]]):
    """Post each event twice, and handle what is there after each."""
    for type, about in events:
        id = f"evt_{type}_{about.get('id', '')}".replace(".", "_")
        for _ in range(2):
            assert post_event(type, about, id=id).status_code == 200
            for event in WebhookEvent.objects.filter(handled_at=None):
                gateway_events.handle(event.id)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_webhooks_that_come_twice_late_and_in_any_order_change_nothing(stripe_book, is_reversed):
    placed = tried()
    buying.refunded(placed.order, Product.objects.get())
    events = stripe_book.memory.events
    assert [type for type, _ in events] == ["payment_intent.succeeded", "charge.refunded", "refund.updated"]

    deliver(events[::-1] if is_reversed else events)

    assert (WebhookEvent.objects.count(), WebhookEvent.objects.filter(handled_at=None).count()) == (3, 0)
    assert (buying.status_of(placed), kept_amount(placed)) == ("paid", 500)
    assert [(one.source, one.card_amount) for one in Refund.objects.all()] == [("staff", 500)]


def test_the_webhook_of_a_charge_whose_reply_was_lost_pays_its_order_once(stripe_book):
    stripe_book.fail("confirm", LOST)
    placed = tried()

    deliver(stripe_book.memory.events)

    assert ended(placed) == "paid"
    assert charged_amounts() == [1_000]


def test_the_webhook_of_a_charge_that_stripe_made_good_after_its_order_ended_has_it_refunded(stripe_book):
    """docs.stripe.com/error-low-level: "if creating a charge returns a 500 error but we detect that the
    information has gone out a payment network, we'll try to roll it forward."
    """
    stripe_book.fail("create", SERVER_ERROR)
    placed = tried()
    assert end(placed) == "payment_failed"
    payment = payment_of(placed)
    made = {"amount": 1_000, "currency": "krw", "payment_method": "pm_card_visa", "confirm": True}
    about = stripe_calls._client().payment_intents.create(
        made | {"metadata": {"firstcome_key": payment.charge_key, "firstcome_order": str(placed.order.id)}}
    )

    deliver([("payment_intent.succeeded", {"id": about.id, "metadata": about.metadata.to_dict()})])

    assert kept_amount(placed) == 0
    assert charged_amounts() == [1_000]
