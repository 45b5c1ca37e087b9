"""What an account uses of its purchase limits now, for operators; `limits` decides orders."""

from dataclasses import dataclass

from django.db.models import F, Q, Sum

from orders.models import Order, OrderLine
from orders.order_states import OPEN, PAID

# An account with more orders than this is read in part, which the page says.
MOST_ORDERS = 1_000
MOST_PRODUCTS = 50


@dataclass(frozen=True, slots=True)
class ProductUsage:
    """An account's units of a product, less refunded ones; `held_units` count towards the product's limit."""

    product_id: int
    sku: str
    limit: int | None
    unpaid_units: int
    held_units: int


@dataclass(frozen=True, slots=True)
class AccountUsage:
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
    is_unpaid, units = Q(order__status__in=OPEN), F("quantity") - F("refunded_quantity")
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
