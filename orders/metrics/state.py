"""The state of orders, payments and stock for metrics: what is open, in doubt, and left to be sold.

All reads are small, because they are repeated every few seconds. The laws' audits check all rows.
"""

from collections import Counter
from datetime import timedelta

from django.db.models import Count, Max, Min

from coupons.models import Coupon
from foundation import clock
from foundation.db import bulk_sql
from foundation.models import JournalLine
from foundation.observability import gauges
from foundation.observability.gauges import Readings
from orders import selectors
from orders.models import Order, Saga
from orders.saga import operator_actions
from orders.saga.definitions import AT_ONCE, SAGA_TYPES, OutsideStep
from payments import rows as payment_rows
from payments.models import Payment

IN_DOUBT = "firstcome_payments_in_doubt"
IN_DOUBT_OLDEST = "firstcome_payments_in_doubt_oldest_seconds"
AVAILABLE = "firstcome_stock_available"
RESERVED = "firstcome_stock_reserved"
FORCED_WITHIN = timedelta(days=1)
Counts = dict[str, int]
NEWEST_LINES = 5_000
NEWEST_PRODUCTS = 1_000
MOST_SELLING = 50
NEWEST_DISCOUNTS = 1_000
OPEN = (Order.Status.AWAITING_PAYMENT, Order.Status.PAYING, Order.Status.REFUNDING)
# The products being sold: those that the newest orders have most of.
READ_SELLING = """
SELECT product.id, product.on_hand, product.reserved FROM inventory_product product JOIN (
    SELECT product_id, SUM(quantity) AS units
    FROM (SELECT product_id, quantity FROM orders_orderline ORDER BY id DESC LIMIT %s) newest
    GROUP BY product_id ORDER BY units DESC, product_id LIMIT %s
) selling ON selling.product_id = product.id
"""
COUNT_NEGATIVE = """
SELECT COUNT(*) FROM (
    SELECT product_id AS id FROM (SELECT product_id FROM orders_orderline ORDER BY id DESC LIMIT %s) sold
    UNION SELECT id FROM (SELECT id FROM inventory_product ORDER BY id DESC LIMIT %s) added
) seen JOIN inventory_product product ON product.id = seen.id
WHERE product.reserved < 0 OR product.reserved > product.on_hand
"""


def register() -> None:
    gauges.register(
        "firstcome_orders",
        "Orders that are awaiting_payment, paying or refunding.",
        open_orders,
        label="status",
    )
    gauges.register(
        "firstcome_orders_paid_age_seconds",
        "How long ago an order was last paid; +Inf before the first.",
        paid_age_seconds,
    )
    gauges.register_group(
        "payments_in_doubt",
        {
            IN_DOUBT: "Payments whose charge got no answer of the gateway.",
            IN_DOUBT_OLDEST: "How long ago the oldest payment in doubt began.",
        },
        read_in_doubt,
    )
    gauges.register(
        "firstcome_payments_requiring_action",
        "Payments that wait for the card's owner to confirm them.",
        count_requiring_action,
    )
    gauges.register(
        "firstcome_sagas_stuck", "Sagas past their deadline that need an operator.", count_stuck, label="kind"
    )
    gauges.register(
        "firstcome_sagas_unfinished", "Sagas that have not ended.", count_unfinished, label="kind"
    )
    gauges.register(
        "firstcome_sagas_oldest_due_seconds",
        "For how many seconds the saga that is due first has waited for an executor.",
        oldest_due_seconds,
    )
    gauges.register(
        "firstcome_saga_steps_forced",
        "Steps of sagas that operators recorded as done or undone within the last day.",
        count_forced_steps,
        label="step",
    )
    gauges.register_group(
        "stock",
        {
            AVAILABLE: "Units that new orders may reserve, of products that the newest orders have most of.",
            RESERVED: "Units that open orders hold, of the same products.",
        },
        read_stock,
        label="product",
    )
    gauges.register(
        "firstcome_campaign_discounts_amount",
        "Discounts of a campaign, in the 1,000 orders with one that were paid last within a day.",
        read_discounts,
        label="campaign",
    )
    gauges.register(
        "firstcome_stock_negative",
        "Products with less than 0 reserved, or more than is on hand, of the newest; the audit sees all.",
        negative_stock_count,
    )


