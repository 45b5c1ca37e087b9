"""Products, and what of them is on hand and reserved."""

from django.db import models
from django.db.models import F, Q

from shop.fields import CreatedAtField, ExactCharField


class Product(models.Model):
    """Something that is sold, with its stock.

    `on_hand` is what lies there, `reserved` what open orders hold of it; available is the difference.
    """

    sku = ExactCharField(max_length=64)
    name = models.CharField(max_length=255)
    price = models.BigIntegerField(help_text="In the currency's minor unit.")
    on_hand = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    is_active = models.BooleanField(default=True)
    low_stock_threshold = models.PositiveIntegerField(
        null=True, blank=True, help_text="Tell `stock.low` when no more than this is available; empty: never."
    )
    limit_per_account = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="The most units that one account may have in open and paid orders; empty: no limit.",
    )
    version = models.PositiveBigIntegerField(default=0, help_text="Counts changes of the stock.")
    created_at = CreatedAtField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["sku"], name="inventory_product_sku_is_unique"),
            models.CheckConstraint(condition=Q(price__gte=0), name="inventory_product_price_not_negative"),
            models.CheckConstraint(
                condition=Q(limit_per_account__isnull=True) | Q(limit_per_account__gte=1),
                name="inventory_product_limit_per_account_positive",
            ),
            models.CheckConstraint(
                condition=Q(reserved__gte=0, reserved__lte=F("on_hand")),
                name="inventory_product_reserved_within_on_hand",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"

    @property
    def available(self) -> int:
        """How many a new order may take."""
        return self.on_hand - self.reserved


class StockMovement(models.Model):
    """One change of what is on hand: appended, never changed."""

    class Kind(models.TextChoices):
        RECEIVED = "received"
        ADJUSTED = "adjusted"
        SOLD = "sold"
        RETURNED = "returned"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="movements")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    delta = models.BigIntegerField()
    on_hand_after = models.BigIntegerField()
    order = models.ForeignKey(
        "orders.Order", null=True, blank=True, on_delete=models.PROTECT, related_name="stock_movements"
    )
    reason = models.CharField(max_length=255, blank=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(on_hand_after__gte=0), name="inventory_stockmovement_on_hand_not_negative"
            ),
            models.CheckConstraint(condition=~Q(delta=0), name="inventory_stockmovement_moves_something"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.delta:+d} of product {self.product_id}"
