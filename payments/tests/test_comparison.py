"""Payments against the gateway's book: differences are found and named, concurrent changes are none."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from foundation.tests.factories import AccountFactory, reloaded, set_columns
from foundation.tests.outages import nowhere
from payments import rows
from payments.gateways import gateway, simulator
from payments.gateways.contract import BookedCharge
from payments.models import Payment
from payments.reconciliation import comparison
from payments.tests import own_gateway
from payments.tests.factories import PaymentFactory
from payments.tests.own_gateway import SimulatorBut
from payments.tests.sales import charge, settle
from scripts.simulators.books import written

pytestmark = pytest.mark.django_db(transaction=True)
Use = Callable[[SimulatorBut], None]


@pytest.fixture(autouse=True)
def _own_book(own_gateway):
    """A book with the charges of this test only."""


def refund(payment, reference: str, amount: int | None = None):
    refunded = gateway().refund(
        key=f"{payment.charge_key}:refund", charge_reference=reference, amount=amount or payment.card_amount
    )
    assert refunded.status == "succeeded"


def test_every_consistent_outcome_agrees_with_the_book():
    paid, declined, cancelled, given_back = PaymentFactory.create_batch(4)
    topped_up, free = PaymentFactory(top_up=True), PaymentFactory(card_amount=0)
    settle(paid, "succeeded", charge(paid))
    settle(topped_up, "succeeded", charge(topped_up))
    charge(declined, token="tok_declined")
    settle(declined, "failed")
    assert gateway().cancel(key=cancelled.charge_key).status == "cancelled"
    settle(cancelled, "failed")
    refund(given_back, charge(given_back))
    settle(given_back, "reversed")
    settle(free, "succeeded", "")
    # An unsettled payment may be charged or not.
    charged, _, in_doubt, refunded = PaymentFactory.create_batch(4)
    with transaction.atomic():
        rows.mark_in_doubt(in_doubt.id)
    charge(charged)
    charge(in_doubt)
    refund(refunded, charge(refunded))

    compared = comparison.compare()

    assert (compared.checked, compared.offenders) == (8, [])


def test_charges_that_are_kept_of_failed_payments_or_missing_of_others_are_found():
    never, declined, refunded, failed, reversed_ = PaymentFactory.create_batch(5, card_amount=500)
    charge(failed)
    settle(failed, "failed")
    refund(reversed_, charge(reversed_), 499)
    settle(reversed_, "reversed")
    charge(declined, token="tok_declined")
    refund(refunded, charge(refunded))
    for payment in (never, declined, refunded):
        settle(payment, "succeeded")

    compared = comparison.compare()

    assert set(compared.offenders) == {
        f"{failed.charge_key}: the payment is failed, and 500 is charged and kept",
        f"{reversed_.charge_key}: the payment is reversed, and 1 is charged and kept",
        f"{never.charge_key}: the payment is succeeded, and its 500 is not charged",
        f"{declined.charge_key}: the payment is succeeded, and its 500 is not charged",
        f"{refunded.charge_key}: of 500 we say that 0 is refunded, and 0 about to be; the gateway keeps 0",
    }
    assert compared.checked == 4


@pytest.mark.parametrize("status", ["succeeded", "failed", None])
def test_a_charge_of_another_amount_or_order_is_found_for_any_status(status):
    dear, strange = PaymentFactory.create_batch(2, card_amount=500)
    other_order = uuid4()
    charge(dear, amount=5_000)
    charge(strange, order_id=other_order)
    if status:
        settle(dear, status)
        settle(strange, status)

    first, second = comparison.compare().offenders

    assert first.startswith(f"{dear.charge_key}: 5000 KRW is charged for order {dear.order_id}, not 500 KRW")
    assert f"for order {other_order}, not 500 KRW for order {strange.order_id}" in second


def test_a_book_that_cannot_be_read_is_an_offender(settings):
    settle(PaymentFactory(card_amount=0), "succeeded", "")
    settings.GATEWAY_URL = nowhere()

    assert comparison.compare().offenders == ["not checked: The gateway's book can't be read: no connection."]


def test_a_long_book_is_read_in_pages_and_reported_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(simulator, "PAGE", 3)
    monkeypatch.setattr(comparison, "PAGE", 2)
    for payment in PaymentFactory.create_batch(8):
        settle(payment, "succeeded", charge(payment))
    claims = PaymentFactory.create_batch(3)
    for payment in claims:
        settle(payment, "succeeded")

    compared = comparison.compare()
    assert compared.checked == 8
    assert {one.key for one in compared.differences} == {payment.charge_key for payment in claims}
    assert len(comparison.compare(most=2).differences) == 2


class Moving(SimulatorBut):
    """Lists an earlier state of its book; a look-up by key returns the present state."""

    def __init__(self, before):
        self.before = before

    def charges(self, *, key: str | None = None, **period) -> Iterator[BookedCharge]:
        return iter(self.before) if key is None else simulator.charges(key=key)


@pytest.fixture
def use(monkeypatch):
    """Make the shop call this gateway instead of the simulator."""
    return partial(own_gateway.use, monkeypatch=monkeypatch)


def test_a_payment_that_settles_while_the_book_is_read_is_no_difference(use):
    """One payment was refunded and reversed since its page was read; another charged and settled."""
    refunded, new = PaymentFactory.create_batch(2)
    reference = charge(refunded)
    moving = Moving(list(gateway().charges()))
    refund(refunded, reference)
    settle(refunded, "reversed")
    settle(new, "succeeded", charge(new))
    use(moving)

    assert comparison.compare().offenders == []


def test_a_refund_between_the_reads_of_both_sides_is_no_difference(use):
    """The payment is read, then the gateway refunds its charge, and then the gateway's book is read."""
    payment = PaymentFactory(card_amount=500)
    reference = charge(payment)
    settle(payment, "succeeded", reference)
    refunds = [100, 100]

    class Refunding(SimulatorBut):
        def charges(self, *, key=None, **period):
            if key and refunds:
                amount = refunds.pop()
                before = reloaded(payment).refunded_amount
                simulator.refund(key=f"refund-{before}", charge_reference=reference, amount=amount)
                set_columns(payment, refunded_amount=before + amount)
            found = list(simulator.charges(key=key))
            return iter([replace(one, amount=499) for one in found] if key is None else found)

    use(Refunding())
    assert comparison.compare().offenders == []
    assert refunds == []


