"""What became of orders and refunds, and what was sold: counters of this process, made after each commit."""

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import Counter

from foundation.errors import FirstcomeError
from foundation.observability.bounded_counter import BoundedCounter

ORDERS = Counter(
    "firstcome_orders",
    "Orders that were placed, paid, cancelled, expired, payment_failed, or refunded in whole.",
    ["event"],
)
REVENUE = Counter(
    "firstcome_revenue_amount", "Totals of the orders that were paid, by card or points, in minor units."
)
REFUNDS = Counter(
    "firstcome_refunds",
    "Refunds that are done: full if the order is refunded with it, else partial. Or failed after that.",
    ["kind"],
)
REFUNDED = Counter("firstcome_refunded_amount", "Refunded amounts, to cards and as points, in minor units.")
STAFF_ORDERS = Counter("firstcome_staff_orders", "Orders that members of staff placed.")
PRODUCT_REFUSALS = BoundedCounter(
    "firstcome_product_refusals",
    "Orders refused because of a product, by the refusal's code, once for each product that it names.",
    "product",
    ["code"],
)
PLACED = "placed"
PAID = "paid"
REFUNDED_WHOLE = "refunded"


def count_orders(changes: Sequence[tuple[str, int]]) -> None:
    """Count orders by the event that happened to each, with its total amount; called after the commit."""
    for event, number in Tally([event for event, _ in changes]).items():
        ORDERS.labels(event).inc(number)
    revenue_amount = sum([amount for event, amount in changes if event == PAID])
    if revenue_amount:
        REVENUE.inc(revenue_amount)


def count_staff_orders(orders: Sequence[object]) -> None:
    """Count orders of members of staff; called after the commit."""
    STAFF_ORDERS.inc(len(orders))


def count_refused_products(refusal: FirstcomeError) -> None:
    """Count an order's refusal for each product that it names; other refusals name none."""
    for item in refusal.extra.get("items", ()):
        PRODUCT_REFUSALS.inc(item["product"], refusal.code)


def count_failed_refunds(refunds: Sequence[object]) -> None:
    """Count refunds that the gateway took back; after the commit."""
    REFUNDS.labels("failed").inc(len(refunds))


def count_refunds(refunds: Sequence[tuple[bool, int]]) -> None:
    """Count refunds by whether the order is refunded in whole now, with their amounts; after the commit."""
    for is_full, amount in refunds:
        REFUNDS.labels("full" if is_full else "partial").inc()
        REFUNDED.inc(amount)
        if is_full:
            ORDERS.labels(REFUNDED_WHOLE).inc()
