"""What operators see of the stock: what was not sold, and products low on it."""

from collections import Counter
from datetime import date

from django.db import DEFAULT_DB_ALIAS
from django.db.models import BigIntegerField, F, QuerySet, Sum
from django.db.models.functions import Cast

from foundation import clock
from inventory import products
from inventory.models import LostDemand, Product, ProductDay

LOST = ("lost_units", "lost_amount", *(f"lost_{reason}" for reason in LostDemand.Reason.values))


def lost_on(since: date, through: date, database: str = DEFAULT_DB_ALIAS) -> dict[str, int]:
    """What was lost of all products on these days, by the names of the columns."""
    sums = {name: Sum(name, default=0) for name in LOST}
    found = ProductDay.objects.using(database).filter(day__range=(since, through)).aggregate(**sums)
    return {name: int(value) for name, value in found.items()}


def lost_by_product(since: date, through: date, database: str = DEFAULT_DB_ALIAS) -> dict[int, Counter[str]]:
    """The units and the amount that were lost of each product on these days, by the names of the columns."""
    days = ProductDay.objects.using(database).filter(day__range=(since, through), lost_amount__gt=0)
    sums = days.values_list("product_id").annotate(Sum("lost_units"), Sum("lost_amount")).order_by()
    return {id: Counter(lost_units=int(units), lost_amount=int(amount)) for id, units, amount in sums}


def lost_today_amount() -> int:
    """The amount that was lost today."""
    return lost_on(today := clock.today(), today)["lost_amount"]


def low() -> "QuerySet[Product]":
    """The active products of which no more is available than their threshold, the furthest below it first."""
    threshold = Cast("low_stock_threshold", BigIntegerField())  # unsigned: the difference may be negative
    found = Product.objects.filter(products.IS_LOW, is_active=True).prefetch_related("sale")
    return found.order_by(F("on_hand") - F("reserved") - threshold, "id")
