"""Products with their stock, deliveries and stock movements."""

from django.db import models
from django.db.models import F, Q

from shop.fields import CreatedAtField, ExactCharField


class Product(models.Model):
    """Something that is sold, with its stock.

    `on_hand` is what the warehouse has, `reserved` what open orders hold of it; available is the difference.
    """

    sku = ExactCharField(max_length=64)
    name = models.CharField(max_length=255)
    price = models.BigIntegerField(help_text="In the currency's minor unit.")
    on_hand = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    is_active = models.BooleanField(default=True)
    paused_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when it can't be ordered; empty: it can."
    )
    low_stock_threshold = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="The event `stock.low` is sent when no more than this is available; empty: never.",
    )
    limit_per_account = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="The most units that one account may have in open and paid orders; empty: no limit.",
    )
    version = models.PositiveBigIntegerField(default=0, help_text="Counts changes of the stock.")
    created_at = CreatedAtField()

    class Meta:
        indexes = [models.Index(fields=["paused_at"], name="inventory_product_paused")]
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
        """How many units a new order may reserve."""
        return self.on_hand - self.reserved


class Delivery(models.Model):
    """Rows of stock that are imported together, under an id that exists before the first row is written.

    They are written in chunks, in the order of their skus; `rows_done` counts the rows that are written.
    """

    id = models.UUIDField(primary_key=True)
    fingerprint = ExactCharField(max_length=64, help_text="Hash of its rows: the id is valid for these only.")
    reason = models.CharField(max_length=255, blank=True)
    rows_total = models.PositiveIntegerField()
    rows_done = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(default=0, help_text="Products that were new.")
    changed = models.PositiveIntegerField(default=0, help_text="Products whose name or price changed.")
    received = models.PositiveBigIntegerField(default=0, help_text="Units received.")
    started_at = CreatedAtField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(finished_at__isnull=True, rows_done__lt=F("rows_total"))
                | Q(finished_at__isnull=False, rows_done=F("rows_total")),
                name="inventory_delivery_finished_when_all_rows_are_done",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class StockMovement(models.Model):
    """One change of what is on hand. Rows are appended and never changed."""

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
    # Neither index nor foreign key: most movements are sales, which would pay for both.
    delivery = models.ForeignKey(
        Delivery,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        db_index=False,
        db_constraint=False,
        related_name="movements",
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
