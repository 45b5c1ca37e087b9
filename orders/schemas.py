"""The request and response bodies of the API of orders, and the answers that its keyed calls record."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from django.utils.translation import gettext_noop
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from foundation import clock, lazy_texts
from foundation.http import json_format, problems
from foundation.http.json_format import JsonObject
from foundation.http.validation import (
    Amount,
    ChangeInput,
    Id,
    Input,
    Instant,
    NonBlankText,
    Query,
    QueryId,
    TypedCode,
    Uuid,
    body,
    refuse_control_characters,
)
from foundation.idempotency.recorded_answers import Answer
from foundation.lazy_texts import ENGLISH, mark
from foundation.models import JournalLine
from foundation.normalization import normalized
from foundation.values import Values
from orders import order_states
from orders.models import Order, OrderLine, Refund, RefundLine
from orders.order_metadata import LONGEST_KEY, LONGEST_TEXT, MOST_TEXTS
from orders.order_states import PAID, NewLine, OrderRow
from orders.payment.refunding import StartedRefund
from orders.placement.decisions import PlacedOrder
from payments.models import Payment
from payments.schemas import (
    FailureBody,
    NextActionBody,
    PaymentStatus,
    Token,
    failure_body,
    next_action_body,
    payment_body,
)
from payments.transitions import ENDED_UNPAID

MAX_LINES = 50
MAX_QUANTITY = 1000
UNSETTLED_STATUS = 202
"""The HTTP status of an answer that may still change."""
OrderStatus = Literal[
    "awaiting_payment", "paying", "paid", "refunding", "refunded", "payment_failed", "cancelled", "expired"
]


class ItemInput(Input):
    """Units of a product."""

    product: Id
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]


class RefundItemInput(Input):
    """Units of a product."""

    product: Id
    quantity: Annotated[int, Field(ge=1, le=2**31 - 1)]


def _require_unique_products(items: list[Any]) -> list[Any]:
    if len({item.product for item in items}) != len(items):
        raise PydanticCustomError(
            "product_twice", gettext_noop("a product may occur once; raise its quantity")
        )
    return items


class CardInput(Input):
    """Payment at once."""

    token: Token = ""


def _clean_keys(texts: Values) -> JsonObject:
    return {refuse_control_characters(key): text for key, text in texts.items()}


MetadataKey = Annotated[str, Field(min_length=1, max_length=LONGEST_KEY), BeforeValidator(normalized)]
MetadataText = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(refuse_control_characters)]
Metadata = Annotated[
    dict[MetadataKey, MetadataText], Field(max_length=MOST_TEXTS), AfterValidator(_clean_keys)
]
# As many may go as come.
MetadataChange = Annotated[
    dict[MetadataKey, MetadataText | None], Field(max_length=2 * MOST_TEXTS), AfterValidator(_clean_keys)
]


class PlaceOrderInput(Input):
    """A new order."""

    items: Annotated[
        list[ItemInput], Field(min_length=1, max_length=MAX_LINES), AfterValidator(_require_unique_products)
    ]
    coupon: Annotated[TypedCode, Field(min_length=1, max_length=64)] = ""
    points_amount: Amount = 0
    payment: CardInput | None = None
    keep_on_decline: bool = False
    expected_total_amount: Amount | None = None
    metadata: Metadata | None = None


class PayInput(Input):
    """A payment of an order that awaits one."""

    order: Uuid
    token: Token = ""
    keep_on_decline: bool = False


class RefundInput(Input):
    """A refund of a part of an order, or of all that is left."""

    items: (
        Annotated[
            list[RefundItemInput],
            Field(min_length=1, max_length=MAX_LINES),
            AfterValidator(_require_unique_products),
        ]
        | None
    ) = None
    reason: NonBlankText
    restock: bool = True


class PatchOrderInput(ChangeInput):
    """Changes of an order's metadata."""

    metadata: MetadataChange


class OrdersQuery(Query):
    """Which orders are listed."""

    status: OrderStatus | None = None
    number: str = ""
    product: QueryId | None = None
    coupon: TypedCode = ""
    placed_after: Instant | None = None
    placed_before: Instant | None = None


class ItemBody(BaseModel):
    """A line of an order, as it was when the order was placed."""

    product: int
    sku: str
    name: str
    quantity: int
    unit_price: int
    line_amount: int


class OrderPaymentBody(BaseModel):
    """The newest payment of an order."""

    id: UUID
    status: PaymentStatus
    next_action: NextActionBody | None


class OrderBody(BaseModel):
    """An order."""

    id: UUID
    number: str | None
    status: OrderStatus
    items: list[ItemBody]
    items_amount: int
    discount_amount: int
    points_amount: int
    card_amount: int
    total_amount: int
    refunded_amount: int
    currency: str
    coupon: str | None
    metadata: dict[str, str]
    account: int
    placed_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    payment: OrderPaymentBody | None
    failure: FailureBody | None


class RefundItemBody(BaseModel):
    """Units that are refunded."""

    product: int
    quantity: int


class RefundBody(BaseModel):
    """A refund of a part of an order. What is disputed, or lost in a dispute, can't be refunded."""

    id: UUID
    order: UUID
    account: int
    currency: str
    status: Literal["pending", "succeeded", "stuck", "failed"]
    amount: int
    points_amount: int
    card_amount: int
    items: list[RefundItemBody]
    reason: str
    restock: bool
    source: Literal["staff", "gateway", "late_charge"]
    created_at: datetime


class EventBody(BaseModel):
    """A step of an order's payment or refund."""

    at: datetime
    event: str
    detail: str


