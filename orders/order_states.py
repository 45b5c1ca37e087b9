"""An order's status: which may follow which, when an unpaid order has lapsed, and what ends it.

Also the rows of orders and lines, as they are read and written.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from foundation.errors import Rejected
from foundation.lazy_texts import mark


class Status(StrEnum):
    AWAITING_PAYMENT = "awaiting_payment"
    PAYING = "paying"
    PAID = "paid"
    REFUNDING = "refunding"
    REFUNDED = "refunded"
    PAYMENT_FAILED = "payment_failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TRANSITIONS: dict[str, frozenset[str]] = {
    Status.AWAITING_PAYMENT: frozenset({Status.PAYING, Status.CANCELLED, Status.EXPIRED}),
    # Back to awaiting payment when a card was refused, and the order is kept for another one.
    Status.PAYING: frozenset({Status.PAID, Status.PAYMENT_FAILED, Status.AWAITING_PAYMENT}),
    Status.PAID: frozenset({Status.REFUNDING}),
    Status.REFUNDING: frozenset({Status.PAID, Status.REFUNDED}),
    # The gateway took a refund back.
    Status.REFUNDED: frozenset({Status.PAID}),
    Status.PAYMENT_FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
}
SOURCES: dict[str, list[str]] = {
    target: [str(status) for status, targets in TRANSITIONS.items() if target in targets] for target in Status
}
"""The statuses from which an order may change to each one."""
# Open orders hold stock and a coupon, and points while they are being paid.
OPEN = (Status.AWAITING_PAYMENT, Status.PAYING)
PAID = (Status.PAID, Status.REFUNDING, Status.REFUNDED)
# Ended unpaid: these hold nothing.
ENDED = (Status.PAYMENT_FAILED, Status.CANCELLED, Status.EXPIRED)
REFUNDABLE = (Status.PAID, Status.REFUNDING)


class OrderRow(NamedTuple):
    id: UUID
    account_id: int
    status: str
    items_amount: int
    discount_amount: int
    points_amount: int
    card_amount: int
    total_amount: int
    currency: str
    coupon_code: str
    units: int
    placed_at: datetime
    expires_at: datetime
    paid_at: datetime | None = None
    refunded_amount: int = 0
    failure_code: str = ""
    failure_detail: str = ""
    number: str | None = None
    metadata: dict[str, str] | None = None

    def status_at(self, now: datetime) -> str:
        return status_at(self.status, self.expires_at, now)


class NewLine(NamedTuple):
    order_id: UUID
    product_id: int
    sku: str
    name: str
    quantity: int
    unit_price: int
    line_amount: int
    discount_amount: int
    limit_per_account: int | None
    sale_id: int | None
    refunded_quantity: int = 0


def status_at(status: str, expires_at: datetime, now: datetime) -> str:
    """The status that the order has for its readers: expired, even if the sweep has not ended it yet."""
    if status == Status.AWAITING_PAYMENT and expires_at <= now:
        return Status.EXPIRED.value
    return status


def is_lapsed(status: str, expires_at: datetime, now: datetime) -> bool:
    """Whether the order counts as expired without being it."""
    return status_at(status, expires_at, now) != status


def check_cancellable(status: str, expires_at: datetime, now: datetime) -> None:
    """Raise `Rejected` `order_not_cancellable` for an order that doesn't await its payment any more."""
    if status_at(status, expires_at, now) == Status.AWAITING_PAYMENT:
        return
    text = mark("The order has ended already.")
    if status in PAID:
        text = mark("The order is paid: ask for a refund instead.")
    elif status == Status.PAYING:
        text = mark("The order is being paid.")
    raise Rejected(text, code="order_not_cancellable")


def check_payable(
    status: str, expires_at: datetime, now: datetime, *, payments: int, most_payments: int
) -> None:
    """Raise `Rejected` `order_not_payable` for an order that awaits no payment, or had as many as it may."""
    if status_at(status, expires_at, now) != Status.AWAITING_PAYMENT:
        raise Rejected(
            mark("This order can't be paid: it is paid, being paid or has ended."),
            code="order_not_payable",
            reason="not_awaiting_payment",
        )
    if payments >= most_payments:
        raise Rejected(
            mark("{most} cards were refused for this order; place a new one.", most=payments),
            code="order_not_payable",
            reason="too_many_payments",
        )


def status_after_refund(*, is_refunding: bool, has_units_left: bool, has_amount_left: bool) -> Status:
    """The status of an order when a refund of it has settled; a disputed amount may be left without units."""
    if is_refunding:
        return Status.REFUNDING
    return Status.PAID if has_units_left or has_amount_left else Status.REFUNDED


def status_after_failed_refund(status: str) -> str:
    """The status of an order, one of `PAID`, when the gateway took a refund of it back."""
    return status if status == Status.REFUNDING else Status.PAID
