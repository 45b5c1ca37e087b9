"""Payments against the gateway's own book: each way to differ is found and named, motion is not."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.utils import timezone

from payments import book, gateways, paying
from payments.gateways import gateway, simulator
from payments.gateways.contract import BookedCharge
from payments.models import Payment
from payments.tests.factories import PaymentFactory
from scripts import ports
from scripts.tests.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_book(own_gateway: Simulator) -> None:
    """A book that knows of this test's charges alone."""


def charge(
    payment: Payment, *, token: str = "tok_ok", amount: int | None = None, order_id: UUID | None = None
) -> str:
    """Charge at the gateway what the payment asks for, or something else; the charge's name."""
    verdict = gateway().charge(
        key=payment.charge_key,
        token=token,
        amount=amount or payment.card_amount,
        currency="KRW",
        order_id=order_id or payment.order_id,
    )
    return verdict.reference


def settle(payment: Payment, status: str, reference: str = "ch_1") -> None:
    now = timezone.now()
    with transaction.atomic():
        if status == "succeeded":
            assert paying.mark_succeeded(payment.id, charge_reference=reference, at=now)
        elif status == "failed":
            assert paying.mark_failed(payment.id, code="gave_up", detail="", at=now)
        else:
            assert paying.mark_reversed(payment.id, code="gave_up", detail="", at=now)


def refund(payment: Payment, reference: str, amount: int | None = None) -> None:
    refunded = gateway().refund(
        key=f"{payment.charge_key}:refund",
        charge_reference=reference,
        amount=amount or payment.card_amount,
    )
    assert refunded.status == "succeeded"


def test_every_sound_ending_agrees_with_the_book() -> None:
    paid, declined, cancelled, given_back = PaymentFactory.create_batch(4)
    topped_up, free = PaymentFactory.create(top_up=True), PaymentFactory.create(card_amount=0)
    settle(paid, "succeeded", charge(paid))
    settle(topped_up, "succeeded", charge(topped_up))
    charge(declined, token="tok_declined")
    settle(declined, "failed")
    assert gateway().cancel(key=cancelled.charge_key).status == "cancelled"
    settle(cancelled, "failed")
    refund(given_back, charge(given_back))
    settle(given_back, "reversed")
    settle(free, "succeeded", "")

    compared = book.compare()

    assert (compared.checked, compared.offenders) == (5, [])


def test_what_is_still_being_paid_may_be_charged_or_not() -> None:
    charged, uncharged, in_doubt, refunded = PaymentFactory.create_batch(4)
    with transaction.atomic():
        paying.mark_in_doubt(in_doubt.id)
    charge(charged)
    charge(in_doubt)
    refund(refunded, charge(refunded))
    assert uncharged.status == "pending"

    assert book.compare().offenders == []


def test_a_charge_that_no_payment_knows_of_is_found() -> None:
    gateway().charge(key="orphan", token="tok_ok", amount=70, currency="KRW", order_id=uuid4())
    declined = gateway().charge(
        key="other", token="tok_declined", amount=70, currency="KRW", order_id=uuid4()
    )
    assert declined.status == "declined"

    [difference] = book.compare().differences

    assert str(difference) == "orphan: 70 is charged, and no payment knows of it"
    assert (difference.payment, difference.charges[0].amount) == (None, 70)


def test_a_charge_that_was_kept_of_a_payment_that_failed_is_found() -> None:
    failed, reversed_ = PaymentFactory.create_batch(2, card_amount=500)
    charge(failed)
    settle(failed, "failed")
    refund(reversed_, charge(reversed_), 499)
    settle(reversed_, "reversed")

    assert book.compare().offenders == [
        f"{failed.charge_key}: the payment is failed: 0 should be charged and kept, 500 is",
        f"{reversed_.charge_key}: the payment is reversed: 0 should be charged and kept, 1 is",
    ]


def test_a_payment_that_claims_a_charge_which_is_not_there_is_found() -> None:
    never, declined, refunded = PaymentFactory.create_batch(3, card_amount=500)
    charge(declined, token="tok_declined")
    refund(refunded, charge(refunded))
    for payment in (never, declined, refunded):
        settle(payment, "succeeded")

    compared = book.compare()

    assert set(compared.offenders) == {
        f"{payment.charge_key}: the payment is succeeded: 500 should be charged and kept, 0 is"
        for payment in (never, declined, refunded)
    }
    assert compared.checked == 2


@pytest.mark.parametrize("status", ["succeeded", "failed", None])
def test_a_charge_of_another_amount_or_order_is_found_however_the_payment_stands(status: str | None) -> None:
    dear, strange = PaymentFactory.create_batch(2, card_amount=500)
    other_order = uuid4()
    charge(dear, amount=5_000)
    charge(strange, order_id=other_order)
    if status:
        settle(dear, status)
        settle(strange, status)

    first, second = book.compare().offenders

    assert first.startswith(f"{dear.charge_key}: 5000 KRW is charged for order {dear.order_id}, not 500 KRW")
    assert f"for order {other_order}, not 500 KRW for order {strange.order_id}" in second


def test_a_book_that_cannot_be_read_is_an_offence(settings: LazySettings) -> None:
    settle(PaymentFactory.create(card_amount=0), "succeeded", "")
    settings.GATEWAY_URL = f"http://{ports.HOST}:{ports.free()}"

    assert book.compare().offenders == ["not checked: The gateway's book can't be read: no connection."]


def test_a_long_book_is_read_in_pages_and_told_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "PAGE", 3)
    monkeypatch.setattr(book, "PAGE", 2)
    for payment in PaymentFactory.create_batch(8):
        settle(payment, "succeeded", charge(payment))
    claims = PaymentFactory.create_batch(3)
    for payment in claims:
        settle(payment, "succeeded")

    compared = book.compare()
    assert compared.checked == 8
    assert {one.key for one in compared.differences} == {payment.charge_key for payment in claims}
    assert len(book.compare(most=2).differences) == 2


class Moving:
    """The simulator, whose book was read a moment ago; who asks by key hears how it stands now."""

    def __init__(self, before: list[BookedCharge]) -> None:
        self.before = before

    def charges(self, *, key: str | None = None, order_id: UUID | None = None) -> Iterator[BookedCharge]:
        return iter(self.before) if key is None else simulator.charges(key=key)


def test_what_settled_while_the_book_was_read_is_no_difference(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One payment was refunded and reversed since its page was read; another charged and settled."""
    refunded, new = PaymentFactory.create_batch(2)
    reference = charge(refunded)
    moving = Moving(list(gateway().charges()))
    refund(refunded, reference)
    settle(refunded, "reversed")
    settle(new, "succeeded", charge(new))
    monkeypatch.setitem(gateways.GATEWAYS, "moving", moving)
    settings.PAYMENT_GATEWAY = "moving"

    assert book.compare().offenders == []


def test_a_gateway_that_charged_one_key_twice_is_found(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every gateway keeps its word about keys."""

    class Forgetful:
        def charges(self, *, key: str | None = None, order_id: UUID | None = None) -> Iterator[BookedCharge]:
            [charged] = simulator.charges(key=key)
            return iter([charged, replace(charged, reference="ch_again")])

    payment = PaymentFactory.create(card_amount=500)
    settle(payment, "succeeded", charge(payment))
    monkeypatch.setitem(gateways.GATEWAYS, "forgetful", Forgetful())
    settings.PAYMENT_GATEWAY = "forgetful"

    assert book.compare().offenders == [f"{payment.charge_key}: it is charged more than once, 1000 in all"]
