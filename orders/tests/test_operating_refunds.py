"""Operators' actions on the sagas of refunds and top-ups."""

import pytest

from inventory.models import Product
from orders.models import Order, Refund, Saga
from orders.tests import buying, hanging
from orders.tests.hanging import Away, product
from payments import ledger
from payments.gateways import gateway
from shop.errors import FirstcomeError

__all__ = ["product"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("impatient")]


def stuck_refund(product: Product, away: Away) -> Saga:
    """The saga of a refund that found the gateway away, and is stuck."""
    row = hanging.started(product)
    assert hanging.advance(row) == Saga.State.DONE
    refund = Saga.objects.get(id=buying.refund(row.about_id).saga_id)
    away.take("GATEWAY_URL")
    hanging.advance(refund)
    hanging.make_overdue(refund)
    assert hanging.advance(refund) == Saga.State.STUCK
    return refund


def refund_of(row: Saga) -> Refund:
    return Refund.objects.get(id=row.subject_id)


def test_a_refund_made_by_hand_at_the_gateway_is_completed(product: Product, away: Away) -> None:
    row = stuck_refund(product, away)
    away.back()
    hanging.refund_by_hand(row)
    assert refund_of(row).status == Refund.Status.STUCK
    assert hanging.refusal(hanging.complete, row, reference="re_invented") == "reference_differs"
    hanging.complete(row)
    assert refund_of(row).status == Refund.Status.PENDING
    assert hanging.advance(row) == Saga.State.DONE
    order = hanging.order_of(row)
    assert (refund_of(row).status, order.status) == (Refund.Status.SUCCEEDED, Order.Status.REFUNDED)
    assert ledger.balance_amount(order.account_id) == 100
    [line] = hanging.journalled(row, "refund_card.forced")
    [charge] = gateway().charges(order_id=row.about_id)
    assert (line.actor_name, line.reference) == ("ada", charge.reference)
    assert buying.broken_laws() == []


def test_a_retried_refund_is_pending_again_and_stuck_again_and_never_compensated(
    product: Product, away: Away
) -> None:
    row = stuck_refund(product, away)
    assert hanging.refusal(hanging.retry, row) == "unavailable", "it can't ask what was given back by hand"
    away.back()
    hanging.retry(row)
    assert refund_of(row).status == Refund.Status.PENDING
    away.take("GATEWAY_URL")
    hanging.make_overdue(row)
    assert hanging.advance(row) == Saga.State.STUCK
    assert refund_of(row).status == Refund.Status.STUCK
    assert hanging.refusal(hanging.compensate, row) == "saga_not_reversible"
    with pytest.raises(FirstcomeError, match="it must complete: retry it, or complete its step"):
        hanging.compensate(row)


def test_the_retry_of_a_refund_that_no_worker_has_begun_opens_no_call(product: Product) -> None:
    """One that may have been made is looked up first; this one is not."""
    row = hanging.started(product)
    hanging.advance(row)
    refund = Saga.objects.get(id=buying.refund(row.about_id).saga_id)
    assert (hanging.retry(refund).open_call, hanging.advance(refund)) == ("", Saga.State.DONE)


def test_a_refund_that_was_not_made_at_the_gateway_is_never_completed(product: Product, away: Away) -> None:
    refund = stuck_refund(product, away)
    assert hanging.refusal(hanging.complete, refund) == "unavailable"
    away.back()
    assert hanging.refusal(hanging.complete, refund) == "gateway_disagrees"
    [charge] = gateway().charges(order_id=refund.about_id)
    gateway().refund(key="a part", charge_reference=charge.reference, amount=charge.amount - 1)
    assert hanging.refusal(hanging.complete, refund, reference=charge.reference) == "gateway_disagrees"


def test_a_top_up_that_the_gateway_has_charged_can_be_completed() -> None:
    buyer = buying.account()
    payment = buying.top_up(buyer.id, 700, "tok_timeout_charged")
    [charge] = gateway().charges(key=payment.charge_key)
    row = Saga.objects.get(subject_id=payment.id)
    assert hanging.refusal(hanging.complete, row, reference=charge.reference) == "step_not_hanging"
    Saga.objects.filter(id=row.id).update(state=Saga.State.STUCK)
    hanging.complete(row, reference=charge.reference)
    assert hanging.advance(row) == Saga.State.DONE
    assert ledger.balance_amount(buyer.id) == 700
    with pytest.raises(FirstcomeError, match="the points are in the wallet"):
        hanging.compensate(row)
    assert buying.broken_laws() == []
