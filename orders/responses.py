"""The answers of calls that start a payment: the first one, and the one once the payment has settled."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from orders.models import Order
from orders.order_states import PAID, NewLine, NewOrder
from orders.payment.refunding import StartedRefund
from orders.placement.decisions import PlacedOrder
from orders.schemas import order_body, refund_body
from payments.models import Payment
from payments.schemas import payment_body
from shop.http import json_format, problems
from shop.idempotency.recorded_answers import Answer


def order_address(order_id: UUID) -> str:
    return f"/api/v1/orders/{order_id}"


def payment_address(payment_id: UUID) -> str:
    return f"/api/v1/payments/{payment_id}"


def placed_order_answer(placed: PlacedOrder) -> Answer | None:
    """The answer to record for a new order; None while it is being paid."""
    if placed.started:
        return None
    body = json_format.dump(order_body(placed.order, placed.lines))
    return Answer(201, body, order_address(placed.order.id))


def paying_order_answer(placed: PlacedOrder) -> Answer:
    """202 with the order whose payment was just started."""
    return Answer(
        202, json_format.dump(order_body(placed.order, placed.lines)), order_address(placed.order.id)
    )


def refund_answer(started: StartedRefund) -> Answer:
    """The answer to record for a refund: 202, with the URL that shows its progress."""
    body = json_format.dump(refund_body(started.refund, started.lines))
    return Answer(202, body, f"{order_address(started.refund.order_id)}/refunds")


def answered_later(outcome: object) -> None:
    """Record no answer yet: it is only known once the payment has settled."""


def order_answer(order: NewOrder, lines: Sequence[NewLine]) -> Answer:
    """The order's current state: 202 while it is being paid, then 201, or 402 with the failure."""
    if order.status == Order.Status.PAYMENT_FAILED:
        return _declined(order.failure_code, order.failure_detail, order=str(order.id))
    body = json_format.dump(order_body(order, lines))
    return Answer(201 if order.status in PAID else 202, body, order_address(order.id))


def payment_answer(payment: Payment) -> Answer:
    """The payment's current state: 202 while it is open, then 201, or 402 with the failure."""
    if payment.status in (Payment.Status.FAILED, Payment.Status.REVERSED):
        return _declined(
            payment.failure_code,
            payment.failure_detail,
            order=str(payment.order_id) if payment.order_id else None,
            payment=str(payment.id),
        )
    status = 201 if payment.status == Payment.Status.SUCCEEDED else 202
    return Answer(status, json_format.dump(payment_body(payment)), payment_address(payment.id))


def _declined(code: str, detail: str, *, order: str | None = None, payment: str | None = None) -> Answer:
    about: dict[str, Any] = {"order": order, "payment": payment}
    problem = problems.problem(
        402,
        "payment_declined",
        detail or "The payment was declined.",
        title="Payment declined",
        failure={"code": code, "detail": detail},
        **{name: value for name, value in about.items() if value},
    )
    return Answer(402, problem.body)