@pytest.mark.parametrize("page", [1_000, 1])
def test_a_gateway_that_charged_one_key_twice_is_found(page, use, monkeypatch):
    """Some gateways fail to honour keys. The second charge may be on another page."""

    class Forgetful(SimulatorBut):
        def charges(self, *, key=None, **period):
            [charged] = simulator.charges(key=key)
            return iter([charged, replace(charged, reference="ch_again")])

    payment = PaymentFactory(card_amount=500)
    settle(payment, "succeeded", charge(payment))
    use(Forgetful())
    monkeypatch.setattr(comparison, "PAGE", page)

    assert comparison.compare().offenders == [
        f"{payment.charge_key}: it is charged more than once, 1000 in all"
    ]


def test_refunds_are_known_to_both_or_under_way():
    cases = [
        (0, 0, 0, True),
        (200, 0, 200, True),
        (200, 100, 200, True),
        (200, 100, 300, True),
        (500, 0, 500, True),
        (0, 500, 0, True),
        (200, 0, 0, False),
        (0, 0, 200, False),
        (200, 100, 199, False),
        (200, 100, 301, False),
        (500, 0, 499, False),
    ]
    wrong = set()
    for refunded, refunding, given_back, is_right in cases:
        payment = PaymentFactory(card_amount=500)
        reference = charge(payment)
        settle(payment, "succeeded", reference)
        if given_back:
            refund(payment, reference, given_back)
        set_columns(payment, refunded_amount=refunded, refunding_amount=refunding)
        if not is_right:
            said = f"we say that {refunded} is refunded, and {refunding} about to be"
            wrong.add(f"{payment.charge_key}: of 500 {said}; the gateway keeps {500 - given_back}")

    compared = comparison.compare()

    assert (compared.checked, set(compared.offenders)) == (len(cases), wrong)


NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
Backdate = Callable[[str, datetime], None]
Dated = Callable[..., Payment]


@pytest.fixture
def backdate(gateway_process):
    def change(key, at):
        statement = "UPDATE charges SET created_at = ? WHERE key = ?"
        own_gateway.change_book(gateway_process[1], statement, [written(at), key])

    return change


@pytest.fixture
def dated(backdate):
    """A payment that began and was charged at these times (or was never charged), and succeeded."""

    def made(*, paid_at, charged_at):
        payment = PaymentFactory(card_amount=500, created_at=paid_at)
        settle(payment, "succeeded", charge(payment) if charged_at else "ch_never")
        if charged_at:
            backdate(payment.charge_key, charged_at)
        return payment

    return made


