"""What operators see of the stock: recent sales, and products low on it."""

from collections import Counter
from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.db import DEFAULT_DB_ALIAS
from django.db.models import BigIntegerField, F, QuerySet, Sum
from django.db.models.functions import Cast

from foundation import clock
from inventory import products
from inventory.models import LostDemand, Product, ProductDay, StockMovement

LOST = ("lost_units", "lost_amount", *(f"lost_{reason}" for reason in LostDemand.Reason.values))
HOURS = 12
# Of a product that sells more within the hours, only the newest are added up, which the page says.
MOST_MOVEMENTS = 10_000
HOUR = timedelta(hours=1)


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


def lost_today() -> "QuerySet[ProductDay]":
    """Products of which something was lost today, most of it first."""
    lost = ProductDay.objects.filter(day=clock.today(), lost_amount__gt=0).select_related("product")
    return lost.order_by("-lost_amount", "product_id")


def lost_today_amount() -> int:
    """The amount that was lost today."""
    return lost_on(today := clock.today(), today)["lost_amount"]


class RecentSales(NamedTuple):
    """Units sold in each of the last hours, oldest first; in part unless `is_complete`."""

    by_hour: list[tuple[datetime, int]]
    is_complete: bool

    @property
    def units(self) -> int:
        return sum(units for _, units in self.by_hour)


def read_recent_sales(product_id: int) -> RecentSales:
    """What was sold in this hour and those before it."""
    this_hour = clock.now().replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - HOUR * number for number in reversed(range(HOURS))]
    newest = StockMovement.objects.filter(product_id=product_id).order_by("-id")
    # No index has the instants, so these are found among the newest ones.
    rows = list(newest.values_list("kind", "delta", "at")[: MOST_MOVEMENTS + 1])
    units = Counter[datetime]()
    for kind, delta, at in rows:
        if kind == StockMovement.Kind.SOLD:
            units[at.replace(minute=0, second=0, microsecond=0)] -= delta
    is_complete = len(rows) <= MOST_MOVEMENTS or rows[-1][2] < hours[0]
    return RecentSales([(hour, units[hour]) for hour in hours], is_complete)


def low() -> "QuerySet[Product]":
    """The active products of which no more is available than their threshold, the furthest below it first."""
    threshold = Cast("low_stock_threshold", BigIntegerField())  # unsigned: the difference may be negative
    found = Product.objects.filter(products.IS_LOW, is_active=True)
    return found.order_by(F("on_hand") - F("reserved") - threshold, "id")
