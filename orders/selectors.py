"""Reads orders, their refunds and timelines, limited to what the caller may see; and sagas, for operators."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F, Prefetch, Q, QuerySet, Sum
from django.utils.translation import gettext, gettext_noop

from events.webhooks import deliveries
from foundation import clock
from foundation.db import bulk_sql
from foundation.db.rows import present
from foundation.errors import required
from foundation.lazy_texts import mark
from foundation.models import JournalLine
from orders import order_numbers
from orders.models import Order, OrderLine, Refund, RefundLine, Saga, SagaLog
from orders.order_states import OPEN, PAID, NewLine, OrderRow
from orders.saga import progress
from orders.saga.definitions import SAGA_TYPES
from payments.models import Payment

DELIVERED = "transmit.done"
"""The timeline's name of the delivery of a paid order's event to the data platform."""
# An account with more orders than this is read in part, which the page says, and by itself.
MOST_ORDERS = 1_000
MOST_PRODUCTS = 50
READ_AT_ONCE = 500


def visible_orders(*, account_id: int | None) -> QuerySet[Order]:
    """The account's orders, or all for None, with lines in the order of the request and payments by age."""
    # Without an explicit order the rows come in the index's order, by product.
    lines = OrderLine.objects.order_by("id")
    payments = Payment.objects.order_by("number", "created_at", "id")
    return Order.objects.filter(**present(account_id=account_id)).prefetch_related(
        Prefetch("lines", lines), Prefetch("payments", payments)
    )


def read_orders(order_ids: Sequence[UUID]) -> list[tuple[OrderRow, list[NewLine]]]:
    """These orders with their lines as plain rows, read together for a batch of waiting requests."""
    lines: dict[UUID, list[NewLine]] = {order_id: [] for order_id in order_ids}
    for row in bulk_sql.reader(OrderLine, NewLine._fields).rows_of(lines, column="order_id"):
        line = NewLine(*row)
        lines[line.order_id].append(line)
    orders = bulk_sql.reader(Order, OrderRow._fields).rows_of(lines)
    return [(order, lines[order.id]) for order in map(OrderRow._make, orders)]


def get_order(*, order_id: UUID, account_id: int | None) -> Order:
    found = visible_orders(account_id=account_id).filter(id=order_id).first()
    return required(found, mark("There is no such order."))


def refunds(*, order_id: UUID, account_id: int | None) -> QuerySet[Refund]:
    get_order(order_id=order_id, account_id=account_id)
    lines = RefundLine.objects.select_related("line").order_by("id")
    return (
        Refund.objects.filter(order_id=order_id)
        .select_related("order")
        .prefetch_related(Prefetch("lines", lines))
    )


def open_lines_of_product(product_id: int, *, most: int) -> list[OrderLine]:
    lines = OrderLine.objects.filter(product_id=product_id, order__status__in=OPEN)
    # Sorted here: an order by id would have the database read the table backwards until it finds enough.
    found = lines.select_related("order__account")[:most]
    return sorted(found, key=lambda line: line.order_id, reverse=True)


def choose(
    orders: QuerySet[Order],
    *,
    number: str = "",
    product: int | None = None,
    coupon: str = "",
    placed_after: datetime | None = None,
    placed_before: datetime | None = None,
) -> QuerySet[Order]:
    """Those of the orders with this number, as people type it, product and coupon, placed at `placed_after`
    or later.
    """
    given = present(
        number=(order_numbers.parse(number) or "") if number else None,
        lines__product_id=product,
        coupon_code=coupon or None,
        placed_at__gte=placed_after,
        placed_at__lt=placed_before,
    )
    return orders.filter(**given)


def parts_of(status: str) -> list[Q]:
    """The orders that show this status, as conditions on their rows: each finds them in order by an index.

    An unpaid order past its time counts as expired, swept or not.
    """
    now = clock.now()
    unpaid = Q(status=Order.Status.AWAITING_PAYMENT)
    if status == Order.Status.EXPIRED:
        return [Q(status=status), unpaid & Q(expires_at__lte=now)]
    return [unpaid & Q(expires_at__gt=now) if status == Order.Status.AWAITING_PAYMENT else Q(status=status)]


def timeline(order_id: UUID, *, for_staff: bool, with_journal: bool = True) -> list[JournalLine]:
    """The journal's lines on the order, its payment and refunds; staff also see every failed attempt.

    `with_journal` says whether staff may read the journal: what operators did, their reasons, and wallets.
    """
    shown = Q() if for_staff and with_journal else Q(is_internal=False)
    if for_staff and not with_journal:
        steps = {step.name for type in SAGA_TYPES.values() for step in type.steps}
        shown = reduce(or_, (Q(what__startswith=f"{name}.") for name in sorted(steps)), shown)
    # A transaction writes its lines at its end, each with the instant at which it happened.
    lines = list(JournalLine.objects.filter(shown, order_id=order_id).order_by("at", "id"))
    rows = deliveries.to_data_platform().filter(order_id=order_id, type="order.paid")
    paid = JournalLine.objects.filter(order_id=order_id, what="order.paid").values("event_id")
    for row in rows or deliveries.in_ranges(paid).values():
        if row.delivered_at:
            lines.append(JournalLine(what=DELIVERED, at=row.delivered_at, detail=gettext_noop("accepted")))
    return sorted(lines, key=lambda line: line.at)


