"""The timeline for each possible end of an order: what its owner reads, and what staff read in addition."""

from datetime import datetime

import pytest
from django.utils import timezone

from accounts.tests.clients import client_of
from events.tests.delivering import deliver_all
from events.webhooks import deliveries
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import SuperuserFactory, staff_member
from inventory.models import Product
from orders import cancellation
from orders.models import Saga
from orders.placement.decisions import PlacedOrder
from orders.tests import buying
from payments.models import Payment

pytestmark = pytest.mark.django_db


def bought(token: str | None) -> PlacedOrder:
    """An order with a coupon, points and a card."""
    product, buyer = buying.product_and_buyer(on_hand=5, price=500, points=1_000)
    coupon = buying.coupon_code(buyer, discount_value=100)
    return buying.place(buyer, {product: 2}, coupon=coupon, points=300, token=token)


def cancelled() -> PlacedOrder:
    placed = bought(None)
    buying.cancel(placed)
    return placed


def expired() -> PlacedOrder:
    placed = bought(None)
    buying.change_order(placed.order, expires_at=timezone.now())
    cancellation.expire_due()
    return placed


def paid(token="tok_ok") -> PlacedOrder:
    placed = bought(token)
    buying.advance(placed)
    buying.settle_everything()
    deliver_all()
    return placed


def given_up() -> PlacedOrder:
    placed = bought("tok_error")
    buying.advance(placed)
    Saga.objects.update(deadline_at=timezone.now())
    buying.settle_everything()
    return placed


def refunded_by_halves() -> PlacedOrder:
    placed = paid("tok_refund_fails")
    [line] = placed.lines
    buying.refund(placed.order, Product.objects.get(id=line.product_id), reason="one is broken")
    buying.settle_everything()
    buying.refund(placed.order, reason="so is the other")
    buying.settle_everything()
    return placed


PLACED = ["order.placed"]
BEGUN = [*PLACED, "reserve_inventory.done", "hold_coupon.done", "debit_balance.done"]
PAID = [*BEGUN, "charge_card.done", "order.paid", "settle.done", "transmit.done"]
UNDONE = ["reserve_inventory.undo.done", "hold_coupon.undo.done", "debit_balance.undo.done"]
DECLINED = [*BEGUN, "charge_card.refused", "charge_card.undo.skipped", *UNDONE, "order.payment_failed"]
GIVEN_UP = [*BEGUN, "charge_card.void", "charge_card.undo.done", *UNDONE, "order.payment_failed"]
REFUNDED = ["refund.requested", "refund_card.done", "order.refunded", "settle_refund.done"]
# The order, the lines that owner and staff read, and the number of failed attempts.
ENDS = {
    "cancelled": (cancelled, [*PLACED, "order.cancelled"], 0),
    "expired": (expired, [*PLACED, "order.expired"], 0),
    "paid": (paid, PAID, 0),
    "paid at the third attempt": (lambda: paid("tok_flaky"), PAID, 2),
    "declined": (lambda: paid("tok_declined"), DECLINED, 0),
    "given up": (given_up, GIVEN_UP, 2),
    "refunded by halves": (refunded_by_halves, [*PAID, *REFUNDED, *REFUNDED], 4),
}


def timeline_of(placed: PlacedOrder, reader) -> list[dict[str, str]]:
    answer = client_of(reader).get(f"/orders/{placed.order.id}/timeline")
    assert answer.status_code == 200
    rows: list[dict[str, str]] = answer.json()["results"]
    assert all(set(row) == {"at", "event", "detail"} for row in rows)
    return rows


@in_one_test("end", ENDS)
def test_its_owner_reads_the_outcome_and_staff_every_attempt(end, unlawful):
    make, events, failed_attempts = ENDS[end]
    placed = make()
    owners = timeline_of(placed, buying.owner(placed))
    staffs = timeline_of(placed, SuperuserFactory())
    assert [row["event"] for row in owners] == events
    assert [row["event"] for row in staffs if _is_for_everybody(row)] == events
    assert len([row for row in staffs if row["event"].endswith(".failed")]) == failed_attempts
    moments = [datetime.fromisoformat(row["at"]) for row in staffs]
    assert moments == sorted(moments), "in the order in which they happened"


def _is_for_everybody(row):
    """Whether the owner reads it too, unlike failed attempts and changes of wallets, coupons and stock."""
    kind, _, outcome = row["event"].rpartition(".")
    return kind == "order" or (kind not in ("points", "coupon", "stock") and outcome != "failed")


def test_what_operators_did_and_why_is_for_staff_with_the_right_to_the_journal():
    """Staff that may see orders alone read the reasons of operators, and the changes of wallets."""
    placed = refunded_by_halves()
    reason = "the customer's lawyer called"
    deliveries.resend_order(order_id=placed.order.id, reason=reason)
    viewer, reader = (staff_member("orders.view_order", *more) for more in ([], ["shop.view_journalline"]))
    by_viewer, by_reader = timeline_of(placed, viewer), timeline_of(placed, reader)
    assert reason in str(by_reader) and reason not in str(by_viewer)
    assert by_reader == timeline_of(placed, SuperuserFactory())
    failed = [row for row in by_reader if row["event"].endswith(".failed")]
    assert failed and [row for row in by_viewer if row["event"].endswith(".failed")] == failed
    assert "re_" in str(by_viewer)
    assert not [row for row in by_viewer if row["event"].startswith(("points.", "event."))]
    # The gateway's references are for staff alone.
    charge = Payment.objects.get(order=placed.order.id).charge_reference
    for rows, is_told in ((timeline_of(placed, buying.owner(placed)), False), (by_reader, True)):
        text = " ".join(row["detail"] for row in rows)
        assert [name in text for name in (charge, "re_")] == [is_told, is_told]
