"""Stock movements as a table of the archives: their sums stay by product and by delivery, for L5 and L8."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db.models import F

from inventory.models import CarriedStock, Delivery, StockMovement
from shop.db import bulk_sql
from shop.db.archived_months import MOVEMENTS
from shop.models import ArchivedMonth
from shop.operations.archives.archive_tables import ArchiveTable, Row, Sums

DELTA = "delta"
CARRY = """
UPDATE inventory_carriedstock SET delta = delta + CASE product_id{cases} END WHERE product_id IN ({ids})
"""


def _carry(month: ArchivedMonth, rows: Sequence[Row], *, sign: int) -> Sums:
    """Add the movements to what is carried of their products and deliveries, or take them from it."""
    products, deliveries = Counter[int](), Counter[UUID]()
    for row in rows:
        products[row["product_id"]] += row["delta"]
        if row["delivery_id"] is not None:
            deliveries[row["delivery_id"]] += row["delta"]
    known = set(CarriedStock.objects.filter(pk__in=products).values_list("pk", flat=True))
    new = [CarriedStock(product_id=id) for id in sorted(products.keys() - known)]
    CarriedStock.objects.bulk_create(new, ignore_conflicts=True)
    cases = "".join(f" WHEN {id:d} THEN {sign * delta:d}" for id, delta in sorted(products.items()))
    bulk_sql.execute_deferred(CARRY.format(cases=cases, ids=bulk_sql.integer_list(sorted(products))))
    for id, delta in sorted(deliveries.items()):
        Delivery.objects.filter(pk=id).update(archived=F("archived") + sign * delta)
    return {DELTA: sum(products.values())}


TABLE = ArchiveTable(
    name=MOVEMENTS,
    model=StockMovement,
    at="at",
    carry=partial(_carry, sign=1),
    uncarry=partial(_carry, sign=-1),
    stays="nothing: what is carried of each product and delivery keeps the sums",
)
