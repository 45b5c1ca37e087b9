"""Records what happens to an order: a line of the journal, which may be an event for other systems."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from foundation import journal
from foundation.db import open_transaction
from foundation.values import Values
from orders.metrics import counters
from orders.models import Order, Refund, RefundLine
from orders.order_states import OrderRow

Status = Order.Status
KEPT = "order.kept"
UPDATED = "order.updated"


def note_status(
    order: Order | OrderRow, *, status: str, at: datetime, detail: str = "", what: str = ""
) -> None:
    """Record that the order changes to `status`; `order` has its values before the change. One that has
    another name, `what`, is not counted.
    """
    if not what:
        open_transaction.count_after_commit(counters.count_orders, [(str(status), order.total_amount)])
    journal.note(
        what=what or f"order.{status}",
        subject=f"order {order.id}",
        order_id=order.id,
        before={"status": order.status},
        after=order_facts(order) | {"status": str(status)},
        detail=detail,
        at=at,
    )


def note_refund_requested(order: Order, refund: Refund, lines: Sequence[RefundLine]) -> None:
    journal.note(
        what="refund.requested",
        subject=f"refund {refund.id}",
        order_id=order.id,
        before={"status": order.status},
        after={"status": Status.REFUNDING, "refund": refund_facts(refund, lines)},
        detail=refund.reason,
        at=refund.created_at,
    )


def note_refunded(
    order: Order, refund: Refund, lines: Sequence[RefundLine], *, status: str, at: datetime
) -> None:
    """Record that the refund is done and the order changes to `status`; `order` has the values before."""
    at_gateway = " at the gateway" if refund.source == Refund.Source.GATEWAY else ""
    open_transaction.count_after_commit(counters.count_refunds, [(status == Status.REFUNDED, refund.amount)])
    changed = {"status": status, "refunded_amount": order.refunded_amount + refund.amount}
    detail = f"{refund.amount} refunded{at_gateway}"
    _note_refund(
        order,
        refund,
        lines,
        changed,
        what="order.refunded",
        subject=f"order {order.id}",
        detail=detail,
        at=at,
    )


def note_refund_failed(
    order: Order, refund: Refund, lines: Sequence[RefundLine], *, status: str, at: datetime
) -> None:
    """Record that the gateway took the refund back and the order changes to `status`; `order` has the values
    before.
    """
    open_transaction.count_after_commit(counters.count_failed_refunds, [refund])
    changed = {"status": status, "refunded_amount": order.refunded_amount - refund.card_amount}
    detail = f"{refund.card_amount} of a refund came back to the shop"
    _note_refund(
        order,
        refund,
        lines,
        changed,
        what="refund.failed",
        subject=f"refund {refund.id}",
        detail=detail,
        at=at,
    )


def _note_refund(
    order: Order, refund: Refund, lines: Sequence[RefundLine], changed: Values, **line: Any
) -> None:
    """Record what a refund has changed of the order, which has the values before."""
    journal.note(
        order_id=order.id,
        before={name: getattr(order, name) for name in changed},
        after=order_facts(order) | changed | {"refund": refund_facts(refund, lines)},
        **line,
    )


def note_updated(order: Order, *, before: Mapping[str, str]) -> None:
    """Record that the order's metadata changed from these texts, and by whom: a program that follows the
    events and changes orders leaves out its own.
    """
    actor = journal.current_actor()
    by = {"account": actor.id, "api_key": journal.key_of(actor)}
    journal.note(
        what=UPDATED,
        subject=f"order {order.id}",
        order_id=order.id,
        before={"metadata": before},
        after=order_facts(order) | {"status": order.status, "metadata": order.metadata or {}, "by": by},
        is_internal=True,
    )


def order_facts(order: Order | OrderRow) -> Values:
    """The order in an event, with its metadata if it has any. Amounts are in minor units."""
    return metadata_of(order) | {
        "order": str(order.id),
        "number": order.number,
        "account": order.account_id,
        "total_amount": order.total_amount,
        "points_amount": order.points_amount,
        "card_amount": order.card_amount,
        "currency": order.currency,
    }


def metadata_of(order: Order | OrderRow) -> Values:
    """The order's metadata as a member of an event; none where it has none."""
    return {"metadata": order.metadata} if order.metadata else {}


def refund_facts(refund: Refund, lines: Sequence[RefundLine]) -> Values:
    """The refund in an event. Amounts are in minor units."""
    return {
        "id": str(refund.id),
        "amount": refund.amount,
        "points_amount": refund.points_amount,
        "card_amount": refund.card_amount,
        "reason": refund.reason,
        "restock": refund.restock,
        "source": str(refund.source),
        "items": [
            {"product": line.line.product_id, "quantity": line.quantity, "amount": line.amount}
            for line in lines
        ],
    }
