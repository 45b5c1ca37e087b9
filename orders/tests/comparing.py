"""Compares the real shop with its model: rows, wallets, journal and the gateway's book of charges."""

from collections import defaultdict
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db.models import Sum

from coupons.models import Coupon
from foundation.models import JournalLine
from inventory.models import Product
from orders.models import Order, Refund, Saga
from orders.tests import buying
from payments import ledger
from payments.gateways import calls, gateway
from payments.models import HOLDING, Dispute, Entry, Payment

BOOK_SECONDS = 10
"""For the gateway's book, which an audit reads; a purchase waits for a fraction of a second in tests."""


@contextmanager
def gateway_at(url: str):
    """Use the gateway at this URL, with time for its whole book, and with the circuit breaker reset."""
    before, patience = settings.GATEWAY_URL, settings.GATEWAY_TIMEOUT_SECONDS
    settings.GATEWAY_URL, settings.GATEWAY_TIMEOUT_SECONDS = url, BOOK_SECONDS
    calls.forget()
    try:
        yield
    finally:
        settings.GATEWAY_URL, settings.GATEWAY_TIMEOUT_SECONDS = before, patience
        calls.forget()


def assert_sound(shop):
    """Assert that every law holds and that the shop agrees with the model.

    L9 may differ by what the gateway did of which the shop doesn't know yet.
    """
    adopt_bookings(shop)
    _assert_lawful(tuple(f"payment-{one.payment_id}:" for one in shop.orders if one.has_news))
    stock = _read(Product.objects, "id", "on_hand", "reserved")
    coupons = _read(Coupon.objects, "code", "status", "order_id")
    orders = _read(Order.objects, "id", "status", "refunded_amount")
    _assert_same("stock", stock, {one.id: (one.on_hand, one.reserved) for one in shop.products})
    _assert_same("wallets", ledger.balances(shop.wallets), shop.wallets)
    _assert_same("coupons", coupons, {one.code: (one.status, one.order_id) for one in shop.coupons})
    _assert_same("orders", orders, {one.id: (one.status, one.refunded_amount) for one in shop.orders})
    refunds = {one.id: (one.amount, one.status == "succeeded") for one in Refund.objects.all()}
    _assert_same("refunds", refunds, {one.id: (one.amount, one.is_settled) for one in shop.refunds})
    _assert_same("stories", _stories(), {one.id: one.story for one in shop.orders})
    _assert_charged(shop)


def _assert_lawful(unbooked=()):
    """Assert that every law holds; of L9 these beginnings of differences are left out."""
    broken = [
        f"{report.law} {report.offenders}"
        for report in buying.broken_laws()
        if report.law != "L9" or not all(offender.startswith(unbooked) for offender in report.offenders)
    ]
    assert not broken, broken


def adopt_bookings(shop):
    """Have the model follow when the shop books what the gateway did; what that may be, the model says."""
    orders = {one.id: one for one in shop.orders}
    refunds = {one.id: one for one in shop.refunds}
    rows = Refund.objects.order_by("created_at")
    for row in rows:
        if row.id in refunds and row.amount < refunds[row.id].amount:
            refunds[row.id].reduce(row.amount)
    for row in rows:
        if row.id not in refunds and row.source == Refund.Source.GATEWAY:
            shop.book(orders[row.order_id], row.id, row.amount)
    shop.update_refunded()
    disputes = {one.reference: one for order in shop.orders for one in order.disputes}
    for dispute in Dispute.objects.all():
        disputes[dispute.reference].book(dispute.status, dispute.amount)


def _assert_same(what, real, modelled):
    ids = [id for id in {**real, **modelled} if real.get(id) != modelled.get(id)]
    assert not ids, f"{what} by the shop and by the model: {[(real.get(id), modelled.get(id)) for id in ids]}"


def _read(rows, *columns):
    """These columns of each row by the first one."""
    return {key: tuple(values) for key, *values in rows.values_list(*columns)}


def _stories():
    """The journal's `order.*` lines of each order, oldest first."""
    events = defaultdict(list)
    for line in JournalLine.objects.filter(what__startswith="order.").order_by("id"):
        events[line.order_id].append(line.what)
    return dict(events)


def _assert_charged(shop):
    """Assert one charge at most per payment, with the kept amount of the model."""
    kept: dict[Any, list[int]] = defaultdict(list)
    keys = dict(Payment.objects.values_list("charge_key", "id"))
    pending = set()
    for charge in gateway().charges():
        kept[keys[charge.key]].append(charge.kept_amount)
        if charge.status == "pending":
            pending.add(keys[charge.key])
    assert pending <= {one.payment_id for one in shop.charged if not one.is_over}
    for one in shop.charged:
        least, most = one.kept_amounts()
        [amount] = kept.get(one.payment_id) or [0]
        assert least <= amount <= most, f"{amount} is kept for {one}"


def assert_over(shop):
    """Assert that nothing is open or held, that all is booked, and the gateway keeps what the model says."""
    _assert_lawful()
    assert not [one.id for one in shop.orders if one.has_news and not one.is_confirmed]
    for order in shop.orders:
        if not (order.is_confirmed or any(one.status == "won" for one in order.disputes)):
            assert not (order.kept_amount and any(one.is_reduced for one in order.refunds)), order
    assert not [one.id for one in shop.orders if one.is_open or one.status == "refunding"]
    assert not Saga.objects.filter(ended_at=None).exists()
    assert not Product.objects.exclude(reserved=0).exists()
    assert not Coupon.objects.filter(status="held").exists()
    held_amount = Entry.objects.filter(account_id=HOLDING).aggregate(amount=Sum("amount"))["amount"]
    assert not held_amount
    kept_amount = sum(charge.kept_amount for charge in gateway().charges())
    assert kept_amount == sum(one.kept_amount for one in shop.charged)
