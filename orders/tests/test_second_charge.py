"""A worker crashes between the gateway's reply and its own commit: recovery at any time leaves one charge."""

from typing import Any

import pytest
from django.conf import LazySettings

from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, stepping
from orders.tests.listening import Killed
from payments.gateways import gateway
from payments.models import Payment
from payments.tests.stripe_proxy import StripeProxy
from shop import clock

pytestmark = pytest.mark.django_db(transaction=True)
PRICE = 1_000


def order(token: str) -> PlacedOrder:
    product = ProductFactory.create(on_hand=5, price=PRICE)
    return buying.place(buying.account().id, {product: 1}, token=token)


def die_after_the_answer(placed: PlacedOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charge the card by a worker that records nothing of it, not even an attempt."""

    def die(point: str) -> None:
        if point == "charge_card do called":
            raise Killed(point)

    assert placed.started
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", die)
        stepping.advance(placed.started.saga.id)
    saga = Saga.objects.get(id=placed.started.saga.id)
    assert (saga.attempts, saga.open_call) == (0, "charge_card do")


def recover(placed: PlacedOrder, *, is_overdue: bool) -> str:
    """The next worker advances the saga once the lease has lapsed, possibly a day later."""
    late: dict[str, Any] = {"deadline_at": clock.now()} if is_overdue else {}
    Saga.objects.update(leased_until=clock.now(), **late)
    buying.settle_everything()
    return buying.state_of(placed.order.id)


def kept_amount(placed: PlacedOrder) -> int:
    return sum(charge.kept_amount for charge in gateway().charges(order_id=placed.order.id))


def test_a_day_later_with_the_key_forgotten_the_order_is_charged_once(
    own_stripe: StripeProxy, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    """An order of 1,000 was charged 2,000, a day after its deadline."""
    settings.GATEWAY_TIMEOUT_SECONDS = 2
    placed = order("pm_card_visa")
    die_after_the_answer(placed, monkeypatch)
    own_stripe.memory.recorded.clear()

    assert recover(placed, is_overdue=True) == Order.Status.PAID

    assert (kept_amount(placed), len(list(gateway().charges()))) == (PRICE, 1)
    assert buying.broken_laws() == []


def test_a_charge_unknown_to_the_gateway_is_not_made_past_the_deadline(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3
    placed = order("tok_error")
    die_after_the_answer(placed, monkeypatch)

    assert recover(placed, is_overdue=True) == Order.Status.PAYMENT_FAILED

    assert kept_amount(placed) == 0
    assert Payment.objects.get().failure_code == "gave_up"
    assert buying.broken_laws() == []


def test_an_order_that_was_never_charged_is_not_charged_past_its_deadline() -> None:
    placed = order("tok_ok")
    assert recover(placed, is_overdue=True) == Order.Status.PAYMENT_FAILED
    assert [charge.status for charge in gateway().charges()] == ["cancelled"]
    assert buying.broken_laws() == []


def test_a_charge_whose_worker_crashed_is_found_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    placed = order("tok_ok")
    die_after_the_answer(placed, monkeypatch)
    assert recover(placed, is_overdue=False) == Order.Status.PAID
    assert kept_amount(placed) == PRICE
    assert Saga.objects.get().attempts == 1
    assert buying.broken_laws() == []
