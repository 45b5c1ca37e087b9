"""The audit of stock: L4, the half of L5 that needs no orders, and L8 for deliveries, whose ids are keys."""

from uuid import UUID

from django.db.models import F, Max, Q, Sum
from django.db.models.functions import Coalesce

from foundation.db import bulk_sql
from foundation.operations.audits.checks import (
    OFFENDERS_REPORTED,
    Chosen,
    LawReport,
    Subject,
    WholeCheck,
    count,
    offenders_of,
    report,
    within,
)
from inventory import ranking
from inventory.models import Delivery, Product

MISCOUNTED = """
SELECT delivery.id FROM inventory_delivery delivery LEFT JOIN (
SELECT delivery_id, SUM(delta) AS moved FROM inventory_stockmovement
WHERE delivery_id IS NOT NULL{moved} GROUP BY delivery_id
) movements ON movements.delivery_id = delivery.id
WHERE delivery.received <> delivery.archived + COALESCE(movements.moved, 0){chosen}
ORDER BY delivery.id LIMIT {limit}
"""


def audit() -> list[LawReport]:
    """Each law of stock, checked over all products by the database itself."""
    return [
        reserved_is_within_on_hand(),
        on_hand_is_the_sum_of_movements(),
        each_delivery_came_in_once(),
        rankings_are_the_tables(),
    ]


def reserved_is_within_on_hand() -> LawReport:
    """L4: 0 ≤ reserved ≤ on hand. Offenders are product ids."""
    broken = Product.objects.filter(Q(reserved__lt=0) | Q(reserved__gt=F("on_hand")))
    return report("L4", Product.objects.count(), offenders_of(broken.order_by("id")))


def on_hand_is_the_sum_of_movements(product_ids: Chosen = None) -> LawReport:
    """L5, first half: what is on hand is the sum of the movements, with what is carried of those that an
    earlier release archived. Offenders are product ids. One statement sees all sides at one moment.
    """
    products = Product.objects.filter(within("pk", product_ids))
    # One row is carried of a product: its greatest value is that row's, as HAVING needs it.
    moved = products.annotate(
        moved=Coalesce(Sum("movements__delta"), 0), carried_delta=Coalesce(Max("carried__delta"), 0)
    )
    broken = moved.exclude(on_hand=F("moved") + F("carried_delta"))
    return report("L5", count(Product.objects, product_ids), offenders_of(broken.order_by("id")))


def rankings_are_the_tables() -> LawReport:
    """L5, of popular products: the sets in Redis of days that have ended are those of the table."""
    return report("L5", 0, [f"ranking of {day} in Redis" for day in ranking.differing_days()])


def each_delivery_came_in_once(delivery_ids: Chosen = None) -> LawReport:
    """L8 for deliveries: its movements, with those counted as archived, sum to what it received. Offenders
    are delivery ids. One statement reads the movements once: they have no index by delivery.
    """
    ids = [UUID(str(id)) for id in delivery_ids or ()]
    literals = bulk_sql.SqlLiterals()
    chosen = f" AND delivery.id IN ({literals.listed(ids)})" if delivery_ids is not None else ""
    moved = f" AND delivery_id IN ({literals.listed(ids)})" if delivery_ids is not None else ""
    found = bulk_sql.fetch(MISCOUNTED.format(chosen=chosen, moved=moved, limit=OFFENDERS_REPORTED))
    offenders = [UUID(str(id)) for (id,) in found]
    return report("L8", count(Delivery.objects, delivery_ids), offenders)


SUBJECTS = (
    # A hot product has a hundred thousand movements.
    Subject("product", Product.objects.all, (("L5", on_hand_is_the_sum_of_movements),), size=10),
    Subject("delivery", Delivery.objects.all, (("L8", each_delivery_came_in_once),), size=5_000),
)
WHOLE_CHECKS = (
    WholeCheck("L4", reserved_is_within_on_hand),
    WholeCheck("L5", rankings_are_the_tables, is_frequent=False),
)
