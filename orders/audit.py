"""The laws (invariants) of orders: parts of L5 and L6, L8 for keys, L9 to L13, half of L14, and L16.

What a check compares it reads by one statement; a check of several conditions has a statement for each.
"""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import (
    Aggregate,
    BigIntegerField,
    BooleanField,
    Case,
    Count,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from coupons.models import Coupon, FirstOrderUse
from events.webhooks import deliveries
from foundation import clock
from foundation.db import bulk_sql, key_walks
from foundation.models import ArchivedPaidEvent, IdempotencyKey, JournalLine
from foundation.operations.audits.checks import (
    OFFENDERS_REPORTED,
    Chosen,
    LawReport,
    Rows,
    Subject,
    WholeCheck,
    count,
    offenders_of,
    report,
    within,
)
from inventory.models import Product, ProductDay
from orders import limits, product_days
from orders.models import Order, OrderLine, Refund, RefundLine, Saga, SagaLog
from orders.order_states import ENDED, OPEN, PAID
from orders.payment import purchase, refund_saga, top_ups
from orders.payment.refund_records import UNSETTLED as UNDER_WAY
from orders.saga.definitions import DO, LEASE_SECONDS, Event
from payments import audit as payments_audit
from payments.models import GATEWAY_CLEARING, Dispute, Entry, Payment, Transfer
from payments.reconciliation import comparison
from payments.transitions import UNSETTLED
from sales.models import SaleEntry
from sales.waiting_room import admission

# A saga whose worker crashed at its deadline is retried once the lease has lapsed.
GRACE_SECONDS = 6 * LEASE_SECONDS
ORDERS_AT_ONCE = 1_000
"""Whose events are looked for in ranges."""
# Joins from the few open orders to their lines; the ORM can only join from each product to all its lines.
WRONGLY_RESERVED = """
SELECT product.sku FROM inventory_product AS product
LEFT JOIN (
    SELECT line.product_id, SUM(line.quantity) AS quantity
    FROM orders_order AS placed JOIN orders_orderline AS line ON line.order_id = placed.id
    WHERE placed.status IN (%s, %s) GROUP BY line.product_id
) AS held ON held.product_id = product.id
WHERE product.reserved <> COALESCE(held.quantity, 0)
LIMIT %s
"""
# An order that was placed without a limit allows any number, whatever the limits of the account's others.
OVER_LIMIT = """
SELECT placed.account_id, line.product_id
FROM orders_orderline AS line JOIN orders_order AS placed ON placed.id = line.order_id
WHERE line.limit_per_account IS NOT NULL AND placed.status IN ({statuses}){of_accounts}
GROUP BY placed.account_id, line.product_id
HAVING SUM(line.quantity - line.refunded_quantity) > MAX(line.limit_per_account) AND NOT EXISTS (
    SELECT 1 FROM orders_order AS other JOIN orders_orderline AS free ON free.order_id = other.id
    WHERE other.account_id = placed.account_id AND other.status IN ({statuses})
    AND free.product_id = line.product_id AND free.limit_per_account IS NULL
)
LIMIT %s
"""


def audit() -> list[LawReport]:
    return [
        reserved_is_what_open_orders_hold(),
        days_are_what_orders_and_refunds_say(),
        coupons_are_held_by_open_orders(),
        keys_have_one_effect(),
        gateway_charged_what_was_paid(),
        refunds_add_up(),
        overdue_sagas_are_stuck(),
        ended_orders_hold_nothing(),
        paid_orders_were_published(),
        accounts_are_within_their_limits(),
        queued_orders_used_an_entry(),
        accounts_hold_one_place(),
    ]


def reserved_is_what_open_orders_hold() -> LawReport:
    offenders = [sku for (sku,) in bulk_sql.fetch(WRONGLY_RESERVED, [*OPEN, OFFENDERS_REPORTED])]
    return report("L5", Product.objects.count(), offenders)


def days_are_what_orders_and_refunds_say(days: Chosen = None) -> LawReport:
    """L5, of products' days: the table's rows are what was paid and refunded on them."""
    checked = product_days.days() if days is None else [*map(date.fromisoformat, days)]
    wrong = [one for day in checked for one in product_days.differences(day)]
    return report("L5", len(checked), [f"product {one.product_id} on {one.day}" for one in wrong])


def coupons_are_held_by_open_orders(order_ids: Chosen = None) -> LawReport:
    """Coupons with an order; the coupons' part checks that none is held without one.

    Coupons held by an order that isn't open, or redeemed by one that isn't paid; open orders without their
    coupon; orders with a coupon for first orders that aren't the one that its account's use names.
    """
    with_order = Coupon.objects.filter(within("order", order_ids), order__isnull=False)
    wrongly_held = with_order.filter(status=Coupon.Status.HELD).exclude(order__status__in=OPEN)
    wrongly_redeemed = with_order.filter(status=Coupon.Status.REDEEMED).exclude(order__status__in=PAID)
    theirs = Coupon.objects.filter(order=OuterRef("pk"), code=OuterRef("coupon_code"))
    open_orders = Order.objects.filter(within("pk", order_ids), status__in=OPEN)
    without = open_orders.exclude(coupon_code="").exclude(Exists(theirs))
    offenders = [code for found in (wrongly_held, wrongly_redeemed) for code in offenders_of(found, "code")]
    used = Exists(FirstOrderUse.objects.filter(order=OuterRef("pk")))
    holders = with_order.filter(campaign__first_order_only=True).values("order")
    # A refunded one doesn't count, and another order may have been the first by the time its refund failed.
    failed = Exists(Refund.objects.filter(order=OuterRef("pk"), status=Refund.Status.FAILED))
    second = Order.objects.filter(~used, ~failed, pk__in=holders, status__in=limits.COUNTING)
    offenders += offenders_of(second) + offenders_of(without)
    return report("L6", count(with_order, order_ids), offenders)


def keys_have_one_effect(key_ids: Chosen = None) -> LawReport:
    """No two keys name one effect, for some keys no two of the account, and each effect is there."""
    keys = IdempotencyKey.objects.filter(within("pk", key_ids), reference__isnull=False)
    others = IdempotencyKey.objects.filter(account=OuterRef("account"), reference=OuterRef("reference"))
    twins = keys.filter(Exists(others.exclude(pk=OuterRef("pk"))))
    shared = shared_references() if key_ids is None else sorted(set(offenders_of(twins, "reference")))
    lost = keys.exclude(
        Exists(Order.objects.filter(id=OuterRef("reference")))
        | Exists(Payment.objects.filter(id=OuterRef("reference")))
        | Exists(Refund.objects.filter(id=OuterRef("reference")))
    )
    return report("L8", count(IdempotencyKey.objects, key_ids), shared + offenders_of(lost))


def shared_references() -> list[str]:
    """Effects that are named by two keys."""
    keys = IdempotencyKey.objects.filter(reference__isnull=False).values("reference")
    return offenders_of(keys.annotate(keys=Count("id")).filter(keys__gt=1), "reference")


def gateway_charged_what_was_paid() -> LawReport:
    """Orders against their payments, and these against the gateway's book, which has to be readable."""
    compared = comparison.compare()
    return report("L9", compared.checked, [*_payments_inconsistent_with_orders(), *compared.offenders])


def payments_fit_orders(order_ids: Chosen) -> LawReport:
    """The part of L9 that needs no gateway: payments agree with orders, and refunds with both."""
    offenders = [*_payments_inconsistent_with_orders(order_ids), *refunds_add_up(order_ids).offenders]
    return report("L9", count(Order.objects, order_ids), offenders)


def top_ups_are_under_way(payment_ids: Chosen) -> LawReport:
    """L9 for payments without an order: each is settled, or has a saga that settles it."""
    top_up = Payment.objects.filter(within("pk", payment_ids), order__isnull=True, status__in=UNSETTLED)
    forgotten = top_up.exclude(Exists(_unfinished_sagas(top_ups.KIND)))
    return report("L9", count(Payment.objects, payment_ids), offenders_of(forgotten))


def _payments_inconsistent_with_orders(order_ids: Chosen = None) -> list[str]:
    succeeded = Payment.objects.filter(
        order=OuterRef("pk"), status=Payment.Status.SUCCEEDED, card_amount=OuterRef("card_amount")
    )
    unpaid = Order.objects.filter(within("pk", order_ids), status__in=PAID).exclude(Exists(succeeded))
    of_orders = within("order", order_ids)
    overpaid = Payment.objects.filter(
        of_orders, order__isnull=False, status=Payment.Status.SUCCEEDED
    ).exclude(order__status__in=PAID)
    unfinished = _unfinished_sagas(purchase.KIND, top_ups.KIND)
    forgotten = Payment.objects.filter(of_orders, status__in=UNSETTLED).exclude(Exists(unfinished))
    # Payments after an order's first one, while another payment of that order is not failed either.
    not_failed = Payment.objects.exclude(status=Payment.Status.FAILED)
    others = not_failed.filter(order=OuterRef("order")).exclude(pk=OuterRef("pk"))
    several = not_failed.filter(of_orders, order__isnull=False, number__gt=1).filter(Exists(others))
    inconsistent = ((unpaid, "id"), (overpaid, "order_id"), (forgotten, "id"), (several, "order_id"))
    return [id for rows, name in inconsistent for id in offenders_of(rows, name)]


def refunds_add_up(order_ids: Chosen = None) -> LawReport:
    """Refunds, settled and pending, agree with orders, lines, payments and the ledger; lost disputes too."""
    orders = _orders_inconsistent_with_refunds().filter(within("pk", order_ids))
    of_orders = within("order", order_ids)
    under_way = Refund.objects.filter(of_orders, status__in=UNDER_WAY)
    return report(
        "L9",
        count(Refund.objects, order_ids),
        [
            *offenders_of(orders),
            *offenders_of(_payments_inconsistent_with_refunds().filter(of_orders), "order_id"),
            *offenders_of(_lines_inconsistent_with_refunds().filter(of_orders), "order_id"),
            *offenders_of(under_way.exclude(Exists(_unfinished_sagas(refund_saga.KIND)))),
            *offenders_of(_orders_inconsistent_with_losses().filter(within("pk", order_ids))),
        ],
    )


def _booked_refunds() -> "QuerySet[Refund]":
    """All refunds but those of charges that no order was paid by."""
    return Refund.objects.exclude(source=Refund.Source.LATE_CHARGE)


def _orders_inconsistent_with_refunds() -> "QuerySet[Order]":
    theirs = _booked_refunds().filter(order=OuterRef("pk"))
    succeeded, failed = (theirs.filter(status=Refund.Status[name]) for name in ("SUCCEEDED", "FAILED"))
    left = OrderLine.objects.filter(order=OuterRef("pk"), refunded_quantity__lt=F("quantity"))
    # Units that a dispute kept from being refunded whole leave an amount, and no unit.
    has_left = Exists(left) | Q(refunded_amount__lt=F("total_amount"))
    booked = Entry.objects.filter(transfer__order=OuterRef("pk"), transfer__kind=Transfer.Kind.REFUND)
    return (
        Order.objects.annotate(
            # The gateway took back what it had given to the card, and not the points.
            failed_points=_sum(failed, "order", "points_amount"),
            settled_amount=_sum(succeeded, "order", "amount") + F("failed_points"),
            settled_points=_sum(succeeded, "order", "points_amount") + F("failed_points"),
            booked_points=_sum(booked.filter(account_id__gt=0), "transfer__order", "amount"),
            booked_card=_sum(booked.filter(account_id=GATEWAY_CLEARING), "transfer__order", "amount"),
            is_refunding=Exists(theirs.filter(status__in=UNDER_WAY)),
            has_left=Case(When(has_left, then=True), default=False, output_field=BooleanField()),
        )
        .filter(
            Q(id__in=_booked_refunds().values("order"))
            | Q(refunded_amount__gt=0)
            | Q(status__in=["refunding", "refunded"])
        )
        .exclude(
            Q(status=Order.Status.REFUNDING, is_refunding=True)
            | Q(status=Order.Status.PAID, is_refunding=False, has_left=True)
            | Q(status=Order.Status.REFUNDED, is_refunding=False, has_left=False),
            refunded_amount=F("settled_amount"),
            booked_points=F("settled_points"),
            booked_card=F("settled_amount") - F("settled_points"),
        )
    )


def _orders_inconsistent_with_losses() -> "QuerySet[Order]":
    """Orders whose ledger has not what disputes of their payments have lost."""
    lost = Dispute.objects.filter(payment__order=OuterRef("pk"), status=Dispute.Status.LOST)
    booked = Entry.objects.filter(
        transfer__order=OuterRef("pk"), transfer__kind=Transfer.Kind.LOSS, account_id=GATEWAY_CLEARING
    )
    disputed = Order.objects.filter(id__in=Dispute.objects.values("payment__order"))
    return disputed.annotate(
        lost_amount=_sum(lost, "payment__order", "amount"),
        booked_amount=_sum(booked, "transfer__order", "amount"),
    ).exclude(lost_amount=F("booked_amount"))


def _payments_inconsistent_with_refunds() -> "QuerySet[Payment]":
    theirs = _booked_refunds().filter(order=OuterRef("order"))
    touched = (
        Q(refunding_amount__gt=0) | Q(refunded_amount__gt=0) | Q(order__in=_booked_refunds().values("order"))
    )
    return (
        Payment.objects.filter(touched, order__isnull=False)
        .annotate(
            pending_amount=_sum(theirs.filter(status__in=UNDER_WAY), "order", "card_amount"),
            settled_amount=_sum(theirs.filter(status=Refund.Status.SUCCEEDED), "order", "card_amount"),
        )
        .exclude(refunding_amount=F("pending_amount"), refunded_amount=F("settled_amount"))
        # Earlier payments of the order, whose cards were refused.
        .exclude(status=Payment.Status.FAILED, refunding_amount=0, refunded_amount=0)
    )


def _lines_inconsistent_with_refunds() -> "QuerySet[OrderLine]":
    theirs = RefundLine.objects.filter(line=OuterRef("pk"))
    touched = Q(refunded_quantity__gt=0) | Q(id__in=RefundLine.objects.values("line"))
    lines = OrderLine.objects.filter(touched).annotate(taken=_sum(theirs, "line", "quantity"))
    return lines.exclude(refunded_quantity=F("taken"))


def _unfinished_sagas(*kinds: str) -> "QuerySet[Saga]":
    """The unfinished saga of each outer row. The kind is the first column of the index."""
    return Saga.objects.filter(kind__in=kinds, subject_id=OuterRef("pk"), ended_at__isnull=True)


def _sum(rows: "QuerySet[Any, Any]", of: str, name: str, by: type[Aggregate] = Sum) -> Coalesce:
    """The sum of a column over the rows of each outer row, or their count; 0 without any."""
    total = rows.order_by().values(of).annotate(total=by(name)).values("total")
    return Coalesce(Subquery(total, output_field=BigIntegerField()), Value(0), output_field=BigIntegerField())


def overdue_sagas_are_stuck(saga_ids: Chosen = None) -> LawReport:
    sagas = Saga.objects.filter(within("pk", saga_ids))
    overdue = clock.now() - timedelta(seconds=GRACE_SECONDS)
    late = sagas.filter(state=Saga.State.RUNNING, deadline_at__lt=overdue)
    return report("L10", count(sagas, saga_ids), offenders_of(late))


def ended_orders_hold_nothing(order_ids: Chosen = None) -> LawReport:
    """Coupons and points. L5 covers stock, which would be reserved without an open order."""
    ended = Order.objects.filter(within("pk", order_ids), status__in=ENDED)
    with_coupon = ended.filter(Exists(Coupon.objects.filter(order=OuterRef("pk"))))
    # Points are held once for each of an order's payments.
    transfers = Transfer.objects.filter(order=OuterRef("pk"))
    with_points = ended.annotate(
        held=_sum(transfers.filter(kind=Transfer.Kind.HOLD), "order", "pk", Count),
        released=_sum(transfers.filter(kind=Transfer.Kind.RELEASE), "order", "pk", Count),
    ).exclude(held=F("released"))
    return report("L11", count(ended, order_ids), offenders_of(with_coupon) + offenders_of(with_points))


def paid_orders_were_published(order_ids: Chosen = None) -> LawReport:
    """Each paid order's event is delivered or queued, was archived, or an operator confirmed it."""
    lines = JournalLine.objects.filter(order_id=OuterRef("pk"), what="order.paid")
    published = lines.filter(~deliveries.lost(OuterRef("event_id")))
    confirmed = SagaLog.objects.filter(
        saga__kind=purchase.KIND,
        saga__subject_id__in=Payment.objects.filter(order=OuterRef(OuterRef("pk"))).values("id"),
        step="transmit",
        direction=DO,
        event=Event.FORCED,
    )
    paid = Order.objects.filter(within("pk", order_ids), status__in=PAID)
    archived = ArchivedPaidEvent.objects.filter(pk=OuterRef("pk"))
    unpublished = paid.exclude(Exists(published) | Exists(archived) | Exists(confirmed))
    offenders = list[str]()
    events = unpublished.annotate(event_id=Subquery(lines.values("event_id")[:1]))
    for page in key_walks.pages(events, "event_id", size=ORDERS_AT_ONCE):
        found = deliveries.in_ranges([event_id for _, event_id in page])
        left = [pk for pk, event_id in page if event_id not in found]
        # Read again: meanwhile some may have been deleted after the retention.
        offenders += offenders_of(unpublished.filter(pk__in=left))
    return report("L12", count(paid, order_ids), offenders[:OFFENDERS_REPORTED])


def accounts_are_within_their_limits(account_ids: Chosen = None) -> LawReport:
    """Per account and product, the units of orders that were all placed under a limit."""
    statuses = OPEN + PAID
    accounts = list(account_ids or ())
    of_accounts = f" AND placed.account_id IN ({_placeholders(accounts)})" if accounts else ""
    statement = OVER_LIMIT.format(statuses=_placeholders(statuses), of_accounts=of_accounts)
    found = bulk_sql.fetch(statement, [*statuses, *accounts, *statuses, OFFENDERS_REPORTED])
    offenders = [f"account {account}, product {product}" for account, product in found]
    limited = OrderLine.objects.filter(limit_per_account__isnull=False)
    return report("L13", count(limited, account_ids), offenders)


def queued_orders_used_an_entry(order_ids: Chosen = None) -> LawReport:
    """L14, second half: each order of a sale with a waiting room has its used entry, and vice versa."""
    lines = OrderLine.objects.filter(within("order", order_ids), sale__isnull=False)
    entries = SaleEntry.objects.filter(
        order=OuterRef("order"),
        sale=OuterRef("sale"),
        account=OuterRef("order__account"),
        status=SaleEntry.Status.USED,
        # The clock of admissions may be ahead of the order's, by so much and never less again.
        admitted_at__lte=ExpressionWrapper(
            OuterRef("order__placed_at") + F("sale__admission_clock_ahead") + Value(admission.LARGEST_STEP),
            output_field=DateTimeField(),
        ),
        admitted_until__gt=OuterRef("order__placed_at"),
    )
    without = lines.exclude(Exists(entries)).order_by("order").distinct()
    used = SaleEntry.objects.filter(within("order", order_ids), order__isnull=False)
    unplaced = used.exclude(Exists(OrderLine.objects.filter(order=OuterRef("order"), sale=OuterRef("sale"))))
    offenders = offenders_of(without, "order_id") + offenders_of(unplaced, kind="entry")
    return report("L14", count(lines, order_ids), offenders)


def accounts_hold_one_place(order_ids: Chosen = None) -> LawReport:
    """L16. Offenders are entries: each of those that an account's open or paid orders used in one sale."""
    holding = SaleEntry.objects.filter(order__status__in=OPEN + PAID)
    others = holding.filter(sale=OuterRef("sale"), account=OuterRef("account")).exclude(pk=OuterRef("pk"))
    chosen = holding.filter(within("order", order_ids))
    return report("L16", count(chosen, order_ids), offenders_of(chosen.filter(Exists(others))))


class _Days(Subject):
    """The days of products' days, each a chunk."""

    def chunks(self, after: Any = None) -> Iterator[Rows]:
        days = [day.isoformat() for day in reversed(product_days.days())]
        yield from ([day] for day in days if after is None or day > after)

    def last_key(self) -> str:
        return clock.today().isoformat()


def _placeholders(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))