class ProductUsage(NamedTuple):
    """An account's units of a product, less refunded ones; `held_units` count towards the product's limit."""

    product_id: int
    sku: str
    limit: int | None
    unpaid_units: int
    held_units: int


class AccountUsage(NamedTuple):
    """An account's unpaid orders, and its units of products that are unpaid or limited.

    `is_complete` is False if only its newest `MOST_ORDERS` orders, or `MOST_PRODUCTS` products, were read.
    """

    unpaid_orders: int
    products: list[ProductUsage]
    is_complete: bool


def read_usage(account_id: int) -> AccountUsage:
    """What the account uses now: three statements, by the account's index."""
    orders = Order.objects.filter(account_id=account_id)
    unpaid_orders = orders.filter(status__in=OPEN).count()
    counting = orders.filter(status__in=OPEN + PAID).order_by("-id").values_list("id", flat=True)
    order_ids = list(counting[: MOST_ORDERS + 1])
    is_unpaid = Q(order__status__in=OPEN)
    units = F("quantity") - F("refunded_quantity")
    rows = (
        OrderLine.objects.filter(order_id__in=order_ids[:MOST_ORDERS])
        .filter(is_unpaid | Q(product__limit_per_account__isnull=False))
        .values_list("product_id", "product__sku", "product__limit_per_account")
        .annotate(unpaid=Sum(units, filter=is_unpaid, default=0), held=Sum(units))
        .filter(held__gt=0)
        .order_by("-held", "product_id")[: MOST_PRODUCTS + 1]
    )
    products = [ProductUsage(*row) for row in rows] if order_ids else []
    is_complete = len(order_ids) <= MOST_ORDERS and len(products) <= MOST_PRODUCTS
    return AccountUsage(unpaid_orders, products[:MOST_PRODUCTS], is_complete)


# Sagas, for operators


def _unfinished() -> QuerySet[Saga]:
    """The unfinished sagas, found by the index on the next attempt: the state has none."""
    return Saga.objects.filter(next_attempt_at__isnull=False)


def read_unfinished() -> Iterator[Saga]:
    """The unfinished sagas, as `with_final_lines` has them, the earliest deadline first."""
    return with_final_lines(_unfinished().order_by("deadline_at", "id")).iterator(chunk_size=READ_AT_ONCE)


def read_needing_operator(*, most: int | None = None) -> Iterator[Saga]:
    """Those that need an operator, at most `most`: stuck, or past their deadline and not yet retried."""
    sagas = filter_needing_operator(Saga.objects.order_by("deadline_at", "id"))[:most]
    return with_final_lines(sagas).iterator(chunk_size=READ_AT_ONCE)


def count_needing_operator(*, most: int) -> int:
    """How many sagas need an operator; `most` stands for so many or more."""
    return filter_needing_operator(Saga.objects.all())[:most].count()


def filter_needing_operator(sagas: QuerySet[Saga]) -> QuerySet[Saga]:
    overdue = Q(state=Saga.State.RUNNING, deadline_at__lt=clock.now())
    return sagas.filter(Q(state=Saga.State.STUCK) | overdue, next_attempt_at__isnull=False)


def filter_out_of_attempts(sagas: QuerySet[Saga]) -> QuerySet[Saga]:
    """Those that need an operator because the shop can do no more by itself: an attempt said so before their
    deadline, or the attempts in the minutes after it didn't help.
    """
    now = clock.now()
    is_decided = Q(state=Saga.State.STUCK, deadline_at__gt=now)
    return filter_needing_operator(sagas).filter(is_decided | Q(deadline_at__lte=now - progress.LATELY))


def filter_unsettled(payments: QuerySet[Payment], statuses: Collection[str]) -> QuerySet[Payment]:
    """Those in one of these unsettled statuses, by their unfinished sagas: the status has no index."""
    return payments.filter(id__in=_unfinished().values("subject_id"), status__in=statuses)


def with_final_lines(sagas: QuerySet[Saga]) -> QuerySet[Saga]:
    """These sagas with their final log lines, which show the current step: one query for all."""
    return sagas.prefetch_related(Prefetch("log", SagaLog.objects.filter(attempt=0), to_attr="final_lines"))


def step_name(saga: Any) -> str:
    """The step that a saga with its final lines is at; empty at its end, and if its type is unknown here."""
    if saga.ended_at or saga.kind not in SAGA_TYPES:
        return ""
    final = {line.step for line in saga.final_lines if line.direction == saga.direction}
    step = SAGA_TYPES[saga.kind].next_step(saga.direction, final, is_irreversible=saga.is_irreversible)
    return step.name if step else ""


def shown_kind(saga: Saga) -> str:
    """The saga's kind; it says so if this release has no such type."""
    if saga.kind in SAGA_TYPES:
        return saga.kind
    return gettext("%(kind)s (of another release)") % {"kind": saga.kind}


def late_since(saga: Saga) -> datetime | None:
    """The deadline of an unfinished saga, once that has passed."""
    return saga.deadline_at if saga.deadline_at < clock.now() else None
