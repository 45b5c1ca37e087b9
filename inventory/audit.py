"""The audit of stock: L4, the half of L5 that needs no orders, and L8 for deliveries, whose ids are keys."""

from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from inventory.models import Delivery, Product, StockMovement
from shop.operations.audit_report import OFFENDERS_REPORTED, LawReport, report


def audit() -> list[LawReport]:
    """Each law of stock, checked over all products by the database itself."""
    return [reserved_is_within_on_hand(), on_hand_is_the_sum_of_movements(), each_delivery_came_in_once()]


def reserved_is_within_on_hand() -> LawReport:
    """L4: 0 ≤ reserved ≤ on hand. Offenders are product ids."""
    broken = Product.objects.filter(Q(reserved__lt=0) | Q(reserved__gt=F("on_hand")))
    return report("L4", Product.objects.count(), _offender_ids(broken))


def on_hand_is_the_sum_of_movements() -> LawReport:
    """L5, first half: what is on hand is the sum of the movements. Offenders are product ids.

    One statement sees both sides at one moment, so concurrent sales are no offenders.
    """
    moved = Product.objects.annotate(moved=Coalesce(Sum("movements__delta"), 0))
    broken = moved.exclude(on_hand=F("moved"))
    return report("L5", Product.objects.count(), _offender_ids(broken))


def each_delivery_came_in_once() -> LawReport:
    """L8 for deliveries: the movements of a delivery sum to what it received. Offenders are delivery ids.

    One statement sees both sides at one moment, and reads the movements once.
    """
    moved = StockMovement.objects.filter(delivery__isnull=False).values("delivery_id", "delivery__received")
    broken = moved.annotate(moved=Sum("delta")).exclude(moved=F("delivery__received")).order_by("delivery_id")
    offenders = broken.values_list("delivery_id", flat=True)[:OFFENDERS_REPORTED]
    return report("L8", Delivery.objects.count(), offenders)


def _offender_ids(products: "QuerySet[Product]") -> "QuerySet[Product, int]":
    return products.order_by("id").values_list("id", flat=True)[:OFFENDERS_REPORTED]