def count_forced_steps() -> Counts:
    """How many of each step at another system, also of those that none has; from the journal, by an index."""
    forced = JournalLine.objects.filter(what=operator_actions.FORCED, at__gte=clock.now() - FORCED_WITHIN)
    steps = {
        step.name for type in SAGA_TYPES.values() for step in type.steps if isinstance(step, OutsideStep)
    }
    counts = dict.fromkeys(steps, 0)
    for step in forced.values_list("after__step", flat=True):
        counts[step] = counts.get(step, 0) + 1
    return counts


def open_orders() -> Counts:
    """How many orders have each open status, also of those that none has."""
    found = Order.objects.filter(status__in=OPEN).order_by().values_list("status")
    return dict.fromkeys(map(str, OPEN), 0) | dict(found.annotate(number=Count("pk")))


def count_stuck() -> Counts:
    return count_unfinished(state=Saga.State.STUCK)


def count_unfinished(**only: str) -> Counts:
    """How many sagas of each type are unfinished."""
    # The index on the next attempt finds them: the state has none.
    unfinished = Saga.objects.filter(next_attempt_at__isnull=False, **only)
    counted = unfinished.values_list("kind").annotate(count=Count("id"))
    return dict.fromkeys(SAGA_TYPES, 0) | dict(counted)


def oldest_due_seconds() -> float:
    """For how many seconds the saga that is due first has waited for an executor; 0 when none is due."""
    # Each by the index: a new one, which is due at once, waits since its start.
    new = Saga.objects.filter(next_attempt_at=AT_ONCE).order_by("id").values_list("created_at", flat=True)
    others = Saga.objects.filter(next_attempt_at__gt=AT_ONCE).order_by("next_attempt_at")
    first = [at for at in (*new[:1], *others.values_list("next_attempt_at", flat=True)[:1]) if at]
    return clock.age_seconds(min(first)) if first else 0.0


def paid_age_seconds() -> float:
    last = Order.objects.aggregate(paid_at=Max("paid_at"))["paid_at"]
    return clock.age_seconds(last) if last else float("inf")


def read_in_doubt() -> dict[str, float]:
    in_doubt = selectors.filter_unsettled(Payment.objects.all(), [Payment.Status.IN_DOUBT])
    found = in_doubt.aggregate(number=Count("pk"), began_at=Min("created_at"))
    age_seconds = clock.age_seconds(found["began_at"]) if found["number"] else 0.0
    return {IN_DOUBT: found["number"], IN_DOUBT_OLDEST: age_seconds}


def read_discounts() -> Counts:
    since = clock.now() - timedelta(days=1)
    paid = Order.objects.filter(paid_at__gte=since, discount_amount__gt=0).order_by("-paid_at")
    amounts = dict(paid.values_list("pk", "discount_amount")[:NEWEST_DISCOUNTS])
    totals: Counter[str] = Counter()
    for order_id, campaign in Coupon.objects.filter(order_id__in=amounts).values_list("order_id", "campaign"):
        totals[str(campaign)] += amounts[order_id]
    return totals


def count_requiring_action() -> int:
    pending = selectors.filter_unsettled(Payment.objects.all(), [Payment.Status.PENDING])
    return pending.filter(payment_rows.with_action()).count()


def read_stock() -> Readings:
    rows = read_selling(products=MOST_SELLING)
    return {
        AVAILABLE: {str(id): on_hand - reserved for id, on_hand, reserved in rows},
        RESERVED: {str(id): reserved for id, _, reserved in rows},
    }


def read_selling(*, products: int, lines: int = NEWEST_LINES) -> list[tuple[int, int, int]]:
    """Id, on hand and reserved of so many products: those of which so many newest order lines have most."""
    return [*bulk_sql.fetch(READ_SELLING, [lines, products])]


def negative_stock_count() -> int:
    """How many products break 0 <= reserved <= on_hand.

    It sees the products of the 5,000 newest order lines, and the 1,000 newest products.
    """
    [[number]] = bulk_sql.fetch(COUNT_NEGATIVE, [NEWEST_LINES, NEWEST_PRODUCTS])
    return int(number)