def test_only_what_began_in_the_period_is_compared(dated, backdate):
    hour = timedelta(hours=1)
    missing = [dated(paid_at=NOON + hours * hour, charged_at=None) for hours in (-1, 0, 1, 2)]
    for hours in (-1, 0, 1, 2):
        gateway().charge(key=f"orphan {hours}", token="tok_ok", amount=70, currency="KRW", order_id=None)
        backdate(f"orphan {hours}", NOON + hours * hour)

    compared = comparison.compare(since=NOON, until=NOON + 2 * hour)

    assert {one.key for one in compared.differences} == {
        missing[1].charge_key, missing[2].charge_key, "orphan 0", "orphan 1",
    }  # fmt: skip
    assert compared.checked == 2
    assert len(comparison.compare().differences) == 8


def test_a_charge_beyond_the_edge_of_the_period_is_no_difference(dated):
    second = timedelta(seconds=1)
    dated(paid_at=NOON - second, charged_at=NOON)
    dated(paid_at=NOON, charged_at=NOON - second)
    end = NOON + timedelta(hours=1)
    dated(paid_at=end - second, charged_at=end)
    dated(paid_at=end, charged_at=end - second)

    compared = comparison.compare(since=NOON, until=end)

    assert (compared.offenders, compared.checked) == ([], 2)


def test_a_book_of_many_days_is_read_day_by_day(use, dated):
    periods = []

    class Recording(SimulatorBut):
        def charges(self, *, key=None, **period):
            if key is None:
                periods.append((period["since"], period["until"]))
            return simulator.charges(key=key, **period)

    day = timedelta(days=1)
    for days in (0, 1, 3):
        dated(paid_at=NOON + days * day, charged_at=NOON + days * day + timedelta(seconds=2))
    use(Recording())

    compared = comparison.compare(until=NOON + 3.5 * day)
    assert (compared.offenders, compared.checked) == ([], 3)
    edges = [None, *(NOON + days * day for days in (1, 2, 3, 3.5))]
    assert periods == [*pairwise(edges)]


class Long(SimulatorBut):
    """A book of these charges of ours, all of one day; each may be looked up by its key."""

    def __init__(self, keys):
        self.keys = keys

    def charges(
        self, *, key: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[BookedCharge]:
        is_within = (since is None or since <= NOON) and (until is None or until > NOON)
        return (self._charge(one) for one in ([key] if key else self.keys if is_within else []))

    def _charge(self, key):
        named = {"reference": f"ch_{key}", "key": key, "order_id": None, "status": "succeeded"}
        return BookedCharge(**named, amount=500, refunded_amount=0, currency="KRW", created_at=NOON)


def write_payments(count: int) -> list[str]:
    """Insert this many successful top-ups; returns their keys, oldest first."""
    owner = AccountFactory()
    of = {"account": owner, "top_up": True, "settled": True, "status": "succeeded"}
    built = PaymentFactory.build_batch(count, **of)
    for at, row in enumerate(built):
        row.created_at, row.charge_reference = NOON + timedelta(seconds=at), f"ch_{row.charge_key}"
    Payment.objects.bulk_create(built, batch_size=1_000)
    return [row.charge_key for row in built]


def peak_of(compare: Callable[[], Any]) -> int:
    """The most memory that the comparison takes, in bytes."""
    tracemalloc.start()
    try:
        assert compare().offenders == []
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_book(use, monkeypatch):
    monkeypatch.setattr(comparison, "PAGE", 100)
    keys = write_payments(3_000)
    use(Long(keys[:300]))
    short = peak_of(lambda: comparison.compare(until=NOON + timedelta(seconds=300)))
    use(Long(keys))
    # Ten times as many rows; other threads of this process take some memory too.
    assert peak_of(comparison.compare) < 4 * short


def test_books_in_another_order_agree_too(use, monkeypatch):
    """Many keys are then looked up one by one, because only `MAX_AHEAD` are remembered."""
    monkeypatch.setattr(comparison, "PAGE", 10)
    monkeypatch.setattr(comparison, "MAX_AHEAD", 15)
    keys = write_payments(100)
    for order in (keys[::-1], keys[50:] + keys[:50]):
        use(Long(order))
        assert (comparison.compare().offenders, comparison.compare().checked) == ([], 100)
