"""Filled tables are as sound as those of a shop that sold: the audit finds nothing in them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from coupons.models import Coupon
from inventory.models import Product
from orders.models import Order, OrderLine, Saga, SagaLog
from orders.tests import buying
from payments.gateways import gateway
from payments.models import Entry, LedgerAccount, Payment
from payments.tests.own_gateway import gateway_process, own_gateway
from scripts.tests.simulator import Simulator
from shop.management import filling, laws
from shop.models import IdempotencyKey, JournalLine

__all__ = ["gateway_process", "own_gateway"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def book(gateway_process: tuple[Simulator, Path], own_gateway: Simulator) -> Path:
    return gateway_process[1] / "book.sqlite3"


@pytest.fixture
def printed() -> list[str]:
    return []


def _audit_statements() -> int:
    with CaptureQueriesContext(connection) as captured:
        reports = laws.audit()
    assert [report for report in reports if not report.holds] == []
    return len(captured)


def test_every_law_holds_over_filled_tables(book: Path, printed: list[str]) -> None:
    filling.fill_coupons(430, campaigns=4, say=printed.append)
    filling.fill_orders(700, book=book, say=printed.append)
    assert buying.broken_laws() == []
    assert (Coupon.objects.filter(status="issued").count(), Order.objects.count()) == (430, 700)
    assert printed[-1].startswith("700 of 700 orders")


def test_the_command_fills_where_it_is_for_measuring(book: Path, settings: LazySettings) -> None:
    settings.LAB = False
    with pytest.raises(CommandError, match="LAB=1"):
        call_command("fill_tables", coupons=40)
    settings.LAB = True
    with pytest.raises(CommandError, match="--campaigns is a number"):
        call_command("fill_tables", coupons=40, campaigns=0)
    with pytest.raises(CommandError, match="--orders needs --book"):
        call_command("fill_tables", orders=60, book=book.with_name("absent"))
    assert (Coupon.objects.count(), Order.objects.count()) == (0, 0)
    call_command("fill_tables", coupons=40, orders=60, book=book)
    assert (Coupon.objects.filter(status="issued").count(), Order.objects.count()) == (40, 60)


def test_two_threads_find_what_one_does(book: Path, printed: list[str]) -> None:
    filling.fill_coupons(40, campaigns=2, say=printed.append)
    filling.fill_orders(60, book=book, say=printed.append)
    Product.objects.filter(reserved__gt=0).update(reserved=F("reserved") - 1)
    assert laws.audit_in_parallel() == laws.audit()
    assert [report.law for report in laws.audit_in_parallel() if not report.holds] == ["L5"]


def test_orders_end_in_all_ways_with_their_charges(book: Path, printed: list[str]) -> None:
    filling.fill_orders(700, book=book, say=printed.append)
    ended = {status: Order.objects.filter(status=status).count() for status in Order.Status.values}
    assert {status: number for status, number in ended.items() if number} == {
        "paid": 420,
        "awaiting_payment": 14,
        "expired": 126,
        "cancelled": 105,
        "payment_failed": 35,
    }
    by_status = [charge.status for charge in gateway().charges()]
    assert (by_status.count("succeeded"), by_status.count("declined")) == (420, 35)
    assert Order.objects.filter(points_amount__gt=0).exists()
    assert (
        Coupon.objects.filter(status="redeemed").count() == Order.objects.exclude(coupon_code="").count() > 0
    )
    assert Product.objects.filter(reserved__gt=0).exists()


def test_each_order_leaves_the_rows_that_a_real_one_does(book: Path, printed: list[str]) -> None:
    filling.fill_orders(300, book=book, say=printed.append)
    filled = Order.objects.filter(status="paid", points_amount__gt=0).first()
    assert filled is not None
    assert (
        sum(OrderLine.objects.filter(order=filled).values_list("line_amount", flat=True))
        == filled.items_amount
    )
    payment = Payment.objects.get(order=filled)
    saga = Saga.objects.get(subject_id=payment.id)
    assert (saga.state, SagaLog.objects.filter(saga=saga).count()) == ("done", 6)
    assert IdempotencyKey.objects.filter(reference=filled.id).count() == 1
    wallet = LedgerAccount.objects.get(user_id=filled.account_id)
    assert Entry.objects.filter(account=wallet).latest("id").balance_after_amount == wallet.balance_amount
    told_of = set(JournalLine.objects.filter(order_id=filled.id).values_list("what", flat=True))
    assert {"order.placed", "charge_card.done", "stock.sold", "order.paid"} <= told_of


def test_filled_orders_come_after_those_that_were_there(book: Path, printed: list[str]) -> None:
    """Else the books of payments and charges, each in its order, would be far out of step."""
    for _ in range(2):
        filling.fill_orders(60, book=book, say=printed.append)
    keys = list(Payment.objects.order_by("created_at", "id").values_list("charge_key", flat=True))
    assert keys == [charge.key for charge in gateway().charges()]


@pytest.mark.parametrize(
    ("damage", "law"),
    [
        (lambda: Coupon.objects.filter(position=7).update(position=70_000), "L2"),
        (lambda: Product.objects.filter(reserved__gt=0).update(reserved=F("reserved") - 1), "L5"),
        (lambda: Entry.objects.filter(id=Entry.objects.latest("id").pk).update(amount=F("amount") + 1), "L7"),
        (lambda: Payment.objects.filter(status="succeeded").update(card_amount=F("card_amount") + 1), "L9"),
        (lambda: JournalLine.objects.filter(what="order.paid").delete(), "L12"),
    ],
)
def test_damage_among_filled_rows_is_found(
    book: Path, printed: list[str], damage: Callable[[], object], law: str
) -> None:
    filling.fill_coupons(40, campaigns=2, say=printed.append)
    filling.fill_orders(60, book=book, say=printed.append)
    damage()
    assert law in [report.law for report in buying.broken_laws()]


def test_an_audit_of_ten_times_the_rows_takes_no_more_statements(book: Path, printed: list[str]) -> None:
    filling.fill_coupons(40, campaigns=2, say=printed.append)
    filling.fill_orders(60, book=book, say=printed.append)
    few = _audit_statements()
    filling.fill_coupons(400, campaigns=2, say=printed.append)
    filling.fill_orders(600, book=book, say=printed.append)
    assert _audit_statements() == few
