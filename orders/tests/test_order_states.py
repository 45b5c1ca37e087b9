"""A status change that is not in the table is impossible by any call."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest
from django.utils import timezone

from accounts.tests.clients import client_of, new_superuser
from inventory.tests.factories import ProductFactory
from orders import cancellation, order_states, rows as order_rows
from orders.models import Order, Saga
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, stepping

Status = Order.Status
ALL = [status.value for status in Status]

# The transitions of the contract.
CONTRACT = """
awaiting_payment → paying → paid → refunding → refunded
awaiting_payment → cancelled
awaiting_payment → expired
paying → payment_failed
paying → awaiting_payment
refunding → paid
refunded → paid
"""


def force(order_id: UUID, status: str):
    """Set the order's status directly, without any check; its holdings stay as they are."""
    paid_at = timezone.now() if status in order_states.PAID else None
    Order.objects.filter(id=order_id).update(status=status, paid_at=paid_at)


def test_an_order_changes_status_only_as_the_table_allows(db, unlawful):
    order_id = started().order.id
    found, expected = {}, {}
    for source, target in itertools.product(ALL, ALL):
        force(order_id, source)
        target_paid_at = timezone.now() if target in order_states.PAID else None
        moved = order_rows.transition([order_id], to=target, paid_at=target_paid_at)
        may_move = target in order_states.TRANSITIONS[source]
        found[source, target] = bool(moved), buying.state_of(order_id)
        expected[source, target] = may_move, target if may_move else source
    assert found == expected


def test_the_table_is_the_contract():
    drawn = {status: set() for status in ALL}
    for line in CONTRACT.split("\n"):
        for source, target in itertools.pairwise(line.split(" → ")):
            drawn[source].add(target)
    assert drawn == order_states.TRANSITIONS


def pay(placed: PlacedOrder) -> str:
    body = {"order": str(placed.order.id), "token": "tok_ok"}
    return refusal(client_of(buying.owner(placed)).post("/payments", body, key="pay"))


def cancel(placed: PlacedOrder) -> str:
    return refusal(client_of(buying.owner(placed)).post(f"/orders/{placed.order.id}/cancel"))


def expire(placed: PlacedOrder) -> str:
    buying.change_order(placed.order, expires_at=timezone.now())
    return "" if cancellation.expire_due() else "not_due"


def advance(placed: PlacedOrder) -> str:
    """Let its saga settle or fail it, as its card demands."""
    stepping.advance(placed.started.saga.id)
    row = buying.saga_of(placed)
    return "can't become" if "can't become" in row.last_error else ""


def refund(placed: PlacedOrder) -> str:
    staff = new_superuser()
    return refusal(staff.post(f"/orders/{placed.order.id}/refunds", {"reason": "they asked"}, key="refund"))


def execute_refund(placed: PlacedOrder) -> str:
    """Let the saga of its refund execute it."""
    row = Saga.objects.get(kind="refund", about_id=placed.order.id)
    stepping.advance(row.id)
    row.refresh_from_db()
    return "can't become" if "can't become" in row.last_error else ""


def refusal(answer) -> str:
    return "" if answer.status_code < 300 else answer.json()["code"]


def started(token: str | None = None) -> PlacedOrder:
    return buying.place_for_newcomer(ProductFactory(on_hand=1), token=token)


def paid() -> PlacedOrder:
    placed = started("tok_ok")
    buying.advance(placed)
    return placed


def refunding() -> PlacedOrder:
    """A paid order with a recorded refund of everything."""
    placed = paid()
    assert refund(placed) == ""
    return placed


@dataclass(frozen=True)
class Call:
    """A call that changes an order to `target`: the order it needs, and the text of its refusal."""

    target: str
    order: Callable[[], PlacedOrder]
    make: Callable[[PlacedOrder], str]
    refusal: str


CALLS = {
    "pay": Call(Status.PAYING, started, pay, "order_not_payable"),
    "cancel": Call(Status.CANCELLED, started, cancel, "order_not_cancellable"),
    "expire": Call(Status.EXPIRED, started, expire, "not_due"),
    "settle": Call(Status.PAID, lambda: started("tok_ok"), advance, "can't become"),
    "fail": Call(Status.PAYMENT_FAILED, lambda: started("tok_declined"), advance, ""),
    "refund": Call(Status.REFUNDING, paid, refund, "nothing_to_refund"),
    "execute refund": Call(Status.REFUNDED, refunding, execute_refund, "can't become"),
}
# Accepted without effect: it is cancelled already, or another refund is pending.
STAYING = {("cancel", Status.CANCELLED), ("refund", Status.REFUNDING)}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_changes_an_orders_status_only_as_the_table_allows(transactional_db, name, unlawful):
    call, found, expected = CALLS[name], {}, {}
    for source in ALL:
        placed = call.order()
        force(placed.order.id, source)
        refused = call.make(placed)
        found[source] = buying.status_of(placed), refused
        if call.target in order_states.TRANSITIONS[source]:
            expected[source] = call.target, ""
        else:
            expected[source] = source, "" if (name, source) in STAYING else call.refusal
    assert found == expected