class TimelineBody(BaseModel):
    """What happened to an order."""

    results: list[EventBody]


WITH_A_NUMBER = [
    gettext_noop("{number} points held"),
    gettext_noop("{number} points released"),
    gettext_noop("{number} points credited"),
    gettext_noop("{number} refunded"),
    gettext_noop("{number} refunded at the gateway"),
    gettext_noop("{number} of a refund came back to the shop"),
    gettext_noop("{number} was given back or lost at the gateway already"),
    gettext_noop("{number} disputed"),
    gettext_noop("{number} of a dispute won"),
    gettext_noop("{number} of a dispute lost"),
]
"""Details in timelines that have a number; `foundation.lazy_texts.translate_stored` finds them by it."""


def event_body(line: JournalLine, *, for_staff: bool, language: str) -> JsonObject:
    """One line of an order's timeline; staff also see the gateway's references."""
    detail = lazy_texts.translate_stored(line.detail, language)
    if for_staff and line.reference:
        detail = f"{detail} ({line.reference})".strip()
    return {"at": line.at, "event": line.what, "detail": detail}


def order_body(
    order: Order | OrderRow,
    lines: Sequence[OrderLine | NewLine],
    payment: Payment | None,
    language: str = ENGLISH,
    *,
    reader_id: int | None = None,
) -> JsonObject:
    """The response body of an order with its newest payment; only why that failed is in the language.

    `reader_id` is the account that reads it, if it may be another than the order's.
    """
    return {
        "id": order.id,
        "number": order.number,
        "status": order_states.status_at(order.status, order.expires_at, clock.now()),
        "items": [
            {
                "product": line.product_id,
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "unit_price": line.unit_price,
                "line_amount": line.line_amount,
            }
            for line in lines
        ],
        "items_amount": order.items_amount,
        "discount_amount": order.discount_amount,
        "points_amount": order.points_amount,
        "card_amount": order.card_amount,
        "total_amount": order.total_amount,
        "refunded_amount": order.refunded_amount,
        "currency": order.currency,
        "coupon": order.coupon_code or None,
        "metadata": order.metadata or {},
        "account": order.account_id,
        "placed_at": order.placed_at,
        "expires_at": order.expires_at,
        "paid_at": order.paid_at,
        "payment": payment
        and {
            "id": payment.id,
            "status": payment.shown_status,
            "next_action": next_action_body(payment, reader_id=reader_id),
        },
        "failure": failure_body(order.failure_code, order.failure_detail, language),
    }


def refund_body(refund: Refund, lines: Sequence[RefundLine]) -> JsonObject:
    """The response body of a refund whose order is loaded."""
    return body(
        RefundBody,
        refund,
        order=refund.order_id,
        account=refund.order.account_id,
        currency=refund.order.currency,
        items=[{"product": item.line.product_id, "quantity": item.quantity} for item in lines],
    )


class CurrentAnswer(NamedTuple):
    """The answer as things stand; `is_for_customer`: it doesn't settle before the card's owner has acted."""

    answer: Answer
    is_for_customer: bool = False

    @property
    def is_settled(self) -> bool:
        return self.answer.status != UNSETTLED_STATUS


def order_address(order_id: UUID) -> str:
    return f"/api/v1/orders/{order_id}"


def placed_order_answer(placed: PlacedOrder) -> Answer | None:
    if placed.started:
        return None
    content = json_format.dump(order_body(placed.order, placed.lines, None))
    return Answer(201, content, order_address(placed.order.id))


def refund_answer(started: StartedRefund) -> Answer:
    content = json_format.dump(refund_body(started.refund, started.lines))
    return Answer(202, content, f"{order_address(started.refund.order_id)}/refunds")


def answered_later(outcome: object) -> None:
    """Record no answer yet: it is only known once the payment has settled."""


def order_answer(
    order: OrderRow, lines: Sequence[NewLine], payments: Sequence[Payment], language: str
) -> CurrentAnswer:
    """What became of an order that was paid as it was placed: 202 while it is being paid, then 201, or 402.

    The first of its payments decides: an order that a refused card left may be paid with another one later.
    """
    first = payments[0]
    newest = payments[-1]
    if first.status in ENDED_UNPAID:
        return _declined(first, language, order=str(order.id))
    content = json_format.dump(order_body(order, lines, newest))
    answer = Answer(201 if order.status in PAID else 202, content, order_address(order.id))
    return CurrentAnswer(answer, is_for_customer=first.requires_action)


def payment_answer(payment: Payment, language: str) -> CurrentAnswer:
    """The payment's current state: 202 while it is open, then 201, or 402 with the failure."""
    if payment.status in ENDED_UNPAID:
        about = {"order": str(payment.order_id)} if payment.order_id else {}
        return _declined(payment, language, **about, payment=str(payment.id))
    status = 201 if payment.status == Payment.Status.SUCCEEDED else 202
    content = json_format.dump(payment_body(payment, language))
    answer = Answer(status, content, f"/api/v1/payments/{payment.id}")
    return CurrentAnswer(answer, is_for_customer=payment.requires_action)


def _declined(declined: Payment, language: str, **about: Any) -> CurrentAnswer:
    shown = lazy_texts.translate_stored(declined.failure_detail, language)
    problem = problems.problem(
        402,
        "payment_declined",
        shown or mark("The payment was declined."),
        title="Payment declined",
        language=language,
        failure={"code": declined.failure_code, "detail": shown},
        **about,
    )
    return CurrentAnswer(Answer(402, problem.body))
