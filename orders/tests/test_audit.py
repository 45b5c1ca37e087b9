"""Damage for all audits (shop/tests/test_scheduled_audit.py), and what the audit says of admissions."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.conf import settings
from django.db.models import F, Sum
from django.utils import timezone

from coupons.models import Coupon
from events.tests.delivering import dead
from foundation import clock
from foundation.models import ArchivedPaidEvent, IdempotencyKey, JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory, set_columns
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.models import CarriedStock, Delivery, Product, StockMovement
from inventory.tests.factories import ProductFactory
from orders import cancellation
from orders.models import Order, OrderLine, Saga
from orders.tests import buying
from payments.models import Entry
from sales.models import Sale, SaleEntry
from sales.tests import factories
from sales.waiting_room import admission, advancing

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unlawful")]


@pytest.fixture
def paid():
    product, buyer = buying.product_and_buyer(on_hand=9, price=5_000, points=100)
    code = buying.coupon_code(buyer)
    placed = buying.place(buyer, product, coupon=code, points=50, token="tok_ok")
    return buying.advance(placed)


@pytest.fixture
def cancelled():
    """An order whose card was declined after its points were held."""
    product, buyer = buying.product_and_buyer(on_hand=9, price=5_000, points=100)
    return buying.buy(buyer, product, points=50, token="tok_declined")


def _second_key(paid, ended):
    key = IdempotencyKey.objects.get(reference=paid.id)
    key.pk, key.key_hash = None, "another"
    key.save()


def _pay_unseen(paid, ended):
    set_columns(paid, status="payment_failed", paid_at=None)


def _late_saga(paid, ended):
    long_ago = timezone.now() - timedelta(hours=1)
    Saga.objects.filter(subject_id__in=paid.payments.values("id")).update(
        state="running", ended_at=None, next_attempt_at=long_ago, deadline_at=long_ago
    )


def _never_told(paid, ended):
    dead(order_id=paid.id, event_id=JournalLine.objects.get(order_id=paid.id, what="order.paid").event_id)


# The law that is broken, and the damage to a paid order or to one whose card was declined.
DAMAGE = [
    ("L5", lambda paid, ended: Product.objects.filter(order_lines__order=paid).update(reserved=1)),
    ("L6", lambda paid, ended: Coupon.objects.filter(order=paid).update(status="held")),
    ("L8", _second_key),
    ("L9", lambda paid, ended: paid.payments.update(status="failed")),
    ("L9", lambda paid, ended: ended.payments.update(status="succeeded", charge_reference="ch_none")),
    ("L9", _pay_unseen),
    ("L9", lambda paid, ended: paid.payments.update(status="in_doubt", settled_at=None)),
    ("L10", _late_saga),
    ("L11", lambda paid, ended: ended.transfers.filter(kind="release").update(order=paid)),
    ("L12", _never_told),
    ("L12", lambda paid, ended: JournalLine.objects.filter(order_id=paid.id, what="order.paid").delete()),
    # The limit under which its paid units were placed is lowered.
    ("L13", lambda paid, ended: paid.lines.update(limit_per_account=1, quantity=2, line_amount=10_000)),
]


def _row(order):
    return Order.objects.filter(id=order.id)


def _wallet_entries(order):
    return Entry.objects.filter(transfer__order=order, transfer__kind="refund", account_id__gt=0)


def _end_the_saga(order):
    rows = Saga.objects.filter(subject_id=order.refunds.get(status="pending").id)
    rows.update(state="done", ended_at=timezone.now(), next_attempt_at=None)


REFUND_DAMAGE = {
    "more given back": lambda order: _row(order).update(refunded_amount=F("refunded_amount") + 1),
    "one under way forgotten": lambda order: _row(order).update(status=Order.Status.PAID),
    "refunded with a unit left": lambda order: _row(order).update(status=Order.Status.REFUNDED),
    "more of the line": lambda order: order.lines.update(refunded_quantity=3),
    "less of the card": lambda order: order.payments.update(refunding_amount=0),
    "more to the card": lambda order: order.payments.update(refunded_amount=F("refunded_amount") + 1),
    "nothing booked": lambda order: order.transfers.filter(kind="refund").update(order=None),
    "points booked as card": lambda order: _wallet_entries(order).update(amount=F("amount") + 1),
    "saga ended": _end_the_saga,
}


def test_an_order_that_is_paid_again_says_so():
    product = ProductFactory(on_hand=2)
    order = buying.advance(buying.place_for_newcomer(product, 2, token="tok_ok"))
    buying.refunded(order, product)
    for status in (Order.Status.REFUNDING, Order.Status.REFUNDED):
        set_columns(order, status=status)
        assert [report.law for report in buying.broken_laws()] == ["L9"]
    set_columns(order, status=Order.Status.PAID)
    assert buying.broken_laws() == []


MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def order():
    """An order of an admitted account, beside one of another account and one of a product without a sale."""
    product, free = ProductFactory(on_hand=9), ProductFactory(on_hand=9)
    sale = factories.create_sale(product)
    buyers = AccountFactory.create_batch(2)
    for buyer in buyers:
        factories.join(sale, buyer)
    advancing.advance(sale.pk)
    placed, _ = [buying.place(buyer, {product: 1, free: 1}) for buyer in buyers]
    buying.place(buyers[0], free)
    return buying.order_now(placed)


def used_by(order):
    """The entry that the order used, as rows that can be updated."""
    return SaleEntry.objects.filter(order=order)


def _place_under_another_sale(order):
    """Its entry stays used for the other line."""
    other = factories.create_sale()
    OrderLine.objects.filter(order=order, sale=None).update(sale=other.pk)


ENTRY_DAMAGE = {
    "entry lost": lambda order: used_by(order).delete(),
    "entry free": lambda order: used_by(order).update(status="admitted", order=None),
    "entry of another account": lambda order: used_by(order).update(account=buying.account().id),
    "admitted after the order": lambda order: used_by(order).update(
        admitted_at=order.placed_at + admission.LARGEST_STEP + MICROSECOND
    ),
    "expired at the order": lambda order: used_by(order).update(admitted_until=order.placed_at),
    "line without its sale": lambda order: OrderLine.objects.filter(order=order).update(sale=None),
    "line of another sale": _place_under_another_sale,
}


@in_one_test("name", ENTRY_DAMAGE)
def test_planted_damage_is_named_by_l14_alone_with_its_only_offender(name, order):
    assert buying.broken_laws() == []
    ENTRY_DAMAGE[name](order)
    expected = f"entry {used_by(order).get().pk}" if name == "line without its sale" else str(order.id)
    assert [(one.law, one.offenders) for one in buying.broken_laws()] == [("L14", [expected])]


def test_an_order_at_the_instant_of_its_admission_and_a_clock_of_admissions_ahead_break_nothing(order):
    """The clock as after a failover to a database whose clock is behind."""
    used_by(order).update(admitted_at=order.placed_at, admitted_until=order.placed_at + MICROSECOND)
    assert buying.broken_laws() == []
    ahead = timedelta(minutes=7)
    used_by(order).update(
        admitted_at=order.placed_at + ahead, admitted_until=order.placed_at + timedelta(minutes=9)
    )
    assert [one.law for one in buying.broken_laws()] == ["L14"]
    Sale.objects.update(admission_clock_ahead=ahead)
    assert buying.broken_laws() == []


def test_an_entry_stays_used_however_its_order_ends(order):
    with clock.shifted(by=timedelta(seconds=settings.ORDER_HOLD_SECONDS + 1)):
        cancellation.expire_due()
    order.refresh_from_db()
    assert order.status == "expired"
    assert used_by(order).get().status == "used"
    assert buying.broken_laws() == []


@pytest.fixture
def archived(paid):
    """The paid order's journal, and all movements with those of a delivery, as release 2.0 archived them."""
    rows = [StockRow(line=0, sku="TEA", name="Tea", price=1, quantity=70)]
    importing.receive(rows, delivery_id=uuid4(), reason="delivery")
    sums = StockMovement.objects.values_list("product").annotate(delta=Sum("delta"))
    CarriedStock.objects.bulk_create(CarriedStock(product_id=id, delta=delta) for id, delta in sums)
    Delivery.objects.update(archived=F("received"))
    StockMovement.objects.all().delete()
    JournalLine.objects.filter(order_id=paid.pk).delete()
    ArchivedPaidEvent.objects.create(order_id=paid.pk)
    return paid


def test_the_laws_count_what_release_2_0_archived_by_its_sums(archived):
    assert buying.broken_laws() == []
    buying.place_for_newcomer(Product.objects.get(sku="TEA"), 3, token="tok_ok")
    assert buying.broken_laws() == []


def test_an_archived_sum_that_is_wrong_breaks_its_law(archived):
    CarriedStock.objects.filter(product__sku="TEA").update(delta=F("delta") + 1)
    Delivery.objects.update(archived=F("archived") - 1)
    ArchivedPaidEvent.objects.all().delete()
    found = {one.law: one.offenders for one in buying.broken_laws()}
    assert found == {
        "L5": [str(Product.objects.get(sku="TEA").pk)],
        "L8": [str(Delivery.objects.get().pk)],
        "L12": [str(archived.pk)],
    }