# Of the scheduled audit: a chunk of rows at a time. The findings of reconciliation are its part of L9.
SUBJECTS = (
    Subject(
        "order",
        Order.objects.all,
        (
            ("L6", coupons_are_held_by_open_orders),
            ("L7", payments_audit.holding_never_gives_more_than_it_took),
            ("L9", payments_fit_orders),
            ("L11", ended_orders_hold_nothing),
            ("L12", paid_orders_were_published),
            ("L14", queued_orders_used_an_entry),
            ("L16", accounts_hold_one_place),
        ),
    ),
    Subject("account", User.objects.all, (("L13", accounts_are_within_their_limits),)),
    Subject("key", IdempotencyKey.objects.all, (("L8", keys_have_one_effect),), is_counted=True),
    _Days("day", ProductDay.objects.all, (("L5", days_are_what_orders_and_refunds_say),)),
    Subject("payment", Payment.objects.filter(order__isnull=True).all, (("L9", top_ups_are_under_way),)),
    Subject(
        "saga",
        Saga.objects.all,
        (("L10", overdue_sagas_are_stuck),),
        # By the index of attempts: it is the time that makes a saga overdue, not a change.
        current=Saga.objects.filter(next_attempt_at__isnull=False).values_list("pk", flat=True).all,
    ),
)
WHOLE_CHECKS = (
    # It joins from the few open orders to their lines, by an index.
    WholeCheck("L5", reserved_is_what_open_orders_hold),
    WholeCheck("L9", payments_audit.books_agree, is_in_full=False),
    # No index has the references, but keys are deleted after a day.
    WholeCheck("L8", lambda: report("L8", 0, shared_references()), is_frequent=False),
)
