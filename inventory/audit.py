"""The audit of stock: L4, the half of L5 that needs no orders, and L8 for deliveries, whose ids are keys.

`SUBJECTS` and `WHOLE_CHECKS` are the same laws for a scheduled audit.
"""

from collections.abc import Iterator
from uuid import UUID

from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from inventory.models import Delivery, Product, StockMovement
from shop.operations.audits.audit_report import OFFENDERS_REPORTED, LawReport, report
from shop.operations.audits.audit_scope import Changes, Rows, Subject, WholeCheck, count, within


def audit() -> list[LawReport]:
    """Each law of stock, checked over all products by the database itself."""
    return [reserved_is_within_on_hand(), on_hand_is_the_sum_of_movements(), each_delivery_came_in_once()]


def reserved_is_within_on_hand() -> LawReport:
    """L4: 0 ≤ reserved ≤ on hand. Offenders are product ids."""
    broken = Product.objects.filter(Q(reserved__lt=0) | Q(reserved__gt=F("on_hand")))
    return report("L4", Product.objects.count(), _offender_ids(broken))


def on_hand_is_the_sum_of_movements(product_ids: Rows | None = None) -> LawReport:
    """L5, first half: what is on hand is the sum of the movements. Offenders are product ids.

    One statement sees both sides at one moment, so concurrent sales are no offenders.
    """
    products = Product.objects.filter(within("pk", product_ids))
    moved = products.annotate(moved=Coalesce(Sum("movements__delta"), 0))
    broken = moved.exclude(on_hand=F("moved"))
    return report("L5", count(Product.objects.all(), product_ids), _offender_ids(broken))


def each_delivery_came_in_once(delivery_ids: Rows | None = None) -> LawReport:
    """L8 for deliveries: the movements of a delivery sum to what it received. Offenders are delivery ids.

    One statement sees both sides at one moment, and reads the movements once: they have no index by delivery.
    """
    of_deliveries = StockMovement.objects.filter(within("delivery", delivery_ids), delivery__isnull=False)
    moved = of_deliveries.values("delivery_id", "delivery__received")
    broken = moved.annotate(moved=Sum("delta")).exclude(moved=F("delivery__received")).order_by("delivery_id")
    offenders = broken.values_list("delivery_id", flat=True)[:OFFENDERS_REPORTED]
    return report("L8", count(Delivery.objects.all(), delivery_ids), offenders)


def _changed_products(changes: Changes) -> Iterator[int]:
    yield from changes.inserted(Product).values_list("pk", flat=True)
    yield from map(int, changes.noted("product"))
    yield from changes.inserted(StockMovement).order_by().values_list("product", flat=True).distinct()


def _changed_deliveries(changes: Changes) -> "QuerySet[StockMovement, UUID | None]":
    received = changes.inserted(StockMovement).filter(delivery__isnull=False)
    return received.order_by().values_list("delivery", flat=True).distinct()


SUBJECTS = (
    Subject(
        "product",
        Product.objects.all,
        _changed_products,
        (("L5", on_hand_is_the_sum_of_movements),),
        # A hot product has a hundred thousand movements.
        size=10,
    ),
    Subject(
        "delivery",
        Delivery.objects.all,
        _changed_deliveries,
        (("L8", each_delivery_came_in_once),),
        size=5_000,
    ),
)
WHOLE_CHECKS = (WholeCheck("L4", reserved_is_within_on_hand),)
COUNTED_TABLES = (Product, StockMovement)


def _offender_ids(products: "QuerySet[Product]") -> "QuerySet[Product, int]":
    return products.order_by("id").values_list("id", flat=True)[:OFFENDERS_REPORTED]
