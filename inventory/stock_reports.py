"""What operators see of the stock: recent sales, and products low on it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import BigIntegerField, F, QuerySet, Sum
from django.db.models.functions import Cast, TruncHour

from inventory import products
from inventory.models import Product, StockMovement
from shop import clock

HOURS = 12
# Of a product that sells more within the hours, only the newest are added up, which the page says.
MOST_SALES = 10_000
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RecentSales:
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
    movements = StockMovement.objects.filter(product_id=product_id)
    sold = movements.filter(kind=StockMovement.Kind.SOLD, at__gte=hours[0])
    # Without this bound, which the index alone answers, years of sales would be read for the last hours.
    beyond = movements.order_by("-id").values_list("id", flat=True)[MOST_SALES : MOST_SALES + 1].first()
    is_complete = True
    if beyond is not None:
        sold = sold.filter(id__gt=beyond)
        # None: its month was archived meanwhile, so it is older than the hours.
        at = StockMovement.objects.filter(id=beyond).values_list("at", flat=True).first()
        is_complete = at is None or at < hours[0]
    rows = sold.annotate(hour=TruncHour("at")).order_by("hour").values_list("hour").annotate(Sum("delta"))
    units = {hour: -delta for hour, delta in rows}
    return RecentSales([(hour, units.get(hour, 0)) for hour in hours], is_complete)


def low() -> "QuerySet[Product]":
    """The active products of which no more is available than their threshold, the furthest below it first."""
    threshold = Cast("low_stock_threshold", BigIntegerField())  # unsigned: the difference may be negative
    found = Product.objects.filter(products.IS_LOW, is_active=True)
    return found.order_by(F("on_hand") - F("reserved") - threshold, "id")
